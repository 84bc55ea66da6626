# SPDX-License-Identifier: GPL-3.0-or-later
"""The receiver's end of sessions."""

import dataclasses
from collections import Counter, deque

import numpy as np

from ..code import AskingDecoder, Code
from ..setting import Setting
from .wire import DONE, ERASED, FAILED, FEEDBACK, FORMAT, STOP, SYMBOLS, Message, Wire, digest


@dataclasses.dataclass(frozen=True)
class Delivery:
    """Tell how a session ended, as its receiver knows: bits (K,) uint8, or None and the reason."""

    session: tuple[int, int]
    bits: np.ndarray | None
    reason: str
    rounds: int


class Receiver:
    """Receives messages of K bits; see ``session``.

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
        code.check(setting)
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
        self._wire = Wire(code, setting)
        self._decoder = code.decoder(capacity)
        self._free = list(range(capacity))
        self._slots: dict[tuple[int, int], int] = {}
        self._key: list[tuple[int, int]] = [(0, 0)] * capacity
        self._digest = np.zeros(capacity, np.uint32)
        self._seen_at = np.zeros(capacity)
        self._answers = np.zeros(capacity, self._wire.dtype)
        self._feedback = np.zeros((capacity, self._wire.back_width), np.float32)
        self._received = np.zeros((capacity, p.places), np.float32)
        self._sent = np.zeros((capacity, p.places), bool)
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
        """Number of sessions under way."""
        return len(self._slots)

    def receive(self, message: Message, now: float) -> None:
        """Take a message of the forward link."""
        records, samples = self._wire.read(
            message, self._wire.forward_width, (SYMBOLS, STOP), self.counts
        )
        sent = self._wire.mask(records, self._wire.forward_width)
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
        """Find a slot for a session that is not in flight, or None where it cannot be opened."""
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
        """Decode what has come and return the answers to send now."""
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
        """Take one round of sessions; return the slots of those that go on."""
        p, setting = self.code.parameters, self.setting
        y = self._received[slots]
        threshold = setting.threshold if setting.decides_at_receiver else None
        decoded = self._decoder.decode(slots, y, threshold)
        over = self._decoder.over(slots)
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
            self._feedback[slots, : p.places] = feedback
            if setting.asks_transmitter:
                assert isinstance(self._decoder, AskingDecoder)
                beliefs = self._decoder.belief_samples(slots)
                self._feedback[slots, p.places :] = beliefs.reshape(len(slots), -1)
        self._answers[slots] = records
        return slots.tolist()

    def _finish(self, slot: int) -> None:
        row = np.array([slot])
        if self._decoder.over(row)[0] and self._decoder.erased(row)[0]:
            self._end(slot, None, "erased", ERASED, 0)
            return
        decisions = self._decoder.decisions(row)
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
