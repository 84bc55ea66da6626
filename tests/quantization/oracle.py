# SPDX-License-Identifier: GPL-3.0-or-later
"""LLRs of symbols that nothing of quantization had a part in."""

import numpy as np


def exact_llrs(bits_per_rail, snr_db, symbols, seed=0):
    """float64 (symbols, K) over i.i.d. Rayleigh fading, from the definition, rail by rail."""
    rng = np.random.default_rng(seed)
    level = np.arange(1 << bits_per_rail)
    points = 2 * level - (len(level) - 1.0)
    points /= np.sqrt(2 * np.mean(points**2))
    label = level ^ (level >> 1)
    bits = label[:, None] >> np.arange(bits_per_rail - 1, -1, -1) & 1
    gain = rng.exponential(10 ** (snr_db / 10), (symbols, 1))
    sent = points[rng.integers(len(points), size=(symbols, 2))]
    received = sent + rng.normal(size=(symbols, 2)) / np.sqrt(2 * gain)
    metric = -gain[..., None] * (received[..., None] - points) ** 2
    likelihood = np.exp(metric - metric.max(-1, keepdims=True))
    with np.errstate(divide="ignore"):
        llrs = np.log(likelihood @ bits) - np.log(likelihood @ (1 - bits))
    return np.clip(llrs, -700, 700).reshape(symbols, 2 * bits_per_rail)


def divergence(llrs, quantized):
    """sum_k KL(P(b_k) || Q(b_k)) in bits, float64 (symbols,)."""
    p, q = (1 / (1 + np.exp(-np.asarray(x, np.float64))) for x in (llrs, quantized))
    p, q = np.clip(p, 1e-12, 1 - 1e-12), np.clip(q, 1e-12, 1 - 1e-12)
    return (p * np.log2(p / q) + (1 - p) * np.log2((1 - p) / (1 - q))).sum(-1)
