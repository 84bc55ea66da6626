# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains the belief-driven code for analog feedback (``belief_training --feedback-snr``).

The loss and the schedule of ``belief_training``, over rollouts that carry both beliefs: the
received symbol is drawn from its distribution under the receiver's posterior, the candidates
come from the tracked belief, and the gradient passes the number sent back as if it were the
received symbol. That the transmitter may hear a wrong number is left to the evaluation.
"""

import argparse
import dataclasses
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .. import evaluation
from .network import BeliefNetwork, log_odds, update
from .tracked import TrackedParameters, choose
from .training import SPLIT, Rollout, Trainer, price, received

MEASURED_THRESHOLDS = (5.0, 6.0, 7.0, 8.0, 9.0, 10.0)


def rollout(
    network: BeliefNetwork,
    p: TrackedParameters,
    threshold: Tensor,
    horizon: Tensor,
    peak: Tensor,
    snr_db: Tensor,
    softness: float,
    generator: torch.Generator,
    followed: bool = False,
) -> Rollout:
    """As ``belief_training.rollout``."""
    n, device = len(threshold), threshold.device
    sums = [torch.zeros(n, device=device) for _ in range(3)]
    posterior, tracked = torch.zeros(2, n, p.patterns, device=device)
    weight, share = torch.ones(2, n, device=device)
    alive = torch.arange(n, device=device)
    one = torch.ones((), device=device)
    for round in range(int(horizon.max())):
        left = horizon[alive] - round
        conditions = torch.stack([left, threshold[alive], peak[alive], snr_db[alive]], 1)
        noise_variance = 10 ** (-snr_db[alive, None] / 10)
        candidates = network(tracked, conditions, one)
        energy = (torch.softmax(posterior, 1) * candidates.square()).sum(1)
        sums[0] = sums[0].index_add(0, alive, share * weight)
        sums[1] = sums[1].index_add(0, alive, share * weight * energy)
        y = received(posterior, candidates, noise_variance, generator, followed)
        posterior = posterior + (y - candidates / 2) * candidates / noise_variance
        variance = p.inflation * noise_variance
        with torch.no_grad():
            numbers = choose(posterior, tracked, candidates, variance, p)
        told = y + (numbers * p.feedback_step - y).detach()
        tracked, origin = update(tracked, candidates, told, variance)
        posterior = posterior.gather(1, origin)
        ordered = torch.sort(posterior, dim=1, descending=True).values
        posterior = posterior - ordered[:, :1]
        shortage = threshold[alive] - log_odds(ordered - ordered[:, :1])
        weight = weight * torch.sigmoid(shortage / softness)
        last = left == 1
        sums[2] = sums[2].index_add(0, alive, share * weight * price(shortage) * last)
        keep = ~last & (weight > 2e-3)
        posterior, tracked, weight, share, alive = (
            part[keep] for part in (posterior, tracked, weight, share, alive)
        )
        if len(alive) < n // SPLIT:
            posterior, tracked, weight, share, alive = (
                part.repeat_interleave(2, 0)
                for part in (posterior, tracked, weight, share / 2, alive)
            )
    return Rollout(*sums)


class TrackedTrainer(Trainer):
    rollout = staticmethod(rollout)
    thresholds = (5.0, 11.0)

    @staticmethod
    def parameters(arguments: argparse.Namespace) -> TrackedParameters:
        given = {
            "feedback_bits": arguments.feedback_bits,
            "feedback_step": arguments.feedback_step,
            "number_price": arguments.number_price,
        }
        return TrackedParameters(
            group_bits=arguments.group_bits,
            rounds=arguments.rounds,
            peak=arguments.peak,
            snr_db=arguments.snr,
            hidden=arguments.hidden,
            feedback_snr_db=arguments.feedback_snr,
            **{name: value for name, value in given.items() if value is not None},
        )

    def finish(self, file: Path, name: str, groups: int) -> None:
        """Finds gains and amplitudes, measures over the channels, and writes the model file."""
        network = self.average.cpu().eval()
        low, high = self.snr_range
        snrs = sorted({*np.linspace(low, high, 1 + math.ceil(high - low)), self.p.snr_db})
        blocks = -(-groups // self.p.groups)
        rows = [(float(snr), unit_powers(network, self.p, float(snr), blocks)) for snr in snrs]
        p = dataclasses.replace(
            self.p,
            gains=[(snr, [(t, gain) for t, gain, _ in row]) for snr, row in rows],
            amplitudes=[(snr, [(t, amplitude) for t, _, amplitude in row]) for snr, row in rows],
        )
        measured = {"at_threshold": {}}
        for threshold in MEASURED_THRESHOLDS:
            result = measure(network, p, threshold, blocks, seed=12)
            measured["at_threshold"][f"{threshold:g}"] = {
                key: result[key]
                for key in (
                    "blocks", "block_errors", "rate", "mean_power", "feedback_power"
                )
            }  # fmt: skip
            print(f"threshold {threshold:g} {measured['at_threshold'][f'{threshold:g}']}")
        self.save_model(file, network, p, name=name, threshold=8.0, measured=measured)


def measure(
    network: BeliefNetwork, p: TrackedParameters, threshold: float, blocks: int, seed: int
) -> dict:
    """``evaluation.evaluate`` over the channels that the code is made for."""
    from .analog import TrackedCode

    code = TrackedCode(p, network, threshold)
    setting = evaluation.Setting(p.snr_db, p.feedback_snr_db, threshold=code.gamma)
    return evaluation.evaluate(code, setting, blocks, np.random.default_rng(seed))


def unit_powers(
    network: BeliefNetwork, p: TrackedParameters, snr_db: float, blocks: int
) -> list[tuple[float, float, float]]:
    """(theta, g, A) with power 1 over the symbols sent and over those sent back."""
    found = []
    gain = amplitude = 1.0
    for threshold in MEASURED_THRESHOLDS:
        for _ in range(2):
            there = dataclasses.replace(
                p,
                snr_db=snr_db,
                gains=[(snr_db, [(threshold, gain)])],
                amplitudes=[(snr_db, [(threshold, amplitude)])],
            )
            result = measure(network, there, threshold, blocks, seed=11)
            gain /= math.sqrt(result["mean_power"])
            amplitude /= math.sqrt(result["feedback_power"])
        found.append((threshold, round(gain, 5), round(amplitude, 5)))
    return found
