# SPDX-License-Identifier: GPL-3.0-or-later
"""Training of the gain-cell quantizer: codebook, network into its cells, table."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import nn

from .. import models
from ..training import Run
from . import codebook
from .data import LlrSource
from .network import GainCellQuantizer
from .stages import mean_divergence, muon, train_stage


def soft_cost(
    module: GainCellQuantizer, latent: torch.Tensor, p: torch.Tensor, width: float
) -> torch.Tensor:
    """Compute the expected cross entropy in nats (N,) between symbols and their noisy codewords.

    Noise uniform over `width` steps is added to the latent's position among cells and levels. The
    cost is differentiable in the latent; as width goes to 0 it becomes the quantizer's.

    Parameters
    ----------
    latent : (u, |v_I|, |v_Q|), (N, 3)
    p : P(b = 1) of folded rails, (N, 2, K / 2)
    """

    def neighbours(position: torch.Tensor, count: torch.Tensor):
        # The step between two numbers, and how much of the noise lies above it.
        step = position.detach().round()
        above = ((position - step) / width + 0.5).clamp(0, 1)
        last = count - 1
        pair = (step[..., None] + ends).long().clamp_min(0)
        return torch.minimum(pair, last[..., None]), above[..., None] * (2 * ends + 1) - ends

    ends = torch.tensor([-1, 0], device=latent.device)
    table = module.table
    constant = nn.functional.softplus(table).sum(1)
    cells = torch.tensor(len(module.levels), device=latent.device)
    cell, cell_weight = neighbours(latent[:, 0] * cells, cells.expand(len(latent)))
    count = module.levels[cell][:, :, None].expand(-1, -1, 2)
    level, level_weight = neighbours(latent[:, None, 1:] * count, count)
    with torch.no_grad():
        row = module.starts[cell][:, :, None, None] + level
        cost = constant[row] - (table[row] * p[:, None, :, None]).sum(-1)
    return (cell_weight * (level_weight * cost).sum((2, 3))).sum(1)


def train(run: Run, arguments: argparse.Namespace, source: LlrSource) -> tuple[nn.Module, int]:
    """Train codebook, network and table; returns the module and the steps it has seen.

    The network learns the codebook's cells and levels by regression, then by the expected
    divergence. With --init the codebook and the network are those of a model, and regression
    is left out.
    """
    torch.manual_seed(arguments.seed)
    hidden, done, start = tuple(arguments.hidden), 0, None
    if arguments.init:
        expect = {"quantizer": "GainCellQuantizer", "bits": arguments.bits}
        of_network = models.read_card(arguments.init)
        of_network.check(expect | {"constellation": source.spec})
        start, done = models.state_dict(arguments.init), of_network.training.steps or 0
        book = {name: start[name].to(arguments.device) for name in ("levels", "table")}
    else:
        book = run.keep("codebook", lambda: vars(codebook.design(source, arguments.bits)))
    module = GainCellQuantizer(arguments.bits, book["levels"], book["table"], hidden)
    module = module.to(arguments.device)
    if start:
        module.load_state_dict(start)
    else:
        with torch.no_grad():
            # Starts in the middle, where no output is cut off.
            module.encoder[-1].weight.mul_(0.1)
            module.encoder[-1].bias.fill_(0.5)

    llrs = run.keep("llrs", lambda: source.llrs(1_000_000))
    p = torch.sigmoid(codebook.fold(llrs))
    if not start:
        cell, level = run.keep(
            "targets", lambda: codebook.assign(llrs, module.bits, module.levels, module.table)
        )
        count = module.levels[cell][:, None]
        u, v = (cell + 0.5) / len(module.levels), (level + 0.5) / count
    check = LlrSource(
        source.spec, source.snr_db, seed=arguments.seed + 1000, device=arguments.device
    )
    unseen = check.llrs(50_000)

    figures = {"divergence": lambda: mean_divergence(module, unseen)}

    def sample() -> torch.Tensor:
        return torch.randint(len(llrs), (arguments.batch,), device=arguments.device)

    def regression(_: float) -> torch.Tensor:
        at = sample()
        latent = module.folded(llrs[at])
        wrong_cells = (latent[:, 0] - u[at]).square() * len(module.levels)
        wrong_levels = ((latent[:, 1:] - v[at]) * count[at]).square()
        return wrong_cells.mean() + 0.1 * wrong_levels.mean()

    def quantized(part: float) -> torch.Tensor:
        at = sample()
        latent = module.folded(llrs[at])
        outside = (latent - latent.clamp(0.02, 0.98)).square().mean()
        return soft_cost(module, latent, p[at], 1 - 0.7 * part).mean() + 0.1 * outside

    steps = arguments.steps or 4000
    stages: list[tuple[str, int, float, Callable[[float], torch.Tensor]]]
    stages = [("quantized", 3 * steps, arguments.rate / 3, quantized)]
    if not start:
        stages.insert(0, ("regression", steps, arguments.rate, regression))
    for stage, length, rate, loss in stages:
        optimizers = muon(module.encoder, rate)
        train_stage(run, stage, module, optimizers, length, loss, figures=figures)
        done += length
    fit_table(module, llrs)
    return module, done


@torch.no_grad()
def fit_table(module: GainCellQuantizer, llrs: torch.Tensor) -> None:
    """Set the table of least divergence in sum over the network's codewords and those of search."""
    latent = torch.cat([module(part) for part in llrs.split(1 << 16)])
    by_search = codebook.assign(llrs, module.bits, module.levels, module.table)
    row = [
        module.starts[cell][:, None] + level for cell, level in (module.cells(latent), by_search)
    ]
    p = torch.sigmoid(codebook.fold(llrs)).repeat(2, 1, 1)
    module.table.copy_(codebook.centroids(p, torch.cat(row), module.levels))
