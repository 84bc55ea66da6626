# SPDX-License-Identifier: GPL-3.0-or-later
"""A file over coded bursts: numbered frames with CRC-32, any code, decoder and constellation.

Each burst holds whole frames and its header the number of frames of the file, so a receiver that
has got one burst knows what is missing. The bits of a frame are interleaved over its symbols.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np

from .. import _kernels
from ..codes import code as make_code
from ..decoders import decoder as make_decoder
from ..framing import FrameFormat
from ..phy.burst import Burst, BurstFormat, BurstReceiver, burst_format, refine
from ..phy.constellation import constellation as make_constellation
from ..phy.constellation import modulate
from ..phy.demapping import demap
from .recordings import Complex

# Of a frame: number, length, one byte of data and the CRC.
_LEAST_BITS = 88
# Silence between bursts, in symbols: what a receiver learns the noise and its DC of.
_SILENCE = 2


class Framing:
    """The layout that both ends of a link share.

    Parameters
    ----------
    code : spec, as `codes.code` takes it
    constellation : name
    format : a `BurstFormat` or a preset's name
    symbols : payload symbols of a full burst; more where a frame needs them

    ValueError for what is unknown or does not fit.
    """

    def __init__(
        self,
        code: str = "wifi-648",
        constellation: str = "qam16",
        format: str | BurstFormat = "burst-128",
        symbols: int = 100,
    ) -> None:
        self.format = burst_format(format)
        if not 1 <= symbols <= self.format.max_symbols:
            raise ValueError(f"expected 1 to {self.format.max_symbols} symbols, got {symbols}")
        self.code = make_code(code)
        self.constellation = make_constellation(constellation)
        self.parts = -(-_LEAST_BITS // self.code.k)
        self.frames = FrameFormat(self.parts * self.code.k)
        self.bits = self.parts * self.code.n
        self.order = _kernels.random_permutation(self.bits, 1)
        a_symbol = self.format.data * self.constellation.bits_per_symbol
        self.symbols = max(symbols, -(-self.bits // a_symbol))
        if self.symbols > self.format.max_symbols:
            raise ValueError(f"expected frames of a burst's size, got {self.bits} bits a frame")
        self.frames_a_burst = self.symbols * a_symbol // self.bits

    def symbols_of(self, messages: np.ndarray) -> Complex:
        """Map frames' message bits, uint8 (frames, k parts), to payload symbols."""
        words = self.code.encode(messages.reshape(-1, self.code.k)).reshape(-1, self.bits)
        bits = words[:, self.order].reshape(-1)
        # The last symbol is made up with a pattern of the order's own.
        missing = -bits.size % self.constellation.bits_per_symbol
        return modulate(np.concatenate([bits, np.zeros(missing, np.uint8)]), self.constellation)


class Transmitter:
    """Makes bursts of a file.

    Parameters
    ----------
    framing : shared with the receiver
    """

    def __init__(self, framing: Framing) -> None:
        self.framing = framing

    def bursts(self, file: BinaryIO, size: int) -> Iterator[Complex]:
        """Give the bursts of a file of so many bytes, with silence before each.

        ValueError for an empty file, and for one of more than 2^32 frames or shorter than told.
        """
        framing, frames = self.framing, self.framing.frames
        if size < 1:
            raise ValueError("expected a file with data, got an empty one")
        total = frames.frames_for(size)
        if total >= 2**32:
            raise ValueError(f"expected at most 2^32 frames, got {total}")
        silence = np.zeros(_SILENCE * framing.format.symbol_length, np.complex64)
        for first in range(0, total, framing.frames_a_burst):
            count = min(framing.frames_a_burst, total - first)
            data = file.read(count * frames.capacity)
            messages = frames.build(data, first)
            if len(messages) != count:
                raise ValueError("the file became shorter while it was sent")
            filler = frames.filler(framing.frames_a_burst - count)
            symbols = framing.symbols_of(np.concatenate([messages, filler]))
            yield np.concatenate([silence, framing.format.build(symbols, user=total)])


class Receiver:
    """Finds bursts in samples and writes the frames that are right to a file, in order.

    Parameters
    ----------
    framing : shared with the transmitter
    decoder : spec, as `decoders.decoder` takes it
    output : a binary file to write to, or None
    second_pass : demodulate bursts with wrong frames again, with the right ones as pilots

    Attributes
    ----------
    counts : frames, damaged, written, repeated, filler, rescued
    lost : ranges (first, last) of frame numbers that did not come, up to the last that did
    total : frames of the file as bursts tell, 0 before the first
    bursts : figures of each burst, the newest 1000
    last : the newest burst
    """

    def __init__(
        self,
        framing: Framing,
        decoder: str = "bp:50",
        output: BinaryIO | None = None,
        second_pass: bool = False,
    ) -> None:
        self.framing = framing
        self.receiver = BurstReceiver(framing.format)
        self.counts: Counter[str] = Counter()
        self.lost: list[tuple[int, int]] = []
        self.total = 0
        self.bursts: list[dict[str, Any]] = []
        self.last: Burst | None = None
        self._decoder = make_decoder(decoder, framing.code)
        self._output = output
        self._next = 0
        self._second_pass = second_pass
        self._held = np.empty(0, np.complex64)
        self._held_from = 0

    def push(self, samples: Complex) -> None:
        """Take the next samples."""
        if self._second_pass:
            # As far back as the longest burst of this link.
            keep = 2 * self.framing.format.length(self.framing.symbols) + samples.size
            self._held = np.concatenate([self._held, samples])
            drop = max(0, self._held.size - keep)
            self._held, self._held_from = self._held[drop:], self._held_from + drop
        for burst in self.receiver.push(samples):
            self._take(burst)

    def finish(self) -> None:
        """Take what the end of the samples completes."""
        self.push(np.zeros(2 * self.framing.format.length(1), np.complex64))

    def missing(self) -> list[tuple[int, int]]:
        """Ranges of frame numbers that are not in the output."""
        tail = [(self._next, self.total - 1)] if self._next < self.total else []
        return [*self.lost, *tail]

    def _decode(self, y: Complex, h: Complex, noise_var: float) -> np.ndarray:
        framing = self.framing
        llrs = demap(y, framing.constellation, noise_var, h).reshape(-1)
        frames = llrs.size // framing.bits
        straight = np.empty((frames, framing.bits), np.float32)
        straight[:, framing.order] = llrs[: frames * framing.bits].reshape(frames, -1)
        words = straight.reshape(-1, framing.code.n)
        messages, _ = self._decoder.decode(words)
        return messages.reshape(frames, -1)

    def _take(self, burst: Burst) -> None:
        self.last = burst
        self.total = burst.user
        messages = self._decode(burst.y, burst.h, burst.noise_var)
        valid, numbers, data = self.framing.frames.parse(messages)
        if self._second_pass and valid.any() and not valid.all():
            again = self._again(burst, messages, valid)
            now, *_ = self.framing.frames.parse(again)
            self.counts["rescued"] += int(np.count_nonzero(now & ~valid))
            # What was right stays.
            messages = np.where(valid[:, None], messages, again)
            valid, numbers, data = self.framing.frames.parse(messages)
        self.counts.update(frames=len(valid), damaged=int(np.count_nonzero(~valid)))
        for number, part in zip(numbers[valid], np.array(data, object)[valid], strict=True):
            self._write(int(number), part)
        self.bursts.append(
            {
                "start": burst.start,
                "length": burst.length,
                "snr_db": 10 * float(np.log10(burst.snr)),
                "evm_db": 20 * float(np.log10(burst.evm)),
                "cfo_cycles_a_sample": burst.cfo / self.framing.format.fft_length,
                "clock_offset_ppm": 1e6 * burst.clock_offset,
                "frames": len(valid),
                "damaged": int(np.count_nonzero(~valid)),
            }
        )
        del self.bursts[:-1000]

    def _again(self, burst: Burst, messages: np.ndarray, valid: np.ndarray) -> np.ndarray:
        framing = self.framing
        known = np.zeros(burst.y.size, np.complex64)
        symbols = framing.symbols_of(messages)
        right = np.repeat(valid, framing.bits)
        bits = framing.constellation.bits_per_symbol
        # Symbols all of whose bits belong to right frames.
        whole = right[: right.size // bits * bits].reshape(-1, bits).all(1)
        known[: whole.size][whole] = symbols[: whole.size][whole]
        window = self._held[burst.window - self._held_from :]
        figures = refine(window, burst, framing.format, known)
        return self._decode(figures["y"], figures["h"], figures["noise_var"])

    def _write(self, number: int, part: bytes) -> None:
        if not part:
            self.counts["filler"] += 1
        elif number < self._next:
            self.counts["repeated"] += 1
        else:
            if number > self._next:
                self.lost.append((self._next, number - 1))
            self._next = number + 1
            if self._output is not None:
                self._output.write(part)
            self.counts["written"] += 1
