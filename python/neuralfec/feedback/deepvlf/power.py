# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimates the statistics of DeepVLF's power normalisation (eq. 6, 14)."""

import dataclasses
from collections.abc import Callable

import numpy as np

from ..evaluation import Population
from ..setting import Setting
from .code import DeepvlfCode, DeepvlfEncoder


def estimate_statistics(
    code: DeepvlfCode,
    setting: Setting,
    blocks: int,
    rng: np.random.Generator,
    sent_only: bool,
    after_round: Callable[[int], None] | None = None,
) -> None:
    """Set the statistics of the power normalisation in `code`, for each round and position.

    All `blocks` blocks take each round together: its statistics are taken first, and the
    symbols that they give go on to the next. Below 32 thousand blocks the estimates are so
    rough that the code gets longer. sent_only: over the symbols that are sent, which is
    eq. 6; else over all groups, the decoded ones too, as the published networks were made.
    after_round: called with the number of rounds done, after each.
    """
    if blocks < 2:
        raise ValueError(f"expected at least 2 blocks to estimate from, got {blocks}")
    # The published statistics of a code that its transmitter stops are of blocks that go on.
    if setting.termination == "transmitter" and not sent_only:
        setting = dataclasses.replace(setting, termination="none", transmitter_threshold=None)
    every = np.arange(blocks)
    population = Population(code, setting, blocks, rng)
    encoder = population.encoder
    assert isinstance(encoder, DeepvlfEncoder)
    code.received_deviation = np.hypot(code.weight, np.float32(setting.noise_deviation))
    for round in range(code.parameters.rounds):
        active = population.active if sent_only else every
        if active.size == 0:
            break
        outputs = np.full((blocks, code.parameters.groups), np.nan, np.float32)
        outputs[active] = encoder.outputs(active)
        counted = outputs.astype(np.float64)
        if sent_only:
            counted[encoder.decoded] = np.nan
        number = (~np.isnan(counted)).sum(0)
        for q in range(code.parameters.groups):
            # A deviation of a handful of samples may be near 0 and the symbols then huge: what
            # the round before had is the better estimate.
            if number[q] >= 64 or (round == 0 and number[q] > 1):
                column = counted[~np.isnan(counted[:, q]), q]
                code.mean[round, q] = column.mean()
                code.deviation[round, q] = column.std(ddof=1)
            elif round:
                code.mean[round, q] = code.mean[round - 1, q]
                code.deviation[round, q] = code.deviation[round - 1, q]
        if population.active.size:
            population.transmit(encoder.normalise(population.active, outputs[population.active]))
        if after_round:
            after_round(round + 1)
