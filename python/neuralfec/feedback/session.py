# SPDX-License-Identifier: GPL-3.0-or-later
"""Feedback codes over links that lose, double, delay and corrupt messages.

A session carries one message of K bits. Its transmitter sends the symbols of a round and
waits for what came of them; no answer in time, and it sends the same round again. The
receiver never speaks first. Many sessions are in flight, and those that wait are coded as
one batch.

    transmitter                             receiver
        |-- SYMBOLS round 1, all groups ------->|  decodes
        |<------------- FEEDBACK round 1 -------|  what was received; groups decoded
        |-- SYMBOLS round 2, groups left ------>|
        |      ...                              |
        |-- STOP (T, hybrid) ------------------>|  or the receiver ends by itself
        |<------------- DONE or FAILED ---------|

A message is a control part and samples. The control part is one ``record_type`` a session,
digital and under a CRC-32: a record that fails it never was. Samples are what the channel
touches: a row of float32 for each record. Forward, the row is the Q symbols of the groups
(those outside the record's mask are no part of the signal); back, it is what the code feeds
back for them, and for a code that its transmitter stops also the beliefs C_b P. A code with
digital feedback (``payload_bytes`` > 0) has its feedback in the record instead, and no
samples; its transmitter knows the beliefs without being told.

What a code must have: ``parameters``, ``identity``, ``labels``, ``bits``, ``encoder`` and
``decoder`` as ``codec.Code``, and ``payload_bytes`` if its feedback is digital: then
``Decoder.feedback`` gives (n, payload_bytes) uint8, ``Encoder.observe`` takes that, and
``Encoder.agrees`` gets None for samples.

Nothing wrong goes unnoticed: every forward record has the CRC-32 of its message, the
receiver compares, and says DONE with the CRC of what it has delivered, which the transmitter
compares again.

Time is the caller's: seconds from any start, never backwards.
"""

import dataclasses
import heapq
import itertools
import math
import zlib
from collections import Counter, deque

import numpy as np

from .deepvlf.code import Code
from .evaluation import Setting, check

FORMAT = 1
SYMBOLS, STOP, FEEDBACK, DONE, FAILED = range(1, 6)


def record_type(groups: int, payload_bytes: int = 0) -> np.dtype:
    """Control part of a message for one session.

    head: format and kind, 4 bits each. code: identity of the code. stream: the transmitter's
    start, drawn at random; number: of the session in it. round: from 1. digest: CRC-32 of the
    message bits, in DONE of those delivered. groups: bit q % 8 of byte q // 8 is group q;
    forward those sent, back those decoded. payload: digital feedback. crc: CRC-32 of all
    before it.
    """
    return np.dtype(
        [
            ("head", "u1"),
            ("code", "<u2"),
            ("stream", "<u2"),
            ("number", "<u4"),
            ("round", "u1"),
            ("digest", "<u4"),
            ("groups", "u1", ((groups + 7) // 8,)),
            ("payload", "u1", (payload_bytes,)),
            ("crc", "<u4"),
        ]
    )


@dataclasses.dataclass
class Message:
    """What goes over a link: control records as bytes, and float32 samples, a row a record."""

    control: bytes
    samples: np.ndarray


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a session ended, as its transmitter knows.

    session: what ``submit`` called it. delivered: the receiver has the message, checked.
    Otherwise the reason: "wrong" (decoded, but not to this message), "no answer" (the
    receiver may or may not have it), "refused" (the receiver knows nothing of it).
    rounds; symbols and energy of their first sending; repeated: symbols sent again.
    """

    session: int
    delivered: bool
    reason: str
    rounds: int
    symbols: int
    energy: float
    repeated: int


@dataclasses.dataclass(frozen=True)
class Delivery:
    """How a session ended, as its receiver knows: bits (K,) uint8, or None and the reason."""

    session: tuple[int, int]
    bits: np.ndarray | None
    reason: str
    rounds: int


def digest(bits: np.ndarray) -> int:
    """CRC-32 of message bits, packed most significant first."""
    return zlib.crc32(np.packbits(bits).tobytes())


class _Wire:
    """Messages of one code, built and read."""

    def __init__(self, code: Code, setting: Setting):
        p = code.parameters
        payload_bytes = getattr(code, "payload_bytes", 0)
        self.identity, self.groups = code.identity, p.groups
        self.dtype = record_type(p.groups, payload_bytes)
        self.forward_width = p.groups
        self.back_width = p.groups * (1 + p.patterns * setting.asks_transmitter)
        if payload_bytes:
            self.back_width = 0

    def build(self, records: np.ndarray, samples: np.ndarray, limit: int) -> list[Message]:
        """Messages of at most `limit` records."""
        records["code"] = self.identity
        raw = records.view(np.uint8).reshape(len(records), -1)
        records["crc"] = [zlib.crc32(row[:-4].tobytes()) for row in raw]
        return [
            Message(records[i : i + limit].tobytes(), samples[i : i + limit].ravel())
            for i in range(0, len(records), limit)
        ]

    def read(
        self, message: Message, width: int, kinds: tuple[int, ...], counts: Counter
    ) -> tuple[np.ndarray, np.ndarray]:
        """Intact records of a message and their samples; what is not intact is counted."""
        nothing = np.empty(0, self.dtype), np.empty((0, width), np.float32)
        counts["messages"] += 1
        size = len(message.control) // self.dtype.itemsize
        if size == 0 or len(message.control) % self.dtype.itemsize:
            counts["malformed"] += 1
            return nothing
        samples = np.asarray(message.samples, np.float32)
        if samples.size != size * width:
            counts["malformed"] += 1
            return nothing
        samples = samples.reshape(size, width)
        raw = np.frombuffer(message.control, np.uint8).reshape(size, -1)
        records = np.frombuffer(message.control, self.dtype)
        crc = np.array([zlib.crc32(row[:-4].tobytes()) for row in raw], np.uint32)
        intact = crc == records["crc"]
        counts["corrupted"] += int((~intact).sum())
        known = (records["head"] >> 4 == FORMAT) & np.isin(records["head"] & 15, kinds)
        counts["unknown"] += int((intact & ~known).sum())
        ours = records["code"] == self.identity
        counts["other_code"] += int((intact & known & ~ours).sum())
        finite = np.isfinite(samples).all(1)
        counts["bad_samples"] += int((intact & known & ours & ~finite).sum())
        good = intact & known & ours & finite
        return records[good], samples[good]

    def mask_bytes(self, mask: np.ndarray) -> np.ndarray:
        return np.packbits(mask, axis=1, bitorder="little")

    def mask(self, records: np.ndarray) -> np.ndarray:
        bits = np.unpackbits(records["groups"], axis=1, bitorder="little")
        return bits[:, : self.groups].astype(bool)


class Transmitter:
    """Sends messages of K bits; see the module.

    capacity: sessions in flight. timeout: least seconds before a round is sent again; it
    grows with the round trips seen, and doubles where answers fail to come. max_repeats: of
    one round, then the session has failed. max_records: of one message on the link. stream:
    16 bits that tell this start from the one before; drawn if None.

    ``submit`` takes messages, ``receive`` what came back, ``poll`` gives what to send now,
    ``outcomes`` what has ended. ``counts`` counts.
    """

    def __init__(
        self,
        code: Code,
        setting: Setting,
        *,
        capacity: int = 256,
        timeout: float = 0.5,
        max_repeats: int = 10,
        max_records: int = 256,
        stream: int | None = None,
    ):
        check(code, setting)
        if capacity < 1 or timeout <= 0 or max_repeats < 0 or max_records < 1:
            raise ValueError(
                "expected capacity >= 1, timeout > 0, max_repeats >= 0, max_records >= 1, "
                f"got {capacity}, {timeout}, {max_repeats}, {max_records}"
            )
        self.code, self.setting = code, setting
        self.timeout, self.max_repeats, self.max_records = timeout, max_repeats, max_records
        self.stream = int(np.random.default_rng().integers(1 << 16)) if stream is None else stream
        self.counts: Counter[str] = Counter()
        self.outcomes: deque[Outcome] = deque()
        self._wire = _Wire(code, setting)
        self._encoder = code.encoder(capacity)
        self._waiting: deque[tuple[int, np.ndarray]] = deque()
        self._free = list(range(capacity))
        self._slots: dict[int, int] = {}
        self._next = 0
        self._number = np.zeros(capacity, np.uint32)
        self._digest = np.zeros(capacity, np.uint32)
        self._kind = np.zeros(capacity, np.uint8)
        self._sent = np.zeros((capacity, code.parameters.groups), bool)
        self._sent_at = np.zeros(capacity)
        self._repeats = np.zeros(capacity, np.int64)
        self._symbols = np.zeros(capacity, np.int64)
        self._repeated = np.zeros(capacity, np.int64)
        self._energy = np.zeros(capacity)
        self._idle = np.ones(capacity, bool)
        self._round_trip, self._wait = 0.0, timeout
        # Slots to be coded, and those to be stopped, at the next poll.
        self._ready: list[int] = []
        self._stopping: list[int] = []
        # Expiry of what was sent: (time, order of sending, slot, session number, sending).
        self._timers: list[tuple[float, int, int, int, int]] = []
        self._order = itertools.count()
        self._sending = np.zeros(capacity, np.int64)

    @property
    def in_flight(self) -> int:
        return len(self._slots)

    @property
    def backlog(self) -> int:
        """Messages that wait for a session."""
        return len(self._waiting)

    def submit(self, messages: np.ndarray, first: int | None = None) -> list[int]:
        """Messages (n, K) uint8 bits; returns the numbers of their sessions.

        Numbers count up; first: go on from there, not below what was used. ValueError when
        32 bits of session numbers run out.
        """
        self.code.labels(messages)
        start = self._next if first is None else first
        if start < self._next or start + len(messages) > 1 << 32:
            raise ValueError(
                f"expected session numbers from {self._next} to {(1 << 32) - 1}, "
                f"got {start} to {start + len(messages) - 1}"
            )
        numbers = list(range(start, start + len(messages)))
        self._waiting.extend(zip(numbers, np.array(messages, np.uint8), strict=True))
        self._next = start + len(messages)
        return numbers

    def receive(self, message: Message, now: float) -> None:
        """Takes a message of the feedback link."""
        records, samples = self._wire.read(
            message, self._wire.back_width, (FEEDBACK, DONE, FAILED), self.counts
        )
        rows: dict[int, int] = {}
        for i, record in enumerate(records):
            slot = self._slots.get(int(record["number"]))
            kind = record["head"] & 15
            # Late copies and answers to earlier rounds tell nothing new.
            if slot is None or record["stream"] != self.stream:
                self.counts["stale"] += 1
            elif kind == DONE:
                delivered = record["digest"] == self._digest[slot]
                self._end(slot, bool(delivered), "" if delivered else "wrong")
            elif kind == FAILED:
                # The receiver names the round that it failed in; 0 if it knows none.
                self._end(slot, False, "wrong" if record["round"] else "refused")
            elif (
                self._kind[slot] != SYMBOLS
                or record["round"] != self._encoder.rounds[slot]
                or record["round"] == self.code.parameters.rounds
                or slot in rows
                or slot in self._ready
                or slot in self._stopping
            ):
                self.counts["stale"] += 1
            else:
                rows[slot] = i
        # A session may have ended further down in the same message.
        rows = {slot: i for slot, i in rows.items() if not self._idle[slot]}
        if rows:
            chosen = list(rows.values())
            self._observe(np.array(list(rows)), records[chosen], samples[chosen], now)

    def _observe(
        self, slots: np.ndarray, records: np.ndarray, samples: np.ndarray, now: float
    ) -> None:
        p = self.code.parameters
        # Which sending an answer belongs to is known only where there was one (Karn and
        # Partridge, 1987); until such an answer comes, the longer wait stands.
        once = slots[self._repeats[slots] == 0]
        if once.size:
            trip = now - float(self._sent_at[once].mean())
            self._round_trip += (trip - self._round_trip) / 4
            self._wait = max(self.timeout, 3 * self._round_trip)
        digital = self._wire.back_width == 0
        feedback = records["payload"] if digital else samples[:, : p.groups]
        self._encoder.observe(slots, feedback, self._wire.mask(records))
        stop = np.zeros(len(slots), bool)
        if self.setting.asks_transmitter:
            # With digital feedback the transmitter knows the beliefs by itself.
            beliefs = None if digital else samples[:, p.groups :].reshape(-1, p.groups, p.patterns)
            stop = self._encoder.agrees(slots, beliefs, self.setting.transmitter_threshold)
            if self.setting.termination == "hybrid":
                stop &= self._encoder.rounds[slots] >= p.first_decision
        self._sending[slots] += 1
        self._ready += slots[~stop].tolist()
        self._stopping += slots[stop].tolist()

    def poll(self, now: float) -> list[Message]:
        """What to send now: new sessions, next rounds, stops, and what got no answer."""
        again = []
        while self._timers and self._timers[0][0] <= now:
            _, _, slot, number, sending = heapq.heappop(self._timers)
            if self._number[slot] == number and self._sending[slot] == sending:
                again.append(slot)
        lost = [slot for slot in again if self._repeats[slot] >= self.max_repeats]
        for slot in lost:
            self._end(slot, False, "no answer")
        again = [slot for slot in again if slot not in lost]
        if again:
            slots = np.array(again)
            self._repeats[slots] += 1
            self.counts["repeats"] += len(again)
            self._wait = min(2 * self._wait, 16 * max(self.timeout, self._round_trip))
            symbols = slots[self._kind[slots] == SYMBOLS]
            self._repeated[symbols] += self._sent[symbols].sum(1)
        self._open()
        if self._ready:
            slots = np.array(self._ready)
            self._sent[slots] = ~self._encoder.decoded[slots]
            x = self._encoder.encode(slots)
            self._energy[slots] += np.square(x, dtype=np.float64).sum(1)
            self._symbols[slots] += self._sent[slots].sum(1)
            self._kind[slots] = SYMBOLS
        self._kind[self._stopping] = STOP
        slots = np.array(self._ready + self._stopping + again, np.int64)
        self._repeats[self._ready + self._stopping] = 0
        self._ready, self._stopping = [], []
        if slots.size == 0:
            return []
        self._sent_at[slots] = now
        self._sending[slots] += 1
        for slot in slots.tolist():
            timer = (now + self._wait, next(self._order), slot, int(self._number[slot]))
            heapq.heappush(self._timers, (*timer, int(self._sending[slot])))
        records = np.zeros(len(slots), self._wire.dtype)
        records["head"] = FORMAT << 4 | self._kind[slots]
        records["stream"] = self.stream
        records["number"] = self._number[slots]
        records["round"] = self._encoder.rounds[slots]
        records["digest"] = self._digest[slots]
        symbols = self._sent[slots] & (self._kind[slots] == SYMBOLS)[:, None]
        records["groups"] = self._wire.mask_bytes(symbols)
        samples = np.where(symbols, self._encoder.symbols[slots], np.float32(0))
        self.counts["control_bits"] += 8 * records.nbytes
        return self._wire.build(records, samples, self.max_records)

    def next_timer(self) -> float | None:
        """When ``poll`` is due if nothing else happens; None if nothing is waited for."""
        return self._timers[0][0] if self._timers else None

    def _open(self) -> None:
        count = min(len(self._waiting), len(self._free))
        if count == 0:
            return
        opened = [self._waiting.popleft() for _ in range(count)]
        slots = np.array([self._free.pop() for _ in range(count)])
        self._encoder.start(slots, np.array([bits for _, bits in opened]))
        for slot, (number, bits) in zip(slots.tolist(), opened, strict=True):
            self._slots[number] = slot
            self._number[slot] = number
            self._digest[slot] = digest(bits)
        for table in (self._repeats, self._symbols, self._repeated, self._energy):
            table[slots] = 0
        self._idle[slots] = False
        self._ready += slots.tolist()

    def _end(self, slot: int, delivered: bool, reason: str) -> None:
        number = int(self._number[slot])
        self.outcomes.append(
            Outcome(
                number,
                delivered,
                reason,
                int(self._encoder.rounds[slot]),
                int(self._symbols[slot]),
                float(self._energy[slot]),
                int(self._repeated[slot]),
            )
        )
        self.counts["delivered" if delivered else "failed"] += 1
        del self._slots[number]
        self._free.append(slot)
        self._idle[slot] = True
        # Timers of the slot no longer mean anything.
        self._sending[slot] += 1
        for pending in (self._ready, self._stopping):
            if slot in pending:
                pending.remove(slot)


class Receiver:
    """Receives messages of K bits; see the module.

    capacity: sessions in flight; further ones wait until the transmitter asks again. idle:
    seconds without news after which a session has failed. memory: how many sessions back of
    each transmitter one that has ended is still known, so that a late message does not open
    it again.

    ``receive`` takes what came, ``poll`` gives what to answer, ``deliveries`` what has ended.
    """

    def __init__(
        self,
        code: Code,
        setting: Setting,
        *,
        capacity: int = 256,
        idle: float = 60.0,
        max_records: int = 256,
        memory: int = 16384,
    ):
        check(code, setting)
        if capacity < 1 or idle <= 0 or max_records < 1 or memory < capacity:
            raise ValueError(
                "expected capacity >= 1, idle > 0, max_records >= 1, memory >= capacity, "
                f"got {capacity}, {idle}, {max_records}, {memory}"
            )
        self.code, self.setting = code, setting
        self.idle, self.max_records, self.memory = idle, max_records, memory
        self.counts: Counter[str] = Counter()
        self.deliveries: deque[Delivery] = deque()
        p = code.parameters
        self._wire = _Wire(code, setting)
        self._decoder = code.decoder(capacity)
        self._free = list(range(capacity))
        self._slots: dict[tuple[int, int], int] = {}
        self._key: list[tuple[int, int]] = [(0, 0)] * capacity
        self._digest = np.zeros(capacity, np.uint32)
        self._seen_at = np.zeros(capacity)
        self._answers = np.zeros(capacity, self._wire.dtype)
        self._feedback = np.zeros((capacity, self._wire.back_width), np.float32)
        self._received = np.zeros((capacity, p.groups), np.float32)
        self._sent = np.zeros((capacity, p.groups), bool)
        # What the next poll does: decode, stop, answer again.
        self._ready: dict[int, None] = {}
        self._stopping: dict[int, None] = {}
        self._again: dict[int, None] = {}
        # Last words of sessions that have ended, and the newest session of each stream.
        self._ended: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._newest: dict[int, int] = {}
        self._last_words: dict[tuple[int, int], tuple[int, int, int]] = {}
        self._checked_at = -np.inf

    @property
    def in_flight(self) -> int:
        return len(self._slots)

    def receive(self, message: Message, now: float) -> None:
        """Takes a message of the forward link."""
        records, samples = self._wire.read(
            message, self._wire.forward_width, (SYMBOLS, STOP), self.counts
        )
        sent = self._wire.mask(records)
        for record, row, mask in zip(records, samples, sent, strict=True):
            key = (int(record["stream"]), int(record["number"]))
            kind, round = record["head"] & 15, int(record["round"])
            slot = self._slots.get(key)
            if slot is None:
                slot = self._meet(key, kind, round, int(record["digest"]))
                if slot is None:
                    continue
            self._seen_at[slot] = now
            done = self._decoder.rounds[slot] + (slot in self._ready)
            if kind == STOP and round == done:
                self._stopping[slot] = None
            elif kind == SYMBOLS and round == done + 1 and slot not in self._ready:
                self._sent[slot] = mask
                self._received[slot] = np.where(mask, row, 0)
                self._ready[slot] = None
            elif kind == SYMBOLS and round == done and slot not in self._ready:
                self.counts["repeated"] += 1
                self._again[slot] = None
            else:
                self.counts["stale"] += 1

    def _meet(self, key: tuple[int, int], kind: int, round: int, digest: int) -> int | None:
        """A slot for a session that is not in flight, or None where it cannot be opened."""
        stream, number = key
        if key in self._ended:
            self.counts["repeated"] += 1
            self._last_words[key] = self._ended[key]
            return None
        newest = self._newest.get(stream, -1)
        if kind != SYMBOLS or round != 1 or number <= newest - self.memory:
            self.counts["refused"] += 1
            self._last_words[key] = (FAILED, 0, 0)
            return None
        if not self._free:
            self.counts["full"] += 1
            return None
        if stream not in self._newest and len(self._newest) >= 64:
            del self._newest[next(iter(self._newest))]
        self._newest[stream] = max(newest, number)
        slot = self._free.pop()
        self._slots[key] = slot
        self._key[slot] = key
        self._digest[slot] = digest
        self._decoder.start(np.array([slot]))
        return slot

    def poll(self, now: float) -> list[Message]:
        """Decodes what has come and gives the answers to send now."""
        answered = [slot for slot in self._again if slot not in self._ready]
        if self._ready:
            answered += self._decode(np.array(list(self._ready)))
        for slot in self._stopping:
            if slot in answered:
                answered.remove(slot)
            self._finish(slot)
        self._ready, self._stopping, self._again = {}, {}, {}
        if now >= self._checked_at + self.idle / 4:
            self._checked_at = now
            for slot in [s for s in self._slots.values() if self._seen_at[s] <= now - self.idle]:
                self._end(slot, None, "idle", FAILED, 0)
                del self._last_words[self._key[slot]]
        records = np.zeros(len(self._last_words), self._wire.dtype)
        for record, (key, (kind, round, found)) in zip(
            records, self._last_words.items(), strict=True
        ):
            record["head"] = FORMAT << 4 | kind
            record["stream"], record["number"] = key
            record["round"], record["digest"] = round, found
        self._last_words = {}
        answers = np.concatenate((self._answers[answered], records))
        if answers.size == 0:
            return []
        samples = np.zeros((len(answers), self._wire.back_width), np.float32)
        samples[: len(answered)] = self._feedback[answered]
        payload = 8 * self._wire.dtype["payload"].itemsize
        self.counts["control_bits"] += 8 * answers.nbytes - payload * len(answers)
        self.counts["feedback_bits"] += payload * len(answered)
        if self._wire.back_width:
            beliefs = self._wire.back_width - self._wire.forward_width
            self.counts["feedback_samples"] += int(self._sent[answered].sum())
            self.counts["feedback_samples"] += len(answered) * beliefs
        return self._wire.build(answers, samples, self.max_records)

    def _decode(self, slots: np.ndarray) -> list[int]:
        """One round of sessions; returns the slots of those that go on."""
        p, setting = self.code.parameters, self.setting
        y = self._received[slots]
        threshold = setting.threshold if setting.decides_at_receiver else None
        decoded = self._decoder.decode(slots, y, threshold)
        over = decoded.all(1) | (self._decoder.rounds[slots] == p.rounds)
        for slot in slots[over].tolist():
            self._stopping.pop(slot, None)
            self._finish(slot)
        slots, y, decoded = slots[~over], y[~over], decoded[~over]
        if slots.size == 0:
            return []
        records = np.zeros(len(slots), self._wire.dtype)
        records["head"] = FORMAT << 4 | FEEDBACK
        records["stream"], records["number"] = np.array([self._key[s] for s in slots.tolist()]).T
        records["round"] = self._decoder.rounds[slots]
        records["groups"] = self._wire.mask_bytes(decoded)
        feedback = self._decoder.feedback(slots, y)
        if self._wire.back_width == 0:
            records["payload"] = feedback
        else:
            self._feedback[slots, : p.groups] = feedback
            if setting.asks_transmitter:
                beliefs = self._decoder.belief_samples(slots)
                self._feedback[slots, p.groups :] = beliefs.reshape(len(slots), -1)
        self._answers[slots] = records
        return slots.tolist()

    def _finish(self, slot: int) -> None:
        decisions = self._decoder.decisions(np.array([slot]))
        bits = self.code.bits(decisions)[0]
        found = digest(bits)
        right = found == self._digest[slot]
        if right:
            self._end(slot, bits, "", DONE, found)
        else:
            self._end(slot, None, "wrong", FAILED, found)

    def _end(self, slot: int, bits: np.ndarray | None, reason: str, kind: int, found: int) -> None:
        key, rounds = self._key[slot], int(self._decoder.rounds[slot])
        self.deliveries.append(Delivery(key, bits, reason, rounds))
        self.counts["failed" if bits is None else "delivered"] += 1
        del self._slots[key]
        self._free.append(slot)
        self._ended[key] = self._last_words[key] = (kind, rounds, found)
        if len(self._ended) > 2 * self.memory:
            self._ended = {
                (stream, number): words
                for (stream, number), words in self._ended.items()
                if number > self._newest.get(stream, 1 << 32) - self.memory
            }


@dataclasses.dataclass(frozen=True)
class Faults:
    """What a link does to messages: share that it drops, doubles, delays, corrupts.

    latency: seconds that each takes; delay: how many more those delayed take, at most.
    """

    drop: float = 0.0
    double: float = 0.0
    delay: float = 0.0
    corrupt: float = 0.0
    latency: float = 0.01
    longest_delay: float = 2.0


class SimulatedLink:
    """A link with noise on the samples and faults on the messages, the same for one seed.

    deviation: of the noise a real sample. ``send`` at one time, ``arrivals`` at a later one.
    """

    def __init__(self, seed: int, deviation: float = 0.0, faults: Faults | None = None):
        self.rng = np.random.default_rng(seed)
        self.deviation, self.faults = deviation, faults or Faults()
        self.counts: Counter[str] = Counter()
        self._flying: list[tuple[float, int, Message]] = []
        self._order = itertools.count()

    def send(self, message: Message, now: float) -> None:
        rng, faults = self.rng, self.faults
        self.counts["sent"] += 1
        if rng.random() < faults.drop:
            self.counts["dropped"] += 1
            return
        copies = 1
        if rng.random() < faults.double:
            self.counts["doubled"] += 1
            copies = 2
        for _ in range(copies):
            noise = rng.standard_normal(message.samples.shape, np.float32)
            copy = Message(message.control, message.samples + np.float32(self.deviation) * noise)
            arrival = now + faults.latency
            if rng.random() < faults.delay:
                self.counts["delayed"] += 1
                arrival += rng.uniform(0, faults.longest_delay)
            if rng.random() < faults.corrupt:
                self.counts["corrupted"] += 1
                copy = self._corrupt(copy)
            heapq.heappush(self._flying, (arrival, next(self._order), copy))

    def arrivals(self, now: float) -> list[Message]:
        messages = []
        while self._flying and self._flying[0][0] <= now:
            messages.append(heapq.heappop(self._flying)[2])
        return messages

    def next_arrival(self) -> float | None:
        return self._flying[0][0] if self._flying else None

    def _corrupt(self, message: Message) -> Message:
        """Flips bits of the control part, spoils samples, or cuts one of them short."""
        rng = self.rng
        control, samples = bytearray(message.control), message.samples.copy()
        damage = rng.integers(4 if samples.size else 2)
        if damage == 0:
            for place in rng.integers(0, len(control), rng.integers(1, 5)):
                control[place] ^= 1 << int(rng.integers(8))
        elif damage == 1:
            del control[int(rng.integers(len(control))) :]
        elif damage == 2:
            hit = rng.integers(0, samples.size, rng.integers(1, samples.size + 1))
            samples[hit] = rng.choice([0, 5, -50, 1e30, np.nan, np.inf], len(hit))
        else:
            samples = samples[: rng.integers(samples.size)]
        return Message(bytes(control), samples)


def converse(
    transmitter: Transmitter,
    receiver: Receiver,
    forward: SimulatedLink,
    back: SimulatedLink,
    *,
    now: float = 0.0,
    tick: float = 0.005,
) -> float:
    """Runs both ends over simulated links until the transmitter has nothing left to do.

    tick: what happens within this many seconds is handled as one batch. Returns the time.
    """
    while transmitter.in_flight or transmitter.backlog:
        for message in transmitter.poll(now):
            forward.send(message, now)
        for message in receiver.poll(now):
            back.send(message, now)
        events = (forward.next_arrival(), back.next_arrival(), transmitter.next_timer())
        upcoming = [event for event in events if event is not None]
        if upcoming:
            now = max(now, min(upcoming), math.ceil(min(upcoming) / tick) * tick)
        for message in forward.arrivals(now):
            receiver.receive(message, now)
        for message in back.arrivals(now):
            transmitter.receive(message, now)
    return now
