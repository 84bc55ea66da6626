# SPDX-License-Identifier: GPL-3.0-or-later
"""A file over coded bursts: numbered frames with CRC-32, any code, decoder and constellation.

Each burst holds whole frames and its header the number of frames of the file, so a receiver that
has got one burst knows what is missing. The bits of a frame are interleaved over its symbols.

Where there is a way back, a `Sender` asks after each window of bursts, by a bit of the header, and
the `Receiver` answers with a report of the frames that it lacks, in a short burst of QPSK; those
come again. Without an answer the sender repeats its question.
"""

from __future__ import annotations

import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
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
from ..quantization import LlrQuantizer
from .recordings import Complex

# Of a frame: number, length, one byte of data and the CRC.
_LEAST_BITS = 88
# Silence between bursts, in symbols: what a receiver learns the noise and its DC of.
_SILENCE = 2
# What a burst is, in the header's bits above the number of frames.
DATA, QUESTION, REPORT = 0, 1, 2
_TOTAL_BITS = 32
# Of a report: frames of the file, frames that it speaks of, whether ranges did not fit; ranges.
_REPORT, _RANGE = struct.Struct("<IIB"), struct.Struct("<II")
_REPORT_SYMBOLS = 28


def kind_of(burst: Burst) -> int:
    """Return what a burst is: DATA, QUESTION (data, too) or REPORT."""
    return burst.user >> _TOTAL_BITS


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


def _burst(framing: Framing, messages: np.ndarray, kind: int, total: int) -> Complex:
    """Frames as one burst with silence before it."""
    filler = framing.frames.filler(framing.frames_a_burst - len(messages))
    symbols = framing.symbols_of(np.concatenate([messages, filler]))
    silence = np.zeros(_SILENCE * framing.format.symbol_length, np.complex64)
    user = kind << _TOTAL_BITS | total
    return np.concatenate([silence, framing.format.build(symbols, user=user)])


class Sender:
    """Makes bursts of a file, one by one, and again those frames that did not come.

    Parameters
    ----------
    framing : shared with the receiver
    file, size : a binary file and its bytes; with `window` it must be one that can be read anywhere
    window : bursts after which it asks for a report; None where there is no way back
    timeout : seconds to wait for a report before it asks again
    patience : seconds without any report after which it gives up

    ValueError for an empty file, and for one of more than 2^32 - 1 frames or shorter than told.

    Attributes
    ----------
    counts : bursts, frames, repeated frames, questions, reports
    over : whether all is sent, and come, where there is a way back
    """

    def __init__(
        self,
        framing: Framing,
        file: BinaryIO,
        size: int,
        window: int | None = None,
        timeout: float = 0.5,
        patience: float = 10.0,
    ) -> None:
        if size < 1:
            raise ValueError("expected a file with data, got an empty one")
        self.framing = framing
        self.total = framing.frames.frames_for(size)
        if self.total >= 2**_TOTAL_BITS:
            raise ValueError(f"expected less than 2^32 frames, got {self.total}")
        self.counts: Counter[str] = Counter()
        self.over = False
        self._file, self._size, self._window = file, size, window
        self._timeout, self._patience = timeout, patience
        self._again: list[tuple[int, int]] = []
        self._next = self._since = 0
        # When the open question was asked, and when anything was heard last.
        self._asked: float | None = None
        self._heard: float | None = None
        self._question: list[tuple[int, int]] = []

    def next(self, now: float) -> Complex | None:
        """Make the next burst; None where there is none now, or none any more.

        now : in seconds, by any clock. RuntimeError where no report has come for too long.
        """
        if self.over:
            return None
        if self._heard is None:
            self._heard = now
        if self._asked is not None:
            if now < self._asked + self._timeout:
                return None
            if now > self._heard + self._patience:
                raise RuntimeError(
                    f"no report from the receiver for {self._patience:g} s; "
                    f"{self.counts['questions']} times asked"
                )
            self._asked = now
            self.counts["questions"] += 1
            return self._make(self._question, QUESTION)
        taken, left = [], self.framing.frames_a_burst
        while left and self._again:
            first, last = self._again.pop(0)
            end = min(last, first + left - 1)
            if end < last:
                self._again.insert(0, (end + 1, last))
            taken.append((first, end))
            left -= end - first + 1
            self.counts["repeated"] += end - first + 1
        if left and self._next < self.total:
            end = min(self.total, self._next + left)
            taken.append((self._next, end - 1))
            self._next = end
        self._since += 1
        ends = not self._again and self._next == self.total
        if self._window is None:
            self.over = ends
            return self._make(taken, DATA)
        if not ends and self._since < self._window:
            return self._make(taken, DATA)
        self._since, self._asked, self._question = 0, now, taken
        self.counts["questions"] += 1
        return self._make(taken, QUESTION)

    def report(self, text: bytes, now: float) -> None:
        """Take a report that came, one of `Receiver.report`."""
        total, until, cut = _REPORT.unpack_from(text)
        if total != self.total or self._asked is None:
            return
        self.counts["reports"] += 1
        self._heard, self._asked = now, None
        self._again = list(_RANGE.iter_unpack(text[_REPORT.size :]))
        if not cut and until < self._next:
            # Bursts at the end of the window did not come either.
            self._again.append((until, self._next - 1))
        self.over = not self._again and self._next == self.total

    def _make(self, ranges: list[tuple[int, int]], kind: int) -> Complex:
        frames = self.framing.frames
        messages = []
        for first, last in ranges:
            if self._window is not None:
                self._file.seek(first * frames.capacity)
            data = self._file.read((last - first + 1) * frames.capacity)
            messages.append(frames.build(data, first))
            if len(messages[-1]) != last - first + 1:
                raise ValueError("the file became shorter while it was sent")
        self.counts.update(bursts=1, frames=sum(map(len, messages)))
        return _burst(self.framing, np.concatenate(messages), kind, self.total)


def _decoded(
    framing: Framing,
    decoder: Any,
    y: Complex,
    h: Complex,
    noise_var: float,
    quantizer: LlrQuantizer | None = None,
) -> np.ndarray:
    """Messages of a burst's frames, uint8 (frames, k parts)."""
    llrs = demap(y, framing.constellation, noise_var, h)
    if quantizer is not None:
        llrs = quantizer.reconstruct(llrs)
    llrs = llrs.reshape(-1)
    frames = llrs.size // framing.bits
    straight = np.empty((frames, framing.bits), np.float32)
    straight[:, framing.order] = llrs[: frames * framing.bits].reshape(frames, -1)
    messages, _ = decoder.decode(straight.reshape(-1, framing.code.n))
    return messages.reshape(frames, -1)


class Receiver:
    """Finds bursts in samples and writes the frames that are right to a file, in order.

    Parameters
    ----------
    framing : shared with the transmitter
    decoder : spec, as `decoders.decoder` takes it
    output : a binary file to write to, or None
    second_pass : demodulate bursts with wrong frames again, with the right ones as pilots
    anywhere : frames come again: those that come late are written to their places, and `report`
        tells what is missing
    quantizer : name of an LLR quantizer, through which LLRs go to the decoder

    Attributes
    ----------
    counts : bursts, frames, damaged, written, repeated, filler, rescued, foreign_bursts
    lost : ranges (first, last) of frame numbers that did not come, up to the last that did
    asked : how often the sender asked for a report
    heard : when the last burst came, by time.monotonic()
    total : frames of the file as bursts tell, 0 before the first
    bursts : figures of each burst, the newest 1000
    last : the newest burst
    other : gets the bursts that are reports
    """

    def __init__(
        self,
        framing: Framing,
        decoder: str = "bp:50",
        output: BinaryIO | None = None,
        second_pass: bool = False,
        anywhere: bool = False,
        quantizer: str | None = None,
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
        self.other: Callable[[Burst], None] = lambda burst: None
        self._anywhere = anywhere
        self._quantizer = LlrQuantizer(quantizer) if quantizer else None
        # Of frames that come anywhere: which are there, and those up to the last of them.
        self._there = np.zeros(0, bool)
        self._seen = 0
        self.asked, self.heard = 0, 0.0
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

    def gap(self) -> None:
        """Samples are missing here."""
        self.receiver.gap()

    def missing(self) -> list[tuple[int, int]]:
        """Ranges of frame numbers that are not in the output."""
        if self._anywhere:
            return self._absent(self.total)
        tail = [(self._next, self.total - 1)] if self._next < self.total else []
        return [*self.lost, *tail]

    def _absent(self, end: int) -> list[tuple[int, int]]:
        gone = np.flatnonzero(~self._there[self._next : end]) + self._next
        if gone.size == 0:
            return []
        self._next = int(gone[0])
        cuts = np.flatnonzero(np.diff(gone) > 1)
        firsts, lasts = gone[np.r_[0, cuts + 1]], gone[np.r_[cuts, -1]]
        return list(zip(firsts.tolist(), lasts.tolist(), strict=True))

    def report(self, most: int) -> bytes:
        """Make a report of at most so many bytes: what is missing up to the last frame seen."""
        ranges = self._absent(self._seen)
        room = (most - _REPORT.size) // _RANGE.size
        text = _REPORT.pack(self.total, self._seen, len(ranges) > room)
        return text + b"".join(_RANGE.pack(*each) for each in ranges[:room])

    def _decode(self, y: Complex, h: Complex, noise_var: float) -> np.ndarray:
        return _decoded(self.framing, self._decoder, y, h, noise_var, self._quantizer)

    def _take(self, burst: Burst) -> None:
        kind, total = kind_of(burst), burst.user & (2**_TOTAL_BITS - 1)
        if kind == REPORT:
            self.other(burst)
            return
        if total != (self.total or total) or total == 0:
            self.counts["foreign_bursts"] += 1
            return
        self.last, self.heard = burst, time.monotonic()
        if self.total == 0:
            self.total = total
            if self._anywhere:
                self._there = np.zeros(total, bool)
        messages = self._decode(burst.y, burst.h, burst.noise_var)
        valid, numbers, data = self.framing.frames.parse(messages)
        if self._second_pass and valid.any() and not valid.all():
            again = self._again(burst, messages, valid)
            now, *_ = self.framing.frames.parse(again)
            self.counts["rescued"] += int(np.count_nonzero(now & ~valid))
            # What was right stays.
            messages = np.where(valid[:, None], messages, again)
            valid, numbers, data = self.framing.frames.parse(messages)
        self.counts.update(bursts=1, frames=len(valid), damaged=int(np.count_nonzero(~valid)))
        numbers, data = (
            numbers[valid].tolist(),
            [d for d, ok in zip(data, valid, strict=True) if ok],
        )
        for number, parts in _joined(numbers, data):
            self._write(number, parts)
        self.counts["filler"] += data.count(b"")
        if kind == QUESTION:
            self.asked += 1
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
        figures = refine(window, burst, framing.format, known, self.receiver.offsets())
        return self._decode(figures["y"], figures["h"], figures["noise_var"])

    def _write(self, number: int, parts: list[bytes]) -> None:
        """Write neighbouring frames."""
        end = number + len(parts)
        if end > self.total:
            return
        if self._anywhere:
            new = int(np.count_nonzero(~self._there[number:end]))
            self._there[number:end] = True
            self._seen = max(self._seen, end)
            if self._output is not None and new:
                self._output.seek(number * self.framing.frames.capacity)
        else:
            parts = parts[max(0, self._next - number) :]
            new = len(parts)
            if new and end - new > self._next:
                self.lost.append((self._next, end - new - 1))
            self._next = max(self._next, end)
        self.counts.update(written=new, repeated=end - number - new)
        if self._output is not None and new:
            self._output.write(b"".join(parts))


def _joined(numbers: list[int], data: list[bytes]) -> Iterator[tuple[int, list[bytes]]]:
    """Neighbouring frames in one: number of the first, and their data; without fillers."""
    first, parts = 0, list[bytes]()
    for number, part in zip(numbers, data, strict=True):
        if parts and (not part or number != first + len(parts)):
            yield first, parts
            parts = []
        if part:
            first = first if parts else number
            parts.append(part)
    if parts:
        yield first, parts


class _Reports:
    """What a sender without a receiver of its own hears: reports."""

    def __init__(self, framing: Framing, take: Callable[[Burst], None]) -> None:
        self.receiver, self._take = BurstReceiver(framing.format), take

    def push(self, samples: Complex) -> None:
        for burst in self.receiver.push(samples):
            if kind_of(burst) == REPORT:
                self._take(burst)

    def gap(self) -> None:
        self.receiver.gap()


class Station:
    """One end of a link, for a front end: takes samples, and gives bursts to send.

    Parameters
    ----------
    framing : shared by both ends
    sender : of a file, or None
    receiver : of a file, or None
    answers : whether it sends reports, where `receiver` is asked for them
    clock : gives seconds

    Its two sides may be called from two threads. The function `wake` is called when there is
    something to send after there was nothing.
    """

    def __init__(
        self,
        framing: Framing,
        sender: Sender | None = None,
        receiver: Receiver | None = None,
        answers: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.sender, self.receiver = sender, receiver
        self.wake: Callable[[], None] = lambda: None
        self._clock, self._answers, self._asked = clock, answers, 0
        self._reports = Framing("wifi-648", "qam4", framing.format, _REPORT_SYMBOLS)
        self._decoder = make_decoder("bp:50", self._reports.code)
        self._bursts: deque[Complex] = deque(maxlen=4)
        self._lock = threading.Lock()
        self._ear: Receiver | _Reports
        if receiver is None:
            self._ear = _Reports(framing, self._take_report)
        else:
            receiver.other = self._take_report
            self._ear = receiver

    def push(self, samples: Complex) -> None:
        """Take received samples."""
        self._ear.push(samples)
        receiver = self.receiver
        if self._answers and receiver is not None and receiver.asked > self._asked:
            self._asked = receiver.asked
            frames = self._reports.frames
            text = receiver.report(self._reports.frames_a_burst * frames.capacity)
            self._bursts.append(_burst(self._reports, frames.build(text), REPORT, self._asked))
            self.wake()

    def gap(self) -> None:
        """Samples are missing here."""
        self._ear.gap()

    def next(self) -> Complex | None:
        """Give a burst to send; None where there is none now."""
        if self._bursts:
            return self._bursts.popleft()
        if self.sender is None:
            return None
        with self._lock:
            return self.sender.next(self._clock())

    @property
    def over(self) -> bool:
        """Whether nothing is left to send, and nothing will be."""
        return not self._answers and (self.sender is None or self.sender.over)

    def _take_report(self, burst: Burst) -> None:
        if self.sender is None:
            return
        messages = _decoded(self._reports, self._decoder, burst.y, burst.h, burst.noise_var)
        valid, numbers, data = self._reports.frames.parse(messages)
        if not valid.all() or numbers.size == 0:
            self.sender.counts["damaged_reports"] += 1
            return
        with self._lock:
            self.sender.report(b"".join(data), self._clock())
        self.wake()
