# SPDX-License-Identifier: GPL-3.0-or-later
"""Simulated channels: y = h x + n, with h known to the receiver.

Es = E|x|^2 = 1 at the transmitter and E|h|^2 = 1; ``noise_var`` is N0, the variance of the
complex noise, both rails together. Each channel takes x complex (..., n) and returns
(y, h), both complex64 of x's shape. ValueError where N0 is not finite and positive.
"""

from __future__ import annotations

import numpy as np

# 3GPP TS 36.101, table B.2.1-4: extended typical urban.
ETU_DELAYS_NS = np.array([0, 50, 120, 200, 230, 500, 1600, 2300, 5000], dtype=float)
ETU_POWERS_DB = np.array([-1, -1, -1, 0, 0, 0, -3, -5, -7], dtype=float)


def complex_normal(
    rng: np.random.Generator, shape: tuple[int, ...], variance: float = 1.0
) -> np.ndarray:
    """Circular complex Gaussian samples, complex64, E|.|^2 = variance."""
    rails = rng.standard_normal((*shape, 2), dtype=np.float32) * np.float32((variance / 2) ** 0.5)
    return rails.view(np.complex64)[..., 0]


def _with_noise(
    rng: np.random.Generator, x: np.ndarray, h: np.ndarray, noise_var: float
) -> tuple[np.ndarray, np.ndarray]:
    if not (np.isfinite(noise_var) and noise_var > 0):
        raise ValueError(f"expected a finite noise variance > 0, got {noise_var}")
    return h * np.asarray(x, np.complex64) + complex_normal(rng, np.shape(x), noise_var), h


def awgn(
    rng: np.random.Generator, x: np.ndarray, noise_var: float
) -> tuple[np.ndarray, np.ndarray]:
    """Additive white Gaussian noise: h = 1."""
    return _with_noise(rng, x, np.ones(np.shape(x), np.complex64), noise_var)


def rayleigh(
    rng: np.random.Generator, x: np.ndarray, noise_var: float
) -> tuple[np.ndarray, np.ndarray]:
    """Rayleigh fading, independent from symbol to symbol: h ~ CN(0, 1)."""
    return _with_noise(rng, x, complex_normal(rng, np.shape(x)), noise_var)


def etu(
    rng: np.random.Generator,
    x: np.ndarray,
    noise_var: float,
    *,
    bandwidth: float = 10e6,
) -> tuple[np.ndarray, np.ndarray]:
    """Extended typical urban (3GPP TS 36.101, B.2) as flat subcarriers.

    The last axis of x is the subcarriers of one realisation, evenly spaced over the
    bandwidth in Hz: with taps a_t ~ CN(0, p_t), sum p_t = 1, at delays tau_t, subcarrier s of n
    sees h_s = sum_t a_t exp(-2 pi j (s bandwidth / n) tau_t). The other axes are independent
    realisations; time variation within one is left out.
    """
    shape = np.shape(x)
    power = 10 ** (ETU_POWERS_DB / 10)
    taps = complex_normal(rng, (*shape[:-1], power.size)) * np.sqrt(power / power.sum())
    frequency = np.arange(shape[-1]) * bandwidth / shape[-1]
    turn = np.exp(-2j * np.pi * ETU_DELAYS_NS[:, None] * 1e-9 * frequency)
    return _with_noise(rng, x, (taps @ turn).astype(np.complex64), noise_var)
