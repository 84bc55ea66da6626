# SPDX-License-Identifier: GPL-3.0-or-later
"""The belief-driven code with digital feedback: both ends hold the receiver's posterior.

A group of m bits is one of M = 2^m classes. Its belief is kept sorted, as log-ratios to the
likeliest class, l_0 = 0 >= l_1 >= ... >= l_(M-1). With p = softmax(l), rounds left r,
threshold theta, peak A and the SNR S in dB,

    o = MLP(max(l_1, -C), ..., max(l_(M-1), -C), r, theta, A, S)
    x_i = clip(g (o_i - sum_j p_j o_j), -A, A)                    the candidates
    l_i <- l_i + (y x_i - x_i^2 / 2) / sigma^2, sorted again      Bayes' rule
    stop when sum_(i >= 1) exp(l_i) < exp(-theta)                 the log-odds exceed theta

The transmitter sends the candidate of the true class, the receiver feeds back the number of
the quantizer's level and puts that level's value in for y, so that both ends hold one belief.
The transmitter knows by itself which groups the receiver has decided: the mask that a session
sends back tells it nothing new. ``confirmation`` tells how blocks are confirmed.
"""

import dataclasses
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import code as feedback
from ..setting import Setting
from .confirmation import CONFIRM, NOTHING, Confirmation, Ledger, own_places
from .parameters import BeliefParameters


class DigitalBeliefCode(feedback.Code):
    """A belief-driven code with digital feedback, ready for use with one threshold.

    Parameters
    ----------
    parameters : what both ends must agree on
    state : parameters of a `network.BeliefNetwork` by name
    threshold : theta, the log-odds in nats above which a group is decided; above 0, below 36
    confirmation : how blocks are confirmed; None: each group stands by itself

    Raises
    ------
    ValueError : for a threshold out of its range
    """

    takes_variances = True

    def __init__(
        self,
        parameters: BeliefParameters,
        state: Mapping[str, NDArray[np.float32]],
        threshold: float,
        confirmation: Confirmation | None = None,
    ) -> None:
        from ... import _kernels

        p = parameters
        if not 0 < threshold < 36:
            raise ValueError(f"expected a threshold above 0 and below 36, got {threshold}")
        self._parameters, self._state, self.threshold = p, state, round(threshold, 6)
        self.confirmation = confirmation
        self.gain = self.gain_at(p.snr_db)
        self.payload_bytes, self.feedback_bits = p.places, p.feedback_bits
        layers = {
            f"{layer}.{leaf}": np.asarray(state[f"{layer}.{leaf}"], np.float32)
            for layer in ("layer1", "layer2", "layer3")
            for leaf in ("weight", "bias")
        }
        # Powers of two: exact.
        layers["layer1.weight"] = layers["layer1.weight"] * np.asarray(state["scale"], np.float32)
        weights = np.concatenate([leaf.ravel() for leaf in layers.values()])
        agreed = repr((p, self.threshold)) + (repr(confirmation) if confirmation else "")
        if p.double_rounds:
            agreed += f"double_rounds={p.double_rounds}"
        if p.planned_rounds:
            agreed += f"planned_rounds={p.planned_rounds}"
        self.identity = zlib.crc32(weights.tobytes() + agreed.encode()) & 0xFFFF
        self.kernel = _kernels.belief_code(
            group_bits=p.group_bits,
            hidden1=p.hidden[0],
            hidden2=p.hidden[1],
            peak=p.peak,
            feedback_bits=p.feedback_bits,
            feedback_step=p.feedback_step,
            parameters=weights,
            symbols=p.symbols,
        )

    @property
    def parameters(self) -> BeliefParameters:
        """Numbers that both ends must agree on."""
        return self._parameters

    @property
    def confirms(self) -> bool:
        """Whether the code says by itself which blocks are lost."""
        return self.confirmation is not None

    def scaled(self, factor: float) -> "DigitalBeliefCode":
        """Return the same code with all gains multiplied by a factor."""
        p = self.parameters
        gains = [(snr, [(theta, g * factor) for theta, g in row]) for snr, row in p.gains]
        p = dataclasses.replace(p, gains=gains)
        return type(self)(p, self._state, self.threshold, self.confirmation)

    def gain_at(self, snr_db: float) -> float:
        """Return the gain at an SNR."""
        gain = dataclasses.replace(self.parameters, snr_db=snr_db).gain(self.threshold)
        return gain if self.confirmation is None else round(gain * self.confirmation.gain, 6)

    def check(self, setting: Setting) -> None:
        """Raise ValueError for a setting that this code does not serve."""
        super().check(setting)
        self.check_threshold(setting.threshold)
        if setting.termination != "receiver" or setting.feedback_snr_db is not None:
            raise ValueError(
                "a belief-driven code is stopped by its receiver and has digital feedback, "
                f"got termination {setting.termination!r}, "
                f"feedback SNR {setting.feedback_snr_db} dB"
            )

    def check_threshold(self, threshold: float | None) -> None:
        """Raise ValueError for another threshold than the code's, which both ends share."""
        if threshold is None or round(threshold, 6) != self.threshold:
            raise ValueError(
                f"expected the threshold that the code was loaded with, {self.threshold}, "
                f"got {threshold}"
            )

    def counts(
        self,
        encoder: feedback.Encoder,
        decoder: feedback.Decoder,
        erased: NDArray[np.bool_],
    ) -> dict[str, Any]:
        """Count what the posterior tells of blocks that are over at both ends.

        error_estimate : sum over the blocks of the probability of an undetected error given all
            that the receiver saw, 0 of those that are erased. The belief is the exact posterior
            but for the size of the quantizer's bins, so its mean estimates the block error rate
            where errors are too rare to count. estimate_squared : sum of its squares.
        undecided_blocks : blocks with a group that the last round left below the threshold
        reopened_blocks : with confirmation, blocks that were refused once or more

        RuntimeError if the ends' beliefs differ.
        """
        assert isinstance(encoder, DigitalEncoder) and isinstance(decoder, DigitalDecoder)
        if not np.array_equal(encoder.odds, decoder.odds):
            raise RuntimeError("the ends' beliefs differ: the kernel broke its promise")
        found = {"undecided_blocks": int((~decoder.decoded).any(1).sum())}
        if decoder.ledger is not None and encoder.ledger is not None:
            if not np.array_equal(encoder.ledger.accepted, decoder.ledger.accepted):
                raise RuntimeError("the ends differ in what is accepted")
            estimate = decoder.ledger.error
            found["reopened_blocks"] = int((decoder.ledger.opened > 0).sum())
        else:
            estimate = -np.expm1(-np.log1p(decoder.odds.astype(np.float64)).sum(1)) * ~erased
        return {
            "error_estimate": float(estimate.sum()),
            "estimate_squared": float((estimate**2).sum()),
            **found,
        }

    def encoder(self, capacity: int) -> "DigitalEncoder":
        """Make a transmitter for `capacity` blocks."""
        return DigitalEncoder(self, capacity)

    def decoder(self, capacity: int) -> "DigitalDecoder":
        """Make a receiver for `capacity` blocks."""
        return DigitalDecoder(self, capacity)

    def pair(self, capacity: int) -> tuple["DigitalEncoder", "DigitalDecoder"]:
        """Make both ends for a simulation, with one belief between them."""
        encoder = self.encoder(capacity)
        decoder = DigitalDecoder(self, capacity, encoder)
        encoder.watched = True
        return encoder, decoder

    def table(self, capacity: int) -> Any:
        """Make the beliefs of `capacity` blocks."""
        from ... import _kernels

        p = self.parameters
        return _kernels.belief_table(p.patterns, p.groups, capacity, p.symbols)

    def values(
        self, levels: NDArray[np.uint8], noise_variance: float | NDArray | None = None
    ) -> NDArray[np.float32]:
        """Return what levels stand for, float32; NaN for level 0, which did not arrive."""
        p = self.parameters
        middle = np.float32(1 << (p.feedback_bits - 1))
        values = (levels.astype(np.float32) - middle) * np.float32(p.feedback_step)
        values *= stretch(noise_variance)
        return np.where(levels == 0, np.float32(np.nan), values)


def _by_place(noise_variance: float | NDArray) -> NDArray:
    """Variances that broadcast against (n, P): one for all, (n,) or (n, P)."""
    variance = np.asarray(noise_variance)
    return variance if variance.ndim == 2 else variance.reshape(-1, 1)


def stretch(noise_variance: float | NDArray | None) -> NDArray[np.float32] | np.float32:
    """How much wider the quantizer's steps are for noise of a variance that is told.

    The next power of two of the noise's deviation, so that the levels reach it and still are
    multiples of a power of two.
    """
    if noise_variance is None:
        return np.float32(1)
    wide = np.frexp(np.maximum(_by_place(noise_variance), 1) * (1 - 2.0**-40))[1]
    return np.exp2((wide + 1) // 2).astype(np.float32)


class End:
    """What both ends are: beliefs, the clock, and the ledger of confirmation.

    Attributes
    ----------
    rounds : (capacity,) int64, rounds taken so far
    decoded : (capacity, Q) bool, groups whose log-odds have exceeded the threshold
    odds : (capacity, Q) float32, (1 - p_max) / p_max after the last update
    ledger : of the confirmation, None for a code without

    snr_db : (capacity,) of each block's last round, as it was told; before, of the parameters
    factor : on the gain of what is proposed from now on, 1 at first, for who keeps the mean power
    other : an end whose state is this one's, too: it proposes, and this one updates
    """

    table: Any
    rounds: NDArray[np.int64]
    decoded: NDArray[np.bool_]
    odds: NDArray[np.float32]
    snr_db: NDArray[np.float64]
    factor: float = 1.0

    def __init__(self, code: DigitalBeliefCode, capacity: int, other: "End | None" = None) -> None:
        self.code, self.other = code, other
        self.ledger: Ledger | None = None
        if other is not None:
            self.table, self.rounds, self.ledger = other.table, other.rounds, other.ledger
            self.decoded, self.odds, self.snr_db = other.decoded, other.odds, other.snr_db
            return
        self.snr_db = np.full(capacity, code.parameters.snr_db)
        self.table = code.table(capacity)
        self.rounds = np.zeros(capacity, np.int64)
        self.decoded, self.odds = self.table.decided, self.table.odds
        if code.confirmation is not None:
            self.ledger = Ledger(code.confirmation, code.parameters, code.threshold, capacity)

    def _begin(self, slots: NDArray) -> None:
        self.rounds[slots] = 0
        self.snr_db[slots] = self.code.parameters.snr_db
        self.code.kernel.start(self.table, slots)
        if self.ledger is not None:
            self.ledger.start(slots)

    def _by_threshold(self, slots: NDArray) -> list[tuple[float, Any]]:
        """The thresholds of blocks, and at which places of `slots` those of each are."""
        code = self.code
        if self.ledger is None or not (opened := self.ledger.opened[slots]).any():
            return [(code.threshold, slice(None))]
        step = self.ledger.settings.step
        return [
            (code.threshold + step * times, np.nonzero(opened == times)[0])
            for times in np.unique(opened).tolist()
        ]

    def _propose(self, slots: NDArray) -> None:
        """Candidates of the next round for the groups not decided."""
        if self.other is not None:
            return
        code, limit = self.code, self.code.parameters.rounds
        left = limit - self.rounds[slots]
        if left.size and left.min() < 1:
            raise ValueError(f"expected blocks of fewer than {limit} rounds, got one of as many")
        planned = np.maximum((code.parameters.planned_rounds or limit) - self.rounds[slots], 1)
        for threshold, rows in self._by_threshold(slots):
            some, rounds = slots[rows], planned[rows].astype(np.uint8)
            snrs = self.snr_db[some]
            for snr_db in np.unique(snrs).tolist():
                here = snrs == snr_db
                gain = code.gain if snr_db == code.parameters.snr_db else code.gain_at(snr_db)
                gain *= self.factor
                code.kernel.propose(self.table, some[here], rounds[here], threshold, gain, snr_db)
        if self.ledger is not None:
            odds = self._odds_to_plan_by(slots)
            self.ledger.plan(slots, left, self.decoded[slots], odds, self.table.decisions)
        self.rounds[slots] += 1

    def _own_places(self, slots: NDArray) -> NDArray[np.int8]:
        """What each place of the round begun carries, (n, P), without confirmation."""
        p = self.code.parameters
        return own_places(p, p.rounds + 1 - self.rounds[slots], self.decoded[slots])

    def _odds_to_plan_by(self, slots: NDArray) -> NDArray[np.float32]:
        """Odds against the groups, (n, Q), as both ends know them."""
        return self.odds[slots]

    def _update(
        self,
        slots: NDArray,
        values: NDArray[np.float32],
        noise_variance: float | NDArray | None = None,
    ) -> None:
        """Bayes' rule with the values (n, P) of a round, NaN where nothing arrived."""
        code = self.code
        each = self._variances(slots, noise_variance)
        variance = each.astype(np.float32)
        received = values
        if self.ledger is not None:
            received, variance = self._collected(self.ledger.places[slots], values, variance)
        elif code.parameters.double_rounds:
            received = np.where(self._own_places(slots) == NOTHING, np.float32(np.nan), values)
        for threshold, rows in self._by_threshold(slots):
            code.kernel.update(self.table, slots[rows], received[rows], variance[rows], threshold)
        if self.ledger is not None:
            self.ledger.learn(slots, values, each)
            left = code.parameters.rounds - self.rounds[slots]
            odds = self.odds[slots]
            self.ledger.judge(slots, left, odds, self.decoded, self.table.decisions)

    def _variances(
        self, slots: NDArray, noise_variance: float | NDArray | None
    ) -> NDArray[np.float64]:
        """Noise variance of each place of a round, (n, P), noted where it is told."""
        p = self.code.parameters
        told = p.noise_variance if noise_variance is None else noise_variance
        each = np.broadcast_to(_by_place(told).astype(np.float64), (len(slots), p.places))
        if noise_variance is not None:
            self._hear(slots, each)
        return each

    def _hear(self, slots: NDArray, variance: NDArray[np.float64]) -> None:
        """Note the SNR of a round's symbols, of variances (n, P), for the network and the plan."""
        precision = np.zeros(len(slots))
        for column in variance.T:
            precision += 1 / column
        precision /= variance.shape[1]
        # Rounded, so that two mathematical libraries give both ends the same number.
        snr_db = np.rint(20 * np.log10(precision)) / 2
        rows = self.code.parameters.gains
        self.snr_db[slots] = np.clip(snr_db, rows[0][0], rows[-1][0])
        if self.ledger is not None:
            self.ledger.variance[slots] = 1 / precision

    def _collected(
        self, places: NDArray, values: NDArray, variance: NDArray
    ) -> tuple[NDArray, NDArray]:
        """Of each group, the weighted mean of its symbols of the round, and its variance.

        places : what each place of the round carried, (n, P), as `Ledger.places`
        """
        own = places == np.arange(places.shape[1])
        row, place = np.nonzero((places >= 0) & ~own)
        if row.size == 0:
            if self.code.parameters.double_rounds:
                values = np.where(own, values, np.float32(np.nan))
            return values, variance
        arrived = ~np.isnan(values)
        total = np.where(own & arrived, values, 0)
        count = (own & arrived).astype(np.float32)
        heard = arrived[row, place]
        row, place = row[heard], place[heard]
        group = places[row, place]
        weight = variance[row, group] / variance[row, place]
        # One after the other, in the order of the places.
        np.add.at(total, (row, group), weight * values[row, place])
        np.add.at(count, (row, group), weight)
        several = np.where(count > 0, count, np.float32(1))
        mean = np.where(count > 0, total / several, np.float32(np.nan))
        return mean.astype(np.float32), (variance / several).astype(np.float32)


class DigitalEncoder(End, feedback.Encoder):
    """The transmitter. watched : whether a receiver that shares its state updates it."""

    def __init__(self, code: DigitalBeliefCode, capacity: int) -> None:
        super().__init__(code, capacity)
        self.watched = False
        self.symbols = np.zeros((capacity, code.parameters.places), np.float32)
        self.sent = np.zeros(self.symbols.shape, bool)
        self.labels = np.zeros(self.decoded.shape, np.uint8)

    def start(self, slots: NDArray, messages: NDArray[np.uint8]) -> None:
        """Begin blocks anew with messages, (n, K) uint8 bits."""
        self.labels[slots] = self.code.labels(messages)
        self._begin(slots)

    def encode(self, slots: NDArray) -> NDArray[np.float32]:
        """Return the symbols x of the next round, (n, P) float32; 0 where none is sent."""
        self._propose(slots)
        labels = self.labels[slots]
        x = self.code.kernel.symbols(self.table, slots, labels)
        places = self._own_places(slots) if self.ledger is None else self.ledger.places[slots]
        self.sent[slots] = places != NOTHING
        x[places == NOTHING] = 0
        if self.ledger is not None:
            row, place = np.nonzero((places >= 0) & (places != np.arange(places.shape[1])))
            x[row, place] = x[row, places[row, place]]
            asked = np.nonzero((places == CONFIRM).any(1))[0]
            if asked.size:
                decided = self.decoded[slots[asked]]
                right = self.table.decisions(slots[asked]) == labels[asked]
                wrong = (decided & ~right).any(1)
                answer = np.where(wrong, np.float32(self.code.parameters.peak), np.float32(0))
                x[asked] = np.where(places[asked] == CONFIRM, answer[:, None], x[asked])
        self.symbols[slots] = x
        return x

    def observe(
        self,
        slots: NDArray,
        feedback: NDArray[np.uint8],
        decoded: NDArray[np.bool_] | None = None,
        noise_variance: float | NDArray | None = None,
    ) -> None:
        """Take what came back of the last round, (n, P) uint8 levels.

        decoded is what the receiver says and the beliefs say as well; it is not looked at.
        noise_variance : of the round's symbols, as the receiver used it
        """
        if not self.watched:
            self._update(slots, self.code.values(feedback, noise_variance), noise_variance)


class DigitalDecoder(End, feedback.Decoder):
    """The receiver. verdict : the ledger by which blocks are accepted."""

    def __init__(self, code: DigitalBeliefCode, capacity: int, other: End | None = None) -> None:
        super().__init__(code, capacity, other)
        self.verdict = self.ledger
        self.limit = code.parameters.rounds
        # Of each block, the number of the call that prepared its round, 0 for none.
        self._prepared = np.zeros(capacity, np.int64)
        self._calls = 0
        # What `hear` leaves for `track`.
        self._heard: tuple[Any, ...]

    def start(self, slots: NDArray) -> None:
        """Begin blocks anew."""
        self._begin(slots)

    def prepare(self, slots: NDArray) -> None:
        """Do what `decode` needs no symbols for ahead of it; it must get the same slots.

        Rounds of other blocks may be prepared beside it.
        """
        self._propose(slots)
        self._calls += 1
        self._prepared[slots] = self._calls

    def _begin_round(self, slots: NDArray) -> None:
        """Make the candidates of a round that has not been prepared."""
        calls = self._prepared[slots]
        if not calls.any():
            self._propose(slots)
        elif (calls != calls[0]).any() or (self._prepared == calls[0]).sum() != len(slots):
            raise ValueError("expected the blocks that the round was prepared for")
        self._prepared[slots] = 0

    def decode(
        self,
        slots: NDArray,
        received: NDArray[np.float32],
        threshold: float | None = None,
        noise_variance: float | NDArray | None = None,
    ) -> NDArray[np.bool_]:
        """Take the received symbols y of one round, (n, P) float32, read where one was sent.

        NaN tells of a symbol that did not arrive. Returns decoded, (n, Q) bool.

        threshold : ValueError for another than the code's, which both ends share
        noise_variance : of the symbols, (n, P), (n,) or one for all, which the transmitter must
            be told; None for that of the parameters' SNR

        ValueError for another threshold, and for other slots than those prepared.
        """
        if threshold is not None:
            self.code.check_threshold(threshold)
        self.hear(slots, received, noise_variance)
        self.track()
        return self.decoded[slots]

    def hear(
        self,
        slots: NDArray,
        received: NDArray[np.float32],
        noise_variance: float | NDArray | None = None,
    ) -> None:
        """Do what `feedback` waits for of `decode`, whose rest is `track`."""
        self._begin_round(slots)
        self._heard = slots, received, noise_variance

    def track(self) -> None:
        """Update beliefs by what was heard, which `feedback` does not wait for."""
        slots, received, noise_variance = self._heard
        levels = self.feedback(slots, received, noise_variance)
        self._update(slots, self.code.values(levels, noise_variance), noise_variance)

    def feedback(
        self,
        slots: NDArray,
        received: NDArray[np.float32],
        noise_variance: float | NDArray | None = None,
    ) -> NDArray:
        """Return the levels that go back for y, (n, P) uint8; only those sent are read.

        noise_variance : as `decode`
        """
        return self.code.kernel.quantize(received / stretch(noise_variance))

    def decisions(self, slots: NDArray) -> NDArray[np.uint8]:
        """Return the likeliest pattern of each group, (n, Q)."""
        return self.table.decisions(slots)

    def over(self, slots: NDArray) -> NDArray[np.bool_]:
        """Return which blocks need no further round, (n,)."""
        if self.verdict is None:
            return super().over(slots)
        return self.verdict.accepted[slots] | (self.rounds[slots] >= self.limit)

    def erased(self, slots: NDArray) -> NDArray[np.bool_]:
        """Return which blocks that are over could not be confirmed, (n,)."""
        if self.verdict is None:
            return super().erased(slots)
        return ~self.verdict.accepted[slots]
