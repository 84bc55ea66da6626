# SPDX-License-Identifier: GPL-3.0-or-later
"""What the responder of a feedback link answers, as payload values of a burst, and back.

Each tells the SNRs of the subcarriers, a byte each, coded under the CRC with the rest.

Digital feedback: the levels that it quantized what it heard to, coded arithmetically by counts that
both ends learn from them, and a CRC-32, over an LDPC code.

Analog feedback (``feedback.belief.analog``): which groups are decided, coded in the same way, by
counts apart for groups that are as near to their end by the belief that both ends track; and behind
it, uncoded, one real symbol A i of unit mean power for each group that goes on, each spread over
the band. The initiator takes the numbers i nearest to what it hears.
At 20 dB one in 2e5 is then another one, and would part both ends' beliefs; so the CRC-32 is of
these numbers, too, and where it fails those nearest to a decision's edge take the number beyond it,
one, two or three at once, the likeliest first, until it does not.
"""

from __future__ import annotations

import abc
import functools
import itertools
import math
import zlib
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..feedback.belief.analog import NEARNESS_BITS, AnalogBeliefCode
from ..feedback.belief.digital import DigitalBeliefCode, stretch
from ..phy.burst import Burst, BurstFormat
from ..phy.constellation import Constellation, modulate
from ..phy.demapping import demap
from ..quantization import arithmetic_code
from .feedback_mapping import despread, inverse, permutation, spread
from .recordings import Complex

CODED_BITS = 8
"""Bits of an answer's header that tell where its coded part ends."""

_CRC_BYTES = 4
# Numbers that may have been heard wrong, and how many of them at once.
_DOUBTED, _WRONG = 16, 3


class Reply(NamedTuple):
    """What an answer tells of the symbols of a round, in their order.

    told : (used,) uint8, numbers of the SNRs of the subcarriers that they came on
    feedback : (n,) levels uint8, or A i float32, 0 of groups that are decided
    decided : (n,) bool, groups that need no further symbol; None where both ends know by themselves
    misheard : numbers that the CRC found to be others than the nearest
    """

    told: NDArray[np.uint8]
    feedback: NDArray
    decided: NDArray[np.bool_] | None = None
    misheard: int = 0


@functools.lru_cache(maxsize=32)
def _random_bits(size: int) -> np.ndarray:
    bits = np.random.default_rng(1).integers(0, 2, size, np.uint8)
    bits.flags.writeable = False
    return bits


def _filler(size: int) -> np.ndarray:
    # Of no meaning, but a symbol of zeros would have another energy and look torn.
    return _random_bits(1 << size.bit_length())[:size].copy()


class Answers(abc.ABC):
    """The way back of a code.

    Parameters
    ----------
    format : of the bursts
    error_correction, constellation : of what is coded
    """

    def __init__(
        self, format: BurstFormat, error_correction: Any, constellation: Constellation
    ) -> None:
        self.format, self._code, self._constellation = format, error_correction, constellation
        # Bits of a word that stay side by side: to shuffle each by itself takes four times as long.
        self._together = math.gcd(error_correction.n, 8)

    @abc.abstractmethod
    def most_symbols(self, values: int) -> int:
        """Payload symbols of the longest answer to a burst of so many values."""

    @abc.abstractmethod
    def contexts(self, end: Any, slots: NDArray) -> NDArray[np.uint8]:
        """Return what both ends know beforehand of what goes back, (n, P), by the code's end."""

    @abc.abstractmethod
    def reply(
        self,
        decoder: Any,
        slots: NDArray,
        received: NDArray[np.float32],
        variances: NDArray[np.float64],
        sent: NDArray[np.bool_],
        told: NDArray[np.uint8],
    ) -> Reply:
        """Return what goes back of what the code's decoder has heard, where a symbol was sent."""

    @abc.abstractmethod
    def payload(self, reply: Reply, contexts: NDArray[np.uint8]) -> tuple[Complex, int]:
        """Return the payload values of an answer, and `CODED_BITS` bits for its header.

        contexts : uint8 (n,), of the symbols that were sent
        """

    @abc.abstractmethod
    def read(
        self, burst: Burst, coded: int, contexts: NDArray[np.uint8], decoder: Any
    ) -> Reply | None:
        """Read an answer; None where its CRC fails.

        coded, contexts : as of `payload`
        """

    @abc.abstractmethod
    def variance(self, noise: float) -> float:
        """Return the variance that beliefs are updated by, for noise of a variance."""

    def _symbols(self, size: int) -> int:
        """Payload symbols of so many bytes, coded."""
        words = -(-8 * size // self._code.k)
        return -(-words * self._code.n // self._bits_of_symbol)

    @property
    def _bits_of_symbol(self) -> int:
        return self.format.data * self._constellation.bits_per_symbol

    def _write(self, text: bytes, symbols: int) -> Complex:
        """Code bytes to payload values of so many symbols."""
        k, n = self._code.k, self._code.n
        # As many words as its symbols have room for, so that the symbols tell how many there are.
        mixed = _filler(symbols * self._bits_of_symbol)
        words = mixed[: mixed.size // n * k].reshape(-1, k).copy()
        words.reshape(-1)[: 8 * len(text)] = np.unpackbits(np.frombuffer(text, np.uint8))
        coded = self._code.encode(words).reshape(-1, self._together)
        out = mixed[: coded.size].reshape(coded.shape)
        coded.take(inverse(len(coded)), 0, out=out, mode="clip")
        return modulate(mixed, self._constellation)

    @property
    def _head(self) -> int:
        """Bytes that a text begins with: the CRC and what is told."""
        return _CRC_BYTES + self.format.used

    def _apart(self, text: bytes) -> tuple[int, NDArray[np.uint8], bytes]:
        """Take a text apart: the CRC, what is told, and the rest."""
        crc = int.from_bytes(text[:_CRC_BYTES], "little")
        return crc, np.frombuffer(text[_CRC_BYTES : self._head], np.uint8), text[self._head :]

    def _text(self, burst: Burst, symbols: int, decoder: Any) -> bytes | None:
        """Decode the first symbols of a burst; None where there are too few for a text."""
        n, here = self._code.n, slice(symbols * self.format.data)
        y, h = burst.y[here], burst.h[here]
        llrs = demap(y, self._constellation, burst.noise_var, h).reshape(-1)
        words = llrs.size // n
        if words * self._code.k < 8 * self._head:
            return None
        mixed = llrs[: words * n].reshape(-1, self._together)
        straight = mixed.take(permutation(len(mixed)), 0, mode="clip").reshape(words, n)
        return np.packbits(decoder.decode(straight)[0]).tobytes()


class DigitalAnswers(Answers):
    """Levels under a CRC-32, all of it coded; the first parameter is the feedback code."""

    def __init__(self, code: DigitalBeliefCode, *shared: Any) -> None:
        super().__init__(*shared)
        self._bits = code.parameters.feedback_bits
        self._step = code.parameters.feedback_step

    def most_symbols(self, values: int) -> int:
        """See `Answers`."""
        return self._symbols(self._head + arithmetic_code.longest(values, self._bits))

    def contexts(self, end: Any, slots: NDArray) -> NDArray[np.uint8]:
        """See `Answers`; nothing is."""
        return np.zeros((len(slots), end.decoded.shape[1]), np.uint8)

    def reply(
        self,
        decoder: Any,
        slots: NDArray,
        received: NDArray[np.float32],
        variances: NDArray[np.float64],
        sent: NDArray[np.bool_],
        told: NDArray[np.uint8],
    ) -> Reply:
        """See `Answers`."""
        return Reply(told, decoder.feedback(slots, received, variances)[sent])

    def payload(self, reply: Reply, contexts: NDArray[np.uint8]) -> tuple[Complex, int]:
        """See `Answers`."""
        levels = reply.feedback
        crc = _crc_of(levels, _crc_of(reply.told))
        text = crc.to_bytes(_CRC_BYTES, "little") + reply.told.tobytes()
        text += arithmetic_code.encode(levels, self._bits)
        return self._write(text, self._symbols(len(text))), 0

    def read(
        self, burst: Burst, coded: int, contexts: NDArray[np.uint8], decoder: Any
    ) -> Reply | None:
        """See `Answers`."""
        text = self._text(burst, burst.symbols, decoder)
        if text is None:
            return None
        crc, told, rest = self._apart(text)
        levels = arithmetic_code.decode(rest, contexts.size, self._bits)
        return Reply(told, levels) if _crc_of(levels, _crc_of(told)) == crc else None

    def variance(self, noise: float) -> float:
        """See `Answers`; the quantizer's noise counts in."""
        wide = 1.0
        # Wider steps have more noise of their own, which may ask for wider ones.
        while True:
            variance = noise + (wide * self._step) ** 2 / 12
            if (wider := float(stretch(variance).item())) <= wide:
                return variance
            wide = wider


class AnalogAnswers(Answers):
    """Which groups are decided, coded, and the numbers of the others, uncoded.

    code : the feedback code; values : of the longest round
    """

    def __init__(self, code: AnalogBeliefCode, values: int, *shared: Any) -> None:
        super().__init__(*shared)
        self._feedback = code
        # The coded part has a multiple of so many symbols, whose number a header can tell.
        self._unit = -(-self._most_coded(values) // ((1 << CODED_BITS) - 1))

    def _most_coded(self, values: int) -> int:
        longest = arithmetic_code.longest(values, 1, contexts=1 << NEARNESS_BITS)
        return self._symbols(self._head + longest)

    def most_symbols(self, values: int) -> int:
        """See `Answers`."""
        return self._most_coded(values) + self._unit + -(-values // (2 * self.format.data))

    def contexts(self, end: Any, slots: NDArray) -> NDArray[np.uint8]:
        """See `Answers`."""
        return end.nearness(slots)

    def reply(
        self,
        decoder: Any,
        slots: NDArray,
        received: NDArray[np.float32],
        variances: NDArray[np.float64],
        sent: NDArray[np.bool_],
        told: NDArray[np.uint8],
    ) -> Reply:
        """See `Answers`."""
        return Reply(told, decoder.feedback(slots, received)[sent], decoder.decoded[slots][sent])

    def payload(self, reply: Reply, contexts: NDArray[np.uint8]) -> tuple[Complex, int]:
        """See `Answers`."""
        assert reply.decided is not None
        values = reply.feedback[~reply.decided]
        begun = _crc_of(reply.decided, _crc_of(reply.told))
        crc = _crc_of(self._feedback.numbers(values), begun)
        text = crc.to_bytes(_CRC_BYTES, "little") + reply.told.tobytes()
        text += arithmetic_code.encode(reply.decided, 1, contexts)
        coded = -(-self._symbols(len(text)) // self._unit)
        parts = [self._write(text, coded * self._unit), spread(self.format, values)]
        return np.concatenate(parts), coded

    def read(
        self, burst: Burst, coded: int, contexts: NDArray[np.uint8], decoder: Any
    ) -> Reply | None:
        """See `Answers`."""
        symbols, count = coded * self._unit, contexts.size
        text = self._text(burst, symbols, decoder)
        if text is None:
            return None
        crc, told, rest = self._apart(text)
        decided = arithmetic_code.decode(rest, count, 1, contexts).astype(bool)
        going = count - int(decided.sum())
        # With a wrong CRC the burst has other symbols.
        if burst.symbols != symbols + -(-going // (2 * self.format.data)):
            return None
        values = np.zeros(0, np.float32)
        if going:
            values = despread(burst, self.format, going, symbols)
        found = self._fitting(values, crc, _crc_of(decided, _crc_of(told)))
        if found is None:
            return None
        numbers, misheard = found
        feedback = np.zeros(count, np.float32)
        feedback[~decided] = numbers * self._feedback.amplitude
        return Reply(told, feedback, decided, misheard)

    def variance(self, noise: float) -> float:
        """See `Answers`; the receiver's own posterior knows no quantizer."""
        return noise

    def _fitting(
        self, values: NDArray[np.float32], crc: int, begun: int
    ) -> tuple[NDArray[np.int8], int] | None:
        """Return the likeliest numbers with a CRC, and how many are not the nearest."""
        numbers = self._feedback.numbers(values)
        if _crc_of(numbers, begun) == crc:
            return numbers, 0
        beyond = values / self._feedback.amplitude - numbers
        others = numbers + np.sign(beyond).astype(np.int8)
        far = 0.5 - np.abs(beyond)
        far[np.abs(others) > self._feedback.parameters.feedback_levels] = np.inf
        doubted = [int(at) for at in np.argsort(far)[:_DOUBTED] if far[at] < np.inf]
        tries = [
            list(several)
            for number in range(1, _WRONG + 1)
            for several in itertools.combinations(doubted, number)
        ]
        for several in sorted(tries, key=lambda several: float(far[several].sum())):
            tried = numbers.copy()
            tried[several] = others[several]
            if _crc_of(tried, begun) == crc:
                return tried, len(several)
        return None


def _crc_of(values: NDArray, begun: int = 0) -> int:
    return zlib.crc32(values.tobytes(), begun)
