# SPDX-License-Identifier: GPL-3.0-or-later
"""Links for sessions that are simulated, faults included."""

import dataclasses
import heapq
import itertools
import math
from collections import Counter

import numpy as np

from .receiver import Receiver
from .transmitter import Transmitter
from .wire import Message


@dataclasses.dataclass(frozen=True)
class Faults:
    """Tell what a link does to messages: share that it drops, doubles, delays, corrupts.

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
        """Put a message on the link."""
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
        """Return the messages that have arrived by now."""
        messages = []
        while self._flying and self._flying[0][0] <= now:
            messages.append(heapq.heappop(self._flying)[2])
        return messages

    def next_arrival(self) -> float | None:
        """Tell when the next message arrives; None where none is under way."""
        return self._flying[0][0] if self._flying else None

    def _corrupt(self, message: Message) -> Message:
        """Flip bits of the control part, spoils samples, or cuts one of them short."""
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
    """Run both ends over simulated links until the transmitter has nothing left to do.

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
