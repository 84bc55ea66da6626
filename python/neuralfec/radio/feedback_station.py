# SPDX-License-Identifier: GPL-3.0-or-later
"""The feedback link's ends with their clocks: samples in, bursts out when it is time."""

from __future__ import annotations

import abc
import statistics
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from .feedback_link import Initiator, Responder
from .recordings import Complex

# Bursts of which a running link keeps figures.
_RECENT = 1 << 16


class Station(abc.ABC):
    """One end and its clock: takes samples, and gives bursts to send when it is time.

    Parameters
    ----------
    end : an initiator or a responder
    amplitude : rms of the samples; 0.2 has room for OFDM's peaks below 1, full scale of most
        radios. ValueError for one that is not above 0
    clock : gives seconds

    Both directions may be called from threads of their own.

    Attributes
    ----------
    end : as given
    turnarounds : seconds from the last samples of a burst until what is sent next was taken
    first, heard : when something came first, None before, and last, by the clock
    """

    end: Initiator | Responder

    def __init__(
        self,
        end: Initiator | Responder,
        amplitude: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if not (np.isfinite(amplitude) and amplitude > 0):
            raise ValueError(f"expected an amplitude > 0, got {amplitude}")
        self.turnarounds: deque[float] = deque(maxlen=_RECENT)
        self.first: float | None = None
        self.heard = clock()
        # When the last samples came of a burst that is not followed by one yet.
        self._came: float | None = None
        self._amplitude, self._clock, self._lock = np.float32(amplitude), clock, threading.Lock()
        self.end = end

    def push(self, samples: Complex) -> bool:
        """Take received samples; whether there is something to send now."""
        began = self._clock()
        with self._lock:
            more = self._take(samples)
        if more:
            self.heard, self._came = self._clock(), began
            if self.first is None:
                self.first = self.heard
        return more

    def gap(self) -> None:
        """Samples are missing here."""
        self.end.receiver.gap()

    def next(self) -> Complex | None:
        """Give a burst to send; None where there is none now."""
        with self._lock:
            burst = self._next()
        if burst is None:
            return None
        samples = self._amplitude * burst
        if self._came is not None:
            self.turnarounds.append(self._clock() - self._came)
            self._came = None
        return samples

    def stats(self) -> dict[str, Any]:
        """Return what the end tells, and the median of the newest turnarounds in ms."""
        found = self.end.stats()
        if newest := list(self.turnarounds)[-100:]:
            found["turnaround_ms"] = 1e3 * statistics.median(newest)
        return found

    @abc.abstractmethod
    def settle(self) -> None:
        """Do what can wait until the burst is on its way."""

    @abc.abstractmethod
    def _take(self, samples: Complex) -> bool: ...

    @abc.abstractmethod
    def _next(self) -> Complex | None: ...


class InitiatingStation(Station):
    """Sends bursts, each again where no answer comes in time.

    Parameters
    ----------
    end, amplitude, clock : as of `Station`
    sample_rate : samples/s
    timeout : seconds before a burst comes again; 0 for a time by its length
    patience : seconds without an answer after which a stream is given up and the next one begins;
        infinite for a transmission with an end

    ValueError for a rate or a patience that is not above 0, and for a timeout below 0.
    """

    end: Initiator

    def __init__(
        self,
        end: Initiator,
        sample_rate: float,
        timeout: float = 0.0,
        patience: float = float("inf"),
        amplitude: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(end, amplitude, clock)
        if not (np.isfinite(sample_rate) and sample_rate > 0):
            raise ValueError(f"expected a rate of more than 0 samples/s, got {sample_rate}")
        if not (np.isfinite(timeout) and timeout >= 0):
            raise ValueError(f"expected a timeout of at least 0 seconds, got {timeout}")
        if not patience > 0:
            raise ValueError(f"expected a patience of more than 0 seconds, got {patience}")
        # A burst there, its answer, and room for a busy machine.
        self._timeout = timeout or 0.2 + 3 * end.framing.longest / sample_rate
        self._patience = patience
        # Round of the burst that was sent last, -1 for none, when it was sent first, and last.
        self._number, self._first, self._last = -1, 0.0, 0.0

    def _take(self, samples: Complex) -> bool:
        return self.end.push(samples)

    def _next(self) -> Complex | None:
        end, now = self.end, self._clock()
        if end.waits and not end.resume():
            return None
        if self._number == end.round:
            if now >= self._first + self._patience:
                end.restart()
                self._number = -1
                if end.waits:
                    return None
            elif now < self._last + self._timeout:
                return None
        if self._number != end.round:
            self._number, self._first = end.round, now
        self._last = now
        return end.samples()

    def settle(self) -> None:
        """Make the burst after the one that is on its way."""
        with self._lock:
            self.end.settle()


class AnsweringStation(Station):
    """Answers each burst; the parameters are those of `Station`."""

    end: Responder

    def __init__(
        self,
        end: Responder,
        amplitude: float = 0.2,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(end, amplitude, clock)
        self._answers: deque[Complex] = deque()
        # When the first burst came.
        self._began: float | None = None

    def _take(self, samples: Complex) -> bool:
        made = self.end.push(samples)
        if made and self._began is None:
            self._began = self._clock()
        self._answers.extend(made)
        return bool(made)

    def _next(self) -> Complex | None:
        return self._answers.popleft() if self._answers else None

    def stats(self) -> dict[str, Any]:
        """Return what the end tells, and the right bits a second since the first burst."""
        found = super().stats()
        if self._began is not None and self.heard > self._began:
            bits = 8 * self.end.framing.capacity * self.end.counts["right_super_blocks"]
            found["bits_a_second"] = bits / (self.heard - self._began)
        return found

    def settle(self) -> None:
        """Prepare the next round."""
        with self._lock:
            self.end.settle()
