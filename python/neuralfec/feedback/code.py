# SPDX-License-Identifier: GPL-3.0-or-later
"""What a feedback code must be, for whatever carries one: a simulation, sessions, a radio.

A code is made once and gives both ends, each a state machine over many blocks: one row of state
a block in a table of fixed capacity. Every call names the rows ("slots") that it concerns, which
may be in different rounds. What travels between the ends is the caller's business.

    encoder.start(slots, messages)            decoder.start(slots)
    x = encoder.encode(slots)          --->   decoder.decode(slots, y)
    encoder.observe(slots, back, ...)  <---   back = decoder.feedback(slots, y)

until `decoder.over(slots)`. A round has P places for symbols, one a group or more;
`encoder.sent` tells at which of them there is one.
"""

import abc
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from .setting import Setting


class Parameters(Protocol):
    """The numbers of a code that everybody asks for."""

    @property
    def message_bits(self) -> int:
        """K."""
        ...

    @property
    def groups(self) -> int:
        """Q."""
        ...

    @property
    def places(self) -> int:
        """P, places for symbols in a round; Q in most codes."""
        ...

    @property
    def group_bits(self) -> int:
        """m = K / Q."""
        ...

    @property
    def patterns(self) -> int:
        """2^m."""
        ...

    @property
    def rounds(self) -> int:
        """Rounds at most."""
        ...

    @property
    def termination(self) -> str:
        """Who the code was made to be ended by: "receiver", "transmitter" or "none"."""
        ...

    @property
    def first_decision(self) -> int:
        """First round after which groups may be decided."""
        ...


class Encoder(abc.ABC):
    """The transmitter's end.

    Attributes
    ----------
    rounds : (capacity,) int64, rounds encoded so far
    decoded : (capacity, Q) bool, groups that are decided as far as this end knows
    sent : (capacity, P) bool, places of the last round at which a symbol was sent
    symbols : (capacity, P) float32, symbols of the last round
    """

    rounds: NDArray[np.int64]
    decoded: NDArray[np.bool_]
    sent: NDArray[np.bool_]
    symbols: NDArray[np.float32]

    @abc.abstractmethod
    def start(self, slots: NDArray, messages: NDArray[np.uint8]) -> None:
        """Begin blocks anew with messages, (n, K) uint8 bits."""

    @abc.abstractmethod
    def encode(self, slots: NDArray) -> NDArray[np.float32]:
        """Return the symbols x of the next round, (n, P) float32; 0 where none is sent."""

    @abc.abstractmethod
    def observe(self, slots: NDArray, feedback: NDArray, decoded: NDArray[np.bool_]) -> None:
        """Take what came back of the last round.

        feedback : (n, P) float32 as heard, or (n, payload_bytes) uint8 of digital feedback
        decoded : (n, Q) bool, groups that the receiver has decided after that round
        """


class Decoder(abc.ABC):
    """The receiver's end. rounds, decoded : as the encoder's."""

    rounds: NDArray[np.int64]
    decoded: NDArray[np.bool_]
    limit: int

    @abc.abstractmethod
    def start(self, slots: NDArray) -> None:
        """Begin blocks anew."""

    @abc.abstractmethod
    def decode(
        self, slots: NDArray, received: NDArray[np.float32], threshold: float | None = None
    ) -> NDArray[np.bool_]:
        """Take the received symbols of one round, (n, P) float32; return decoded, (n, Q) bool.

        threshold : log-odds above which a group is decided, as in `Setting`; None decides none
        """

    @abc.abstractmethod
    def feedback(self, slots: NDArray, received: NDArray[np.float32]) -> NDArray:
        """Return what goes back: (n, P) float32 or, digital, (n, payload_bytes) uint8."""

    @abc.abstractmethod
    def decisions(self, slots: NDArray) -> NDArray:
        """Return the likeliest pattern of each group, (n, Q)."""

    def over(self, slots: NDArray) -> NDArray[np.bool_]:
        """Return which blocks need no further round, (n,)."""
        return self.decoded[slots].all(1) | (self.rounds[slots] >= self.limit)

    def erased(self, slots: NDArray) -> NDArray[np.bool_]:
        """Return which blocks that are over are declared lost, (n,)."""
        return np.zeros(len(slots), bool)

    def replies(self, slots: NDArray) -> NDArray[np.bool_]:
        """Return which places of the last analog feedback carry a symbol, (n, Q)."""
        return ~self.decoded[slots]


class AskedEncoder(Encoder):
    """A transmitter that a setting may ask whether to stop."""

    @abc.abstractmethod
    def agrees(self, slots: NDArray, samples: NDArray, threshold: float) -> NDArray[np.bool_]:
        """Return whether to stop each block, (n,), by the beliefs that came back.

        samples : (n, Q, 2^m) float32, see `AskingDecoder.belief_samples`
        """


class AskingDecoder(Decoder):
    """A receiver that can ask the transmitter whether to stop."""

    @abc.abstractmethod
    def belief_samples(self, slots: NDArray) -> NDArray[np.float32]:
        """Return the beliefs that the transmitter is asked by, (n, Q, 2^m) float32."""


class Code(abc.ABC):
    """A feedback code ready for use.

    Attributes
    ----------
    identity : 16 bits that differ from those of another code
    payload_bytes : of digital feedback a block and round; 0 for analog feedback
    feedback_bits : that tell of one symbol over digital feedback; 0 for analog feedback
    takes_variances : whether both ends take the noise variance of each symbol,
        `noise_variance=` of `decode`, `feedback` and `observe`
    """

    identity: int
    payload_bytes: int = 0
    feedback_bits: int = 0
    takes_variances: bool = False

    @property
    def confirms(self) -> bool:
        """Whether the code says by itself which blocks are lost."""
        return False

    @property
    @abc.abstractmethod
    def parameters(self) -> Parameters:
        """What both ends must agree on."""

    @abc.abstractmethod
    def encoder(self, capacity: int) -> Encoder:
        """Make a transmitter for `capacity` blocks."""

    @abc.abstractmethod
    def decoder(self, capacity: int) -> Decoder:
        """Make a receiver for `capacity` blocks."""

    def pair(self, capacity: int) -> tuple[Encoder, Decoder]:
        """Make both ends for a simulation, which may share what they would hold alike."""
        return self.encoder(capacity), self.decoder(capacity)

    def check(self, setting: Setting) -> None:
        """Raise ValueError for a setting that the code was not made for."""
        trained = self.parameters.termination
        served = {
            "receiver": ("receiver", "hybrid"),
            "transmitter": ("transmitter", "none"),
            "none": ("none",),
        }[trained]
        if setting.termination not in served:
            raise ValueError(
                f"a code trained for termination by {trained!r} serves {served}, "
                f"got {setting.termination!r}"
            )

    def counts(
        self, encoder: Encoder, decoder: Decoder, erased: NDArray[np.bool_]
    ) -> Mapping[str, Any]:
        """Return what only this kind of code can count of blocks that are over, to be summed.

        erased : (n,) of the blocks
        """
        return {}

    def labels(self, messages: NDArray[np.uint8]) -> NDArray[np.int64]:
        """Return the pattern of each group, (n, Q); the first bit is the least significant.

        messages : (n, K) uint8 bits. ValueError for another shape or other values.
        """
        p = self.parameters
        messages = np.asarray(messages)
        if messages.ndim != 2 or messages.shape[1] != p.message_bits or (messages > 1).any():
            raise ValueError(
                f"expected messages of {p.message_bits} bits 0 or 1, got an array of "
                f"shape {messages.shape}, largest value {messages.max(initial=0)}"
            )
        bits = messages.reshape(-1, p.groups, p.group_bits).astype(np.int64)
        return bits @ (1 << np.arange(p.group_bits))

    def bits(self, labels: NDArray) -> NDArray[np.uint8]:
        """Return the message bits, (n, K) uint8, of patterns (n, Q)."""
        p = self.parameters
        bits = labels[:, :, None] >> np.arange(p.group_bits) & 1
        return bits.reshape(-1, p.message_bits).astype(np.uint8)
