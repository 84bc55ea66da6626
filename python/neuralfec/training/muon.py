# SPDX-License-Identifier: GPL-3.0-or-later
"""Muon for parameters that stack square matrices, as the gates of a recurrent cell do."""

from collections.abc import Callable, Iterable
from typing import Any

import torch


class StackedMuon(torch.optim.Optimizer):
    """Steps along the orthogonal factor of the momentum, one square matrix at a time.

    Parameters
    ----------
    parameters : each (m h, h): m matrices one below the other, which `torch.optim.Muon` would
        take for one
    lr : length of a step; the step of a matrix has the spectral norm ``lr``
    momentum : of Nesterov's kind
    weight_decay : decoupled from the gradient, times lr
    precision : dtype of the products; bfloat16 is enough for them, and float32 is faster
        where the processor has no bfloat16 of its own

    Notes
    -----
    The orthogonal factor comes from four Newton-Schulz steps of the quintic with coefficients
    (3.4445, -4.7750, 2.0315). Source: K. Jordan et al., "Muon: an optimizer for hidden layers
    in neural networks", 2024.
    """

    def __init__(
        self,
        parameters: Iterable[torch.Tensor],
        lr: float = 0.03,
        momentum: float = 0.95,
        weight_decay: float = 0.01,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.precision = precision
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.ndim != 2 or parameter.shape[0] % parameter.shape[1]:
                    raise ValueError(
                        "expected matrices of shape (m h, h) one below the other, got "
                        f"{tuple(parameter.shape)}"
                    )

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        """Take one step; closure is for compatibility with other optimizers."""
        loss = closure() if closure is not None else None
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                mean = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                ahead = parameter.grad.lerp(mean, group["momentum"])
                parameter.mul_(1 - group["lr"] * group["weight_decay"])
                direction = _orthogonal(ahead, self.precision).view_as(parameter)
                parameter.sub_(direction, alpha=group["lr"])
        return loss


def _orthogonal(stacked: torch.Tensor, precision: torch.dtype) -> torch.Tensor:
    """Return U V^T, nearly, of each U S V^T in a stack (m h, h), float32."""
    size = stacked.shape[1]
    x = stacked.view(-1, size, size)
    x = (x / (x.flatten(1).norm(dim=1).view(-1, 1, 1) + 1e-7)).to(precision)
    for _ in range(4):
        gram = x @ x.mT
        polynomial = torch.baddbmm(gram, gram, gram, beta=-4.7750, alpha=2.0315)
        x = torch.baddbmm(x, polynomial, x, beta=3.4445)
    return x.float()
