# SPDX-License-Identifier: GPL-3.0-or-later
"""The transmitter's end of sessions."""

import dataclasses
import heapq
import itertools
from collections import Counter, deque

import numpy as np

from ..code import AskedEncoder, Code
from ..setting import Setting
from .wire import DONE, ERASED, FAILED, FEEDBACK, FORMAT, STOP, SYMBOLS, Message, Wire, digest


@dataclasses.dataclass(frozen=True)
class Outcome:
    """Tell how a session ended, as its transmitter knows.

    session: what ``submit`` called it. delivered: the receiver has the message, checked.
    Otherwise the reason: "wrong" (decoded, but not to this message), "erased" (the receiver
    could not be sure of it, and says so), "no answer" (the receiver may or may not have it),
    "refused" (the receiver knows nothing of it).
    rounds; symbols and energy of their first sending; repeated: symbols sent again.
    """

    session: int
    delivered: bool
    reason: str
    rounds: int
    symbols: int
    energy: float
    repeated: int

    @property
    def erased(self) -> bool:
        """Whether the receiver declared the block lost."""
        return self.reason == "erased"


class Transmitter:
    """Sends messages of K bits; see ``session``.

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
        code.check(setting)
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
        self._wire = Wire(code, setting)
        self._encoder = code.encoder(capacity)
        self._waiting: deque[tuple[int, np.ndarray]] = deque()
        self._free = list(range(capacity))
        self._slots: dict[int, int] = {}
        self._next = 0
        self._number = np.zeros(capacity, np.uint32)
        self._digest = np.zeros(capacity, np.uint32)
        self._kind = np.zeros(capacity, np.uint8)
        self._sent = np.zeros((capacity, code.parameters.places), bool)
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
        """Number of sessions under way."""
        return len(self._slots)

    @property
    def backlog(self) -> int:
        """Number of messages that wait for a session."""
        return len(self._waiting)

    def submit(self, messages: np.ndarray, first: int | None = None) -> list[int]:
        """Queue messages, (n, K) uint8 bits, and return the numbers of their sessions.

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
        """Take a message of the feedback link."""
        records, samples = self._wire.read(
            message, self._wire.back_width, (FEEDBACK, DONE, FAILED, ERASED), self.counts
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
            elif kind == ERASED:
                self._end(slot, False, "erased")
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
        feedback = records["payload"] if digital else samples[:, : p.places]
        self._encoder.observe(slots, feedback, self._wire.mask(records, p.groups))
        stop = np.zeros(len(slots), bool)
        if self.setting.asks_transmitter:
            beliefs = samples[:, p.places :].reshape(-1, p.groups, p.patterns)
            threshold = self.setting.transmitter_threshold or 0.0
            assert isinstance(self._encoder, AskedEncoder)
            stop = self._encoder.agrees(slots, beliefs, threshold)
            if self.setting.termination == "hybrid":
                stop &= self._encoder.rounds[slots] >= p.first_decision
        self._sending[slots] += 1
        self._ready += slots[~stop].tolist()
        self._stopping += slots[stop].tolist()

    def poll(self, now: float) -> list[Message]:
        """Return what to send now: new sessions, next rounds, stops, and what got no answer."""
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
            x = self._encoder.encode(slots)
            self._sent[slots] = self._encoder.sent[slots]
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
        """Tell when ``poll`` is due if nothing else happens; None if nothing is waited for."""
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
