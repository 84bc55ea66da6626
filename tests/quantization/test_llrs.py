# SPDX-License-Identifier: GPL-3.0-or-later
"""What every quantizer makes of LLRs that are no ordinary numbers."""

import numpy as np
import pytest
from gnuradio.neuralfec.quantization import LlrQuantizer, SoftBuffer, names

CASES = [(name, search) for name in names() for search in (True, False)]


def example(name, search):
    quantizer = LlrQuantizer(name, search=search)
    llrs = 5 * np.random.default_rng(1).standard_normal((400, quantizer.bits_per_symbol))
    return quantizer, llrs.astype(np.float32)


@pytest.mark.parametrize(("name", "search"), CASES)
def test_a_large_llr_is_certain_however_large(name, search):
    quantizer, llrs = example(name, search)
    rows = np.arange(len(llrs))
    at = np.random.default_rng(2).integers(0, llrs.shape[1], len(llrs))
    found = {}
    for value in (200, 1e4, 1e8, 1e20, 3e38, np.inf):
        some = llrs.copy()
        some[rows, at] = np.copysign(np.float32(value), llrs[rows, at])
        found[value] = quantizer.reconstruct(some)
        assert np.isfinite(found[value]).all()
    assert quantizer.counts["bad_samples"] == 0
    for value in found:
        assert np.array_equal(found[value], found[200]), value


@pytest.mark.parametrize(("name", "search"), CASES)
def test_nan_is_nothing_known(name, search):
    quantizer, llrs = example(name, search)
    unknown = np.random.default_rng(3).random(llrs.shape) < 0.1
    expected = quantizer.reconstruct(np.where(unknown, np.float32(0), llrs))
    assert np.array_equal(
        quantizer.reconstruct(np.where(unknown, np.float32(np.nan), llrs)), expected
    )
    assert quantizer.counts["bad_samples"] == unknown.sum()


def test_combining_certain_llrs():
    buffer = SoftBuffer(LlrQuantizer("qam16-11bit"))
    first = np.float32([np.inf, -np.inf, 3, np.nan])
    assert (np.sign(buffer.combine(1, first)) == [1, -1, 1, 0]).all()
    total = buffer.combine(1, np.float32([-np.inf, -np.inf, 1, -2]))
    assert np.isfinite(total).all() and total[1] < 0
