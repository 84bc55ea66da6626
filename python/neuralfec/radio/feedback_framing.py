# SPDX-License-Identifier: GPL-3.0-or-later
"""What both ends of the feedback link share: messages, symbols and answers as bursts of samples.

Forward: the code's symbols, as ``feedback_mapping`` maps them. Back: the SNR of each subcarrier, in
steps of 0.2 dB, by which both ends update their beliefs, and what ``feedback_answers`` makes of
what was heard.

Messages carry a CRC-32 a super-block.
"""

from __future__ import annotations

import dataclasses
import zlib

import numpy as np
from numpy.typing import NDArray

from .. import models
from ..codes import code as make_code
from ..feedback.belief import model as belief_model
from ..feedback.belief.analog import AnalogBeliefCode
from ..feedback.belief.digital import DigitalBeliefCode
from ..phy.burst import BurstFormat, burst_format
from ..phy.constellation import constellation as make_constellation
from .feedback_answers import AnalogAnswers, Answers, DigitalAnswers
from .feedback_mapping import subcarriers
from .recordings import Complex

CRC_BYTES = 4
# Of a forward burst's header, from its end up: one half, by turns, of how many bytes the
# super-blocks are made up by; round, gain, that it is no answer, super-blocks. An answer has
# nothing in place of the half, and its round and where its coded part ends in place of the others.
HALF_BITS, ROUND_BITS, GAIN_BITS, COUNT_BITS = 10, 10, 6, 9
# Factors on the gain: 0.84 to 1.155.
_GAIN_STEP, _GAIN_MIDDLE = 0.005, 1 << GAIN_BITS - 1
# Told SNRs, dB: the nearest of 256.
_STEP, _LOWEST = 0.2, -30.0
_TOLD_DB = _LOWEST + _STEP * np.arange(256)
# What symbols of these SNRs carry: whole numbers, whose sums have the same bits on all machines.
_CARRIED_STEPS = 1 << 16
_CARRIED = np.rint(_CARRIED_STEPS / 2 * np.log2(1 + 10 ** (_TOLD_DB / 10))).astype(np.int64)
# Rounds beyond those that a code plans for. What is undecided then goes on as in its last round:
# over ten taps about one block in a hundred, which would be guessed.
_MORE_ROUNDS = 4
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
    """Load a belief-driven code for a kind of feedback, with some rounds more than it plans for.

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
    p = code.parameters
    if feedback_bits is not None:
        if feedback == "analog" or feedback_bits not in STEPS:
            raise ValueError(
                f"expected digital feedback of {list(STEPS)} bits, got {feedback} feedback of "
                f"{feedback_bits}"
            )
        step = STEPS[feedback_bits]
        p = dataclasses.replace(p, feedback_bits=feedback_bits, feedback_step=step)
    p = dataclasses.replace(p, rounds=p.rounds + _MORE_ROUNDS, planned_rounds=p.rounds)
    return type(code)(p, models.parameters(name), code.threshold)


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
        # Rounded, so that two mathematical libraries give both ends the same numbers.
        noises = np.round(10 ** (-_TOLD_DB / 10), 9)
        self._variances = np.array([self.answers.variance(noise) for noise in noises.tolist()])

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

    def told(self, snrs: np.ndarray) -> NDArray[np.uint8]:
        """Numbers by which SNRs are told, uint8 of the same shape."""
        numbers = np.rint((10 * np.log10(np.maximum(snrs, 1e-9)) - _LOWEST) / _STEP)
        return np.clip(numbers, 0, _TOLD_DB.size - 1).astype(np.uint8)

    def variances(self, told: NDArray[np.uint8], sent: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Variances that beliefs are updated by, of the symbols of a round.

        told : uint8 (used,), of each subcarrier
        sent : bool (n, P), where there is a symbol; of the others the variance is 1
        """
        of_subcarriers = self._variances[told]
        found = np.ones(sent.shape)
        found[sent] = of_subcarriers[subcarriers(self.format, int(sent.sum()))]
        return found

    def gain_number(self, factor: float) -> int:
        """Number by which a factor on the gain is told: the nearest, or the nearest there is."""
        number = round((factor - 1) / _GAIN_STEP) + _GAIN_MIDDLE
        return min(max(number, 0), (1 << GAIN_BITS) - 1)

    def factor(self, gain_number: int) -> float:
        """Return the factor of a number."""
        return 1 + (gain_number - _GAIN_MIDDLE) * _GAIN_STEP

    def snr(self, carried: float) -> float:
        """Return the SNR of what `carried` tells: at which one symbol carries as much."""
        return float(2.0 ** (2 * carried / _CARRIED_STEPS / self.format.used) - 1)

    def carried(self, told: NDArray[np.uint8]) -> int:
        """Sum what a real symbol on each subcarrier can carry, log2(1 + SNR) / 2, in 2^-16 bit."""
        return int(_CARRIED[told].sum())
