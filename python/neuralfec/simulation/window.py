# SPDX-License-Identifier: GPL-3.0-or-later
"""Error rates of a link while it runs."""

import math
import threading
import time
from collections import Counter, deque
from collections.abc import Mapping

import numpy as np

from .engine import count_errors
from .results import Estimate, _sample, clopper_pearson


def error_rate(counts: Mapping[str, float], metric: str) -> Estimate:
    """Estimate a rate from counts of `count_errors`, with its 95 % interval.

    metric: "ber" or "bler". nan, from 0 to 1, where nothing was counted.
    """
    if not counts.get("blocks"):
        return Estimate(math.nan, 0.0, 1.0)
    return clopper_pearson(*_sample(counts, metric))


class ErrorWindow:
    """Counts errors over a sliding window of time, and from the start. Threads may share one.

    Parameters
    ----------
    seconds : length of the window; 0 counts from the start, or from the last `reset`, on

    ValueError for a negative length.
    """

    # The window slides by this part of its length.
    _STEPS = 20

    def __init__(self, seconds: float = 1.0) -> None:
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"expected a window of 0 seconds or more, got {seconds}")
        self._lock = threading.Lock()
        self.seconds = seconds
        self.total: Counter[str] = Counter()
        self._pieces: deque[tuple[float, Counter[str]]] = deque()

    def set_window(self, seconds: float) -> None:
        """Choose another length of the window in seconds, 0 for all."""
        if not (math.isfinite(seconds) and seconds >= 0):
            raise ValueError(f"expected a window of 0 seconds or more, got {seconds}")
        with self._lock:
            self.seconds = seconds
            self._pieces.clear()

    def add(self, sent: np.ndarray, decided: np.ndarray, now: float | None = None) -> dict:
        """Count frames, bits uint8 (F, k) both, and return the counts of these.

        now: seconds, of the clock by default.
        """
        counts = count_errors(sent, decided)
        now = time.monotonic() if now is None else now
        with self._lock:
            self.total.update(counts)
            if not self.seconds:
                return counts
            if not self._pieces or now - self._pieces[-1][0] >= self.seconds / self._STEPS:
                self._pieces.append((now, Counter()))
            self._pieces[-1][1].update(counts)
            # What is older than the newest frame by the window has gone.
            while now - self._pieces[0][0] > self.seconds:
                self._pieces.popleft()
        return counts

    def reset(self) -> None:
        """Forget all counts."""
        with self._lock:
            self.total.clear()
            self._pieces.clear()

    def counts(self) -> dict[str, int]:
        """Return the counts in the window, keys as of `count_errors`."""
        with self._lock:
            if not self.seconds:
                return dict(self.total)
            found: Counter[str] = Counter()
            for _, piece in self._pieces:
                found.update(piece)
            return dict(found)

    def rate(self, metric: str) -> Estimate:
        """Estimate "ber" or "bler" in the window, with its 95 % interval."""
        return error_rate(self.counts(), metric)
