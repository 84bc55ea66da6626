# SPDX-License-Identifier: GPL-3.0-or-later
"""The network of belief-driven codes and the update of the belief, in torch, for training."""

import torch
from torch import Tensor, nn

from .parameters import CONDITIONS, FLOOR


class BeliefNetwork(nn.Module):
    """Turn log_ratios (n, M), conditions (n, 4), gain () into candidates, float32.

    conditions: rounds left, this one included; threshold theta; peak A; SNR in dB. Candidates
    are (n, symbols M): of the first symbol, then of the second.
    """

    # Powers of two that bring each input to about one.
    scale: Tensor
    floor: float

    def __init__(self, patterns: int, hidden: tuple[int, int] = (64, 48), symbols: int = 1):
        super().__init__()
        self.symbols: int = symbols
        self.floor: float = FLOOR
        self.register_buffer(
            "scale",
            torch.tensor([1 / 8] * (patterns - 1) + [1 / 8, 1 / 8, 1 / 4, 1 / 4]),
        )
        self.layer1 = nn.Linear(patterns - 1 + CONDITIONS, hidden[0])
        self.layer2 = nn.Linear(hidden[0], hidden[1])
        self.layer3 = nn.Linear(hidden[1], symbols * patterns)
        # Pulse amplitudes from the first step on: likely classes far from each other.
        amplitude = torch.linspace(-1.6, 1.6, patterns).reshape(2, -1)
        # A second symbol tells apart what lies side by side in the first.
        mixed = amplitude[:, bit_reversal(patterns // 2)]
        order = [pair.T.flatten() for pair in (amplitude, mixed)]
        with torch.no_grad():
            self.layer3.bias.copy_(torch.cat(order[:symbols]))

    def forward(self, log_ratios: Tensor, conditions: Tensor, gain: Tensor) -> Tensor:
        """Return the candidates x_i = clip(g (o_i - sum_j p_j o_j), -A, A)."""
        inputs = torch.cat([log_ratios[:, 1:].clamp(min=-self.floor), conditions], 1) * self.scale
        hidden = torch.relu(self.layer2(torch.relu(self.layer1(inputs))))
        points = self.layer3(hidden).unflatten(1, [self.symbols, -1])
        mean = (torch.softmax(log_ratios, 1)[:, None] * points).sum(2, keepdim=True)
        peak = conditions[:, 2:3]
        points = (gain * (points - mean)).flatten(1)
        return torch.minimum(torch.maximum(points, -peak), peak)


def widen(network: BeliefNetwork, smaller: BeliefNetwork) -> None:
    """Give a network the parameters of one for fewer classes, symbols or hidden units.

    It then sees as many classes as the smaller one, and class i has the point of class i mod M
    there; a second symbol has them in another order. Further hidden units have no effect yet.

    ValueError for a smaller one that is larger.
    """
    few, many = (made.layer3.out_features // made.symbols for made in (smaller, network))
    hidden1, hidden2 = smaller.layer1.out_features, smaller.layer2.out_features
    if (
        many < few
        or network.symbols < smaller.symbols
        or network.layer1.out_features < hidden1
        or network.layer2.out_features < hidden2
    ):
        raise ValueError("expected a model of at most as many classes, symbols and hidden units")
    rank = torch.arange(many)
    mixed = torch.tensor(bit_reversal(few // 2)).repeat_interleave(2) * 2
    mixed[1::2] += 1
    second = mixed[(rank + 5 * (rank // few)) % few] if smaller.symbols == 1 else few + rank % few
    rows = torch.cat([rank % few, second][: network.symbols])
    with torch.no_grad():
        network.layer1.weight[:hidden1] = 0
        network.layer1.weight[:hidden1, : few - 1] = smaller.layer1.weight[:, : few - 1]
        network.layer1.weight[:hidden1, many - 1 :] = smaller.layer1.weight[:, few - 1 :]
        network.layer1.bias[:hidden1] = smaller.layer1.bias
        network.layer2.weight[:hidden2] = 0
        network.layer2.weight[:hidden2, :hidden1] = smaller.layer2.weight
        network.layer2.bias[:hidden2] = smaller.layer2.bias
        network.layer3.weight.zero_()
        network.layer3.weight[:, :hidden2] = smaller.layer3.weight[rows]
        network.layer3.bias.copy_(smaller.layer3.bias[rows])


def bit_reversal(size: int) -> list[int]:
    """Return 0 to size - 1, a power of two, in the order of their bits read backwards."""
    bits = size.bit_length() - 1
    return [sum((i >> b & 1) << (bits - 1 - b) for b in range(bits)) for i in range(size)]


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
