# SPDX-License-Identifier: GPL-3.0-or-later
"""The belief-driven code: both ends hold the receiver's posterior, one network speaks for it.

A group of m bits is one of M = 2^m classes. Its belief is kept sorted, as log-ratios to the
likeliest class, l_0 = 0 >= l_1 >= ... >= l_(M-1). With p = softmax(l), rounds left r,
threshold theta, peak A and the SNR S in dB,

    o = MLP(max(l_1, -C), ..., max(l_(M-1), -C), r, theta, A, S)
    x_i = clip(g (o_i - sum_j p_j o_j), -A, A)                    the candidates
    l_i <- l_i + (y x_i - x_i^2 / 2) / sigma^2, sorted again      Bayes' rule
    stop when sum_(i >= 1) exp(l_i) < exp(-theta)                 the log-odds exceed theta

The transmitter sends the candidate of the true class, the receiver feeds back the number of
the quantizer's level and puts that level's value in for y, so that both ends hold one belief.
"""

import dataclasses
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

CONDITIONS = 4


@dataclasses.dataclass(frozen=True)
class BeliefParameters:
    """What both ends must agree on.

    message_bits K in groups of group_bits m, at most `rounds` rounds. peak: limit A of |x|.
    snr_db: 1 / sigma^2 of the network's input and of the update. feedback_bits: of the
    quantizer, whose levels are i * feedback_step, |i| < 2^(feedback_bits - 1); the number left
    over tells of a symbol that did not arrive. hidden: widths of the network.
    gains: rows (snr_db, ((theta, g), ...)) from the lowest to the highest SNR that the network
    was trained for; between them g is linear, beyond the thresholds constant.
    """

    group_bits: int
    message_bits: int = 48
    rounds: int = 12
    peak: float = 4.0
    snr_db: float = 1.0
    feedback_bits: int = 8
    feedback_step: float = 1 / 16
    hidden: tuple[int, int] = (64, 48)
    gains: tuple[tuple[float, tuple[tuple[float, float], ...]], ...] = ((1.0, ((10.0, 1.0),)),)

    def __post_init__(self):
        object.__setattr__(self, "hidden", tuple(self.hidden))
        rows = ((snr_db, tuple(tuple(pair) for pair in pairs)) for snr_db, pairs in self.gains)
        object.__setattr__(self, "gains", tuple(rows))
        if not 1 <= self.group_bits <= 6 or self.message_bits % self.group_bits:
            raise ValueError(
                "expected groups of 1 to 6 bits that divide the message, got "
                f"{self.message_bits} bits in groups of {self.group_bits}"
            )
        if not 1 <= self.rounds <= 255:
            raise ValueError(f"expected 1 to 255 rounds, got {self.rounds}")
        if not 2 <= self.feedback_bits <= 8:
            raise ValueError(f"expected 2 to 8 feedback bits, got {self.feedback_bits}")
        for name in ("peak", "feedback_step"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"expected a {name} above 0, got {value}")
        if not math.isfinite(self.snr_db):
            raise ValueError(f"expected a finite snr_db, got {self.snr_db}")
        if len(self.hidden) != 2 or min(self.hidden) < 1:
            raise ValueError(f"expected two hidden widths, got {self.hidden}")
        for pairs in (self.gains, *(pairs for _, pairs in self.gains)):
            places = [place for place, _ in pairs]
            if not places or places != sorted(set(places)):
                raise ValueError(f"expected gains of rising SNRs and thresholds, got {self.gains}")

    # What ``session`` asks of any code.
    termination = "receiver"
    first_decision = 1

    @property
    def groups(self) -> int:
        return self.message_bits // self.group_bits

    @property
    def patterns(self) -> int:
        return 1 << self.group_bits

    @property
    def noise_variance(self) -> float:
        # Rounded, so that two mathematical libraries give both ends the same number.
        return round(10 ** (-self.snr_db / 10), 9)

    @property
    def update_variance(self) -> float:
        """What the update of the belief that both ends hold takes the noise to be."""
        return self.noise_variance

    @property
    def feedback_levels(self) -> int:
        """The largest level is this many steps from 0."""
        return (1 << (self.feedback_bits - 1)) - 1

    def gain(self, threshold: float) -> float:
        """g that gives unit power over the symbols sent with this threshold."""
        rows = [(snr_db, interpolated(pairs, threshold)) for snr_db, pairs in self.gains]
        return round(interpolated(rows, self.snr_db), 6)

    def at(self, snr_db: float) -> "BeliefParameters":
        """The same code for another SNR, or for the nearest that it was trained for."""
        low, high = self.gains[0][0], self.gains[-1][0]
        return dataclasses.replace(self, snr_db=min(max(snr_db, low), high))


def interpolated(pairs: Sequence[tuple[float, float]], place: float) -> float:
    """Of (place, value) pairs in rising order: linear between them, constant beyond."""
    low = pairs[0]
    for high in pairs:
        if place <= high[0]:
            span = high[0] - low[0]
            share = (place - low[0]) / span if span and place > low[0] else 1.0
            return low[1] + share * (high[1] - low[1])
        low = high
    return low[1]


class BeliefNetwork(nn.Module):
    """log_ratios (n, M), conditions (n, 4), gain () to candidates (n, M), float32.

    conditions: rounds left, this one included; threshold theta; peak A; SNR in dB.
    """

    # C of the module's docstring, and powers of two that bring each input to about one.
    floor: float
    scale: Tensor

    def __init__(self, patterns: int, hidden: tuple[int, int] = (64, 48), floor: float = 16.0):
        super().__init__()
        self.floor = floor
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
        inputs = torch.cat([log_ratios[:, 1:].clamp(min=-self.floor), conditions], 1) * self.scale
        hidden = torch.relu(self.layer2(torch.relu(self.layer1(inputs))))
        points = self.layer3(hidden)
        mean = (torch.softmax(log_ratios, 1) * points).sum(1, keepdim=True)
        peak = conditions[:, 2:3]
        return torch.minimum(torch.maximum(gain * (points - mean), -peak), peak)


def quantize(received: Tensor, step: float, levels: int) -> Tensor:
    """The nearest level i * step, |i| <= levels."""
    return torch.round(received / step).clamp(-levels, levels) * step


def update(
    log_ratios: Tensor, candidates: Tensor, received: Tensor, noise_variance: Tensor | float
) -> tuple[Tensor, Tensor]:
    """Bayes' rule for y (n, 1): the sorted log-ratios and, (n, M), where each came from."""
    fresh = log_ratios + (received - candidates / 2) * candidates / noise_variance
    fresh, origin = torch.sort(fresh, dim=1, descending=True, stable=True)
    return fresh - fresh[:, :1], origin


def log_odds(log_ratios: Tensor) -> Tensor:
    """log(p_0 / (1 - p_0)), (n,)."""
    return -torch.logsumexp(log_ratios[:, 1:], 1)
