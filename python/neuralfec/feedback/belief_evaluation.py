# SPDX-License-Identifier: GPL-3.0-or-later
"""Error rate, rounds, rate and power of a belief-driven code over a simulated channel.

Both ends run, each with beliefs of its own, and what joins them is the forward channel
y = x + w, w of variance 10^(-SNR/10), and the levels that go back. They are checked to hold
the same beliefs at the end.
"""

import math

import numpy as np

from . import evaluation
from .belief_codec import BeliefCode


def simulate(code: BeliefCode, snr_db: float, blocks: int, rng: np.random.Generator) -> dict:
    """Counts of `blocks` blocks, those of ``evaluation.simulate`` and

    error_estimate: sum over the blocks of 1 - prod p_max, the probability of a wrong block
    given all that the receiver saw. The belief is the exact posterior but for the size of
    the quantizer's bins, so its mean estimates the block error rate where errors are too
    rare to count. estimate_squared: of its squares.
    undecided_blocks: blocks with a group that the last round left below the threshold; they
    are decided for the likeliest class, and are in block_errors where that is wrong.
    feedback_bits: sent back.
    """
    p = code.parameters
    encoder, decoder = code.encoder(blocks), code.decoder(blocks)
    messages = rng.integers(0, 2, (blocks, p.message_bits), np.uint8)
    active = every = np.arange(blocks)
    encoder.start(active, messages)
    decoder.start(active)
    deviation = np.float32(10 ** (-snr_db / 20))
    symbols = np.zeros(blocks)
    energy = np.zeros(blocks)
    for _ in range(p.rounds):
        symbols[active] += (~encoder.decoded[active]).sum(1)
        x = encoder.encode(active)
        energy[active] += np.square(x, dtype=np.float64).sum(1)
        y = x + deviation * rng.standard_normal(x.shape, np.float32)
        decoded = decoder.decode(active, y)
        encoder.observe(active, decoder.feedback(y))
        active = active[~decoded.all(1)]
        if not active.size:
            break
    if not np.array_equal(encoder.odds, decoder.odds):
        raise RuntimeError("the ends' beliefs differ: the kernel broke its promise")
    wrong = (code.bits(decoder.decisions(every)) != messages).sum(1)
    estimate = -np.expm1(-np.log1p(decoder.odds.astype(np.float64)).sum(1))
    return {
        "blocks": blocks,
        "bits": blocks * p.message_bits,
        "block_errors": int((wrong > 0).sum()),
        "bit_errors": int(wrong.sum()),
        "symbols": int(symbols.sum()),
        "energy": float(energy.sum()),
        "rounds": int(decoder.rounds.sum()),
        "stop_flags": 0,
        "symbols_squared": float((symbols**2).sum()),
        "energy_squared": float((energy**2).sum()),
        "symbols_energy": float((symbols * energy).sum()),
        "error_estimate": float(estimate.sum()),
        "estimate_squared": float((estimate**2).sum()),
        "undecided_blocks": int((~decoder.decoded).any(1).sum()),
        "feedback_bits": int(symbols.sum()) * p.feedback_bits,
    }


def evaluate(
    code: BeliefCode, snr_db: float, blocks: int, rng: np.random.Generator, batch: int = 2048
) -> dict:
    """``simulate`` over batches, and ``report`` of its counts."""
    if blocks < 1:
        raise ValueError(f"expected at least 1 block, got {blocks}")
    total: dict = {}
    while total.get("blocks", 0) < blocks:
        counts = simulate(code, snr_db, min(batch, blocks - total.get("blocks", 0)), rng)
        total = {name: total.get(name, 0) + value for name, value in counts.items()}
    return report(code, snr_db, total)


def report(code: BeliefCode, snr_db: float, counts: dict) -> dict:
    """``evaluation.report`` and, by the posterior, the block error rate with a 95 % normal
    interval."""
    n = counts["blocks"]
    estimate = counts["error_estimate"] / n
    deviation = math.sqrt(max(counts["estimate_squared"] / n - estimate**2, 0) / n)
    result = evaluation.report(code, evaluation.Setting(snr_db, termination="none"), counts)
    del result["error_estimate"]
    return {
        **result,
        "block_error_rate_by_posterior": estimate,
        "block_error_rate_by_posterior_interval": [
            max(estimate - 1.96 * deviation, 0.0),
            estimate + 1.96 * deviation,
        ],
    }
