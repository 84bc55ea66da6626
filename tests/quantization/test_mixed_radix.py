# SPDX-License-Identifier: GPL-3.0-or-later
import itertools
import math

import numpy as np
import pytest
from gnuradio.neuralfec.quantization import mixed_radix

torch = pytest.importorskip("torch")


def test_allocation_is_the_best_of_all():
    rng = np.random.default_rng(1)
    for bits in (3, 4, 5):
        information = [np.cumsum(rng.exponential(size=6)).tolist() for _ in range(3)]
        every = [
            counts
            for counts in itertools.product(range(1, 7), repeat=3)
            if math.prod(counts) <= 1 << bits
        ]
        value = lambda counts, kept=information: sum(  # noqa: E731
            row[count - 1] for row, count in zip(kept, counts, strict=True)
        )
        found = mixed_radix.allocate(information, bits)
        assert math.prod(found) <= 1 << bits
        assert value(found) == pytest.approx(max(map(value, every)))


def test_every_index_comes_back():
    levels = [np.float32([-1, 0, 2]), np.float32([0]), np.float32([-3, 3])]
    thresholds = [np.float32([-0.5, 1]), np.float32([]), np.float32([0])]
    quantizer = mixed_radix.MixedRadixQuantizer(levels, thresholds, 3)
    llrs = quantizer.dequantize(np.arange(6))
    assert len(np.unique(llrs, axis=0)) == 6
    assert (quantizer.quantize(llrs) == np.arange(6)).all()
    with pytest.raises(ValueError, match=r"at most 2\^2, got 6"):
        mixed_radix.MixedRadixQuantizer(levels, thresholds, 2)


def test_design_takes_the_nearest_side_of_each_threshold():
    quantizer = mixed_radix.design("qam16", 9, 8, 12, samples=20_000)
    rng = np.random.default_rng(2)
    llrs = rng.normal(0, 4, (1000, 4)).astype(np.float32)
    llrs[0, 0] = np.nan
    left = quantizer.reconstruct(llrs)
    assert quantizer.quantize(llrs).max() < 1 << 9
    # Positions that are alike on both rails get as many levels, but for one where that fits.
    counts = [len(np.unique(column)) for column in left.T]
    assert abs(counts[0] - counts[2]) <= 2 and abs(counts[1] - counts[3]) <= 2
    # More levels lose less.
    finer = mixed_radix.design("qam16", 12, 8, 12, samples=20_000).reconstruct(llrs)
    error = lambda out: np.nanmean(  # noqa: E731
        np.square(np.tanh(out / 2) - np.tanh(llrs / 2))
    )
    assert error(finer) < error(left) < 0.05


@pytest.mark.parametrize("spec", ["mixed-radix:15", "mixed-radix:x:1:2", "mixed-radix:15:20:16"])
def test_wrong_specs(spec):
    with pytest.raises(ValueError, match="expected mixed-radix:BITS:LOW:HIGH"):
        mixed_radix.from_spec(spec, "qam16")
