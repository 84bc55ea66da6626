# SPDX-License-Identifier: GPL-3.0-or-later
"""A file over sessions: cut into messages, sent until all are delivered, put together again."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..simulation import clopper_pearson
from .evaluation import capacity

# Session numbers of one pass over the file are at most this many.
PASS = 1 << 24
# What `Sender.ended` is told of sessions.
COLUMNS = ("session", "delivered", "erased", "rounds", "symbols", "energy", "repeated")


class Sender:
    """Cuts data into messages of `bits` bits and says which to send, in at most `passes`.

    Sessions that fail are sent again by the next pass. ValueError for data too long, or
    messages of less than a byte.
    """

    def __init__(self, data: bytes, bits: int, passes: int) -> None:
        if bits < 8:
            raise ValueError(f"expected a code of at least 8 message bits, got {bits}")
        size = bits // 8
        content = len(data).to_bytes(size, "big") + data
        padded = np.frombuffer(content + bytes(-len(content) % size), np.uint8)
        rows = np.unpackbits(padded.reshape(-1, size), axis=1)
        if len(rows) > PASS:
            raise ValueError(f"expected a file of at most {(PASS - 1) * size} bytes")
        self.bits = bits
        self.messages = np.zeros((len(rows), bits), np.uint8)
        self.messages[:, : 8 * size] = rows
        self.passes, self.turn = passes, 0
        self.missing = np.arange(len(rows))
        self.waiting: dict[int, int] = {}
        self._columns: dict[str, list[NDArray]] = {name: [] for name in COLUMNS}

    def ended(self, columns: Mapping[str, NDArray]) -> None:
        """Take what became of sessions: an array for each of COLUMNS."""
        for name, parts in self._columns.items():
            parts.append(np.asarray(columns[name]))
        for number, delivered in zip(columns["session"], columns["delivered"], strict=True):
            place = self.waiting.pop(int(number))
            if not delivered:
                self.missing = np.append(self.missing, place)

    @property
    def done(self) -> bool:
        """Whether there is nothing left to send or to wait for."""
        return not self.waiting and (self.missing.size == 0 or self.turn == self.passes)

    def state(self) -> tuple[int, str]:
        """Return how many blocks are delivered, and that in words."""
        done = len(self.messages) - len(self.missing) - len(self.waiting)
        return done, f"{done} of {len(self.messages)} blocks"

    def due(self) -> list[tuple[int, NDArray]]:
        """Return the next pass: first session numbers, and messages (n, bits) uint8 from there.

        Empty while answers are outstanding.
        """
        if self.waiting or self.done:
            return []
        # The place in the file is the number's rest, so gaps split the submission.
        self.missing.sort()
        first, parts = self.turn * PASS, []
        for part in np.split(self.missing, np.flatnonzero(np.diff(self.missing) > 1) + 1):
            self.waiting.update((first + int(place), int(place)) for place in part)
            parts.append((first + int(part[0]), self.messages[part]))
        self.missing = np.empty(0, np.int64)
        self.turn += 1
        return parts

    def results(self, snr_db: float, groups: int) -> dict:
        """Return error and erasure rates, rounds, rate and power of the sessions that ended."""
        columns = {name: np.concatenate(parts) for name, parts in self._columns.items()}
        sessions, symbols = len(columns["rounds"]), float(columns["symbols"].sum())
        delivered, erased = int(columns["delivered"].sum()), int(columns["erased"].sum())
        wrong = sessions - delivered - erased
        power = float(columns["energy"].sum(dtype=np.float64)) / symbols
        return {
            "sessions": sessions,
            "block_errors": wrong,
            "block_error_rate": wrong / sessions,
            "block_error_rate_interval": list(clopper_pearson(wrong, sessions)[1:]),
            "erasures": erased,
            "erasure_rate": erased / sessions,
            "average_rounds": symbols / groups / sessions,
            "rounds_histogram": np.bincount(columns["rounds"].astype(int)).tolist(),
            "rate": self.bits * (sessions - erased) / symbols,
            "mean_power": power,
            "repeated_symbols": int(columns["repeated"].sum()),
            "capacity": capacity(snr_db),
            "capacity_at_real_snr": capacity(snr_db + 10 * np.log10(power)),
            "blocks_missing": len(self.missing) + len(self.waiting),
        }


class Collector:
    """Puts data together again from what a receiver delivers."""

    def __init__(self) -> None:
        self.parts: dict[int, bytes] = {}
        self.stream: int | None = None

    def take(self, stream: int, session: int, bits: Sequence[int] | NDArray) -> None:
        """Take a message; one of a new stream begins the data anew."""
        if stream != self.stream:
            self.stream, self.parts = stream, {}
        bits = np.asarray(bits, np.uint8)
        self.parts[session % PASS] = np.packbits(bits[: bits.size // 8 * 8]).tobytes()

    @property
    def whole(self) -> bool:
        """Whether all of the data is there."""
        return 0 in self.parts and len(self.parts) == self._count()

    def state(self) -> tuple[int, str]:
        """Return how many blocks are here, and of how many."""
        return len(self.parts), f"of {self._count()}" if 0 in self.parts else ""

    def part(self) -> bytes:
        """Return the data's beginning, as far as it is whole."""
        whole = next(place for place in range(len(self.parts) + 1) if place not in self.parts)
        length = int.from_bytes(self.parts[0], "big") if whole else 0
        return b"".join(self.parts[place] for place in range(1, whole))[:length]

    def data(self) -> bytes:
        """Return the data, once it is whole."""
        length = int.from_bytes(self.parts[0], "big")
        return b"".join(self.parts[i] for i in range(1, self._count()))[:length]

    def _count(self) -> int:
        size = len(self.parts[0])
        return 1 - -int.from_bytes(self.parts[0], "big") // size
