# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains a belief-driven code: ``python -m neuralfec.feedback.belief.training``.

Fresh rollouts of beliefs, differentiated through: the received symbol is drawn from its
distribution under the belief, sum_i p_i N(x_i, sigma^2), whose gradient `received` carries
on. The first steps follow one class through the rounds instead. That gradient is biased: where
two classes change places, the symbol of the one that is followed jumps, and no gradient sees it
(measured: 1 % less rate). But it lets the ranks find their places among the points, which the
right gradient, as continuous as the belief, never leaves (measured: 1.3 % less without).

With w_t the probability that a group is still under way in round t (a soft stop:
w_(t+1) = w_t sigmoid((theta - L_t) / T)) and e_t the energy of its symbol expected under the
belief, the loss is

    E[sum w_t] + lambda (E[sum w_t e_t] - E[sum w_t]) + E[w_(r+1) price(theta - L_r)]

lambda, by dual ascent, makes the power over the symbols sent 1. The last term prices what
the horizon leaves undecided: the threshold theta says that an error is worth exp(theta)
rounds; the price grows with the power 3/4 of that, so that no single group rules a step.
"""

import argparse
import copy
import dataclasses
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .network import BeliefNetwork, BeliefParameters, log_odds, quantize, update

THRESHOLDS = (5.0, 17.0)
MEASURED_THRESHOLDS = (6.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0)
STEEPEST = 1.5
# Share of the steps that follow one class.
FOLLOWED = 0.6
# Where the price of a lost group stops being exponential.
BEND = 6.0
# Late groups are rare and decide the error rate: fewer than 1 / SPLIT of a batch are doubled.
SPLIT = 8


@dataclasses.dataclass
class Rollout:
    """Sums over a batch, each (n,): rounds and energy sent, price of the horizon."""

    rounds: Tensor
    energy: Tensor
    price: Tensor


def received(
    log_ratios: Tensor,
    candidates: Tensor,
    noise_variance: Tensor,
    generator: torch.Generator,
    followed: bool = False,
) -> Tensor:
    """y (n, 1) drawn from sum_i p_i N(x_i, sigma^2), differentiable in p and x.

    noise_variance: (n, 1).

    Implicit reparameterisation: with F and f the distribution and density of the mixture,
    dy = sum_i r_i dx_i - sum_i (Phi((y - x_i) / sigma) - F(y)) / f(y) dp_i, where r_i is the
    probability of class i given y. Figurnov, Mohamed, Mnih, "Implicit Reparameterization
    Gradients", 2018. The second factor is held below STEEPEST: where y falls between classes
    far apart, f is so small that single groups would rule the gradient.

    followed: the gradient is that of the symbol drawn and of nothing else.
    """
    p = torch.softmax(log_ratios, 1)
    with torch.no_grad():
        deviation = noise_variance.sqrt()
        chosen = torch.multinomial(p, 1, generator=generator)
        noise = torch.randn(chosen.shape, generator=generator, device=p.device)
        y = candidates.gather(1, chosen) + deviation * noise
    if followed:
        sent = candidates.gather(1, chosen)
        return y + sent - sent.detach()
    with torch.no_grad():
        z = (y - candidates) / deviation
        density = p * torch.exp(-z.square() / 2)
        total = density.sum(1, keepdim=True)
        below = torch.special.ndtr(z)
        shift = (below - (p * below).sum(1, keepdim=True)) / total
        shift = (shift * (deviation * math.sqrt(2 * math.pi))).clamp(-STEEPEST, STEEPEST)
        share = density / total
    moved = (share * candidates - shift * p).sum(1, keepdim=True)
    return y + moved - moved.detach()


def price(shortage: Tensor) -> Tensor:
    """What a group is charged that the horizon ends with log-odds `shortage` below theta."""
    exponent = 0.75 * shortage.clamp(min=-4)
    # Beyond the bend a straight line: one group that is lost must not rule a step.
    bend = exponent.clamp(max=BEND)
    return torch.exp(bend) * (1 + exponent - bend)


def rollout(
    network: BeliefNetwork,
    p: BeliefParameters,
    threshold: Tensor,
    horizon: Tensor,
    peak: Tensor,
    snr_db: Tensor,
    softness: float,
    generator: torch.Generator,
    followed: bool = False,
) -> Rollout:
    """Groups through the code; threshold, horizon, peak, snr_db: (n,). followed: see
    ``received``."""
    n, device = len(threshold), threshold.device
    sums = [torch.zeros(n, device=device) for _ in range(3)]
    log_ratios = torch.zeros(n, p.patterns, device=device)
    # weight: probability of being under way, soft; share: what splitting has left of it.
    weight, share = torch.ones(2, n, device=device)
    alive = torch.arange(n, device=device)
    one = torch.ones((), device=device)
    for round in range(int(horizon.max())):
        left = horizon[alive] - round
        conditions = torch.stack([left, threshold[alive], peak[alive], snr_db[alive]], 1)
        noise_variance = 10 ** (-snr_db[alive, None] / 10)
        candidates = network(log_ratios, conditions, one)
        energy = (torch.softmax(log_ratios, 1) * candidates.square()).sum(1)
        sums[0] = sums[0].index_add(0, alive, share * weight)
        sums[1] = sums[1].index_add(0, alive, share * weight * energy)
        y = received(log_ratios, candidates, noise_variance, generator, followed)
        # The gradient passes the quantizer as if it were not there.
        y = y + (quantize(y, p.feedback_step, p.feedback_levels) - y).detach()
        log_ratios, _ = update(log_ratios, candidates, y, noise_variance)
        shortage = threshold[alive] - log_odds(log_ratios)
        weight = weight * torch.sigmoid(shortage / softness)
        last = left == 1
        sums[2] = sums[2].index_add(0, alive, share * weight * price(shortage) * last)
        keep = ~last & (weight > 2e-3)
        log_ratios, weight, share, alive = (
            part[keep] for part in (log_ratios, weight, share, alive)
        )
        if len(alive) < n // SPLIT:
            log_ratios, weight, share, alive = (
                part.repeat_interleave(2, 0) for part in (log_ratios, weight, share / 2, alive)
            )
    return Rollout(*sums)


def measure(
    network: BeliefNetwork,
    p: BeliefParameters,
    threshold: float,
    groups: int,
    generator: torch.Generator,
    gain: float = 1.0,
    batch: int = 65536,
) -> dict[str, float]:
    """The code with a hard stop: rate, power over the symbols sent, and error rates.

    error_estimate: mean of 1 - p_max when groups end, which is the posterior's own unbiased
    estimate; undecided: share of groups that the horizon ended.
    """
    totals = dict.fromkeys(("rounds", "energy", "error_estimate", "errors", "undecided"), 0.0)
    scale = torch.tensor(gain)
    with torch.inference_mode():
        for start in range(0, groups, batch):
            n = min(batch, groups - start)
            log_ratios = torch.zeros(n, p.patterns)
            rank = torch.randint(p.patterns, (n, 1), generator=generator)
            for left in range(p.rounds, 0, -1):
                conditions = torch.tensor([[left, threshold, p.peak, p.snr_db]])
                conditions = conditions.expand(len(rank), -1)
                candidates = network(log_ratios, conditions, scale)
                sent = candidates.gather(1, rank)
                noise = torch.randn(sent.shape, generator=generator)
                received = sent + math.sqrt(p.noise_variance) * noise
                received = quantize(received, p.feedback_step, p.feedback_levels)
                log_ratios, origin = update(log_ratios, candidates, received, p.noise_variance)
                rank = (origin == rank).int().argmax(1, keepdim=True)
                odds = log_odds(log_ratios)
                ends = (odds > threshold) | (left == 1)
                totals["rounds"] += len(sent)
                totals["energy"] += float(sent.square().sum(dtype=torch.float64))
                totals["error_estimate"] += float(torch.sigmoid(-odds[ends].double()).sum())
                totals["errors"] += int((rank[ends] > 0).sum())
                totals["undecided"] += int((odds[ends] <= threshold).sum())
                log_ratios, rank = log_ratios[~ends], rank[~ends]
    share = {name: totals[name] / groups for name in ("error_estimate", "errors", "undecided")}
    return {
        "rate": p.group_bits * groups / totals["rounds"],
        "power": totals["energy"] / totals["rounds"],
        **share,
        "block_error_estimate": -math.expm1(p.groups * math.log1p(-share["error_estimate"])),
    }


class Trainer:
    """Steps of the training. Another code of the kind has other parameters, another rollout,
    thresholds to train for, and measurement."""

    rollout = staticmethod(rollout)
    thresholds = THRESHOLDS

    def __init__(self, p: BeliefParameters, arguments: argparse.Namespace):
        self.p, self.arguments = p, arguments
        self.snr_range = tuple(arguments.snr_range or (p.snr_db, p.snr_db))
        torch.manual_seed(arguments.seed)
        self.generator = torch.Generator(arguments.device).manual_seed(arguments.seed)
        self.network = BeliefNetwork(p.patterns, p.hidden).to(arguments.device)
        if arguments.init:
            from .model import load_network

            self.network.load_state_dict(load_network(arguments.init)[0].state_dict())
        self.average = copy.deepcopy(self.network)
        self.optimizer = torch.optim.Adam(self.network.parameters(), arguments.learning_rate)
        # lambda = multiplier[0] + multiplier[1] (theta - 10) / 5 + multiplier[2] (SNR - 1) / 3
        self.multiplier = torch.tensor([0.6, 0.0, 0.0], device=arguments.device)
        self.step = 0
        self.seconds = 0.0

    @staticmethod
    def parameters(arguments: argparse.Namespace) -> BeliefParameters:
        """The code that the options ask for."""
        return BeliefParameters(
            group_bits=arguments.group_bits,
            rounds=arguments.rounds,
            peak=arguments.peak,
            snr_db=arguments.snr,
            feedback_bits=arguments.feedback_bits or 8,
            feedback_step=arguments.feedback_step or 1 / 16,
            hidden=arguments.hidden,
        )

    def save(self, file: Path) -> None:
        state = {
            "parameters": dataclasses.asdict(self.p),
            "network": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "multiplier": self.multiplier,
            "step": self.step,
            "seconds": self.seconds,
            "generator": self.generator.get_state(),
        }
        part = file.with_suffix(".part")
        torch.save(state, part)
        part.replace(file)

    def resume(self, file: Path) -> None:
        state = torch.load(file, map_location=self.arguments.device, weights_only=True)
        if type(self.p)(**state["parameters"]) != self.p:
            raise ValueError(f"{file}: made for {state['parameters']}, asked for {self.p}")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.multiplier = state["multiplier"]
        self.step, self.seconds = state["step"], state["seconds"]
        self.generator.set_state(state["generator"].cpu())

    def train_step(self) -> dict[str, float]:
        a, p, device = self.arguments, self.p, self.arguments.device
        progress = self.step / a.steps
        # A network that is trained already needs no easy start.
        ease = 0.0 if a.init else 1 - progress
        for group in self.optimizer.param_groups:
            rate = 0.5 * (1 + math.cos(math.pi * progress))
            group["lr"] = a.learning_rate * max(rate, 0.01) * min(1, (self.step + 1) / 50)
        softness = 0.3 + 0.7 * max(0.0, 2 * ease - 1)
        n = a.batch

        def uniform(low: float, high: float, size: int = n) -> Tensor:
            # One value from each of `size` equal parts, in random order.
            part = torch.randperm(size, generator=self.generator, device=device)
            place = part + torch.rand(size, generator=self.generator, device=device)
            return low + (high - low) * place / size

        threshold = uniform(*self.thresholds)
        # From 3 dB above the SNR down to it over the first quarter.
        snr_db = uniform(*self.snr_range) + 3 * max(0.0, 4 * ease - 3)
        # Three quarters at the code's own horizon and peak, which alone steer the multiplier.
        main = n * 3 // 4
        horizon = torch.full((n,), float(p.rounds), device=device)
        horizon[main:] = uniform(p.rounds // 2, p.rounds + 1, n - main).floor()
        peak = torch.full((n,), p.peak, device=device)
        peak[main:] = uniform(0.7 * p.peak, 1.5 * p.peak, n - main)
        out = self.rollout(
            self.network,
            p,
            threshold,
            horizon,
            peak,
            snr_db,
            softness,
            self.generator,
            followed=ease > 1 - FOLLOWED,
        )
        slopes = torch.stack([torch.ones_like(threshold), (threshold - 10) / 5, (snr_db - 1) / 3])
        multiplier = self.multiplier @ slopes
        excess = out.energy - out.rounds
        loss = (out.rounds + multiplier * excess + a.horizon_price * out.price).mean()
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            share = excess[:main] / out.rounds[:main].mean()
            ascent = 0.03 * (0.05 + 0.95 * (1 - progress))
            self.multiplier += ascent * (share * slopes[:, :main]).mean(1)
            self.multiplier[0].clamp_(0.05, 1.5)
            keep = min(0.999, self.step / (self.step + 10))
            for ours, theirs in zip(
                self.average.parameters(), self.network.parameters(), strict=True
            ):
                ours.lerp_(theirs, 1 - keep)
        self.step += 1
        return {
            "loss": loss.item(),
            "power": 1 + share.mean().item(),
            "rounds": out.rounds[:main].mean().item(),
        }

    def train(self, seconds: float) -> None:
        start = time.monotonic()
        while self.step < self.arguments.steps and time.monotonic() - start < seconds:
            report = self.train_step()
            if self.step % 200 == 0:
                print(
                    f"step {self.step} loss {report['loss']:.4f} rounds {report['rounds']:.3f} "
                    f"power {report['power']:.3f} lambda {self.multiplier.tolist()} "
                    f"{time.monotonic() - start:.0f} s",
                    flush=True,
                )
        self.seconds += time.monotonic() - start

    def finish(self, file: Path, name: str, groups: int) -> None:
        """Finds the gains, measures, and writes the model file."""
        network = self.average.cpu().eval()
        low, high = self.snr_range
        snrs = sorted({*np.linspace(low, high, 1 + math.ceil(high - low)), self.p.snr_db})
        rows = []
        for snr_db in map(float, snrs):
            at_snr = dataclasses.replace(self.p, snr_db=snr_db)
            rows.append((snr_db, unit_power_gains(network, at_snr, groups)))
        p = dataclasses.replace(self.p, gains=rows)
        measured = {"groups": groups, "at_threshold": {}}
        generator = torch.Generator().manual_seed(12)
        for threshold in MEASURED_THRESHOLDS:
            gain = p.gain(threshold)
            result = measure(network, p, threshold, groups, generator, gain)
            measured["at_threshold"][f"{threshold:g}"] = {
                key: result[key] for key in ("rate", "power", "block_error_estimate", "undecided")
            }
            print(f"threshold {threshold:g} gain {gain:.4f} {result}", flush=True)
        self.save_model(file, network, p, name=name, threshold=12.0, measured=measured)

    def save_model(
        self,
        file: Path,
        network: BeliefNetwork,
        p: BeliefParameters,
        *,
        name: str,
        threshold: float,
        measured: dict,
    ) -> None:
        """Writes the model file with a card that tells of this training."""
        from ... import models, provenance
        from . import model as belief_files

        belief_files.save(
            file,
            network,
            p,
            name=name,
            threshold=threshold,
            training=models.Training(
                command=provenance.command(),
                commit=provenance.commit(),
                seed=self.arguments.seed,
                steps=self.step,
                device=f"{self.arguments.device}, {self.seconds / 60:.0f} minutes",
            ),
            measured=measured,
        )


def unit_power_gains(
    network: BeliefNetwork, p: BeliefParameters, groups: int
) -> tuple[tuple[float, float], ...]:
    """(theta, g) with power 1 over the symbols sent, at the SNR of p."""
    gains = []
    gain = 1.0
    for threshold in MEASURED_THRESHOLDS:
        for _ in range(2):
            generator = torch.Generator().manual_seed(11)
            gain /= math.sqrt(measure(network, p, threshold, groups, generator, gain)["power"])
        gains.append((threshold, round(gain, 5)))
    return tuple(gains)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("output", type=Path, help="model file to write")
    parser.add_argument("--group-bits", type=int, default=4)
    parser.add_argument("--snr", type=float, default=1.0, help="1 / sigma^2 in dB")
    parser.add_argument(
        "--snr-range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="train for all SNRs from LOW to HIGH dB; --snr is then the one to use unless told",
    )
    parser.add_argument("--rounds", type=int, default=12, help="horizon")
    parser.add_argument("--peak", type=float, default=4.0)
    parser.add_argument(
        "--feedback-snr",
        type=float,
        help="of analog feedback, in dB: train the code of feedback.tracked",
    )
    parser.add_argument("--feedback-bits", type=int, help="8; 3 for analog feedback")
    parser.add_argument("--feedback-step", type=float, help="1/16; 1.25 for analog feedback")
    parser.add_argument("--number-price", type=float, help="mu of feedback.tracked")
    parser.add_argument("--hidden", type=int, nargs=2, default=(64, 48))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--batch", type=int, default=2048, help="groups a step")
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--horizon-price", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument(
        "--minutes", type=float, default=math.inf, help="stop after these; run again to go on"
    )
    parser.add_argument(
        "--checkpoint", type=Path, help="state to go on from; beside the output unless given"
    )
    parser.add_argument("--init", help="model to go on from, of the same sizes")
    parser.add_argument("--measured-groups", type=int, default=300_000)
    arguments = parser.parse_args(argv)
    torch.set_num_threads(1)
    try:
        low, high = arguments.snr_range or (arguments.snr, arguments.snr)
        if not low <= arguments.snr <= high:
            raise ValueError(f"expected --snr from {low:g} to {high:g} dB, got {arguments.snr:g}")
        kind = Trainer
        if arguments.feedback_snr is not None:
            from .tracked_training import TrackedTrainer as kind
        checkpoint = arguments.checkpoint or arguments.output.with_suffix(".checkpoint")
        trainer = kind(kind.parameters(arguments), arguments)
        if checkpoint.exists():
            trainer.resume(checkpoint)
    except (ValueError, OSError) as error:
        print(f"belief_training: {error}", file=sys.stderr)
        return 1
    trainer.train(60 * arguments.minutes)
    trainer.save(checkpoint)
    if trainer.step < arguments.steps:
        print(f"stopped after {trainer.step} of {arguments.steps} steps; run again to go on")
        return 0
    trainer.finish(arguments.output, arguments.output.stem, arguments.measured_groups)
    return 0


if __name__ == "__main__":
    sys.exit(main())
