# SPDX-License-Identifier: GPL-3.0-or-later
"""Links of convolutional codes over real channels, impulsive ones too."""

from collections.abc import Sequence

import numpy as np

from .. import _kernels
from ..codes import code as make_code
from ..codes.convolutional import ConvolutionalCode
from ..decoders import Decoder, decoder
from ..phy.impulsive import Pulses, StudentT, gaussian_llrs
from ..sequence.decoder import RnnDecoder
from ..simulation import count_errors

Scheme = tuple[str, str, str]
"""Name, receiver, decoder."""

CHANNELS: dict[str, Pulses | StudentT | None] = {
    "awgn": None,
    "pulses": Pulses(),
    "student-t": StudentT(),
}
WINDOW = 64
"""Bits that windowed decoders decide together; short, for the ends to weigh."""


class WindowedViterbi:
    """Unterminated frames as a stream does them: windows of WINDOW bits and an overlap."""

    def __init__(self, code: ConvolutionalCode, overlap: int) -> None:
        self._arguments = {**code.stream_arguments(), "depth": overlap, "block": WINDOW}
        self._whole = decoder("viterbi", code)
        self.n, self.k = code.n, code.k

    def decode(self, llrs: np.ndarray) -> tuple[np.ndarray, dict]:
        """Return messages uint8 (F, k) of LLRs (F, n), and counts."""
        # The stream keeps the last bits back for what follows.
        messages, stats = self._whole.decode(llrs)
        for message, frame in zip(messages, llrs, strict=True):
            bits, _ = _kernels.ViterbiStream(**self._arguments).decode(frame)
            message[: len(bits)] = bits
        return messages, stats


class Sign:
    """Decides from LLRs of the message, as joint_posteriors gives them."""

    def __init__(self, code: ConvolutionalCode) -> None:
        self.n = self.k = code.k

    def decode(self, llrs: np.ndarray) -> tuple[np.ndarray, dict]:
        """Return the bits uint8 (F, k) of LLRs (F, k)."""
        return (llrs > 0).astype(np.uint8), {}


class FrameByFrame:
    """A decoder that is given each frame alone."""

    def __init__(self, decoder: Decoder) -> None:
        self.n, self.k = decoder.n, decoder.k
        self._decoder = decoder

    def decode(self, llrs: np.ndarray) -> tuple[np.ndarray, dict]:
        """Decode LLRs (F, n) to messages uint8 (F, k)."""
        return np.concatenate([self._decoder.decode(llr[None])[0] for llr in llrs]), {}


def joint_posteriors(
    code: ConvolutionalCode, pulses: Pulses, y: np.ndarray, noise_var: float
) -> np.ndarray:
    """Compute P(u = 1) - 1/2 of the messages (F, k) of zero-terminated frames.

    By BCJR over the states of the code and of the pulses, from real values y (F, n).
    """
    # Only here is torch needed.
    import torch

    from ..sequence.trellis import Trellis, denormals_flushed

    trellis = Trellis([abs(g) for g in code.generators], code.feedback)
    steps, outputs = code.n // len(code.generators), len(code.generators)
    ends = trellis.memory
    padded = np.full((len(y), steps + 2 * ends, outputs), -1, dtype=np.float32)
    padded[:, ends:-ends] = y.reshape(len(y), steps, outputs) * code.signs
    known = torch.zeros(1, steps + 2 * ends, 1, dtype=torch.bool)
    known[:, :ends] = known[:, -ends:] = True
    with denormals_flushed():
        decided = [
            trellis.posterior_in_pulses(
                torch.from_numpy(part),
                torch.full((len(part), 1, 1), noise_var),
                known.expand(len(part), -1, 1),
                pulses,
            )
            for part in np.array_split(padded, max(1, len(y) // 250))
        ]
    return torch.cat(decided)[:, ends : ends + code.k].numpy() - 0.5


def make_decoder(spec: str, code: ConvolutionalCode) -> Decoder:
    """Make the decoder of a scheme: a spec of `decoders.decoder`, or one of this link alone.

    "sign" decides from LLRs of the message; "viterbi, overlap 16" and "rnn, overlap 16" decode
    in windows of WINDOW bits, and "rnn, overlap whole" the frame as one; any decoder's spec and
    ", frame by frame" gives it a frame a call.
    """
    if spec == "sign":
        return Sign(code)
    spec, alone, _ = spec.partition(", frame by frame")
    if alone:
        return FrameByFrame(decoder(spec, code))
    kind, _, overlap = spec.partition(", overlap ")
    if overlap == "whole" and kind == "rnn":
        return RnnDecoder(code, window=code.k)
    if overlap in ("", "whole"):
        return decoder(spec if not overlap else kind, code)
    if kind == "viterbi":
        return WindowedViterbi(code, int(overlap))
    return RnnDecoder(code, window=WINDOW, overlap=int(overlap))


class ReceiverLink:
    """Receivers and decoders of one convolutional code, on the same noise.

    Symbols are +-1; the SNR is 1 / sigma^2 of a real symbol, which is Eb/N0 at rate 1/2.

    Parameters
    ----------
    code : spec
    channel : "awgn", "pulses" or "student-t"
    schemes : (name, receiver, decoder) of each, see `receive` and `make_decoder`
    """

    def __init__(self, code: str, channel: str, schemes: Sequence[Scheme]) -> None:
        self._setting = code, channel, tuple(schemes)
        self.schemes = self._setting[2]
        self.code, self.channel = make_code(code), CHANNELS[channel]
        specs = dict.fromkeys(spec for _, _, spec in schemes)
        self._decoders = {spec: make_decoder(spec, self.code) for spec in specs}

    def __reduce__(self) -> tuple:
        # Kernels do not travel to other processes; they are made again there.
        return ReceiverLink, self._setting

    def __call__(self, rng: np.random.Generator, snr_db: float, blocks: int) -> dict:
        """Count frames at an SNR in dB, by scheme."""
        messages = rng.integers(0, 2, (blocks, self.code.k), dtype=np.uint8)
        sent = 2 * self.code.encode(messages).astype(np.float32) - 1
        noise_var = 10 ** (-snr_db / 10)
        variances: np.ndarray | float = noise_var
        if self.channel:
            variances = self.channel.variances(rng, sent.shape, noise_var)
        y = sent + np.sqrt(variances) * rng.standard_normal(sent.shape, dtype=np.float32)
        y = y.astype(np.float32)
        views = {
            receiver: self.receive(receiver, y, noise_var, variances)
            for receiver in {receiver for _, receiver, _ in self.schemes}
        }
        decided = {
            name: self._decoders[spec].decode(views[receiver])[0]
            for name, receiver, spec in self.schemes
        }
        return count_errors(messages, decided)

    def receive(
        self, receiver: str, y: np.ndarray, noise_var: float, variances: np.ndarray | float
    ) -> np.ndarray:
        """Compute the LLRs (F, n) of a receiver from real values y (F, n).

        receiver : "gaussian" takes the noise for Gaussian of noise_var; "clipped" and "erased"
            moreover limit or erase what lies beyond the signal by two standard deviations;
            "model" knows the noise's model, "genie" the variances of the symbols; "best" knows
            the model and that pulses last, and gives LLRs of the message (F, k) there
        """
        if receiver == "best" and isinstance(self.channel, Pulses):
            return joint_posteriors(self.code, self.channel, y, noise_var)
        if self.channel and receiver in ("model", "best"):
            return self.channel.llrs(y, noise_var)
        if receiver == "genie":
            return gaussian_llrs(y, variances)
        limit = 1 + 2 * noise_var**0.5
        if receiver == "clipped":
            y = np.clip(y, -limit, limit)
        elif receiver == "erased":
            y = np.where(np.abs(y) > limit, np.float32(0), y)
        return gaussian_llrs(y, noise_var)
