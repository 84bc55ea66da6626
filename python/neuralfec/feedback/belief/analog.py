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

With a ``confirmation`` blocks are confirmed as over digital feedback, with what each end has:

* a group is decided only where the tracked belief has the same likeliest class, so that the
  transmitter knows what it is asked to confirm; the number of that round still goes back;
* which places carry what is planned by the thresholds in place of the odds, which the receiver
  keeps to itself: it accepts by the posterior, and the groups that it opens again are those that
  it no longer calls decided;
* the places that decided groups have left free on the way back carry check symbols: +1 or -1,
  bits of a hash of all numbers and decisions so far. A number that was heard wrong makes half
  of them wrong, and the transmitter then denies the block in every free place until it is
  erased.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import code as feedback
from ..setting import Setting
from .confirmation import Confirmation, Ledger
from .digital import DigitalBeliefCode, DigitalDecoder, DigitalEncoder, End
from .parameters import AnalogParameters

NEARNESS_BITS = 4
"""Bits of `AnalogEnd.nearness`."""


class AnalogBeliefCode(DigitalBeliefCode):
    """A belief-driven code over analog feedback, ready for use with one threshold.

    Parameters as `DigitalBeliefCode`. amplitude : A.
    """

    _parameters: AnalogParameters

    def __init__(
        self,
        parameters: AnalogParameters,
        state: Mapping[str, NDArray[np.float32]],
        threshold: float,
        confirmation: Confirmation | None = None,
    ) -> None:
        super().__init__(parameters, state, threshold, confirmation)
        self.payload_bytes = self.feedback_bits = 0
        feedback_gain = confirmation.feedback_gain if confirmation is not None else 1.0
        self.amplitude = np.float32(parameters.amplitude(self.threshold) * feedback_gain)

    def numbers(self, feedback: NDArray[np.float32]) -> NDArray[np.int8]:
        """Return the numbers i nearest to symbols A i with noise."""
        limit = self.parameters.feedback_levels
        return np.clip(np.rint(feedback / self.amplitude), -limit, limit).astype(np.int8)

    @property
    def parameters(self) -> AnalogParameters:
        """Numbers that both ends must agree on."""
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

    def counts(
        self,
        encoder: feedback.Encoder,
        decoder: feedback.Decoder,
        erased: NDArray[np.bool_],
    ) -> dict[str, Any]:
        """Count undecided_blocks, as `DigitalBeliefCode.counts`.

        The posterior supposes that each number arrives, so that without confirmation its error
        probability is too low an estimate. With it, what the posterior tells is counted as there,
        and denied_blocks: those in which the transmitter found a wrong number.
        """
        assert isinstance(encoder, AnalogEncoder) and isinstance(decoder, AnalogDecoder)
        found: dict[str, Any] = {"undecided_blocks": int((~decoder.decoded).any(1).sum())}
        if decoder.verdict is not None:
            estimate = decoder.verdict.error
            found["error_estimate"] = float(estimate.sum())
            found["estimate_squared"] = float((estimate**2).sum())
            found["reopened_blocks"] = int((decoder.verdict.opened > 0).sum())
            found["denied_blocks"] = int(encoder.denied.sum())
        return found

    def encoder(self, capacity: int) -> "AnalogEncoder":
        """Make a transmitter for `capacity` blocks."""
        return AnalogEncoder(self, capacity)

    def decoder(self, capacity: int) -> "AnalogDecoder":
        """Make a receiver for `capacity` blocks."""
        return AnalogDecoder(self, capacity)

    def pair(self, capacity: int) -> tuple["AnalogEncoder", "AnalogDecoder"]:
        """Make both ends for a simulation, which hear different things."""
        return self.encoder(capacity), self.decoder(capacity)


# Of the hash of what went back: FNV-1a and the last steps of MurmurHash3, on 64 bits.
_SEED, _PRIME, _MIX = np.uint64(0xCBF29CE484222325), np.uint64(0x100000001B3), 0xFF51AFD7ED558CCD


class AnalogEnd(End):
    """What both ends are. history : (capacity,) uint64, hash of numbers and decisions so far."""

    code: AnalogBeliefCode

    def __init__(self, code: AnalogBeliefCode, capacity: int) -> None:
        super().__init__(code, capacity)
        self.history = np.zeros(capacity, np.uint64)

    def _begin(self, slots: NDArray) -> None:
        super()._begin(slots)
        self.history[slots] = _SEED

    def nearness(self, slots: NDArray) -> NDArray[np.uint8]:
        """Tell how near to their end groups are as far as both ends know, (n, Q).

        The log-ratio of the likeliest class to the second by the tracked belief, in whole nats, in
        `NEARNESS_BITS` bits: the receiver more likely ends a group that is near.
        """
        second = self.table.log_ratios[slots][:, :, 1]
        return np.minimum(-second, np.float32((1 << NEARNESS_BITS) - 1)).astype(np.uint8)

    def _odds_to_plan_by(self, slots: NDArray) -> NDArray[np.float32]:
        """What the thresholds tell of the odds, which are the receiver's own."""
        assert self.ledger is not None
        theta = self.code.threshold + self.ledger.settings.step * self.ledger.opened[slots]
        odds = np.exp(-theta).astype(np.float32)
        return np.broadcast_to(odds[:, None], (len(slots), self.decoded.shape[1]))

    def _symbols_of_groups(self, slots: NDArray) -> NDArray[np.float32]:
        """How many symbols each group sent in the round, (n, Q); 1 for those that sent none."""
        count = np.ones((len(slots), self.decoded.shape[1]), np.float32)
        if self.ledger is not None:
            places = self.ledger.places[slots]
            row, place = np.nonzero((places >= 0) & (places != np.arange(places.shape[1])))
            np.add.at(count, (row, places[row, place]), np.float32(1))
        return count

    def _tracking(self, slots: NDArray, noise: NDArray[np.float64]) -> NDArray[np.float32]:
        """Variances rho sigma^2 of the tracked belief's update, (n, Q), by those of the noise."""
        inflation = self.code.parameters.inflation
        return (inflation * noise).astype(np.float32) / self._symbols_of_groups(slots)

    def _track(
        self, slots: NDArray, numbers: NDArray[np.float32], variance: NDArray[np.float32]
    ) -> None:
        """Update the tracked belief by numbers (n, Q), NaN where none is known."""
        # The kernel decides by the tracked belief, of which the receiver may know better.
        decoded = self.decoded[slots]
        values = numbers * np.float32(self.code.parameters.feedback_step)
        self.code.kernel.update(self.table, slots, values, variance, self.code.threshold)
        self.decoded[slots] = decoded

    def _note(
        self, slots: NDArray, numbers: NDArray, before: NDArray[np.bool_], after: NDArray[np.bool_]
    ) -> None:
        """Take a round into the hash: numbers of groups not decided before, decisions after."""
        if self.ledger is None:
            return
        told = np.where(before, 0, np.nan_to_num(numbers)).astype(np.int64) + 128
        history = self.history[slots]
        for row in (told + 256 * after).astype(np.uint64).T:
            history = (history ^ row) * _PRIME
        self.history[slots] = history
        # What came of the confirm symbols is the receiver's to know.
        nothing = np.full(before.shape, np.nan, np.float32)
        self.ledger.learn(slots, nothing, np.ones(before.shape))
        self.ledger.reopen(slots[(before & ~after).any(1)])

    def _checks(self, slots: NDArray) -> NDArray[np.float32]:
        """Check symbols of all places, (n, Q) +1 or -1."""
        mixed = self.history[slots].copy()
        for _ in range(2):
            mixed ^= mixed >> np.uint64(33)
            mixed *= np.uint64(_MIX)
        place = np.arange(self.decoded.shape[1], dtype=np.uint64) + np.uint64(16)
        bits = mixed[:, None] >> place & np.uint64(1)
        return np.where(bits == 1, np.float32(1), np.float32(-1))


class AnalogEncoder(AnalogEnd, DigitalEncoder):
    """The transmitter.

    Attributes
    ----------
    numbers : (capacity, Q) int8, i of the last round as it was heard
    denied : (capacity,) bool, blocks that it has found a wrong number in
    """

    def __init__(self, code: AnalogBeliefCode, capacity: int) -> None:
        super().__init__(code, capacity)
        self.numbers = np.zeros(self.decoded.shape, np.int8)
        self.denied = np.zeros(capacity, bool)

    def start(self, slots: NDArray, messages: NDArray[np.uint8]) -> None:
        """Begin blocks anew with messages, (n, K) uint8 bits."""
        super().start(slots, messages)
        self.denied[slots] = False

    def encode(self, slots: NDArray) -> NDArray[np.float32]:
        """Return the symbols x of the next round, (n, Q) float32; 0 where none is sent."""
        x = super().encode(slots)
        if self.denied[slots].any():
            everywhere = self.denied[slots][:, None] & self.decoded[slots]
            x = np.where(everywhere, np.float32(self.code.parameters.peak), x)
            self.symbols[slots] = x
            self.sent[slots] |= everywhere
        return x

    def observe(
        self,
        slots: NDArray,
        feedback: NDArray,
        decoded: NDArray[np.bool_] | None = None,
        noise_variance: float | NDArray | None = None,
    ) -> None:
        """Take what came back of the last round, (n, Q) float32, and the groups decoded.

        decoded : (n, Q) bool, of which nothing came, or with confirmation check symbols from the
        next round on. NaN in feedback tells nothing. noise_variance : of the round's symbols, as
        the receiver used it.
        """
        if decoded is None:
            raise ValueError("the code over analog feedback is told which groups are decoded")
        code, before = self.code, self.decoded[slots]
        variance = self._tracking(slots, self._variances(slots, noise_variance))
        known = ~np.isnan(feedback)
        numbers = code.numbers(np.where(known, feedback, 0))
        if self.ledger is None:
            self.decoded[slots] = before | decoded
        told = ~self.decoded[slots]
        self.numbers[slots] = np.where(told, numbers, self.numbers[slots])
        heard = np.where(known, numbers, np.nan).astype(np.float32)
        self._track(slots, heard, variance)
        if self.ledger is not None:
            self.decoded[slots] = decoded
            self._note(slots, numbers, before, decoded)
            wrong = before & known & (np.sign(feedback) != self._checks(slots))
            self.denied[slots] |= wrong.any(1)


class AnalogDecoder(AnalogEnd, DigitalDecoder):
    """The receiver.

    Attributes
    ----------
    posterior : (capacity, Q, M) float32, log-ratios to the likeliest class, by class
    numbers : (capacity, Q) int8, i of the last round
    odds : (capacity, Q) float32, of the posterior
    verdict : ledger of the posterior's odds and of confirm symbols as they were received, by
        which blocks are accepted and opened again; `ledger` is what both ends know
    """

    def __init__(self, code: AnalogBeliefCode, capacity: int) -> None:
        super().__init__(code, capacity)
        shape = (*self.decoded.shape, code.parameters.patterns)
        self.posterior = np.zeros(shape, np.float32)
        self.numbers = np.zeros(self.decoded.shape, np.int8)
        self._checked = np.zeros(self.decoded.shape, bool)
        if code.confirmation is not None:
            # A number that was heard wrong shows in confirm symbols alone.
            self.verdict = Ledger(
                code.confirmation, code.parameters, code.threshold, capacity, asks_last=True
            )

    def start(self, slots: NDArray) -> None:
        """Begin blocks anew."""
        super().start(slots)
        self.posterior[slots] = 0
        if self.verdict is not None:
            self.verdict.start(slots)

    def hear(
        self,
        slots: NDArray,
        received: NDArray[np.float32],
        noise_variance: float | NDArray | None = None,
    ) -> None:
        """Update the posterior and choose what goes back, see `DigitalDecoder.hear`."""
        code, p = self.code, self.code.parameters
        self._begin_round(slots)
        before, left = self.decoded[slots], p.rounds - self.rounds[slots]
        each = self._variances(slots, noise_variance)
        values, noise = received, each.astype(np.float32)
        if self.ledger is not None and self.verdict is not None:
            self.verdict.plan(slots, left + 1, before, self.odds[slots], self.decisions)
            self.verdict.follow(self.ledger, slots)
            values, noise = self._collected(self.ledger.places[slots], received, noise)
        tracking = self._tracking(slots, each)
        numbers, odds = code.kernel.choose(
            self.table, slots, self.posterior, values, noise, tracking, p.number_price
        )
        self.numbers[slots] = np.where(before, self.numbers[slots], numbers)
        self.odds[slots] = np.where(before, self.odds[slots], odds)
        if self.ledger is None:
            self.decoded[slots] = before | (self._certainty(slots) > code.threshold)
        self._heard = slots, received, before, left, each, tracking

    def _certainty(self, slots: NDArray) -> NDArray[np.float32]:
        """Log-odds of groups by the posterior, (n, Q)."""
        return -np.log(np.maximum(self.odds[slots], np.float32(1e-38)))

    def track(self) -> None:
        """Update the tracked belief; with confirmation, decide groups and blocks by it, too."""
        slots, received, before, left, each, tracking = self._heard
        # What the kernel finds of the tracked belief in place of the posterior's.
        odds = self.odds[slots]
        numbers = self.numbers[slots].astype(np.float32)
        self._track(slots, numbers, tracking)
        self.odds[slots] = odds
        if self.ledger is None or self.verdict is None:
            return
        theta = self.code.threshold + self.ledger.settings.step * self.ledger.opened[slots]
        known = self.table.decisions(slots) == self.decisions(slots)
        self.decoded[slots] = before | ((self._certainty(slots) > theta[:, None]) & known)
        self.verdict.learn(slots, received, each)
        self.verdict.judge(slots, left, odds, self.decoded, self.decisions)
        self._checked[slots] = before
        self._note(slots, numbers, before, self.decoded[slots])

    def feedback(
        self,
        slots: NDArray,
        received: NDArray[np.float32],
        noise_variance: float | NDArray | None = None,
    ) -> NDArray[np.float32]:
        """Return what goes back of the last round, (n, Q) float32.

        A i; for groups that are decided 0, or with confirmation, from the next round on, a
        check symbol.
        """
        numbers = self.numbers[slots] * self.code.amplitude
        if self.ledger is None:
            return np.where(self.decoded[slots], np.float32(0), numbers)
        return np.where(self._checked[slots], self._checks(slots), numbers)

    def replies(self, slots: NDArray) -> NDArray[np.bool_]:
        """Return which places of the last feedback carry a symbol, (n, Q): see `feedback`."""
        if self.ledger is None:
            return super().replies(slots)
        return np.ones((len(slots), self.decoded.shape[1]), bool)

    def decisions(self, slots: NDArray) -> NDArray:
        """Return the likeliest pattern of each group, (n, Q)."""
        return self.posterior[slots].argmax(2)
