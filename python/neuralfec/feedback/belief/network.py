# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of belief-driven codes and the update of the belief, in torch, for training."""

import torch
from torch import Tensor, nn

from .parameters import CONDITIONS, FLOOR


class BeliefNetwork(nn.Module):
    """Turn log_ratios (n, M), conditions (n, 4), gain () into candidates (n, M), float32.

    conditions: rounds left, this one included; threshold theta; peak A; SNR in dB.
    """

    # Powers of two that bring each input to about one.
    scale: Tensor
    floor: float

    def __init__(self, patterns: int, hidden: tuple[int, int] = (64, 48)):
        super().__init__()
        self.floor: float = FLOOR
        self.register_buffer(
            "scale",
            torch.tensor([1 / 8] * (patterns - 1) + [1 / 8, 1 / 8, 1 / 4, 1 / 4]),
        )
        self.layer1 = nn.Linear(patterns - 1 + CONDITIONS, hidden[0])
        self.layer2 = nn.Linear(hidden[0], hidden[1])
        self.layer3 = nn.Linear(hidden[1], patterns)
        # Pulse amplitudes from the first step on: likely classes far from each other.
        amplitude = torch.linspace(-1.6, 1.6, patterns)
        order = torch.stack([amplitude[: patterns // 2], amplitude[patterns // 2 :]], 1).flatten()
        with torch.no_grad():
            self.layer3.bias.copy_(order)

    def forward(self, log_ratios: Tensor, conditions: Tensor, gain: Tensor) -> Tensor:
        """Return the candidates x, (n, M): clip(g (o_i - sum_j p_j o_j), -A, A)."""
        inputs = torch.cat([log_ratios[:, 1:].clamp(min=-self.floor), conditions], 1) * self.scale
        hidden = torch.relu(self.layer2(torch.relu(self.layer1(inputs))))
        points = self.layer3(hidden)
        mean = (torch.softmax(log_ratios, 1) * points).sum(1, keepdim=True)
        peak = conditions[:, 2:3]
        return torch.minimum(torch.maximum(gain * (points - mean), -peak), peak)


def quantize(received: Tensor, step: float, levels: int) -> Tensor:
    """Return the nearest levels i * step, |i| <= levels."""
    return torch.round(received / step).clamp(-levels, levels) * step


def update(
    log_ratios: Tensor, candidates: Tensor, received: Tensor, noise_variance: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Apply Bayes' rule for y (n, 1): sorted log-ratios and, (n, M), where each came from."""
    fresh = log_ratios + (received - candidates / 2) * candidates / noise_variance
    fresh, origin = torch.sort(fresh, dim=1, descending=True, stable=True)
    return fresh - fresh[:, :1], origin


def log_odds(log_ratios: Tensor) -> Tensor:
    """Return log(p_0 / (1 - p_0)), (n,), of sorted log-ratios."""
    return -torch.logsumexp(log_ratios[:, 1:], 1)
