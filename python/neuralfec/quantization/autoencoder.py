# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the papers' autoencoder; equations are numbered as in `network`."""

from __future__ import annotations

import argparse
import math

import torch
from torch import nn

from .. import models
from ..training import Run
from .data import LlrSource
from .network import BranchedAutoencoder
from .stages import amsgrad, train_stage


def sample_weighted_loss(reconstructed: torch.Tensor, soft_bits: torch.Tensor) -> torch.Tensor:
    """Compute equation (12), elementwise: |difference|^2 / (|Lambda| + 1e-6)."""
    return (reconstructed - soft_bits).square() / (soft_bits.abs() + 1e-6)


def train(run: Run, arguments: argparse.Namespace, source: LlrSource) -> tuple[nn.Module, int]:
    """Train by algorithm 1, with latent noise of standard deviation 1e-3.

    Returns the module, whose latent is not quantized, and the steps it has seen.
    """
    bits_per_symbol = int(math.log2(arguments.order))
    torch.manual_seed(arguments.seed)
    interferers = int(source.interferer is not None)
    module = BranchedAutoencoder(bits_per_symbol, 3 + 2 * interferers)
    module, done = module.to(arguments.device), 0
    if arguments.init:
        of_network = models.read_card(arguments.init)
        of_network.check({"constellation": source.spec})
        module.load_state_dict(models.state_dict(arguments.init))
        done = of_network.training.steps or 0
    soft_bits = run.keep("soft bits", lambda: torch.tanh(source.llrs(3_240_000) / 2))
    weights = torch.full((bits_per_symbol,), 1 / bits_per_symbol, device=arguments.device)

    def reconstruct(batch: torch.Tensor) -> torch.Tensor:
        latent = module.latent(batch)
        return module.soft_bits(latent + 1e-3 * torch.randn_like(latent))

    def sample() -> torch.Tensor:
        at = torch.randint(len(soft_bits), (arguments.batch,), device=arguments.device)
        return soft_bits[at]

    def loss(_: float) -> torch.Tensor:
        batch = sample()
        return sample_weighted_loss(reconstruct(batch), batch).mean(0) @ weights

    def errors() -> torch.Tensor:
        with torch.no_grad():
            part = soft_bits[:400_000]
            return sample_weighted_loss(reconstruct(part), part).mean(0)

    # D falls as long as one can wait; two hours of a core reach what the authors' network has.
    steps = arguments.steps or 600_000
    rounds = 4
    # (12) divides by |Lambda|: the rare soft bit near 0 gives a gradient thousands of times the
    # common one, which drowns it, and AMSGrad scales every later step by the largest.
    clip = 1 / bits_per_symbol
    for r in range(rounds):
        train_stage(
            run, f"stage 1, round {r}", module, amsgrad(module.parameters(), arguments.rate),
            steps // rounds, loss, span=(r / rounds, (r + 1) / rounds), clip=clip,
        )  # fmt: skip
        error = run.keep(f"weights {r}", errors)
        weights = error / error.sum()  # (16)
        print("weights", [round(w, 4) for w in weights.tolist()], flush=True)

    def decoders(_: float) -> torch.Tensor:
        batch = sample()
        with torch.no_grad():
            latent = module.latent(batch)
        noisy = latent + 1e-3 * torch.randn_like(latent)
        # Each decoder has its own parameters: the sum trains each by its own loss.
        return sample_weighted_loss(module.soft_bits(noisy), batch).mean(0).sum()

    alone = amsgrad(module.decoders.parameters(), arguments.rate / 3)
    train_stage(run, "stage 2", module, alone, steps // 2, decoders, clip=1.0)
    return module, done + steps + steps // 2


def add_k_means(
    module: BranchedAutoencoder, llrs: torch.Tensor, split: list[int], seed: int
) -> None:
    """Set a codebook of 2^split levels for each latent number by mini-batch k-means.

    llrs : float32 (N, K) to find it for. Thresholds are halfway between levels, as (15).
    """
    from sklearn.cluster import MiniBatchKMeans

    with torch.inference_mode():
        latent = torch.cat([module(part) for part in llrs.split(1 << 16)]).cpu()
    levels, thresholds = [], []
    for number, bits in zip(latent.T, split, strict=True):
        means = MiniBatchKMeans(1 << bits, batch_size=8192, n_init=3, random_state=seed)
        means.fit(number[:, None].numpy())
        level = torch.tensor(means.cluster_centers_[:, 0]).sort().values
        levels.append(level)
        thresholds.append((level[1:] + level[:-1]) / 2)
    module.set_codebook(levels, thresholds)
