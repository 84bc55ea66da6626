# SPDX-License-Identifier: GPL-3.0-or-later
"""The belief-driven code over an analog, noisy feedback channel.

The receiver's posterior cannot be shared where the feedback is noisy: what the transmitter
hears is not what the receiver got. Two beliefs take its place (notation of ``digital``):

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

import numpy as np
from numpy.typing import NDArray

from .. import code as feedback
from ..setting import Setting
from .digital import DigitalBeliefCode, DigitalDecoder, DigitalEncoder, End
from .parameters import AnalogParameters


def choose(
    posterior: NDArray,
    tracked: NDArray,
    candidates: NDArray,
    variance: NDArray,
    p: AnalogParameters,
) -> NDArray:
    """Return i of the module's docstring, (n, 1).

    posterior, tracked : log-beliefs, candidates : x, all (n, M) of one order of classes;
    variance : rho sigma^2, (n, 1)
    """
    numbers = np.arange(-p.feedback_levels, p.feedback_levels + 1).astype(posterior.dtype)
    told = tracked - np.square(candidates) / (2 * variance)
    slope = candidates * (p.feedback_step / variance)
    # (n, numbers, M)
    after = told[:, None] + numbers[:, None] * slope[:, None]
    belief = np.exp(posterior - posterior.max(1, keepdims=True))
    belief /= belief.sum(1, keepdims=True)
    expected = (belief[:, None] * after).sum(2)
    top = after.max(2)
    total = top + np.log(np.exp(after - top[:, :, None]).sum(2))
    cost = total - expected + np.asarray(p.number_price * np.square(numbers), posterior.dtype)
    return numbers[cost.argmin(1)][:, None]


class AnalogBeliefCode(DigitalBeliefCode):
    """A belief-driven code over analog feedback, ready for use with one threshold.

    Parameters as `DigitalBeliefCode`. amplitude : A.
    """

    _parameters: AnalogParameters

    def __init__(self, parameters: AnalogParameters, state, threshold: float) -> None:
        super().__init__(parameters, state, threshold)
        self.payload_bytes = 0
        self.amplitude = np.float32(parameters.amplitude(self.threshold))

    @property
    def parameters(self) -> AnalogParameters:
        return self._parameters

    def check(self, setting: Setting) -> None:
        """Raise ValueError for a setting that this code does not serve."""
        feedback.Code.check(self, setting)
        self.check_threshold(setting.threshold)
        if setting.termination != "receiver":
            raise ValueError(
                "a belief-driven code is stopped by its receiver, "
                f"got termination {setting.termination!r}"
            )

    def counts(self, encoder, decoder) -> dict:
        """Count undecided_blocks, as `DigitalBeliefCode.counts`.

        The posterior supposes that each number arrives, so that its error probability is too
        low an estimate.
        """
        return {"undecided_blocks": int((~decoder.decoded).any(1).sum())}

    def encoder(self, capacity: int) -> "AnalogEncoder":
        return AnalogEncoder(self, capacity)

    def decoder(self, capacity: int) -> "AnalogDecoder":
        return AnalogDecoder(self, capacity)

    def pair(self, capacity: int) -> tuple["AnalogEncoder", "AnalogDecoder"]:
        """Make both ends for a simulation, which hear different things."""
        return self.encoder(capacity), self.decoder(capacity)


class AnalogEnd(End):
    """What both ends are."""

    def _track(self, slots: NDArray, numbers: NDArray) -> None:
        """Update the tracked belief by numbers (n, Q), NaN where none is known."""
        # The kernel decides by the tracked belief, of which the receiver may know better.
        decoded = self.decoded[slots]
        self._update(slots, numbers * np.float32(self.code.parameters.feedback_step))
        self.decoded[slots] = decoded


class AnalogEncoder(AnalogEnd, DigitalEncoder):
    """The transmitter. numbers : (capacity, Q) int8, i of the last round as it was heard."""

    code: AnalogBeliefCode

    def __init__(self, code: AnalogBeliefCode, capacity: int) -> None:
        super().__init__(code, capacity)
        self.numbers = np.zeros(self.decoded.shape, np.int8)

    def observe(
        self, slots: NDArray, feedback: NDArray, decoded: NDArray, noise_variance=None
    ) -> None:
        """Take what came back of the last round, (n, Q) float32, and the groups decoded.

        decoded : (n, Q) bool, of which nothing came. NaN in feedback tells nothing.
        """
        if noise_variance is not None:
            raise ValueError("the code over analog feedback is told no noise variance")
        code = self.code
        self.decoded[slots] |= decoded
        heard = feedback / code.amplitude
        limit = code.parameters.feedback_levels
        known = ~np.isnan(heard)
        numbers = np.clip(np.rint(np.where(known, heard, 0)), -limit, limit)
        self.numbers[slots] = np.where(self.decoded[slots], self.numbers[slots], numbers)
        self._track(slots, np.where(known, numbers, np.nan).astype(np.float32))


class AnalogDecoder(AnalogEnd, DigitalDecoder):
    """The receiver.

    Attributes
    ----------
    posterior : (capacity, Q, M) float32, log-ratios to the likeliest class, by class
    numbers : (capacity, Q) int8, i of the last round
    odds : (capacity, Q) float32, of the posterior
    """

    code: AnalogBeliefCode

    def __init__(self, code: AnalogBeliefCode, capacity: int) -> None:
        super().__init__(code, capacity)
        shape = (*self.decoded.shape, code.parameters.patterns)
        self.posterior = np.zeros(shape, np.float32)
        self.numbers = np.zeros(self.decoded.shape, np.int8)

    def start(self, slots: NDArray) -> None:
        super().start(slots)
        self.posterior[slots] = 0

    def decode(
        self,
        slots: NDArray,
        received: NDArray[np.float32],
        threshold: float | None = None,
        noise_variance=None,
    ) -> NDArray[np.bool_]:
        """Take one round, as `DigitalDecoder.decode`; no noise variance can be told."""
        if noise_variance is not None:
            raise ValueError("the code over analog feedback is told no noise variance")
        code, p = self.code, self.code.parameters
        if threshold is not None:
            code.check_threshold(threshold)
        self._propose(slots)
        block, group = np.nonzero(~self.decoded[slots])
        active = slots[block], group
        classes = self.table.classes[active]
        x, tracked = self.table.candidates[active], self.table.log_ratios[active]
        y = received[block, group][:, None]
        told = (y - x / 2) * x / np.float32(p.noise_variance)
        posterior = np.take_along_axis(self.posterior[active], classes, 1)
        posterior += np.where(np.isnan(told), np.float32(0), told)
        posterior -= posterior.max(1, keepdims=True)
        variance = np.full((len(y), 1), p.update_variance, np.float32)
        self.numbers[active] = choose(posterior, tracked, x, variance, p)[:, 0]
        self._track(slots, self.numbers[slots].astype(np.float32))
        by_class = np.empty_like(posterior)
        np.put_along_axis(by_class, classes, posterior, 1)
        self.posterior[active] = by_class
        # The likeliest class has 0, so the others are what is left of the sum.
        rest = np.sort(posterior, 1)[:, :-1]
        odds = np.exp(rest).sum(1)
        self.odds[active] = odds
        self.decoded[active] = -np.log(np.maximum(odds, np.float32(1e-38))) > code.threshold
        return self.decoded[slots]

    def feedback(self, slots: NDArray, received: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return A i of the last round, (n, Q) float32; 0 for groups that are decided."""
        numbers = np.where(self.decoded[slots], 0, self.numbers[slots])
        return numbers * self.code.amplitude

    def decisions(self, slots: NDArray) -> NDArray:
        """Return the likeliest pattern of each group, (n, Q)."""
        return self.posterior[slots].argmax(2)
