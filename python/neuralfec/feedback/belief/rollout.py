# SPDX-License-Identifier: GPL-3.0-or-later
"""Groups through a belief-driven code, with gradients, under either law of feedback.

A law says what the receiver learns and what the transmitter hears: `Digital`, where both hold
the receiver's posterior, and `Analog`, where the candidates come from a tracked belief.
"""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .network import BeliefNetwork, log_odds, quantize, update
from .parameters import AnalogParameters, BeliefParameters

STEEPEST = 1.5
# Where the price of a lost group stops being exponential.
BEND = 6.0
# Late groups are rare and decide the error rate: fewer than 1 / SPLIT of a batch are doubled.
SPLIT = 8
# Log-odds that the last round must leave a group with, where blocks are confirmed.
KEPT = 8.0


@dataclasses.dataclass
class Rollout:
    """Sums over a batch, each (n,): rounds and energy sent, price of what went wrong."""

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
    """Draw y (n, 1) from sum_i p_i N(x_i, sigma^2), differentiable in p and x.

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
    """Return what a group is charged that the horizon ends with log-odds `shortage` below theta."""
    exponent = 0.75 * shortage.clamp(min=-4)
    # Beyond the bend a straight line: one group that is lost must not rule a step.
    bend = exponent.clamp(max=BEND)
    return torch.exp(bend) * (1 + exponent - bend)


class Digital:
    """Both ends hold the receiver's posterior, by quantized symbols."""

    def __init__(self, p: BeliefParameters, groups: int, device: str | torch.device) -> None:
        self.p = p
        self.state: tuple[Tensor, ...] = (torch.zeros(groups, p.patterns, device=device),)

    @property
    def posterior(self) -> Tensor:
        """What the receiver believes, (n, M) log-ratios in the order of the candidates."""
        return self.state[0]

    @property
    def tracked(self) -> Tensor:
        """What the transmitter believes of that."""
        return self.state[0]

    def learn(self, candidates: Tensor, y: Tensor, noise_variance: Tensor) -> tuple[Tensor, Tensor]:
        """Take a received symbol.

        Return the log-odds of the receiver, (n,), and where each class came from, (n, M).
        """
        p = self.p
        # The gradient passes the quantizer as if it were not there.
        y = y + (quantize(y, p.feedback_step, p.feedback_levels) - y).detach()
        log_ratios, origin = update(self.state[0], candidates, y, noise_variance)
        self.state = (log_ratios,)
        return log_odds(log_ratios), origin


def choose(
    posterior: NDArray,
    tracked: NDArray,
    candidates: NDArray,
    variance: NDArray,
    p: AnalogParameters,
) -> NDArray:
    """Return i of ``analog``, (n, 1).

    posterior, tracked : log-beliefs, candidates : x, all (n, M) of one order of classes;
    variance : rho sigma^2, (n, 1)
    """
    limit, kind = p.feedback_levels, posterior.dtype.type
    # Classes first: sums over them are then of whole rows.
    posterior, candidates = posterior.T.copy(), candidates.T.copy()
    slope = candidates * (kind(p.feedback_step) / variance[:, 0])
    belief = np.exp(posterior - posterior.max(0))
    expected = (belief * slope).sum(0) / belief.sum(0)
    # H = log sum_j exp(after_j) - i E[slope], but for what all numbers share.
    after = tracked.T - np.square(candidates) / (2 * variance[:, 0]) - limit * slope
    costs = np.empty((2 * limit + 1, after.shape[1]), kind)
    for place in range(2 * limit + 1):
        i, top = place - limit, after.max(0)
        total = top + np.log(np.exp(after - top).sum(0))
        costs[place] = total - i * expected + kind(p.number_price * i * i)
        after += slope
    return (costs.argmin(0) - limit).astype(kind)[:, None]


class Analog(Digital):
    """The receiver's posterior is its own; both ends track it by the numbers that go back.

    That the transmitter may hear a wrong number is left to the evaluation.
    """

    p: AnalogParameters

    def __init__(self, p: AnalogParameters, groups: int, device: str | torch.device) -> None:
        super().__init__(p, groups, device)
        self.state = (*self.state, *self.state)

    @property
    def tracked(self) -> Tensor:
        """What both ends believe by the numbers that went back."""
        return self.state[1]

    def learn(self, candidates: Tensor, y: Tensor, noise_variance: Tensor) -> tuple[Tensor, Tensor]:
        """Take a received symbol, and send a number back."""
        posterior, tracked = self.state
        posterior = posterior + (y - candidates / 2) * candidates / noise_variance
        variance = self.p.inflation * noise_variance
        belief, shared, points, noise = (
            part.detach().cpu().numpy() for part in (posterior, tracked, candidates, variance)
        )
        numbers = torch.from_numpy(choose(belief, shared, points, noise, self.p)).to(y.device)
        # The gradient passes the number as if it were the symbol.
        told = y + (numbers * self.p.feedback_step - y).detach()
        tracked, origin = update(tracked, candidates, told, variance)
        posterior = posterior.gather(1, origin)
        ordered = torch.sort(posterior, dim=1, descending=True).values
        top = ordered[:, :1]
        self.state = (posterior - top, tracked)
        return log_odds(ordered - top), origin


@dataclasses.dataclass
class Batch:
    """What groups are told, each (n,): threshold, rounds at most, peak, SNR in dB."""

    threshold: Tensor
    horizon: Tensor
    peak: Tensor
    snr_db: Tensor


def rollout(
    law: type[Digital],
    network: BeliefNetwork,
    p: BeliefParameters,
    batch: Batch,
    softness: float,
    generator: torch.Generator,
    followed: bool = False,
    erasure_price: float | None = None,
    repeats: Sequence[int] = (),
) -> Rollout:
    """Take groups through the code.

    softness : T of the soft stop, in nats. followed : see `received`. erasure_price : rounds
    that a lost block costs, where blocks are confirmed: groups then pay it for wrong decisions,
    and for log-odds below KEPT after the last round; None charges `price` for what is left
    below the threshold. repeats : how often a symbol is sent in the last round, the one before
    it, ..., as `Confirmation.repeats`; both ends take the mean.
    """
    n, device = len(batch.threshold), batch.threshold.device
    sums = [torch.zeros(n, device=device) for _ in range(3)]
    state = law(p, n, device)
    # weight: probability of being under way, soft; share: what splitting has left of it.
    weight, share = torch.ones(2, n, device=device)
    alive = torch.arange(n, device=device)
    one = torch.ones((), device=device)
    copies = torch.tensor([*repeats, 1.0], device=device)
    for round in range(int(batch.horizon.max())):
        left, threshold = batch.horizon[alive] - round, batch.threshold[alive]
        conditions = torch.stack([left, threshold, batch.peak[alive], batch.snr_db[alive]], 1)
        sent = copies[(left.long() - 1).clamp(max=len(repeats))]
        noise_variance = 10 ** (-batch.snr_db[alive, None] / 10) / sent[:, None]
        double = (left > p.rounds - p.double_rounds).float()
        # No energy, and nothing learned, of a second symbol that is not sent.
        points = network(state.tracked, conditions, one).split(p.patterns, 1)
        candidates = [points[0], points[1] * double[:, None]] if double.any() else [points[0]]
        belief = torch.softmax(state.posterior, 1)
        energy = sum((belief * points.square()).sum(1) for points in candidates)
        sums[0] = sums[0].index_add(0, alive, share * weight * sent * (1 + double))
        sums[1] = sums[1].index_add(0, alive, share * weight * sent * energy)
        odds = torch.empty(0)
        while candidates:
            y = received(state.posterior, candidates[0], noise_variance, generator, followed)
            odds, origin = state.learn(candidates[0], y, noise_variance)
            candidates = [points.gather(1, origin) for points in candidates[1:]]
        stay = torch.sigmoid((threshold - odds) / softness)
        last = left == 1
        if erasure_price is None:
            charge = stay * price(threshold - odds) * last
        else:
            wrong = (1 - stay) * torch.sigmoid(-odds)
            charge = erasure_price * torch.where(last, torch.sigmoid(KEPT - odds), wrong)
        sums[2] = sums[2].index_add(0, alive, share * weight * charge)
        weight = weight * stay
        keep = ~last & (weight > 2e-3)
        state.state = tuple(part[keep] for part in state.state)
        weight, share, alive = weight[keep], share[keep], alive[keep]
        if len(alive) < n // SPLIT:
            state.state = tuple(part.repeat_interleave(2, 0) for part in state.state)
            weight, share, alive = (
                part.repeat_interleave(2, 0) for part in (weight, share / 2, alive)
            )
    return Rollout(*sums)


LAWS: dict[str, type[Digital]] = {"digital": Digital, "analog": Analog}
