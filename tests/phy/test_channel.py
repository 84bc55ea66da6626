# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
from gnuradio.neuralfec.phy import channel
from scipy import stats


@pytest.mark.parametrize("make", [channel.awgn, channel.rayleigh, channel.etu])
def test_noise_is_n0_in_both_rails_together(make):
    x = np.full((500, 200), 1 + 0j, np.complex64)
    y, h = make(np.random.default_rng(1), x, 0.25)
    assert y.shape == h.shape == x.shape and y.dtype == h.dtype == np.complex64
    noise = (y - h * x).ravel().astype(complex)
    # Of 1e5 samples the variance's standard error is N0 / sqrt(1e5); each rail carries half.
    assert abs(np.mean(np.abs(noise) ** 2) - 0.25) < 5 * 0.25 / 1e5**0.5
    for rail in (noise.real, noise.imag):
        assert stats.kstest(rail, "norm", args=(0, 0.125**0.5)).pvalue > 1e-4
    again = make(np.random.default_rng(1), x, 0.25)
    assert np.array_equal(again[0], y) and np.array_equal(again[1], h)


def test_rayleigh_gain_is_exponential_with_mean_one():
    _, h = channel.rayleigh(np.random.default_rng(2), np.ones(50_000), 0.1)
    assert stats.kstest(np.abs(h) ** 2, "expon").pvalue > 1e-4
    assert abs(np.mean(h[1:] * h[:-1].conj())) < 5 / 50_000**0.5


def test_etu_frequency_correlation_is_the_transform_of_its_power_delay_profile():
    n, realisations = 81, 20_000
    _, h = channel.etu(np.random.default_rng(3), np.ones((realisations, n)), 0.1)
    power = 10 ** (channel.ETU_POWERS_DB / 10)
    power /= power.sum()
    for spacing in (0, 1, 7, 40):
        turn = np.exp(-2j * np.pi * spacing * 10e6 / n * channel.ETU_DELAYS_NS * 1e-9)
        measured = np.mean(h[:, spacing] * h[:, 0].conj())
        assert abs(measured - np.sum(power * turn)) < 5 / realisations**0.5


@pytest.mark.parametrize("noise_var", [0, -1, np.nan, np.inf])
def test_refuses_a_noise_variance_that_is_none(noise_var):
    with pytest.raises(ValueError, match="noise variance"):
        channel.awgn(np.random.default_rng(0), np.ones(3), noise_var)
