# SPDX-License-Identifier: GPL-3.0-or-later
"""Batches of blocks through a DeepVLF code, with gradients."""

import dataclasses

import numpy as np
import torch
from torch import Tensor, nn

from .. import fading
from . import fused, matching
from .network import FeedbackCode


@dataclasses.dataclass(frozen=True)
class Point:
    """Where a batch is trained.

    threshold : log-odds. horizon : rounds allowed. imitation : weight, beside the
    cross-entropy, of the squared distance of the symbols from those of `matching`.
    """

    snr_db: float
    feedback_snr_db: float | None
    termination: str
    threshold: float
    horizon: int
    channel: str = "awgn"
    imitation: float = 0.0


@dataclasses.dataclass
class Figures:
    """What one batch gave: the loss with its gradient, and sums over its blocks."""

    loss: Tensor
    symbols: int
    energy: float
    block_errors: int
    blocks: int


def standardised(o: Tensor, sent: Tensor) -> Tensor:
    """Bring outputs (blocks, Q) to mean 0 and power 1 over the symbols sent, position by position.

    Positions with few symbols left take the statistics of all positions together.
    """
    mask = sent.to(o.dtype)
    count = mask.sum(0)

    def moments(total: Tensor, square: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        mean = total / number.clamp(min=1)
        return mean, (square / number.clamp(min=1) - mean**2).clamp(min=1e-6).sqrt()

    total, square = (o * mask).sum(0), (o**2 * mask).sum(0)
    mean, deviation = moments(total, square, count)
    all_mean, all_deviation = moments(total.sum(), square.sum(), count.sum())
    few = count < 32
    mean = torch.where(few, all_mean, mean)
    deviation = torch.where(few, all_deviation, deviation)
    return (o - mean) / deviation


def rollout(
    module: FeedbackCode,
    point: Point,
    late_weight: float,
    blocks: int,
    rng: torch.Generator,
    kernel: bool = False,
) -> Figures:
    """Take one batch from first to last round, differentiably.

    late_weight: theta of Sec. III-C3, by which the loss of a round weighs more than that of
    the round before. rng: on the module's device. kernel: the networks by the compiled kernel,
    in float32 on a CPU.
    """
    transmitter: fused.Trained = module.transmitter
    receiver: fused.Trained = module.receiver
    if kernel:
        transmitter, receiver = fused.fused(module.transmitter), fused.fused(module.receiver)
    p = module.code
    device = module.mean.device
    q, m = p.groups, p.group_bits
    labels = torch.randint(0, p.patterns, (blocks, q), generator=rng, device=device)
    bits = labels[:, :, None] >> torch.arange(m, device=device) & 1
    message = (
        2.0 * bits - 1
        if p.message_input == "signs"
        else nn.functional.one_hot(labels, p.patterns).float()
    )
    sigma = 10 ** (-point.snr_db / 20)
    back_sigma = (
        0.0
        if point.feedback_snr_db is None
        else 10 ** (-point.feedback_snr_db / 20) / p.feedback_gain
    )
    scale = torch.full((blocks, p.rounds, q), sigma, device=device)
    if point.channel in fading.CHANNELS:
        seed = int(torch.randint(1 << 31, (), generator=rng, device=device))
        gains = fading.gains(point.channel, np.random.default_rng(seed), blocks, p.rounds, q)
        scale /= torch.from_numpy(gains).to(device)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=rng, device=device)

    def padded(history: list[Tensor], size: int) -> Tensor:
        if not history:
            return message.new_zeros(len(message), q, size)
        return nn.functional.pad(torch.stack(history, 2), (0, size - len(history)))

    sent: list[Tensor] = []
    seen: list[Tensor] = []
    received: list[Tensor] = []
    belief = message.new_full((blocks, q, p.patterns), 1 / p.patterns)
    decided = torch.zeros_like(labels)
    done = torch.zeros_like(labels, dtype=torch.bool)
    vector = view = message.new_zeros(0)
    loss = message.new_zeros(())
    symbols, energy, errors = 0, 0.0, 0
    for i in range(point.horizon):
        new = torch.cat((message, padded(sent, p.rounds - 1), padded(seen, p.rounds - 1)), 2)
        vector = new if i == 0 else torch.where(done[:, :, None], vector, new)
        x = standardised(transmitter(vector, i)[:, :, 0], ~done)
        if p.peak is not None:
            x = x.clamp(-p.peak, p.peak)
        if point.imitation:
            aim = matching.symbols(belief.detach(), labels, ~done)
            loss = loss + point.imitation * (x - aim)[~done].square().sum() / (blocks * q)
        x = x.masked_fill(done, 0)
        symbols += int((~done).sum())
        energy += float(x.detach().square().sum())
        w = noise(x) * scale[:, i]
        y = (x + w).masked_fill(done, 0)
        received.append(y)
        new = padded(received, p.rounds)
        if p.belief_input:
            new = torch.cat((new, belief), 2)
        view = new if i == 0 else torch.where(done[:, :, None], view, new)
        logits = receiver(view, i)
        active = ~done
        decided = torch.where(active, logits.detach().argmax(2), decided)
        belief = torch.where(active[:, :, None], torch.softmax(logits, 2), belief)
        if i + 1 >= min(p.first_decision, point.horizon):
            wrong = nn.functional.cross_entropy(logits[active], labels[active], reduction="sum")
            loss = loss + late_weight ** (i + 1 - point.horizon) * wrong / (blocks * q)
            if point.termination in ("receiver", "hybrid"):
                done = done | (active & (matching.log_odds(logits.detach()) > point.threshold))
        if point.termination in ("transmitter", "hybrid"):
            done = done | (decided == labels).all(1, keepdim=True)
        sent.append(x)
        seen.append(w + back_sigma * noise(x))
        if len(sent) == p.rounds:
            sent, seen = sent[:-1], seen[:-1]
        stay = ~done.all(1)
        if i + 1 == point.horizon:
            stay = torch.zeros_like(stay)
        if not stay.all():
            errors += int((decided != labels)[~stay].any(1).sum())
            labels, message, belief, decided, done, vector, view, scale = (
                t[stay] for t in (labels, message, belief, decided, done, vector, view, scale)
            )
            sent, seen, received = ([t[stay] for t in h] for h in (sent, seen, received))
            if len(labels) == 0:
                break
    weights = sum(
        late_weight ** (r - point.horizon)
        for r in range(min(p.first_decision, point.horizon), point.horizon + 1)
    )
    return Figures(loss / weights, symbols, energy, errors, blocks)
