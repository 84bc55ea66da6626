# SPDX-License-Identifier: GPL-3.0-or-later
"""LLRs in double precision, written as the definition reads."""

import itertools

import numpy as np
from scipy.special import logsumexp


def llrs(y, modulation, noise_var, h=1.0, method="exact", interferer_csi=None, interferer=None):
    """log sum_{x: b=1} exp(-|y - h x - sum_i h_i z_i|^2 / N0) - the same over b=0, (n, K)."""
    y, h, noise_var = (np.broadcast_to(np.asarray(a), np.shape(y)) for a in (y, h, noise_var))
    y, h = y.astype(np.complex128), h.astype(np.complex128)
    noise_var = noise_var.astype(np.float64)
    # Named constellations are defined by real numbers, of which complex64 is a rounding.
    points = modulation.points.astype(np.complex128)
    gains = np.zeros((0, y.size)) if interferer_csi is None else np.asarray(interferer_csi)
    z = [] if interferer is None else interferer.points.astype(np.complex128)
    reduce = logsumexp if method == "exact" else np.max
    parts = [[] for _ in range(2 * modulation.bits_per_symbol)]
    for hypothesis in itertools.product(z, repeat=len(gains)):
        rest = y.copy()
        for gain, value in zip(gains, hypothesis, strict=True):
            rest -= gain.astype(np.complex128) * value
        metrics = -(np.abs(rest[:, None] - h[:, None] * points) ** 2) / noise_var[:, None]
        for k, bit in enumerate(modulation.bits.T):
            for value in (0, 1):
                parts[2 * k + value].append(reduce(metrics[:, bit == value], axis=1))
    total = [reduce(np.stack(p), axis=0) for p in parts]
    return np.stack([total[i + 1] - total[i] for i in range(0, len(total), 2)], axis=1)


def rail_llrs(y, modulation, noise_var, h, method="exact"):
    """The same without interferers, each bit from the one rail it depends on: for square QAM."""
    reduce = logsumexp if method == "exact" else np.max
    points, bits = modulation.points, modulation.bits
    z = y.astype(np.complex128) / h
    gain = np.abs(h.astype(np.complex128)) ** 2 / noise_var.astype(np.float64)
    llrs = np.full((y.size, modulation.bits_per_symbol), np.nan)
    for received, sent in ((z.real, points.real), (z.imag, points.imag)):
        levels, index = np.unique(sent, return_inverse=True)
        metrics = -gain[:, None] * (received[:, None] - levels.astype(np.float64)) ** 2
        for k in range(modulation.bits_per_symbol):
            ones = np.bincount(index, bits[:, k]) / np.bincount(index)
            if np.isin(ones, (0, 1)).all():
                llrs[:, k] = reduce(metrics[:, ones == 1], 1) - reduce(metrics[:, ones == 0], 1)
    return llrs


def assert_close(actual, expected):
    """The accuracy that the project promises: 1e-4 relative and 1e-4 absolute."""
    error = np.abs(actual - expected) - 1e-4 * np.abs(expected)
    assert error.max() <= 1e-4, (
        f"largest excess {error.max():.3g} at {np.argwhere(error > 1e-4)[:5].tolist()}"
    )
