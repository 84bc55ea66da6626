# SPDX-License-Identifier: GPL-3.0-or-later
"""What both ends of the feedback link share: messages, symbols and answers as bursts of samples.

Forward: the code's symbols, as ``feedback_mapping`` maps them, whose SNR, in steps of 0.02 dB, is
what both ends update their beliefs by. Back: what ``feedback_answers`` makes of what was heard.

Messages carry a CRC-32 a super-block.
"""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np

from .. import models
from ..codes import code as make_code
from ..feedback.belief import model as belief_model
from ..feedback.belief.analog import AnalogBeliefCode
from ..feedback.belief.digital import DigitalBeliefCode
from ..phy.burst import BurstFormat, burst_format
from ..phy.constellation import constellation as make_constellation
from .feedback_answers import AnalogAnswers, Answers, DigitalAnswers
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


FEEDBACK = {
    "digital": "feedback/belief-4bit-1dB",
    "analog": "feedback/belief-4bit-1dB-feedback-20dB",
}
"""Kinds of feedback, and the shipped model for each."""


def feedback_code(
    feedback: str,
    name: str | None = None,
    threshold: float | None = None,
    feedback_bits: int | None = None,
) -> DigitalBeliefCode:
    """Load a belief-driven code for a kind of feedback.

    feedback : "digital" or "analog"
    name : file, or name of a shipped model; that of `FEEDBACK` where it is None
    threshold : log-odds in nats that end a group; the model's where it is None
    feedback_bits : of a level that goes back, 8, 6, 5 or 4; the model's where it is None

    ValueError for a code that was made for the other kind, for other bits, and for bits of analog
    feedback.
    """
    if feedback not in FEEDBACK:
        raise ValueError(f"expected feedback of {list(FEEDBACK)}, got {feedback!r}")
    name = name or FEEDBACK[feedback]
    code = belief_model.load(name, threshold=threshold)[0]
    if isinstance(code, AnalogBeliefCode) != (feedback == "analog"):
        raise ValueError(
            f"{name}: expected a code that was made for {feedback} feedback, such as "
            f"{FEEDBACK[feedback]}"
        )
    if feedback_bits is None:
        return code
    if feedback == "analog" or feedback_bits not in STEPS:
        raise ValueError(
            f"expected digital feedback of {list(STEPS)} bits, got {feedback} feedback of "
            f"{feedback_bits}"
        )
    p = dataclasses.replace(
        code.parameters, feedback_bits=feedback_bits, feedback_step=STEPS[feedback_bits]
    )
    return DigitalBeliefCode(p, models.parameters(name), code.threshold)


class FeedbackFraming:
    """What both ends share.

    Parameters
    ----------
    code : with digital or analog feedback
    blocks : of a burst in its first round
    format : a `BurstFormat` or a preset's name
    answer_code, answer_constellation : of the way back

    Attributes
    ----------
    super_block : blocks of a super-block, which has a CRC of its own: some three hundred where that
        divides the blocks of a burst, so that a wrong one takes few others along
    capacity : bytes of a super-block
    answers : what the way back carries

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
        shared = self.format, self.answer_code, make_constellation(answer_constellation)
        self.answers: Answers
        if isinstance(code, AnalogBeliefCode):
            self.answers = AnalogAnswers(code, blocks * p.places, *shared)
        else:
            self.answers = DigitalAnswers(code, *shared)

    @property
    def most_bytes(self) -> int:
        """Bytes that the most super-blocks have room for, whose number a header can tell."""
        return ((1 << COUNT_BITS) - 1) * self.parts * self.capacity

    @property
    def longest(self) -> int:
        """Samples of the longest burst of both ways, with the silence around it."""
        values = self.blocks * self.code.parameters.places
        there, back = -(-values // (2 * self.format.data)), self.answers.most_symbols(values)
        symbols = max(there, back)
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

    def variance(self, told: int) -> float:
        """Variance that beliefs are updated by, for a told number of the SNR."""
        return self.answers.variance(1 / self.snr(told))

    def told(self, snr: float) -> int:
        """Number by which an SNR is told."""
        told = round((10 * np.log10(max(snr, 1e-3)) - _LOWEST) / _STEP)
        return min(max(told, 0), (1 << TOLD_BITS) - 1)

    def snr(self, told: int) -> float:
        """SNR of a told number."""
        return float(10 ** ((_LOWEST + _STEP * told) / 10))
