# SPDX-License-Identifier: GPL-3.0-or-later
"""Impairments against closed forms."""

import numpy as np
import pytest
from gnuradio.neuralfec.phy import impairments
from gnuradio.neuralfec.phy.channel import complex_normal
from gnuradio.neuralfec.phy.impairments import Impairments


def tone(cycles, count):
    return np.exp(2j * np.pi * cycles * np.arange(count))


def test_carrier_offset_moves_a_tone():
    moved = impairments.carrier_offset(tone(0.1, 1000), 0.05)
    np.testing.assert_allclose(moved, tone(0.15, 1000), atol=1e-5)


@pytest.mark.parametrize("cycles", [0.01, -0.2, 0.35])
@pytest.mark.parametrize(("offset", "delay"), [(2e-5, 0.0), (-4e-5, 0.37), (0.0, 5.25)])
def test_resampled_tone(cycles, offset, delay):
    """y(n) = x(n / (1 + offset) - delay), for a tone a formula."""
    count = 40_000
    got = impairments.resample(tone(cycles, count), offset, delay)
    at = np.arange(got.size) / (1 + offset) - delay
    inner = slice(100, count - 100)
    np.testing.assert_allclose(got[inner], np.exp(2j * np.pi * cycles * at)[inner], atol=1e-3)
    assert abs(got.size - (count + delay) * (1 + offset)) <= 1


def test_phase_noise_has_its_variance_and_corner():
    rng = np.random.default_rng(1)
    phase = np.angle(impairments.phase_noise(rng, np.ones(1 << 20), -80, 5e4, 1e6))
    variance = np.pi * 5e4 * 10**-8.0
    np.testing.assert_allclose(np.var(phase), variance, rtol=0.05)
    spectrum = np.abs(np.fft.rfft(phase.reshape(-1, 4096))) ** 2 / 4096
    # One-sided in cycles a sample, both sidebands: 2 L fs at low frequencies, /4096 normalised.
    low, at_corner = spectrum.mean(0)[1:20].mean(), spectrum.mean(0)[205]
    np.testing.assert_allclose(at_corner / low, 0.5, rtol=0.15)


def test_taps():
    rng = np.random.default_rng(2)
    draw = impairments.rayleigh_taps
    draws = np.array([draw(rng, 4, 3.0, unit_energy=False) for _ in range(8000)])
    power = np.mean(np.abs(draws) ** 2, 0)
    np.testing.assert_allclose(power[1:] / power[:-1], 10**-0.3, rtol=0.1)
    np.testing.assert_allclose(power.sum(), 1, rtol=0.05)
    assert np.isclose(np.sum(np.abs(impairments.rayleigh_taps(rng)) ** 2), 1)
    tdl = [np.sum(np.abs(impairments.tdl_c_taps(rng, 3e-7, 2e7)) ** 2) for _ in range(3000)]
    np.testing.assert_allclose(np.mean(tdl), 1, rtol=0.1)


def test_clip_and_quantize():
    rng = np.random.default_rng(3)
    x = complex_normal(rng, (100_000,))
    clipped = impairments.clip(np.concatenate([x, np.zeros(100_000)]), 6)
    np.testing.assert_allclose(np.abs(clipped).max(), 10**0.3, rtol=0.01)
    got = impairments.quantize(0.2 * x, 8)
    # Uniform error: step^2 / 12 a rail.
    np.testing.assert_allclose(
        np.mean(np.abs(got - 0.2 * x) ** 2), 2 * (2 / 256) ** 2 / 12, rtol=0.1
    )
    assert np.unique(impairments.quantize(x, 3).real).size == 8


def test_all_in_order_and_reproducible():
    settings = Impairments(
        clip_db=9, taps="rayleigh:5", clock_offset=1e-5, cfo=0.01, phase_noise_dbc=-90, gain=0.5,
        noise_var=0.01, image=0.03j, dc=0.1, bits=12, drop=0.1, drop_samples=7,
    )  # fmt: skip
    x = complex_normal(np.random.default_rng(4), (50_000,))
    first, again = (settings.apply(x, np.random.default_rng(5)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert first.dtype == np.complex64 and first.size < 50_005
    np.testing.assert_array_equal(Impairments().apply(x, np.random.default_rng(6)), x)
    image = Impairments(image=0.1j, dc=0.25).apply(x, np.random.default_rng(7))
    np.testing.assert_allclose(image, x + 0.1j * x.conj() + 0.25, atol=1e-6)
    echo = Impairments(taps="static:1,0,0.5j").apply(x, np.random.default_rng(8))
    np.testing.assert_allclose(echo[2:-2], x[2:] + 0.5j * x[:-2], atol=1e-5)


@pytest.mark.parametrize(
    "wrong",
    [{"taps": "rice"}, {"taps": "static:a"}, {"noise_var": -1}, {"drop": 2}, {"taps": "tdl-c"}],
)
def test_wrong_settings(wrong):
    with pytest.raises(ValueError, match="expected"):
        Impairments(**wrong)


def test_wrong_arguments():
    with pytest.raises(ValueError, match="clock offset"):
        impairments.resample([1], 0.1)
    with pytest.raises(ValueError, match="bits"):
        impairments.quantize([1], 30)
