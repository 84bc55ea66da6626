# SPDX-License-Identifier: GPL-3.0-or-later
"""Confirms blocks: groups stop early, and the block as a whole is made sure of.

A group that stops at log-odds of 12 pays for its certainty by itself. Here groups stop at a low
threshold, and then the block is confirmed (Yamamoto and Itoh, "Asymptotic performance of a
modified Schalkwijk-Barron scheme for channels with noiseless feedback", 1979): the transmitter,
which knows all tentative decisions, sends 0 if those made so far are right and the peak A if one
is not. Both ends hold the odds B against the decided groups,

    B = prod_q (1 + o_q) - 1,            o_q = (1 - p_q) / p_q of group q,
    B <- B exp(-(A^2 / 2 - A y) / sigma^2)       with each confirm symbol y,

and the receiver accepts the block when -log B of all its groups exceeds `accept`. Where B grows
beyond exp(-reopen), the less certain groups are opened again, with a threshold higher by `step`.

Confirm symbols use the places in a round that decided groups have left free, and begin when at
most `early` groups are still undecided: the others go on in the same round. In the last rounds
a group that is still undecided sends its symbol several times, in free places as well. What the
last round leaves below `accept` is a declared erasure.

Everything is computed alike at both ends, from what the kernel promises to be the same bits, by
sums and products in a fixed order and exponentials rounded to float32.
"""

import dataclasses
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

# What a place of a round carries beside the number of a group.
CONFIRM, NOTHING = -1, -2
# Refusals of a block that are kept in mind.
REMEMBERED = 4


@dataclasses.dataclass(frozen=True)
class Confirmation:
    """How blocks are confirmed, the same at both ends.

    Parameters
    ----------
    accept : log-odds of a block above which the receiver accepts it
    gain : factor on the network's gain that makes unit power with confirmation
    feedback_gain : factor on the amplitude of analog feedback that does so on the way back
    reopen : log-odds of the decided groups below which they are opened again
    step : nats that the threshold of an opened block rises by
    early : confirm as soon as no more groups than this are undecided
    most : confirm symbols in a round at most; two before the last round
    margin, last_margin : as many confirm symbols are sent as bring a block that is right above
        `accept` by this many deviations of the noise; in the last round, by `last_margin`
    repeats : how often an undecided group sends in the last round, the one before it, ...
    """

    accept: float
    gain: float = 1.0
    reopen: float = -2.0
    step: float = 2.0
    early: int = 1
    most: int = 4
    margin: float = 0.0
    last_margin: float = 3.0
    repeats: tuple[int, ...] = (3, 2)
    feedback_gain: float = 1.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "repeats", tuple(self.repeats))
        if not (math.isfinite(self.accept) and self.reopen < self.accept < 60):
            raise ValueError(
                f"expected to accept above {self.reopen} and below 60 nats, got {self.accept}"
            )
        if self.most < 1 or self.early < 0 or self.step < 0 or min(self.repeats, default=1) < 1:
            raise ValueError(f"expected counts of at least 1 and no step down, got {self}")
        if not min(self.gain, self.feedback_gain) > 0:
            raise ValueError(
                f"expected gains above 0, got {self.gain} and {self.feedback_gain} for feedback"
            )


def _rounded_exp(exponent: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp as float32 numbers, which mathematical libraries agree upon."""
    return np.exp(np.clip(exponent, -80, 80)).astype(np.float32).astype(np.float64)


def _odds_against(odds: NDArray[np.float32], chosen: NDArray[np.bool_]) -> NDArray[np.float64]:
    """prod (1 + o_q) - 1 over the chosen groups, (n,), multiplied in the order of the groups."""
    factors = np.where(chosen, odds, np.float32(0)).astype(np.float64) + 1
    product = factors[:, 0].copy()
    for q in range(1, factors.shape[1]):
        product *= factors[:, q]
    return product - 1


def _joined(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """(1 + a)(1 + b) - 1, exact where one of them is small."""
    return a + b * (1 + a)


def own_places(
    parameters: Any, left: NDArray[np.int64], decided: NDArray[np.bool_]
) -> NDArray[np.int8]:
    """Return of each place its own number, (n, P), or NOTHING where its group sends no symbol.

    left : (n,) rounds left, the next one included; decided : (n, Q)
    """
    p = parameters
    double = (left > p.rounds - p.double_rounds)[:, None]
    sends = np.concatenate([~decided, ~decided & double][: p.symbols], 1)
    return np.where(sends, np.arange(p.places), NOTHING).astype(np.int8)


class Ledger:
    """What one end knows of the confirmation of its blocks, a row a block.

    Parameters
    ----------
    settings, threshold : of the code; parameters : its `BeliefParameters`
    capacity : blocks
    variance : (capacity,) of the noise in the last round, as it was told
    asks_last : whether a block is accepted only in a round with confirm symbols, because what
        its groups are certain of may be wrong in ways that the posterior does not know

    Attributes
    ----------
    places : (capacity, P) int8, what each place of the last round carries: the symbol of its
        own number (of group q the first is q and the second Q + q), that of another place
        once more, CONFIRM or NOTHING
    covered : (capacity, Q) bool, groups that confirm symbols have spoken of
    against : (capacity,) float64, odds B against them
    opened : (capacity,) int64, how often a block was opened again
    accepted : (capacity,) bool, blocks that the receiver takes for right
    error : (capacity,) float64, probability that an accepted block is wrong, by the posterior
    """

    def __init__(
        self,
        settings: Confirmation,
        parameters: Any,
        threshold: float,
        capacity: int,
        asks_last: bool = False,
    ) -> None:
        self.asks_last = asks_last
        self.settings, self.parameters, self.threshold = settings, parameters, threshold
        groups = parameters.groups
        self.places = np.full((capacity, parameters.places), NOTHING, np.int8)
        self.covered = np.zeros((capacity, groups), bool)
        self.against = np.zeros(capacity)
        self.opened = np.zeros(capacity, np.int64)
        self.accepted = np.zeros(capacity, bool)
        self.error = np.zeros(capacity)
        # Of the last refusals: the decisions, of which groups, and how much likelier the refusal
        # is where one of them is wrong; 1 where nothing was refused.
        self._refused = np.zeros((REMEMBERED, capacity, groups), np.uint8)
        self._doubted = np.zeros((REMEMBERED, capacity, groups), bool)
        self._doubt = np.ones((REMEMBERED, capacity))
        # The odds before the confirm symbols of this round, and what these speak of.
        self._before = np.zeros(capacity)
        self._spoken_of = np.zeros((capacity, groups), bool)
        self.variance = np.full(capacity, parameters.noise_variance)
        self._limit = float(np.float32(math.exp(-settings.accept)))
        self._reopen = float(np.float32(math.exp(-settings.reopen)))

    def start(self, slots: NDArray) -> None:
        """Begin blocks anew."""
        self.covered[slots] = False
        self.against[slots] = 0
        self.opened[slots] = 0
        self.accepted[slots] = False
        self.error[slots] = 0
        self.variance[slots] = self.parameters.noise_variance
        self._doubt[:, slots] = 1

    def plan(
        self,
        slots: NDArray,
        left: NDArray[np.int64],
        decided: NDArray[np.bool_],
        odds: NDArray[np.float32],
        decisions: Any,
    ) -> None:
        """Say what each place of the next round carries.

        left : (n,) rounds left, the next one included; decided, odds : (n, Q) of the groups;
        decisions : called with slots, gives the likeliest pattern of each group
        """
        s = self.settings
        places = own_places(self.parameters, left, decided)
        self.places[slots] = places
        self._spoken_of[slots] = False
        undecided = (~decided).sum(1)
        special = np.nonzero((undecided <= s.early) | (left <= max(len(s.repeats), 1)))[0]
        if special.size == 0:
            return
        slots, left, decided, odds = slots[special], left[special], decided[special], odds[special]
        undecided, places = undecided[special], places[special]
        is_free = places == NOTHING
        room = is_free.sum(1)
        repeats = np.array([*s.repeats, 1])[np.minimum(left - 1, len(s.repeats))]
        copies = np.minimum(repeats - 1, room // np.maximum(undecided, 1))
        copies = np.where(undecided > 0, copies, 0)
        extra = undecided * copies
        # The odds against all that is decided by now.
        fresh = decided & ~self.covered[slots]
        before = _joined(self.against[slots], _odds_against(odds, fresh))
        in_all = before * self._remembered(slots, decided, odds, decisions)
        last = left == 1
        count = np.full(len(slots), s.most)
        for n in range(s.most - 1, 0, -1):
            count = np.where(in_all < self._enough(n, last, self.variance[slots]), n, count)
        count = np.where(last, count, np.minimum(count, 2))
        asks = decided.any(1)
        asks &= last | ((undecided <= s.early) & (fresh.any(1) | (undecided == 0)))
        count = np.where(asks, np.minimum(count, room - extra), 0)
        self._before[slots] = before
        self._spoken_of[slots] = decided & (count > 0)[:, None]
        # Free places in rising order: copies of the undecided groups in turn, confirm symbols.
        rank = np.cumsum(is_free, 1) - 1
        order = np.argsort(decided, axis=1, kind="stable")
        turn = np.take_along_axis(order, rank % np.maximum(undecided, 1)[:, None], 1)
        free = np.where(
            rank < extra[:, None],
            turn,
            np.where(rank < (extra + count)[:, None], CONFIRM, NOTHING),
        )
        self.places[slots] = np.where(is_free, free, places).astype(np.int8)

    def _enough(
        self, n: int, last: NDArray[np.bool_], variance: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Odds below which n symbols are enough, in the last round and before."""
        s, peak = self.settings, self.parameters.peak
        margin = np.where(last, s.last_margin, s.margin) * math.sqrt(n)
        return _rounded_exp(
            n * peak**2 / 2 / variance - margin * peak / np.sqrt(variance) - s.accept
        )

    def learn(
        self, slots: NDArray, values: NDArray[np.float32], variance: NDArray[np.float64]
    ) -> None:
        """Take the confirm symbols of a round, values (n, P) with NaN where none arrived.

        variance : (n, P) of their noise
        """
        heard = (self.places[slots] == CONFIRM) & ~np.isnan(values)
        rows = np.nonzero(self._spoken_of[slots].any(1))[0]
        if rows.size == 0:
            return
        slots, heard, variance = slots[rows], heard[rows], variance[rows]
        # One place after the other, each weighed against the first: both ends sum alike.
        first = variance[:, 0]
        count, total = np.zeros((2, len(rows)))
        for place in range(heard.shape[1]):
            weight = np.where(heard[:, place], first / variance[:, place], 0)
            count += weight
            total += weight * np.where(heard[:, place], values[rows, place], 0)
        peak = self.parameters.peak
        factor = _rounded_exp((peak * total - count * peak**2 / 2) / first)
        self.against[slots] = self._before[slots] * factor
        self.covered[slots] = self._spoken_of[slots]

    def judge(
        self,
        slots: NDArray,
        left: NDArray[np.int64],
        odds: NDArray[np.float32],
        decided: NDArray[np.bool_],
        decisions: Any,
    ) -> None:
        """Accept blocks, and open those again that are refused.

        left : rounds left after this one; odds : (n, Q) of the groups, after their update;
        decided : (capacity, Q) of all blocks, in which groups are opened; decisions : as `plan`
        """
        rows = np.nonzero(self.covered[slots].any(1))[0]
        if rows.size == 0:
            return
        slots, left, odds = slots[rows], left[rows], odds[rows]
        covered = self.covered[slots]
        against = _joined(self.against[slots], _odds_against(odds, ~covered))
        against *= self._remembered(slots, np.ones_like(covered), odds, decisions)
        accepted = against < self._limit
        if self.asks_last:
            accepted &= self._spoken_of[slots].any(1)
        self.accepted[slots] = accepted
        self.error[slots] = np.where(accepted, against / (1 + against), 0)
        refused = ~accepted & self._spoken_of[slots].any(1) & (left > 1)
        slots, odds, covered = slots[refused], odds[refused], covered[refused]
        if slots.size == 0:
            return
        against = self.against[slots] * self._remembered(slots, covered, odds, decisions)
        refused = against > self._reopen
        slots, odds, covered = slots[refused], odds[refused], covered[refused]
        if slots.size == 0:
            return
        self._remember(slots, covered, odds, decisions(slots))
        theta = self.settings.step * (self.opened[slots] + 1)
        limit = np.exp(-(self.threshold + theta)).astype(np.float32)[:, None]
        uncertain = covered & (odds >= limit)
        none = ~uncertain.any(1)
        uncertain[none] = covered[none]
        decided[slots] = decided[slots] & ~uncertain
        self.reopen(slots)

    def reopen(self, slots: NDArray) -> None:
        """Note that blocks have been refused, and some of their groups opened again."""
        self.opened[slots] += 1
        self.covered[slots] = False
        self.against[slots] = 0

    def follow(self, other: "Ledger", slots: NDArray) -> None:
        """Take from another ledger what the next round carries, which is planned already."""
        self.places[slots] = other.places[slots]
        self._spoken_of[slots] = other._spoken_of[slots]

    def _remember(
        self,
        slots: NDArray,
        covered: NDArray[np.bool_],
        odds: NDArray[np.float32],
        decisions: NDArray[np.uint8],
    ) -> None:
        """Note what the confirm symbols told against decisions that are now refused, (n, Q)."""
        own = _odds_against(odds, covered)
        number = self.opened[slots] % REMEMBERED
        self._doubt[number, slots] = np.maximum(self.against[slots] / np.maximum(own, 1e-300), 1)
        self._doubted[number, slots] = covered
        self._refused[number, slots] = decisions

    def _remembered(
        self,
        slots: NDArray,
        decided: NDArray[np.bool_],
        odds: NDArray[np.float32],
        decisions: Any,
    ) -> NDArray[np.float64]:
        """Return the factor on the odds against the decided groups from earlier refusals, (n,).

        A refusal is f times likelier where a decision that it was about is wrong. If the
        decided groups stand by these decisions, and the others do with probability P, the
        factor is f / (P + (1 - P) f); it is taken as 1, which is too high, if they do not.
        """
        factor = np.ones(len(slots))
        rows = np.nonzero(self.opened[slots])[0]
        if rows.size == 0:
            return factor
        slots, decided, odds = slots[rows], decided[rows], odds[rows].astype(np.float64)
        now = decisions(slots)
        product = np.ones(len(rows))
        for refused, doubted, doubt in zip(
            self._refused[:, slots], self._doubted[:, slots], self._doubt[:, slots], strict=True
        ):
            same = now == refused
            stand = np.where(doubted & ~decided, np.where(same, 1, odds) / (1 + odds), 1)
            probability = stand[:, 0].copy()
            for q in range(1, stand.shape[1]):
                probability *= stand[:, q]
            changed = (doubted & decided & ~same).any(1)
            told = doubt / (probability + (1 - probability) * doubt)
            product *= np.where(changed, 1, told)
        factor[rows] = product
        return factor
