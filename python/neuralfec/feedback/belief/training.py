# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains a belief-driven code.

    neuralfec train feedback.belief code.pt --group-bits 4

Fresh rollouts of beliefs, differentiated through: the received symbol is drawn from its
distribution under the belief, sum_i p_i N(x_i, sigma^2), whose gradient `rollout.received`
carries on. The first steps follow one class through the rounds instead. That gradient is biased:
where two classes change places, the symbol of the one that is followed jumps, and no gradient
sees it (measured: 1 % less rate). But it lets the ranks find their places among the points, which
the right gradient, as continuous as the belief, never leaves (measured: 1.3 % less without).

With w_t the probability that a group is still under way in round t (a soft stop:
w_(t+1) = w_t sigmoid((theta - L_t) / T)) and e_t the energy of its symbol expected under the
belief, the loss is

    E[sum w_t] + lambda (E[sum w_t e_t] - E[sum w_t]) + E[w_(r+1) price(theta - L_r)]

lambda, by dual ascent, makes the power over the symbols sent 1. The last term prices what
the horizon leaves undecided: the threshold theta says that an error is worth exp(theta)
rounds; the price grows with the power 3/4 of that, so that no single group rules a step. With
--erasure-price, for codes whose blocks are confirmed, it is what a lost block costs, for each
group that is decided wrongly or left without certainty.

--feedback-snr trains the code over analog feedback, by the same loss and schedule. --init goes on
from a network, also from one for smaller groups, one symbol a round or fewer hidden units.
"""

import argparse
import math
import sys

import numpy as np
import torch
from torch import Tensor

from ...training import Run, averaged, parser
from ...training import main as run_main
from .measure import finish
from .model import load_network
from .network import BeliefNetwork, widen
from .parameters import AnalogParameters, BeliefParameters
from .rollout import LAWS, Batch, rollout

# Share of the steps that follow one class.
FOLLOWED = 0.6
# Error targets for which a code with --erasure-price finds its confirmation.
CONFIRMED = (1e-4, 1e-5, 1e-6, 1e-7)
THRESHOLDS = {"digital": (5.0, 17.0), "analog": (5.0, 11.0)}


def parameters(options: argparse.Namespace) -> BeliefParameters:
    """Return the code that the options ask for."""
    given = {
        "feedback_bits": options.feedback_bits,
        "feedback_step": options.feedback_step,
        "number_price": options.number_price,
    }
    kind: type[BeliefParameters] = BeliefParameters
    if options.feedback_snr is not None:
        kind, given["feedback_snr_db"] = AnalogParameters, options.feedback_snr
    elif options.number_price is not None:
        raise ValueError("--number-price is of the code over analog feedback, --feedback-snr")
    return kind(
        group_bits=options.group_bits,
        rounds=options.rounds,
        double_rounds=options.double_rounds,
        peak=options.peak,
        snr_db=options.snr,
        hidden=options.hidden,
        **{name: value for name, value in given.items() if value is not None},
    )


class BeliefTrainer:
    """The network, its average, and the multiplier of the power; one step after another."""

    def __init__(self, p: BeliefParameters, options: argparse.Namespace) -> None:
        self.p, self.options = p, options
        self.law = "analog" if isinstance(p, AnalogParameters) else "digital"
        low, high = options.thresholds or THRESHOLDS[self.law]
        self.thresholds = low, high
        low, high = options.snr_range or (p.snr_db, p.snr_db)
        self.snr_range = low, high
        torch.manual_seed(options.seed)
        self.generator = torch.Generator(options.device).manual_seed(options.seed)
        self.network = BeliefNetwork(p.patterns, p.hidden, p.symbols).to(options.device)
        if options.init:
            widen(self.network, load_network(options.init)[0])
        self.average = averaged(self.network)
        self.optimizer = torch.optim.Adam(self.network.parameters(), options.rate)
        # lambda = multiplier[0] + multiplier[1] (theta - 10) / 5 + multiplier[2] (SNR - 1) / 3
        self.multiplier = torch.tensor([0.6, 0.0, 0.0], device=options.device)

    def state_dict(self) -> dict:
        """Return the multiplier, for the checkpoint."""
        return {"multiplier": self.multiplier}

    def load_state_dict(self, state: dict) -> None:
        """Take the multiplier up again."""
        self.multiplier = state["multiplier"]

    def uniform(self, low: float, high: float, size: int) -> Tensor:
        """Draw one value from each of `size` equal parts, in random order."""
        device = self.options.device
        part = torch.randperm(size, generator=self.generator, device=device)
        place = part + torch.rand(size, generator=self.generator, device=device)
        return low + (high - low) * place / size

    def step(self, step: int) -> dict[str, float]:
        """Take one step, from 0; return its loss, power and rounds."""
        a, p, n = self.options, self.p, self.options.batch
        progress = step / a.steps
        # A network that is trained already needs no easy start.
        ease = 0.0 if a.init else 1 - progress
        for group in self.optimizer.param_groups:
            rate = 0.5 * (1 + math.cos(math.pi * progress))
            group["lr"] = a.rate * max(rate, 0.01) * min(1, (step + 1) / 50)
        softness = 0.3 + 0.7 * max(0.0, 2 * ease - 1)
        threshold = self.uniform(*self.thresholds, n)
        # From 3 dB above the SNR down to it over the first quarter.
        snr_db = self.uniform(*self.snr_range, n) + 3 * max(0.0, 4 * ease - 3)
        # Three quarters at the code's own horizon and peak, which alone steer the multiplier.
        main = n * 3 // 4
        horizon = torch.full((n,), float(p.rounds), device=a.device)
        # A draw just below the end is the end itself in single precision.
        shorter = self.uniform(p.rounds // 2, p.rounds + 1, n - main).floor()
        horizon[main:] = shorter.clamp_max(p.rounds)
        peak = torch.full((n,), p.peak, device=a.device)
        peak[main:] = self.uniform(0.7 * p.peak, 1.5 * p.peak, n - main)
        out = rollout(
            LAWS[self.law],
            self.network,
            p,
            Batch(threshold, horizon, peak, snr_db),
            softness,
            self.generator,
            followed=ease > 1 - FOLLOWED,
            erasure_price=a.erasure_price,
            repeats=a.repeats,
        )
        slopes = torch.stack([torch.ones_like(threshold), (threshold - 10) / 5, (snr_db - 1) / 3])
        multiplier = self.multiplier @ slopes
        excess = out.energy - out.rounds
        weight = 1.0 if a.erasure_price is not None else a.horizon_price
        loss = (out.rounds + multiplier * excess + weight * out.price).mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            share = excess[:main] / out.rounds[:main].mean()
            ascent = 0.03 * (0.05 + 0.95 * (1 - progress))
            self.multiplier += ascent * (share * slopes[:, :main]).mean(1)
            self.multiplier[0].clamp_(0.05, 1.5)
        self.average.update_parameters(self.network)
        return {
            "loss": loss.item(),
            "power": 1 + share.mean().item(),
            "rounds": out.rounds[:main].mean().item(),
        }


def train(options: argparse.Namespace) -> None:
    """Train the code that the options ask for, and write its model file."""
    torch.set_num_threads(1)
    low, high = options.snr_range or (options.snr, options.snr)
    if not low <= options.snr <= high:
        raise ValueError(f"expected --snr from {low:g} to {high:g} dB, got {options.snr:g}")
    trainer = BeliefTrainer(parameters(options), options)
    run = Run.of(options, generators={"rollout": trainer.generator})
    parts = {
        "network": trainer.network,
        "average": trainer.average,
        "optimizer": trainer.optimizer,
        "multiplier": trainer,
    }
    for step in run.steps(options.steps, parts):
        run.report(**trainer.step(step))
    snrs = sorted({*np.linspace(low, high, 1 + math.ceil(high - low)).tolist(), options.snr})
    network = trainer.average.module.cpu().eval()
    targets = options.error_targets
    if targets is None:
        targets = CONFIRMED if options.erasure_price is not None else ()
    finish(options.output, network, trainer.p, snrs, options.measured_groups, run.record(), targets)


def options_of_training() -> argparse.ArgumentParser:
    """Make the parser of this trainer's command line."""
    made = parser(
        __doc__, steps=4000, batch=2048, rate=3e-3, prog="neuralfec train feedback.belief"
    )
    made.add_argument("--group-bits", type=int, default=4, help="bits of a group (default 4)")
    made.add_argument("--snr", type=float, default=1.0, help="1 / sigma^2 in dB (default 1)")
    made.add_argument(
        "--snr-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="train for all SNRs from LOW to HIGH dB; --snr is then the one to use unless told",
    )
    made.add_argument("--rounds", type=int, default=12, help="rounds at most (default 12)")
    made.add_argument(
        "--double-rounds",
        type=int,
        default=0,
        help="rounds at the start in which a group sends two symbols (default 0)",
    )
    made.add_argument("--peak", type=float, default=4.0, help="limit of |x| (default 4)")
    made.add_argument(
        "--thresholds",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="train for thresholds from LOW to HIGH nats (default 5 to 17, analog 5 to 11)",
    )
    made.add_argument(
        "--feedback-snr", type=float, help="train the code over analog feedback of this SNR in dB"
    )
    made.add_argument("--feedback-bits", type=int, help="(default 8; 3 for analog feedback)")
    made.add_argument(
        "--feedback-step", type=float, help="(default 1/16; 1.25 for analog feedback)"
    )
    made.add_argument("--number-price", type=float, help="price mu of numbers of analog feedback")
    made.add_argument("--hidden", type=int, nargs=2, default=(64, 48), help="(default 64 48)")
    made.add_argument(
        "--horizon-price", type=float, default=2.0, help="of what is left undecided (default 2)"
    )
    made.add_argument(
        "--erasure-price",
        type=float,
        help="symbols that a lost block costs, for codes whose blocks are confirmed",
    )
    made.add_argument(
        "--repeats",
        type=int,
        nargs="+",
        default=(),
        metavar="N",
        help="how often a group sends in the last round, the one before it, ..., for codes whose "
        "blocks are confirmed (default once)",
    )
    made.add_argument(
        "--error-targets",
        type=float,
        nargs="*",
        help="for which a confirmation is found, at each whole dB (default 1e-4 to 1e-7 with "
        "--erasure-price, else none)",
    )
    made.add_argument(
        "--measured-groups", type=int, default=300_000, help="for the card (default 300000)"
    )
    return made


def main(argv: list[str] | None = None) -> int:
    """Train by a command line; return the exit status, see ``training.main``."""
    return run_main(train, options_of_training(), argv)


if __name__ == "__main__":
    sys.exit(main())
