# SPDX-License-Identifier: GPL-3.0-or-later
import math

import numpy as np
import pytest
from gnuradio.neuralfec.phy import channel
from gnuradio.neuralfec.phy.constellation import constellation
from gnuradio.neuralfec.phy.demapping import demap
from gnuradio.neuralfec.phy.finite_length import information, normal_approximation
from gnuradio.neuralfec.phy.snr import noise_variance
from scipy.integrate import quad
from scipy.optimize import brentq


@pytest.mark.parametrize(
    ("rate", "eb_n0_db"), [(1 / 3, -0.495), (1 / 2, 0.187), (2 / 3, 1.059), (3 / 4, 1.626)]
)
def test_capacity_is_the_rate_at_the_shannon_limit(rate, eb_n0_db):
    """Limits of binary inputs: textbooks, such as S. J. Johnson, "Iterative Error Correction"."""
    capacity = information("psk2", noise_variance(eb_n0_db, "eb_n0_db", 1, rate)).capacity
    assert capacity == pytest.approx(rate, abs=2e-4)


@pytest.mark.parametrize("es_n0_db", [-6.0, 0.0, 5.0, 9.0])
def test_binary_inputs_by_adaptive_quadrature(es_n0_db):
    noise_var = 10 ** (-es_n0_db / 10)

    def density(z):  # L = 4 y / N0 of y = 1 + sqrt(N0 / 2) z
        return 1 - np.logaddexp(0, -4 * (1 + math.sqrt(noise_var / 2) * z) / noise_var) / math.log(
            2
        )

    def mean(function):
        weight = 1 / math.sqrt(2 * math.pi)
        return quad(lambda z: function(z) * weight * math.exp(-z * z / 2), -12, 12)[0]

    capacity = mean(density)
    dispersion = mean(lambda z: (density(z) - capacity) ** 2)
    assert information("psk2", noise_var) == pytest.approx((capacity, dispersion), abs=1e-4)


@pytest.mark.parametrize("name", ["psk8", "qam16"])
def test_moments_of_simulated_symbols(name):
    made, rng, noise_var = constellation(name), np.random.default_rng(1), 0.2
    index = rng.integers(made.order, size=200_000)
    received, _ = channel.awgn(rng, made.points[index], noise_var)
    signs = 2.0 * made.bits[index] - 1
    llrs = demap(received, made, noise_var)
    samples = np.sum(1 - np.logaddexp(0, -signs * llrs) / math.log(2), axis=1)
    found = information(name, noise_var)
    assert found.capacity == pytest.approx(samples.mean(), abs=5 * samples.std() / 447)
    assert found.dispersion == pytest.approx(samples.var(), rel=0.03)


@pytest.mark.parametrize(
    ("n", "k", "limits"),
    [(64, 32, (1.24, 2.41, 3.15, 3.69, 4.10)), (128, 64, (1.01, 1.89, 2.48, 2.92, 3.28))],
)
def test_limits_at_rate_one_half(n, k, limits):
    """Eb/N0 in dB at block error rates of 1e-1 ... 1e-5, from integrals of another hand."""
    for exponent, expected in enumerate(limits, 1):
        found = brentq(
            lambda eb_n0_db, exponent=exponent: (
                math.log10(
                    normal_approximation(n, k, noise_variance(eb_n0_db, "eb_n0_db", 1, k / n))
                )
                + exponent
            ),
            0,
            6,
        )
        assert found == pytest.approx(expected, abs=0.008)


def test_refuses():
    with pytest.raises(ValueError, match="k"):
        normal_approximation(10, 11, 1.0)
    with pytest.raises(ValueError, match="noise"):
        normal_approximation(10, 5, math.nan)
