# SPDX-License-Identifier: GPL-3.0-or-later
"""A belief-driven feedback code on bursts of samples: both ends, driven by samples.

The initiator sends bursts of one round of many blocks; the responder answers each, over a strong
link, with what the code's feedback is (``feedback_answers``). Blocks that are over make room for
the next ones in order, so that bursts stay full. Which symbols a burst has follows from what went
before, and both ends know it: 10 bits of a round's number, 6 of the next one's gain, 9 of how many
bursts' worth of super-blocks there are and 10 of how many bytes they are made up by are all the
control there is. (An answer tells by 8 bits which round it is of, and by 8 where its coded part
ends.)

There are two tables of blocks, whose rounds take turns: while a burst of one is on the air, beliefs
of the other are updated and its next symbols proposed. What is left to do between an answer and the
next burst is to decode the answer; what is left between a burst and its answer is to make the
answer. `settle` does the rest.

Beliefs are updated by the SNR of the subcarrier that each symbol came on. Symbols are proposed for
the SNR that would carry as much as all of many rounds, as the next burst's fade has nothing to do
with the last one's. The initiator knows the energy that it has spent, and keeps the mean power at
1: each burst tells the gain of the next one of its table.

An answer that does not come in time makes the initiator send the same burst again; a responder that
has taken the round sends the same answer. Super-blocks that fail their CRC-32 are not handed on.

A transmission has so many super-blocks, those of a file, or is a stream without an end. In place of
the count and of what is made up a stream's headers have its number, 1 to 511, and
answers repeat it: an initiator or a responder that begins anew takes nothing of the stream before.

`feedback_framing` has what is in a burst. `Initiator` and `Responder` know of no clock;
`feedback_station` has what programs and blocks run.
"""

from __future__ import annotations

import zlib
from collections import Counter, deque
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..decoders import decoder as make_decoder
from ..phy.burst import Burst, BurstReceiver
from .feedback_answers import CODED_BITS, Reply
from .feedback_framing import (
    COUNT_BITS,
    CRC_BYTES,
    GAIN_BITS,
    HALF_BITS,
    ROUND_BITS,
    FeedbackFraming,
)
from .feedback_mapping import interleave, straighten, subcarrier_snrs
from .feedback_sources import FileSource, Source
from .recordings import Complex

# What a burst is, by its header.
_FORWARD, _ANSWER = 0, 1
# An answer tells its round by fewer bits, and by the others where its coded part ends.
_ANSWERED_BITS = ROUND_BITS + GAIN_BITS - CODED_BITS
_KIND = HALF_BITS + ROUND_BITS + GAIN_BITS
# Tables of blocks whose rounds take turns on the air.
_LANES = 2
# Rounds over whose SNR symbols are proposed. Of 32 rounds of ten Rayleigh taps the mean still
# wanders over the steps of the grid, which costs 0.2 % of rate.
_ROUNDS_OF_MEAN = 256
# Full rounds of this much more power would take what energy there was too little, in units of the
# gain.
_ROUNDS_OF_GAIN = 16
_ENDLESS = 1 << 62
# Blocks and bursts of which a running link keeps figures.
_RECENT = 1 << 16

LAST_STREAM = (1 << COUNT_BITS) - 1
"""Streams without an end have numbers from 1 to this."""


class _Proposal(NamedTuple):
    """What a lane's next symbols are proposed by: SNR in dB, and a factor on the gain."""

    snr_db: float
    factor: float = 1.0


class _End:
    """Blocks in the order of their numbers on two tables of places, whose rounds take turns.

    While one table's round is on the air the work of the other's is done.

    Attributes
    ----------
    receiver : of the bursts that come to this end
    counts : of what happened
    round : rounds whose bursts are over, of this transmission
    """

    _COUNTED: ClassVar[tuple[str, ...]]

    def __init__(self, framing: FeedbackFraming) -> None:
        self.framing = framing
        self.receiver = BurstReceiver(framing.format)
        self.counts: Counter[str] = Counter(dict.fromkeys(self._COUNTED, 0))
        self.energy = 0.0
        self._clear(0)

    def _clear(self, limit: int) -> None:
        """Begin anew, with so many blocks."""
        blocks, p = self.framing.blocks, self.framing.code.parameters
        self.round = self._next = self._turn = 0
        self._limit = limit
        # Of a stream, the super-blocks that may be under way at once: a block ends after its last
        # round.
        self._rows = limit if limit < _ENDLESS else (_LANES * p.rounds + 3) * blocks
        self.messages = np.zeros((self._rows, p.message_bits), np.uint8)
        # Of each place the number of its block; and of each lane the places with blocks.
        self._number = np.full(_LANES * blocks, -1, np.int64)
        self._active = [np.zeros(0, np.int64)] * _LANES
        self._carried: deque[int] = deque(maxlen=_ROUNDS_OF_MEAN)
        self._proposals = [_Proposal(p.snr_db)] * _LANES

    def _fill(self, lane: int) -> np.ndarray:
        """Places that get new blocks."""
        blocks = self.framing.blocks
        free = np.flatnonzero(self._number[lane * blocks :][:blocks] < 0) + lane * blocks
        free = free[: max(0, self._limit - self._next)]
        self._number[free] = self._next + np.arange(free.size)
        self._next += free.size
        return free

    def _places(self, lane: int) -> np.ndarray:
        """Places with blocks."""
        blocks = self.framing.blocks
        return np.flatnonzero(self._number[lane * blocks :][:blocks] >= 0) + lane * blocks

    def _end_turn(self) -> bool:
        """Let the other lane have its turn; whether it has blocks, else it is this one's again."""
        self.round += 1
        other = (self._turn + 1) % _LANES
        # A stream's lanes have blocks at all times.
        if self._limit < _ENDLESS and self._active[other].size == 0:
            return False
        self._turn = other
        return True

    def _propose(self, lane: int, end: Any) -> np.ndarray:
        """Tell the code's end what a lane's next symbols are proposed by; the lane's places."""
        active = self._active[lane]
        end.snr_db[active], end.factor = self._proposals[lane]
        return active

    def _heard(self, lane: int, told: np.ndarray, gain: int) -> None:
        """Note the SNRs and the gain told of a lane's round: what the next is proposed by."""
        framing, p = self.framing, self.framing.code.parameters
        self._carried.append(framing.carried(told))
        carried = sum(self._carried) / len(self._carried)
        # On a grid, that both ends have one number.
        snr_db = np.rint(20 * np.log10(framing.snr(carried))) / 2
        low, high = p.gains[0][0], p.gains[-1][0]
        proposal = _Proposal(float(np.clip(snr_db, low, high)), framing.factor(gain))
        self._proposals[lane] = proposal

    def _bursts(self, samples: ArrayLike, kind: int) -> list[Burst]:
        """Bursts of a kind in samples."""
        bursts = self.receiver.push(samples)
        return [b for b in bursts if b.user >> _KIND & 1 == kind]

    def stats(self) -> dict[str, Any]:
        """Return what happened, and what the receiver of bursts counts."""
        return dict(self.counts) | self.receiver.stats()


class Ended(NamedTuple):
    """Blocks that were over in one round.

    Their numbers, rounds, reals sent once and those of them sent again, and energy.
    """

    numbers: np.ndarray
    rounds: np.ndarray
    reals: np.ndarray
    again: np.ndarray
    energy: np.ndarray


class Initiator(_End):
    """Sends super-blocks of bytes over the weak link.

    Parameters
    ----------
    framing : shared with the responder
    data : a source, or the bytes of a file; ValueError for none, and for more than
        `most_bytes` of the framing
    stream : number of a source's stream without an end, 1 to 511; ValueError for others

    Attributes
    ----------
    counts : bursts_sent, repeated_bursts, reals that they carried (repeats not counted), blocks
        that are over, damaged_answers, old_answers, streams_given_up; of analog feedback
        misheard_numbers, which the CRC has put right
    energy : of these reals
    messages : uint8 (blocks, K); of a stream, by number modulo its rows, those under way
    ended : blocks that were over, the newest rounds; who wants them takes them out
    """

    _COUNTED = (
        "bursts_sent",
        "repeated_bursts",
        "reals",
        "blocks",
        "damaged_answers",
        "old_answers",
        "misheard_numbers",
        "streams_given_up",
    )

    def __init__(self, framing: FeedbackFraming, data: bytes | Source, stream: int = 1) -> None:
        if not 1 <= stream <= LAST_STREAM:
            raise ValueError(f"expected a stream's number of 1 to {LAST_STREAM}, got {stream}")
        super().__init__(framing)
        self._source = data if isinstance(data, Source) else _file(framing, data)
        self._stream = 0 if self._source.super_blocks else stream
        # The fastest: a strong link does not miss the 0.1 dB.
        self._decoder = make_decoder("min-sum-int8:50", framing.answer_code)
        self.ended: deque[Ended] = deque(maxlen=1024)
        # Reals of the blocks that are over.
        self._spent = 0
        self._begin()

    def _begin(self) -> None:
        framing = self.framing
        self._clear(self._source.super_blocks * framing.super_block or _ENDLESS)
        places = _LANES * framing.blocks
        self._encoder = framing.code.encoder(places)
        self._reals, self._again = np.zeros((2, places), np.int64)
        self._energies = np.zeros(places)
        self._loaded = self._useful = 0
        self._bursts_of: list[Complex | None] = [None] * _LANES
        # What they tell of the next one's gain.
        self._gains = [0] * _LANES
        # What is known beforehand of the answers to them.
        self._known_of = [np.zeros(0, np.uint8)] * _LANES
        self._sent = False
        # Lane, symbols that were sent, and the answer whose work waits; and the lanes that want a
        # burst.
        self._answered: tuple[int, np.ndarray, Reply] | None = None
        self._empty: deque[int] = deque(range(_LANES))
        self._advance()

    @property
    def over(self) -> bool:
        """Whether all blocks are; a stream never is. Other threads may ask at any time."""
        return self.counts["blocks"] >= self._limit

    @property
    def waits(self) -> bool:
        """Whether there is nothing to send now, which is asked for by `resume`."""
        return self._bursts_of[self._turn] is None

    def resume(self) -> bool:
        """Go on with a stream that had nothing to tell; whether there is a burst now."""
        if self.waits and self._stream:
            self.settle()
            self._advance()
        return not self.waits

    def restart(self) -> None:
        """Give up a stream that gets no answers, and begin the next one.

        What was under way does not come any more. ValueError for a transmission that has an end.
        """
        if not self._stream:
            raise ValueError("expected a stream without an end")
        self.counts["streams_given_up"] += 1
        self._stream = self._stream % LAST_STREAM + 1
        self._begin()

    def samples(self) -> Complex:
        """Make the burst of this round, the same until its answer comes."""
        burst = self._bursts_of[self._turn]
        if burst is None:
            raise ValueError("expected a link that is not over")
        self.counts["bursts_sent"] += 1
        if self._sent:
            self.counts["repeated_bursts"] += 1
            active = self._active[self._turn]
            self._again[active] += self._encoder.sent[active].sum(1)
        self._sent = True
        return burst

    def push(self, samples: ArrayLike) -> bool:
        """Take samples of the way back; whether the round's answer was in them."""
        for burst in self._bursts(samples, _ANSWER):
            number = burst.user >> HALF_BITS & (1 << _ANSWERED_BITS) - 1
            coded = burst.user >> (_ANSWERED_BITS + HALF_BITS) & (1 << CODED_BITS) - 1
            stream = burst.user >> (1 + _KIND)
            this = number == self.round % (1 << _ANSWERED_BITS) and stream == self._stream
            if not this or self.waits:
                self.counts["old_answers"] += 1
                continue
            sent = self._encoder.sent[self._active[self._turn]]
            known = self._known_of[self._turn]
            reply = self.framing.answers.read(burst, coded, known, self._decoder)
            if reply is None:
                self.counts["damaged_answers"] += 1
                continue
            self.settle()
            self.counts["misheard_numbers"] += reply.misheard
            self._answered = self._turn, sent, reply
            self._sent = False
            if not self._end_turn() or self.waits:
                # What comes next depends on what this round told.
                self.settle()
            return True
        return False

    def stats(self) -> dict[str, Any]:
        """Return what happened, the rate of the blocks that are over, and the mean power."""
        found = super().stats()
        if self._spent:
            bits = self.framing.code.parameters.message_bits
            found["rate"] = bits * self.counts["blocks"] / self._spent
        if self.counts["reals"]:
            found["mean_power"] = self.energy / self.counts["reals"]
        return found

    def settle(self) -> None:
        """Do what the next burst need not wait for; `push` does it at the latest."""
        if self._answered is None:
            return
        (lane, sent, reply), self._answered = self._answered, None
        active = self._active[lane]
        back = np.zeros(sent.shape, reply.feedback.dtype)
        back[sent] = reply.feedback
        decided = None
        if reply.decided is not None:
            decided = ~sent
            decided[sent] = reply.decided
        self._encoder.observe(active, back, decided, self.framing.variances(reply.told, sent))
        p = self.framing.code.parameters
        over = self._encoder.decoded[active].all(1)
        over |= self._encoder.rounds[active] >= p.rounds
        places = active[over]
        if places.size:
            of_places = (self._encoder.rounds, self._reals, self._again, self._energies)
            self.ended.append(Ended(self._number[places], *(one[places] for one in of_places)))
            self.counts["blocks"] += places.size
            self._spent += int(self._reals[places].sum())
        self._number[places] = -1
        self._heard(lane, reply.told, self._gains[lane])
        self._bursts_of[lane] = None
        self._empty.append(lane)
        self._advance()

    def _load(self) -> None:
        """Get the super-blocks that have begun."""
        blocks = self.framing.super_block
        while self._loaded * blocks < self._next:
            useful = self._source.ready
            row = self._loaded * blocks % self._rows
            body = self._source.body(self._loaded)
            self.messages[row : row + blocks] = self.framing.messages([body])
            self._loaded += 1
            if useful:
                self._useful = self._loaded * blocks

    def _advance(self) -> None:
        """Make bursts for the lanes that want one, in order, while there is something to tell."""
        while self._empty and self._tells():
            lane = self._empty.popleft()
            new = self._fill(lane)
            if new.size:
                self._load()
                self._encoder.start(new, self.messages[self._number[new] % self._rows])
                self._reals[new] = self._again[new] = 0
                self._energies[new] = 0
            self._active[lane] = self._places(lane)
            if self._active[lane].size:
                self._bursts_of[lane] = self._burst(lane)

    def _tells(self) -> bool:
        under_way = (self._number >= 0) & (self._number < self._useful)
        return self._next < self._useful or bool(under_way.any()) or self._source.ready

    def _burst(self, lane: int) -> Complex:
        active = self._active[lane]
        x = self._encoder.encode(self._propose(lane, self._encoder))
        sent = self._encoder.sent[active]
        self._known_of[lane] = self.framing.answers.contexts(self._encoder, active)[sent]
        values = x[sent]
        each = np.square(x, dtype=np.float64).sum(1)
        self._reals[active] += sent.sum(1)
        self._energies[active] += each
        self.counts["reals"] += values.size
        self.energy += float(each.sum())
        # This lane's turn is now, or after the other's round that is on the air.
        number = (self.round + (lane != self._turn)) % (1 << ROUND_BITS)
        missing = self._source.missing
        half = self._stream or missing >> HALF_BITS * (number % 2) & (1 << HALF_BITS) - 1
        bursts = self._source.super_blocks // self.framing.parts
        full = self.framing.blocks * self.framing.code.parameters.groups
        beyond = (self.energy - self.counts["reals"]) / (_ROUNDS_OF_GAIN * full)
        gain = self._gains[lane] = self.framing.gain_number(1 - beyond)
        user = (bursts << 1 + GAIN_BITS | gain) << ROUND_BITS | number
        user = user << HALF_BITS | half
        return self.framing.samples(interleave(self.framing.format, values), user)


def _file(framing: FeedbackFraming, data: bytes) -> FileSource:
    if not 0 < len(data) <= framing.most_bytes:
        raise ValueError(f"expected at most {framing.most_bytes} bytes, and some, got {len(data)}")
    bodies = framing.bodies(data)
    return FileSource(bodies, len(bodies) * framing.capacity - len(data))


class SuperBlock(NamedTuple):
    """A super-block that came: its number, messages uint8 (blocks, K), and bytes if it is right."""

    number: int
    messages: np.ndarray
    body: bytes | None


class Responder(_End):
    """Receives super-blocks and answers each burst.

    Parameters
    ----------
    framing : shared with the initiator
    stream : whether it takes streams without an end, each that begins, or one file

    Attributes
    ----------
    counts : blocks, right_super_blocks, refused_super_blocks, repeated_bursts, old_bursts,
        foreign_bursts of another transmission, misfit_bursts of an end that is set otherwise,
        streams that have begun
    delivered : super-blocks in order, those of a stream until somebody takes them out
    error_estimate : sum over the blocks of the chance of an error by the receiver's posterior
    bursts : the newest of them; their SNR is that of the channel
    snr : of each of the newest bursts, 1 / sigma^2 at which one symbol carries as much as theirs do
        in the mean
    messages : uint8 (blocks, K), decided; of a stream, by number modulo its rows, the newest
    super_blocks : how many there are, as the first burst told; 0 before it, and of a stream
    size : bytes there are, as two bursts told; None before them, and of a stream
    """

    _COUNTED = (
        "blocks",
        "right_super_blocks",
        "refused_super_blocks",
        "repeated_bursts",
        "old_bursts",
        "foreign_bursts",
        "misfit_bursts",
        "streams",
    )

    def __init__(self, framing: FeedbackFraming, stream: bool = False) -> None:
        super().__init__(framing)
        self._streams, self._stream = stream, 0
        self.super_blocks = 0
        self.delivered: deque[SuperBlock] = deque()
        self.error_estimate = 0.0
        self.bursts: deque[Burst] = deque(maxlen=8)
        self.snr: deque[float] = deque(maxlen=_RECENT)
        self._begin(0)

    @property
    def bodies(self) -> list[bytes | None]:
        """Bytes of each super-block that was right, None for one that was not, in order."""
        return [one.body for one in self.delivered]

    @property
    def over(self) -> bool:
        """Whether all blocks are; a stream never is."""
        return 0 < self._limit < _ENDLESS and bool(self._done.all())

    @property
    def size(self) -> int | None:
        """Return the bytes of the file, None until both halves of the number have come."""
        if len(self._halves) < 2:
            return None
        missing = self._halves[1] << HALF_BITS | self._halves[0]
        return self.super_blocks * self.framing.capacity - missing

    def push(self, samples: ArrayLike) -> list[Complex]:
        """Take samples of the weak link; the bursts to answer with."""
        answers = []
        for burst in self._bursts(samples, _FORWARD):
            self.settle()
            number = burst.user >> HALF_BITS & (1 << ROUND_BITS) - 1
            half = burst.user & (1 << HALF_BITS) - 1
            if not self._ours(burst.user >> (1 + _KIND), half, number):
                self.counts["foreign_bursts"] += 1
                continue
            if number == self.round % (1 << ROUND_BITS) and self._active[self._turn].size:
                if not self._take(burst):
                    self.counts["misfit_bursts"] += 1
                    continue
            elif number == (self.round - 1) % (1 << ROUND_BITS) and self._answer is not None:
                self.counts["repeated_bursts"] += 1
            else:
                self.counts["old_bursts"] += 1
                continue
            if not self._streams:
                self._halves[number % 2] = half
            if self._answer is not None:
                answers.append(self._answer)
        return answers

    def _ours(self, bursts: int, half: int, number: int) -> bool:
        """Whether a burst is of the transmission that is under way, or begins one."""
        if not self._streams:
            if self.super_blocks == 0 and bursts:
                self.super_blocks = bursts * self.framing.parts
                self._begin(bursts * self.framing.blocks)
            return bursts * self.framing.parts == self.super_blocks > 0
        if bursts or not 1 <= half <= LAST_STREAM:
            return False
        if half != self._stream and number == 0:
            self._stream = half
            self.counts["streams"] += 1
            self._begin(_ENDLESS)
        return half == self._stream

    def _begin(self, limit: int) -> None:
        self._clear(limit)
        self._decoder = self.framing.code.decoder(_LANES * self.framing.blocks)
        self._done = np.zeros(self._rows, bool)
        self._answer: Complex | None = None
        self._halves: dict[int, int] = {}
        # Of each lane, what is known of what it will hear.
        self._known_of = [np.zeros((0, 0), np.uint8)] * _LANES
        # Lane of a burst whose work waits, what is told of it, and the gain that it told.
        self._heard_of: tuple[int, np.ndarray, int] | None = None
        self._delivered = 0
        if limit:
            for lane in range(_LANES):
                self._prepare(lane)

    def _prepare(self, lane: int) -> None:
        new = self._fill(lane)
        if new.size:
            self._decoder.start(new)
        active = self._active[lane] = self._places(lane)
        if active.size:
            self._decoder.prepare(self._propose(lane, self._decoder))
            self._known_of[lane] = self.framing.answers.contexts(self._decoder, active)

    def _take(self, burst: Burst) -> bool:
        """Take a round's burst; whether it has as many symbols as both ends should know it has."""
        framing, active = self.framing, self._active[self._turn]
        # Which symbols come follows from the beliefs.
        sent = ~self._decoder.decoded[active]
        count = int(sent.sum())
        if burst.symbols != -(-count // (2 * framing.format.data)):
            return False
        told = framing.told(subcarrier_snrs(burst))
        self.snr.append(framing.snr(framing.carried(told)))
        self.bursts.append(burst)
        y = np.zeros(sent.shape, np.float32)
        y[sent] = straighten(burst, framing.format, count)
        variances = framing.variances(told, sent)
        self._decoder.hear(active, y, variances)
        reply = framing.answers.reply(self._decoder, active, y, variances, sent, told)
        payload, coded = framing.answers.payload(reply, self._known_of[self._turn][sent])
        number = coded << _ANSWERED_BITS | self.round % (1 << _ANSWERED_BITS)
        user = (self._stream << 1 | _ANSWER) << _KIND | number << HALF_BITS
        self._answer = framing.samples(payload, user)
        gain = burst.user >> (HALF_BITS + ROUND_BITS) & (1 << GAIN_BITS) - 1
        self._heard_of = self._turn, told, gain
        if not self._end_turn():
            # Whether there is another round depends on this one's.
            self.settle()
        return True

    def settle(self) -> None:
        """Do what the answer of a round need not wait for; `push` does it at the latest."""
        if self._heard_of is None:
            return
        (lane, told, gain), self._heard_of = self._heard_of, None
        active = self._active[lane]
        self._decoder.track()
        over = active[self._decoder.over(active)]
        rows = self._number[over] % self._rows
        self.messages[rows] = self.framing.code.bits(self._decoder.decisions(over))
        odds = self._decoder.odds[over].astype(np.float64)
        self.error_estimate += float(-np.expm1(-np.log1p(odds).sum(1)).sum())
        self.counts["blocks"] += over.size
        self._done[rows] = True
        self._number[over] = -1
        self._heard(lane, told, gain)
        self._deliver()
        self._prepare(lane)

    def _deliver(self) -> None:
        blocks = self.framing.super_block
        while self._delivered * blocks < self._limit:
            row = self._delivered * blocks % self._rows
            here = slice(row, row + blocks)
            if not self._done[here].all():
                return
            messages = self.messages[here]
            text = np.packbits(messages, axis=1).tobytes()
            right = zlib.crc32(text[:-CRC_BYTES]) == int.from_bytes(text[-CRC_BYTES:], "little")
            self.counts["right_super_blocks" if right else "refused_super_blocks"] += 1
            body = text[:-CRC_BYTES] if right else None
            if self._streams:
                # Others come to their rows.
                messages = messages.copy()
                self._done[here] = False
            self.delivered.append(SuperBlock(self._delivered, messages, body))
            self._delivered += 1

    def stats(self) -> dict[str, Any]:
        """Return what happened, the SNR of the newest burst and the errors by the posterior."""
        found = super().stats()
        if self.snr:
            found["snr_db"] = 10 * float(np.log10(self.snr[-1]))
        if self.counts["blocks"]:
            rate = self.error_estimate / self.counts["blocks"]
            found["block_error_rate_by_posterior"] = rate
        return found
