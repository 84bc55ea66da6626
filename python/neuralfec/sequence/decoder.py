# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoding convolutional codes with a recurrent network, frames and streams.

Both take LLRs, log P(b=1) - log P(b=0), in the order in which coded bits are sent. NaN
counts as 0 (nothing known), and is counted; an infinite LLR counts as certain.
"""

import threading
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..codes.convolutional import ConvolutionalCode
from ..decoders.convolutional import check_code
from ..phy.llr import frames, known
from ..remade import Remade

Bits = NDArray[np.uint8]
Llrs = NDArray[np.float32]

# The recurrent network is told of a known state by this many steps of the all-zero path, at
# this many times the mean LLR.
PAD_STEPS = 4
PAD_VALUE = -2.0

# Multiples of a sequence's median magnitude; see `_normalised`.
_OUTLIER = 64
_LARGEST = 4


class RecurrentModel(Remade):
    """Runs a trained network in the fused kernel: sequences float32 (F, T, n_0) to logits (F, T).

    model : a shipped name ("sequence/conv-7-5") or a file. ValueError where it is not for the
        code's generators and feedback, or for a punctured code, which no model has seen.
    """

    def __init__(self, code: ConvolutionalCode, model: str | None = None) -> None:
        from .. import _kernels, models

        check_code(code)
        if code.puncture:
            raise ValueError(f"expected an unpunctured code, got {code!r}")
        if model is None:
            numbers = [*map(abs, code.generators), *([code.feedback] if code.feedback else [])]
            model = "sequence/conv-" + "-".join(f"{g:o}" for g in numbers)
        expect = {
            "system": "sequence",
            "generators": [abs(g) for g in code.generators],
            "feedback": code.feedback or 0,
        }
        self.card = models.read_card(model)
        self.card.check(expect)
        state = {name: a.astype(float) for name, a in models.parameters(model).items()}
        hidden = self.card.parameters["hidden"]
        self._network = _kernels.RecurrentNetwork(len(code.generators), hidden, *_fold(state))

    def __call__(self, x: Llrs) -> Llrs:
        return self._network.run(x)


def _fold(state: dict[str, np.ndarray]) -> tuple[list, list[float], float]:
    """Batch normalisation, a scale and a shift at inference, into the weights behind it."""

    def affine(name: str) -> tuple[np.ndarray, np.ndarray]:
        scale = state[f"{name}.weight"] / np.sqrt(state[f"{name}.running_var"] + 1e-5)
        return scale, state[f"{name}.bias"] - scale * state[f"{name}.running_mean"]

    directions = []
    for layer in ("first", "second"):
        for suffix in ("", "_reverse"):
            inputs, hidden, input_bias, hidden_bias = (
                state[f"{layer}.{kind}_l0{suffix}"]
                for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            if layer == "second":
                scale, shift = affine("first_norm")
                input_bias = input_bias + inputs @ shift
                inputs = inputs * scale
            directions.append(
                [part.ravel().tolist() for part in (inputs, hidden, input_bias, hidden_bias)]
            )
    scale, shift = affine("second_norm")
    weight = state["output.weight"][0]
    bias = float(state["output.bias"][0] + weight @ shift)
    return directions, (weight * scale).tolist(), bias


class RnnDecoder(Remade):
    """Decodes frames of any length by the recurrent network.

    Frames longer than window + 2 overlap steps are cut into windows, of which the `overlap`
    steps at both ends only serve the middle. Known states at a frame's ends are told to the
    network by PAD_STEPS steps of the all-zero path; a tail-biting frame is continued over its
    ends. LLRs are divided by their mean magnitude in the frame: their scale does not matter.
    """

    def __init__(
        self,
        code: ConvolutionalCode,
        model: str | None = None,
        *,
        window: int = 512,
        overlap: int = 32,
    ) -> None:
        if window < 1 or overlap < 1:
            raise ValueError(f"expected window and overlap above 0, got {window} and {overlap}")
        self._model = RecurrentModel(code, model)
        self.code, self.n, self.k = code, code.n, code.k
        self.window, self.overlap = window, overlap

    def posteriors(self, llrs: ArrayLike) -> tuple[Llrs, dict[str, int | float]]:
        """Compute LLRs float32 (F, k) of the messages from LLRs (F, n), and counts."""
        llrs, bad = known(frames(llrs, self.n))
        x = _normalised(self.code.depuncture(llrs))
        pad = np.full((len(x), PAD_STEPS, x.shape[2]), PAD_VALUE, dtype=np.float32)
        if self.code.termination == "tail-biting":
            steps, before = x.shape[1], self.overlap
            x = x[:, np.arange(-before, steps + before) % steps]
        else:
            before = PAD_STEPS
            x = np.concatenate([pad, x, pad][: 2 + (self.code.termination == "zero")], axis=1)
        decided = self._run(x)[:, before : before + self.k]
        return decided, {"frames": len(decided), "bad_samples": bad}

    def decode(self, llrs: ArrayLike) -> tuple[Bits, dict[str, int | float]]:
        """Decode LLRs (F, n) to messages uint8 (F, k); counts `frames` and `bad_samples`."""
        decided, stats = self.posteriors(llrs)
        return (decided > 0).astype(np.uint8), stats

    def _run(self, x: Llrs) -> Llrs:
        frames, steps, outputs = x.shape
        length = self.window + 2 * self.overlap
        if steps <= length:
            return self._model(x)
        # The middles lie side by side; the windows of the first and the last one have more
        # on the side that has no neighbour.
        middles = np.arange(0, steps, self.window)
        starts = np.clip(middles - self.overlap, 0, steps - length)
        windows = np.lib.stride_tricks.sliding_window_view(x, length, axis=1)[:, starts]
        logits = self._model(windows.swapaxes(2, 3).reshape(-1, length, outputs))
        logits = logits.reshape(frames, len(starts), length)
        out = np.empty((frames, steps), dtype=np.float32)
        for i, (middle, start) in enumerate(zip(middles, starts, strict=True)):
            end = min(middle + self.window, steps)
            out[:, middle:end] = logits[:, i, middle - start : end - start]
        return out


class RnnStream:
    """The recurrent network on an endless stream that starts in state 0.

    Bits come out `window` at a time; each has seen at least `overlap` steps on both sides. What
    comes out does not depend on how the stream is cut into calls. The latency is at most
    window + overlap message bits, and the time of one call.
    """

    def __init__(
        self,
        code: ConvolutionalCode,
        model: str | None = None,
        *,
        window: int = 512,
        overlap: int = 32,
    ) -> None:
        if window < 1 or overlap < PAD_STEPS:
            raise ValueError(
                f"expected a window above 0 and an overlap of at least {PAD_STEPS}, "
                f"got {window} and {overlap}"
            )
        self._model = RecurrentModel(code, model)
        self.window, self.overlap = window, overlap
        self.outputs = len(code.generators)
        self._signs = code.signs
        self.reset()

    def reset(self) -> None:
        """Begin a new stream; what has not come out of the old one is dropped."""
        self._buffer = np.empty(0, dtype=np.float32)
        self._started = False
        self._lock = threading.Lock()

    def decode(self, llrs: ArrayLike) -> tuple[Bits, int]:
        """Return the bits uint8 that further LLRs complete, and how many LLRs were not finite."""
        if not self._lock.acquire(blocking=False):
            raise RuntimeError("expected one thread to decode a stream, got two at once")
        try:
            return self._decode(llrs)
        finally:
            self._lock.release()

    def _decode(self, llrs: ArrayLike) -> tuple[Bits, int]:
        llrs, bad = known(np.ravel(llrs))
        self._buffer = np.concatenate([self._buffer, llrs])
        bits = []
        if not self._started and len(self._buffer) >= self.outputs * (self.window + self.overlap):
            x = self._steps(self.window + self.overlap)[None]
            pad = np.full((1, PAD_STEPS, self.outputs), PAD_VALUE, dtype=np.float32)
            logits = self._model(np.concatenate([pad, _normalised(x)], axis=1))
            bits.append(logits[:, PAD_STEPS : PAD_STEPS + self.window])
            self._drop(self.window - self.overlap)
            self._started = True
        length = self.window + 2 * self.overlap
        if self._started and len(self._buffer) >= self.outputs * length:
            steps = self._steps(len(self._buffer) // self.outputs)
            windows = np.lib.stride_tricks.sliding_window_view(steps, length, axis=0)
            x = windows[:: self.window].swapaxes(1, 2)
            bits.append(self._model(_normalised(x))[:, self.overlap : -self.overlap])
            self._drop(len(x) * self.window)
        if not bits:
            return np.empty(0, dtype=np.uint8), bad
        return np.concatenate([part.ravel() > 0 for part in bits]).astype(np.uint8), bad

    @property
    def pending(self) -> bool:
        """Whether `flush` would give bits."""
        held = self.overlap if self._started else 0
        return len(self._buffer) // self.outputs > held

    def flush(self) -> Bits:
        """Decide what is left at the end of the stream, uint8, and begin a new stream.

        Whole steps alone count. The last bits have seen fewer than `overlap` steps behind them.
        """
        held = self.overlap if self._started else 0
        steps = len(self._buffer) // self.outputs
        bits = np.empty(0, dtype=np.uint8)
        if steps > held:
            x = _normalised(self._steps(steps)[None])
            if not self._started:
                pad = np.full((1, PAD_STEPS, self.outputs), PAD_VALUE, dtype=np.float32)
                x, held = np.concatenate([pad, x], axis=1), PAD_STEPS
            bits = (self._model(x)[0, held:] > 0).astype(np.uint8)
        self.reset()
        return bits

    def room(self, bits: int) -> int:
        """Return how many further LLRs complete no more than this many bits."""
        sides = 2 if self._started else 1
        steps = (bits // self.window + 1) * self.window + sides * self.overlap
        return max(steps * self.outputs - 1 - len(self._buffer), 0)

    def _steps(self, count: int) -> Llrs:
        return self._buffer[: count * self.outputs].reshape(count, self.outputs) * self._signs

    def _drop(self, steps: int) -> None:
        self._buffer = self._buffer[steps * self.outputs :]


def _normalised(x: Llrs) -> Llrs:
    """Return sequences (F, T, n_0) over their mean magnitude; all zeros stay.

    In sequences with outliers, more than `_OUTLIER` times the median magnitude, which no fading
    channel makes, magnitudes are held to `_LARGEST` times the median.
    """
    magnitude = np.abs(x).reshape(len(x), -1)
    mean = magnitude.mean(axis=1)
    sample = magnitude[:, :: magnitude.shape[1] // 512 + 1]
    median = np.median(sample, axis=1) if sample.size else mean
    for i in np.flatnonzero(magnitude.max(axis=1, initial=0) > _OUTLIER * median):
        some = magnitude[i][magnitude[i] > 0]
        limit = np.float32(_LARGEST) * np.median(some)
        if x.base is not None or not x.flags.writeable:
            x = x.copy()
        x[i] = np.clip(x[i], -limit, limit)
        mean[i] = np.abs(x[i]).mean()
    return x / np.maximum(mean, np.finfo(np.float32).tiny)[:, None, None]


def rnn(argument: str, code: Any) -> RnnDecoder:
    """Make the decoder of the spec ``rnn``, with the code's shipped model, or ``rnn:MODEL``."""
    return RnnDecoder(code, argument or None)
