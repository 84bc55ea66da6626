# SPDX-License-Identifier: GPL-3.0-or-later
"""What both ends of the feedback link share: messages, symbols and answers as bursts of samples.

Forward: the code's symbols, as ``feedback_mapping`` maps them, whose SNR, in steps of 0.02 dB, is
what both ends update their beliefs by. Back: what ``feedback_answers`` makes of what was heard.

Messages carry a CRC-32 a super-block.
"""

from __future__ import annotations

import dataclasses
import functools
import zlib
from typing import Any

import numpy as np

from .. import models
from ..codes import code as make_code
from ..feedback.belief import model as belief_model
from ..feedback.belief.digital import DigitalBeliefCode, stretch
from ..phy.burst import Burst, BurstFormat, burst_format
from ..phy.constellation import constellation as make_constellation
from ..phy.constellation import modulate
from ..phy.demapping import demap
from ..quantization import arithmetic_code
from .feedback_mapping import inverse, permutation
from .recordings import Complex

CRC_BYTES = 4
# Of the header's field, from its end up: SNR, round, forward or answer, super-blocks. In place of
# the SNR a forward burst has one half of how many bytes the super-blocks are made up by, by turns.
ROUND_BITS, TOLD_BITS, COUNT_BITS = 16, 10, 9
# Told SNRs, dB: the nearest. A step is a fifth of what a burst's own estimate scatters.
_STEP, _LOWEST = 0.02, -8.0
_SILENCE = 2
# Blocks that a CRC stands for: its four bytes and what one wrong block costs are both little.
_BLOCKS_A_CRC = 300

STEPS = {8: 1 / 16, 6: 0.25, 5: 0.5, 4: 0.75}
"""Steps of the quantizer of what goes back, by its bits, where they are not the model's."""


def digital_code(
    name: str, threshold: float | None = None, feedback_bits: int | None = None
) -> DigitalBeliefCode:
    """Load a belief-driven code with digital feedback.

    name : file, or name of a shipped model
    threshold : log-odds in nats that end a group; the model's where it is None
    feedback_bits : of a level that goes back, 8, 6, 5 or 4; the model's where it is None

    ValueError for another kind of code, and for other bits.
    """
    code = belief_model.load(name, threshold=threshold)[0]
    if not code.payload_bytes:
        raise ValueError(f"{name}: expected a code with digital feedback")
    if feedback_bits is None:
        return code
    if feedback_bits not in STEPS:
        raise ValueError(f"expected feedback of {list(STEPS)} bits, got {feedback_bits}")
    p = dataclasses.replace(
        code.parameters, feedback_bits=feedback_bits, feedback_step=STEPS[feedback_bits]
    )
    return DigitalBeliefCode(p, models.parameters(name), code.threshold)


@functools.lru_cache(maxsize=32)
def _random_bits(size: int) -> np.ndarray:
    bits = np.random.default_rng(1).integers(0, 2, size, np.uint8)
    bits.flags.writeable = False
    return bits


def _filler(size: int) -> np.ndarray:
    # Of no meaning, but a symbol of zeros would have another energy and look torn.
    return _random_bits(1 << size.bit_length())[:size].copy()


class FeedbackFraming:
    """What both ends share.

    Parameters
    ----------
    code : with digital feedback
    blocks : of a burst in its first round
    format : a `BurstFormat` or a preset's name
    answer_code, answer_constellation : of the way back

    Attributes
    ----------
    super_block : blocks of a super-block, which has a CRC of its own: some three hundred where that
        divides the blocks of a burst, so that a wrong one takes few others along
    capacity : bytes of a super-block

    ValueError for sizes that are no burst, and for a code with other symbols than one a group.
    """

    def __init__(
        self,
        code: DigitalBeliefCode,
        blocks: int = 2100,
        format: str | BurstFormat = "burst-128",
        answer_code: str = "wifi-648",
        answer_constellation: str = "qam256",
    ) -> None:
        self.code, self.blocks, self.format = code, blocks, burst_format(format)
        self.answer_code = make_code(answer_code)
        self.answer_constellation = make_constellation(answer_constellation)
        p = code.parameters
        if p.message_bits % 8:
            raise ValueError(f"expected messages of whole bytes, got {p.message_bits} bits")
        if p.double_rounds or code.confirms:
            raise ValueError("expected a code of one symbol a group and round, confirming nothing")
        self.block_bytes = p.message_bits // 8
        self.parts = max(1, blocks // _BLOCKS_A_CRC)
        while blocks % self.parts:
            self.parts -= 1
        self.super_block = blocks // self.parts
        self.capacity = self.super_block * self.block_bytes - CRC_BYTES
        most = -(-blocks * p.places // (2 * self.format.data))
        if blocks < 1 or self.capacity < 1 or most > self.format.max_symbols:
            raise ValueError(f"expected blocks that make a burst, got {blocks}")

    @property
    def most_bytes(self) -> int:
        """Bytes that the most super-blocks have room for, whose number a header can tell."""
        return ((1 << COUNT_BITS) - 1) * self.parts * self.capacity

    @property
    def longest(self) -> int:
        """Samples of the longest burst of both ways, with the silence around it."""
        p = self.code.parameters
        values = self.blocks * p.places
        size = arithmetic_code.longest(values, p.feedback_bits) + CRC_BYTES
        symbols = max(-(-values // (2 * self.format.data)), self._answer_symbols(size))
        return self.format.length(symbols) + 2 * _SILENCE * self.format.symbol_length

    def bodies(self, data: bytes) -> list[bytes]:
        """Cut bytes into those of super-blocks, made up with zeros to whole bursts' worth."""
        size = self.capacity
        whole = -(-len(data) // (size * self.parts)) * size * self.parts
        return [data[at : at + size].ljust(size, b"\0") for at in range(0, whole, size)]

    def messages(self, bodies: list[bytes]) -> np.ndarray:
        """Messages of super-blocks with their CRC, uint8 (blocks, K)."""
        whole = b"".join(b + zlib.crc32(b).to_bytes(CRC_BYTES, "little") for b in bodies)
        blocks = np.frombuffer(whole, np.uint8).reshape(-1, self.block_bytes)
        return np.unpackbits(blocks, axis=1)

    def samples(self, payload: Complex, user: int) -> Complex:
        """Make a burst with silence around it."""
        silence = np.zeros(_SILENCE * self.format.symbol_length, np.complex64)
        return np.concatenate([silence, self.format.build(payload, user), silence])

    def _answer_symbols(self, size: int) -> int:
        """OFDM symbols of an answer of so many bytes."""
        words = -(-8 * size // self.answer_code.k)
        return -(-words * self.answer_code.n // self._bits_of_symbol)

    @property
    def _bits_of_symbol(self) -> int:
        return self.format.data * self.answer_constellation.bits_per_symbol

    def answer(self, levels: np.ndarray) -> Complex:
        """Payload values of an answer."""
        text = zlib.crc32(levels.tobytes()).to_bytes(CRC_BYTES, "little")
        text += arithmetic_code.encode(levels, self.code.parameters.feedback_bits)
        symbols = self._answer_symbols(len(text))
        k, n = self.answer_code.k, self.answer_code.n
        # As many words as its symbols have room for, so that the symbols tell how many there are.
        mixed = _filler(symbols * self._bits_of_symbol)
        words = mixed[: mixed.size // n * k].reshape(-1, k).copy()
        words.reshape(-1)[: 8 * len(text)] = np.unpackbits(np.frombuffer(text, np.uint8))
        coded = self.answer_code.encode(words).reshape(-1)
        coded.take(inverse(coded.size), out=mixed[: coded.size], mode="clip")
        return modulate(mixed, self.answer_constellation)

    def levels(self, burst: Burst, count: int, decoder: Any) -> np.ndarray | None:
        """Levels of an answer, uint8 (count,); None where its CRC fails."""
        n = self.answer_code.n
        llrs = demap(burst.y, self.answer_constellation, burst.noise_var, burst.h).reshape(-1)
        words = llrs.size // n
        if words == 0:
            return None
        straight = llrs.take(permutation(words * n), mode="clip").reshape(words, n)
        text = np.packbits(decoder.decode(straight)[0]).tobytes()
        bits = self.code.parameters.feedback_bits
        levels = arithmetic_code.decode(text[CRC_BYTES:], count, bits)
        crc = int.from_bytes(text[:CRC_BYTES], "little")
        return levels if zlib.crc32(levels.tobytes()) == crc else None

    def variance(self, told: int) -> float:
        """Noise variance of an update for a told number of the SNR; the quantizer's counts in."""
        step, wide, noise = self.code.parameters.feedback_step, 1.0, 1 / self.snr(told)
        # Wider steps have more noise of their own, which may ask for wider ones.
        while True:
            variance = noise + (wide * step) ** 2 / 12
            if (wider := float(stretch(variance).item())) <= wide:
                return variance
            wide = wider

    def told(self, snr: float) -> int:
        """Number by which an SNR is told."""
        told = round((10 * np.log10(max(snr, 1e-3)) - _LOWEST) / _STEP)
        return min(max(told, 0), (1 << TOLD_BITS) - 1)

    def snr(self, told: int) -> float:
        """SNR of a told number."""
        return float(10 ** ((_LOWEST + _STEP * told) / 10))
