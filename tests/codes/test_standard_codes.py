# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes of standards against properties that their standards tell and against other encoders."""

import itertools

import numpy as np
import pytest
from gnuradio.neuralfec import codes

WIFI = list(itertools.product((648, 1296, 1944), ("1/2", "2/3", "3/4", "5/6")))


def random_messages(code, frames=3, seed=1):
    return np.random.default_rng(seed).integers(0, 2, (frames, code.k), dtype=np.uint8)


@pytest.mark.parametrize(("n", "rate"), WIFI)
def test_wifi_encodes_by_its_dual_diagonal(n, rate):
    code = codes.code(f"wifi-{n}-{rate}")
    k, size = n * int(rate[0]) // int(rate[2]), n // 24
    assert (code.n, code.k, code.name) == (n, k, f"wifi-{n}-{rate}")
    assert np.array_equal(code.information_set, np.arange(k))
    h = np.asarray(code.parity_check)
    # Two columns of ones to each check bit but the first, which has three, with shifts 1, 0, 1.
    assert (h[:, k : k + size].sum(axis=0) == 3).all()
    assert (h[:, k + size :].sum(axis=0) == 2).all()
    # IEEE Std 802.11-2012, 20.3.11.7: p_0 is the sum of all lambda_i, then each block row gives
    # the next block of check bits.
    messages = random_messages(code)
    part = (messages.astype(int) @ h[:, :k].T % 2).reshape(len(messages), -1, size)
    rows = part.shape[1]
    first = part.sum(axis=1) % 2
    middle = int(np.flatnonzero(h[::size, k : k + size].any(axis=1))[1])
    parity = [first, (part[:, 0] + np.roll(first, -1, axis=1)) % 2]
    for i in range(1, rows - 1):
        parity.append((part[:, i] + parity[i] + (first if i == middle else 0)) % 2)
    assert np.array_equal(code.encode(messages)[:, k:], np.concatenate(parity, axis=1))


def test_wifi_648_is_its_code_of_rate_one_half():
    assert np.array_equal(
        codes.code("wifi-648").parity_check, codes.code("wifi-648-1/2").parity_check
    )


@pytest.mark.parametrize(
    "spec", [648, None, 3.5, b"wifi-648", "wifi-648-4/5", "wifi-649-1/2", "wifi-1944"]
)
def test_what_is_no_code_is_a_value_error_with_the_names(spec):
    with pytest.raises(ValueError, match=r"expected a code of .*wifi-1944-5/6.*alist:FILE"):
        codes.code(spec)
