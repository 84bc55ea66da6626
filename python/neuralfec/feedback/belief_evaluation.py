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
    setting = evaluation.Setting(snr_db, threshold=code.gamma)
    population = evaluation.Population(code, setting, blocks, rng)
    while population.active.size:
        population.step()
    encoder, decoder = population.encoder, population.decoder
    if not np.array_equal(encoder.odds, decoder.odds):
        raise RuntimeError("the ends' beliefs differ: the kernel broke its promise")
    counts = evaluation.counts(population)
    estimate = -np.expm1(-np.log1p(decoder.odds.astype(np.float64)).sum(1))
    return {
        **counts,
        "error_estimate": float(estimate.sum()),
        "estimate_squared": float((estimate**2).sum()),
        "undecided_blocks": int((~decoder.decoded).any(1).sum()),
        "feedback_bits": counts["symbols"] * code.parameters.feedback_bits,
    }


def evaluate(
    code: BeliefCode, snr_db: float, blocks: int, rng: np.random.Generator, batch: int = 2048
) -> dict:
    """``simulate`` over batches, and ``report`` of its counts."""
    total = evaluation.sum_batches(lambda size: simulate(code, snr_db, size, rng), blocks, batch)
    return report(code, snr_db, total)


def report(code: BeliefCode, snr_db: float, counts: dict) -> dict:
    """``evaluation.report`` and, by the posterior, the block error rate with a 95 % normal
    interval."""
    n = counts["blocks"]
    estimate = counts["error_estimate"] / n
    deviation = math.sqrt(max(counts["estimate_squared"] / n - estimate**2, 0) / n)
    result = evaluation.report(code, evaluation.Setting(snr_db, threshold=code.gamma), counts)
    del result["error_estimate"]
    return {
        **result,
        "block_error_rate_by_posterior": estimate,
        "block_error_rate_by_posterior_interval": [
            max(estimate - 1.96 * deviation, 0.0),
            estimate + 1.96 * deviation,
        ],
    }
