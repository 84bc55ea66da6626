#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the digital feedback of a belief-driven code costs: rate by bits, step and Bayes rule.

The receiver puts the quantizer's level in for its sample, and weighs the classes either by
the density at the level, exp(-(y - x)^2 / 2 sigma^2), which is what the code does, or by the
probability of the level's bin, the outermost being open. The code itself is run over --blocks
blocks; the bin rule, and feedback without a quantizer, in torch over as many groups as
--groups says, the same noise for every row.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/belief_quantizer.py
"""

import argparse
import dataclasses
import math

import numpy as np
import torch
from gnuradio.neuralfec.feedback import evaluation
from gnuradio.neuralfec.feedback.belief import model
from gnuradio.neuralfec.feedback.belief import network as belief
from gnuradio.neuralfec.feedback.belief.digital import DigitalBeliefCode
from gnuradio.neuralfec.feedback.setting import Setting


def bin_probability(y: torch.Tensor, x: torch.Tensor, step: float, levels: int, deviation: float):
    """Logarithm of the probability that y's bin holds x plus noise."""
    infinite = torch.full_like(y, math.inf)
    high = torch.where(y >= (levels - 0.5) * step, infinite, y + step / 2)
    low = torch.where(y <= -(levels - 0.5) * step, -infinite, y - step / 2)
    above, below = (high - x) / deviation, (low - x) / deviation
    # In the tail where the distribution function is small, and so precise.
    flip = torch.where(below > 0, -1.0, 1.0)
    ends = torch.special.ndtr(torch.stack([flip * above, flip * below]).double())
    return (ends[0] - ends[1]).abs().clamp(min=1e-300).log().float()


@torch.inference_mode()
def play(network, p, threshold: float, groups: int, step: float | None, levels: int, exact: bool):
    """Rate, power and block error rate by the posterior; step None: feedback without loss."""
    generator = torch.Generator().manual_seed(1)
    classes = torch.randint(p.patterns, (groups, 1), generator=generator)
    noise = torch.randn(p.rounds, groups, 1, generator=generator)
    noise *= math.sqrt(p.noise_variance)
    alive = torch.arange(groups)
    log_ratios, rank = torch.zeros(groups, p.patterns), classes
    symbols, energy, wrong = 0, 0.0, 0.0
    gain = torch.tensor(p.gain(threshold))
    for round in range(p.rounds):
        left = p.rounds - round
        conditions = torch.tensor([[left, threshold, p.peak, p.snr_db]]).expand(len(alive), -1)
        x = network(log_ratios, conditions, gain)
        sent = x.gather(1, rank)
        symbols += len(sent)
        energy += float(sent.square().sum())
        y = sent + noise[round][alive]
        if step is not None:
            y = belief.quantize(y, step, levels)
        if exact:
            fresh = log_ratios + bin_probability(y, x, step, levels, math.sqrt(p.noise_variance))
            fresh, origin = torch.sort(fresh, dim=1, descending=True, stable=True)
            log_ratios = fresh - fresh[:, :1]
        else:
            log_ratios, origin = belief.update(log_ratios, x, y, p.noise_variance)
        rank = (origin == rank).int().argmax(1, keepdim=True)
        odds = belief.log_odds(log_ratios)
        ends = (odds > threshold) | (left == 1)
        wrong += float(torch.sigmoid(-odds[ends].double()).sum())
        log_ratios, rank, alive = log_ratios[~ends], rank[~ends], alive[~ends]
    return p.group_bits * groups / symbols, energy / symbols, p.groups * wrong / groups


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="feedback/belief-4bit-1dB")
    parser.add_argument("--threshold", type=float, default=10.0)
    parser.add_argument("--blocks", type=int, default=100_000)
    parser.add_argument("--groups", type=int, default=100_000)
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 7, 6, 5, 4, 3])
    parser.add_argument("--ranges", type=float, nargs="+", default=[4.5, 6.0])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network, p, card = model.load_network(arguments.model)
    theta = arguments.threshold
    state = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    print(f"{card.name}, threshold {theta:g}, {arguments.blocks} blocks of the code")
    print("bits  range   Bayes rule     rate    power  block error rate  return bits a message bit")

    def row(bits: str, reach: str, rule: str, rate: float, power: float, wrong: str) -> None:
        cost = f"{int(bits) / rate:.1f}" if bits != "-" else ""
        print(
            f"{bits:>4} {reach:>6}   {rule:11} {rate:.4f}   {power:.4f}  {wrong} {cost}", flush=True
        )

    def played(step: float | None, levels: int, exact: bool) -> tuple[float, float, str]:
        rate, power, wrong = play(network, p, theta, arguments.groups, step, levels, exact)
        return rate, power, f"{wrong:.1e} (posterior)"

    row("-", "-", "density", *played(None, 0, False))
    for bits in arguments.bits:
        levels = (1 << (bits - 1)) - 1
        for reach in arguments.ranges:
            step = reach / levels
            changed = dataclasses.replace(p, feedback_bits=bits, feedback_step=step)
            code = DigitalBeliefCode(changed, state, theta)
            setting = Setting(p.snr_db, threshold=code.threshold)
            result = evaluation.evaluate(
                code, setting, arguments.blocks, np.random.default_rng(1), 1024
            )
            low, high = result["block_error_rate_interval"]
            wrong = (
                f"{result['block_error_rate_by_posterior']:.1e} (posterior), "
                f"{result['block_errors']} counted [{low:.1e}, {high:.1e}]"
            )
            row(str(bits), f"{reach:g}", "density", result["rate"], result["mean_power"], wrong)
            row(str(bits), f"{reach:g}", "bin", *played(step, levels, True))


if __name__ == "__main__":
    main()
