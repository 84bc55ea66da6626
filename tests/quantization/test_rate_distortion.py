# SPDX-License-Identifier: GPL-3.0-or-later
"""The rate-distortion bound against closed forms, a plain enumeration and shipped quantizers."""

import itertools
import math

import numpy as np
import pytest
from gnuradio.neuralfec import models
from gnuradio.neuralfec.quantization import rate_distortion
from gnuradio.neuralfec.quantization.rate_distortion import DenseKernel, blahut_arimoto
from quantization.oracle import divergence, exact_llrs


@pytest.mark.parametrize("slope", [0.7, 2.0, 5.0])
def test_a_fair_bit(slope):
    """R = 1 - h(D) with wrong bits as distortion."""
    kernel = DenseKernel(1 - np.eye(2), slope)
    found = blahut_arimoto(np.full(2, 0.5), kernel, slope, np.array([0.4, 0.6]))
    d = found.distortion
    assert found.rate == pytest.approx(1 + d * math.log2(d) + (1 - d) * math.log2(1 - d), abs=2e-3)
    assert slope == pytest.approx(math.log((1 - d) / d), abs=2e-2)


@pytest.mark.parametrize("distortion", [0.3, 0.05])
def test_a_gaussian_number(distortion):
    """R = log2(1 / D) / 2 with the squared error of a number of variance 1."""
    values = np.linspace(-6, 6, 301)
    probability = np.exp(-(values**2) / 2)
    probability /= probability.sum()
    slope = 1 / (2 * distortion)
    kernel = DenseKernel((values[:, None] - values) ** 2, slope)
    found = blahut_arimoto(probability, kernel, slope, probability, iterations=3000)
    assert found.distortion == pytest.approx(distortion, rel=0.02)
    assert found.rate == pytest.approx(-math.log2(found.distortion) / 2, abs=5e-3)
    assert found.gap < 0.02


def test_the_kernel_of_symbols_is_that_of_all_their_letters():
    """Signs, gains and both rails, enumerated one by one."""
    rails = rate_distortion.rayleigh_rails("qam16", 6, 10, gains=3, cells=4)
    letters = [
        (gain, own, one, other, two)
        for gain, (own, other) in itertools.product(range(3), itertools.product(range(4), repeat=2))
        for one, two in itertools.product((1, -1), repeat=2)
    ]
    turn = [np.array([sign, 1]) for sign in (1, -1)]
    llrs = np.array(
        [
            np.concatenate([rails.llrs[g, u] * turn[su < 0], rails.llrs[g, v] * turn[sv < 0]])
            for g, u, su, v, sv in letters
        ]
    )
    probability = np.array(
        [
            rails.gain_probability[g] * rails.probability[g, u] * rails.probability[g, v] / 4
            for g, u, _, v, _ in letters
        ]
    )
    assert probability.sum() == pytest.approx(1)
    lost = np.array([divergence(llr[None], llrs) for llr in llrs])
    for slope in (5, 40):
        start = probability + 1e-3 / probability.size
        plain = blahut_arimoto(
            probability, DenseKernel(lost, slope), slope, start / start.sum(), iterations=25
        )
        found = rate_distortion.symbol_bound(rails, slope, iterations=25)
        assert found.rate == pytest.approx(plain.rate, abs=1e-3)
        assert found.distortion == pytest.approx(plain.distortion, rel=2e-3)
        assert found.gap == pytest.approx(plain.gap, abs=1e-3)


def test_rails_are_those_of_simulated_symbols():
    """Shares of hard and of soft bits of 256-QAM at 18 dB."""
    rails = rate_distortion.rayleigh_rails("qam256", 18, 18, gains=24, cells=64)
    weight = rails.gain_probability[:, None] * rails.probability
    assert weight.sum() == pytest.approx(1)
    simulated = exact_llrs(4, 18, 200_000)[:, :4]
    for bit in range(4):
        # The mean of a bit's entropy, which no average of posteriors lowers by much here.
        entropies = []
        for llrs in (rails.llrs[..., bit], simulated[:, bit]):
            p = 1 / (1 + np.exp(-np.clip(llrs, -30, 30)))
            entropies.append(-(p * np.log2(p) + (1 - p) * np.log2(1 - p)))
        of_rails = float(np.sum(weight * entropies[0]))
        assert of_rails == pytest.approx(entropies[1].mean(), abs=0.006), bit


@pytest.mark.parametrize(("bits", "slope"), [(15, 60), (16, 90), (18, 170)])
def test_no_shipped_quantizer_is_below_the_bound(bits, slope):
    """Nor is it far above: its index has a fixed length."""
    measured = models.read_card(f"quantization/qam256-{bits}bit").measured
    lost = measured["divergence_bits_per_symbol_with_search"]
    rails = rate_distortion.rayleigh_rails("qam256", 16, 20, gains=16, cells=40)
    # A tangent at any slope is below R(D).
    point = rate_distortion.symbol_bound(rails, slope, iterations=30)
    rate = point.rate - point.gap - (lost - point.distortion) * slope / math.log(2)
    assert bits - 4 < rate < bits
