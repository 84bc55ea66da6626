# SPDX-License-Identifier: GPL-3.0-or-later
"""Arithmetic coding of levels: what comes back, and how long it is beside the entropy."""

import numpy as np
import pytest
from gnuradio.neuralfec.quantization import arithmetic_code


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("count", [0, 1, 3, 500, 30000])
def test_levels_come_back(bits, count):
    rng = np.random.default_rng(count + bits)
    top = 2**bits - 1
    bell = np.clip(np.rint(rng.normal(top / 2, top / 8, count)), 0, top).astype(np.uint8)
    for levels in (bell, rng.integers(0, top + 1, count), np.full(count, top), np.zeros(count)):
        levels = levels.astype(np.uint8)
        code = arithmetic_code.encode(levels, bits)
        assert len(code) <= arithmetic_code.longest(count, bits)
        for more in (b"", bytes(100), b"\xff" * 100, rng.bytes(100)):
            again = arithmetic_code.decode(code + more, count, bits)
            np.testing.assert_array_equal(again, levels)


@pytest.mark.parametrize("bits", [4, 5, 8])
def test_the_length_is_the_entropy(bits):
    """Half a bit for each doubling of the numbers and each free share beside it."""
    rng = np.random.default_rng(bits)
    count, top = 30000, 2**bits - 1
    levels = np.clip(np.rint(rng.normal(top / 2, top / 10, count)), 0, top).astype(np.uint8)
    share = np.bincount(levels) / count
    entropy = -np.sum(share[share > 0] * np.log2(share[share > 0]))
    spent = 8 * len(arithmetic_code.encode(levels, bits)) / count
    assert entropy < spent < entropy + 2**bits / 2 * np.log2(count) / count + 0.002


@pytest.mark.parametrize("bits", [1, 4, 8])
def test_contexts_make_it_the_entropy_of_each(bits):
    """What both ends know beforehand need not be told."""
    rng = np.random.default_rng(bits)
    count, middle = 30000, rng.integers(0, 5, 30000)
    levels = np.clip(np.rint(rng.normal(middle * 2**bits / 4, 0.3)), 0, 2**bits - 1)
    levels = levels.astype(np.uint8)
    code = arithmetic_code.encode(levels, bits, middle)
    np.testing.assert_array_equal(arithmetic_code.decode(code, count, bits, middle), levels)
    assert len(code) <= arithmetic_code.longest(count, bits, contexts=5)
    share = np.zeros((5, 2**bits))
    np.add.at(share, (middle, levels), 1 / count)
    known = share / share.sum(1, keepdims=True)
    entropy = -np.sum(share[share > 0] * np.log2(known[share > 0]))
    spent = 8 * len(code) / count
    assert entropy < spent < entropy + 5 * 2**bits / 2 * np.log2(count) / count + 0.002
    assert spent < 8 * len(arithmetic_code.encode(levels, bits)) / count - 0.5 * min(bits, 2)
    with pytest.raises(ValueError, match="expected 30000 contexts, got 9"):
        arithmetic_code.encode(levels, bits, middle[:9])


def test_what_is_no_code_gives_levels():
    noise = np.random.default_rng(1).bytes(1000)
    for bits in range(1, 9):
        levels = arithmetic_code.decode(noise, 3000, bits)
        assert levels.dtype == np.uint8 and levels.size == 3000 and levels.max() < 2**bits


def test_refuses_what_is_not_so():
    with pytest.raises(ValueError, match="below 16, got 16"):
        arithmetic_code.encode([16], 4)
    for bits in (0, 9):
        with pytest.raises(ValueError, match="1 to 8 bits"):
            arithmetic_code.encode([0], bits)
        with pytest.raises(ValueError, match="1 to 8 bits"):
            arithmetic_code.decode(b"x", 1, bits)
    with pytest.raises(ValueError, match="count of at least 0, got -1"):
        arithmetic_code.decode(b"x", -1, 4)
