#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the digital feedback of a belief-driven code costs: rate by bits, step and Bayes rule.

The receiver puts the quantizer's level in for its sample, and weighs the classes either by
the density at the level, exp(-(y - x)^2 / 2 sigma^2), which is what the kernel does, or by
the probability of the level's bin, the outermost being open. The same noise for every row.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/belief_quantizer.py
"""

import argparse
import math

import torch
from gnuradio.neuralfec.feedback import belief, belief_files


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
        conditions = torch.tensor([[left, threshold, p.peak]]).expand(len(alive), -1)
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
    parser.add_argument("--groups", type=int, default=200_000)
    parser.add_argument("--bits", type=int, nargs="+", default=[8, 6, 5, 4, 3])
    parser.add_argument("--ranges", type=float, nargs="+", default=[4.5, 6.0, 7.9375])
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    network, p, card = belief_files.load_network(arguments.model)
    print(f"{card.name}, {arguments.groups} groups, threshold {arguments.threshold:g}")
    print("bits  range   Bayes rule     rate    power  block error rate (posterior's)")

    def row(bits: str, reach: str, rule: str, result) -> None:
        rate, power, wrong = result
        print(f"{bits:>4} {reach:>6}   {rule:11} {rate:.4f}   {power:.4f}  {wrong:.1e}", flush=True)

    exactly = play(network, p, arguments.threshold, arguments.groups, None, 0, False)
    row("-", "-", "density", exactly)
    for bits in arguments.bits:
        levels = (1 << (bits - 1)) - 1
        for reach in arguments.ranges:
            for exact in (False, True):
                result = play(
                    network,
                    p,
                    arguments.threshold,
                    arguments.groups,
                    reach / levels,
                    levels,
                    exact,
                )
                row(str(bits), f"{reach:g}", "bin" if exact else "density", result)


if __name__ == "__main__":
    main()
