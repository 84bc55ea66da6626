# SPDX-License-Identifier: GPL-3.0-or-later
"""The belief-driven code over an analog, noisy feedback channel.

The receiver's posterior cannot be shared where the feedback is noisy: what the transmitter
hears is not what the receiver got. Two beliefs take its place (notation of ``belief``):

* the posterior l, of the receiver alone, exact: it uses its samples y unquantized, and what
  it knows of the candidates;
* the tracked belief c, of both ends: it knows only the numbers i that went back. The
  candidates x are made from it, so that the receiver knows them.

In each round the receiver updates its posterior, l_j += (y x_j - x_j^2 / 2) / sigma^2, and
of the numbers |i| <= L sends back the one that takes the tracked belief nearest to the
posterior, at a price for the power:

    c_j(i) = c_j + (i D x_j - x_j^2 / 2) / (rho sigma^2)
    i = argmin_i  H(softmax(l), softmax(c(i))) + mu i^2                H: cross-entropy

as one real symbol A i, A such that its mean power is 1. The transmitter takes the number
nearest to what it hears, and both update c by it. With so few numbers a wrong one is rare (at
20 dB and A = 1 the decision is 5 deviations away), and what y told beyond its number is not
lost: the receiver has it, and later numbers lean towards what the tracked belief still lacks.
A group ends when the posterior's log-odds exceed theta; the receiver says so.
"""

import dataclasses
import math

import torch
from torch import Tensor

from .network import BeliefParameters, interpolated


@dataclasses.dataclass(frozen=True)
class TrackedParameters(BeliefParameters):
    """What both ends must agree on.

    Those of the belief-driven code, where feedback_step is D and feedback_bits is of the
    numbers i, L = 2^(feedback_bits - 1) - 1. feedback_snr_db: at which the code is meant to be
    used. inflation: rho. number_price: mu. amplitudes: A, by SNR and threshold as gains.
    """

    feedback_bits: int = 3
    feedback_step: float = 1.25
    feedback_snr_db: float = 20.0
    inflation: float = 1.15
    number_price: float = 0.04
    amplitudes: tuple[tuple[float, tuple[tuple[float, float], ...]], ...] = ((1.0, ((10.0, 1.0),)),)

    def __post_init__(self):
        super().__post_init__()
        rows = ((snr_db, tuple(tuple(pair) for pair in pairs)) for snr_db, pairs in self.amplitudes)
        object.__setattr__(self, "amplitudes", tuple(rows))
        if not math.isfinite(self.feedback_snr_db):
            raise ValueError(f"expected a finite feedback_snr_db, got {self.feedback_snr_db}")
        if not (self.inflation > 0 and self.number_price >= 0):
            raise ValueError(
                "expected an inflation above 0 and a number_price of at least 0, "
                f"got {self.inflation}, {self.number_price}"
            )

    @property
    def update_variance(self) -> float:
        """rho sigma^2"""
        return round(self.inflation * self.noise_variance, 9)

    def amplitude(self, threshold: float) -> float:
        """A that gives unit power over the numbers sent back with this threshold."""
        rows = [(snr_db, interpolated(pairs, threshold)) for snr_db, pairs in self.amplitudes]
        return round(interpolated(rows, self.snr_db), 6)


def choose(
    posterior: Tensor, tracked: Tensor, candidates: Tensor, variance: Tensor, p: TrackedParameters
) -> Tensor:
    """i of the module's docstring, (n, 1): log-beliefs and candidates (n, M) of the same order
    of classes, variance rho sigma^2 (n, 1)."""
    numbers = torch.arange(-p.feedback_levels, p.feedback_levels + 1, device=posterior.device)
    numbers = numbers.to(posterior.dtype)
    told = tracked - candidates.square() / (2 * variance)
    slope = candidates * (p.feedback_step / variance)
    # (n, numbers, M)
    after = told[:, None] + numbers[:, None] * slope[:, None]
    expected = (torch.softmax(posterior, 1)[:, None] * after).sum(2)
    cost = torch.logsumexp(after, 2) - expected + p.number_price * numbers.square()
    return numbers[cost.argmin(1, keepdim=True)]
