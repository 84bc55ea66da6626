# SPDX-License-Identifier: GPL-3.0-or-later
"""A stage of a quantizer's training: optimizers, their rates along half a cosine, a loss."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import torch
from torch import nn

from ..training import Run
from .data import divergence


def train_stage(
    run: Run,
    name: str,
    module: nn.Module,
    optimizers: list[torch.optim.Optimizer],
    steps: int,
    loss: Callable[[float], torch.Tensor],
    *,
    span: tuple[float, float] = (0.0, 1.0),
    clip: float = math.inf,
    figures: dict[str, Callable[[], float]] | None = None,
) -> None:
    """Take the steps of a stage that the run has not taken yet.

    Parameters
    ----------
    loss : called with the part of the steps that is done, 0 .. 1
    span : part of half a cosine that the optimizers' rates follow
    clip : largest norm of a gradient
    figures : functions for the lines of progress
    """
    rates = [[group["lr"] for group in optimizer.param_groups] for optimizer in optimizers]
    parts = {"module": module} | {f"optimizer {i}": o for i, o in enumerate(optimizers)}
    for step in run.steps(steps, parts, name):
        part = span[0] + (span[1] - span[0]) * step / steps
        # An optimizer has other groups after it has taken up a checkpoint.
        for optimizer, of_groups in zip(optimizers, rates, strict=True):
            for group, rate in zip(optimizer.param_groups, of_groups, strict=True):
                group["lr"] = rate * (0.5 + 0.5 * math.cos(math.pi * part)) + 1e-6
        value = loss(step / steps)
        module.zero_grad()
        value.backward()
        if clip < math.inf:
            nn.utils.clip_grad_norm_(module.parameters(), clip)
        for optimizer in optimizers:
            optimizer.step()
        run.report(loss=value.item(), **(figures or {}))


def amsgrad(parameters: Iterable[nn.Parameter], rate: float) -> list[torch.optim.Optimizer]:
    """Make AMSGrad (Reddi, Kale, Kumar, "On the Convergence of Adam and Beyond", 2018)."""
    return [torch.optim.Adam(parameters, rate, amsgrad=True)]


def muon(encoder: nn.Sequential, rate: float) -> list[torch.optim.Optimizer]:
    """Make Muon (Jordan et al., 2024) for the matrices of the hidden layers, AMSGrad for the rest.

    Muon has five times the rate.
    """
    matrices = [parameter for parameter in encoder[:-1].parameters() if parameter.ndim == 2]
    others = [p for p in encoder.parameters() if all(p is not matrix for matrix in matrices)]
    return [torch.optim.Muon(matrices, 5 * rate, weight_decay=0.0), *amsgrad(others, rate)]


@torch.no_grad()
def mean_divergence(module: nn.Module, llrs: torch.Tensor) -> float:
    """Measure D in bits a symbol of what a quantizer makes of LLRs (N, K).

    A module without a codebook is taken with its latent as it is.
    """
    total = 0.0
    for part in llrs.split(1 << 16):
        latent = module(part)
        if module.bits:
            latent = module.codeword(module.index(latent))
        total += divergence(part, module.decode(latent)).sum().item()
    return total / len(llrs)
