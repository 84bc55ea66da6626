# SPDX-License-Identifier: GPL-3.0-or-later
"""Convolutional codes of rate 1/n, framed and punctured.

A code with generators g_j and feedback f has c_j(D) = g_j(D) / f(D) u(D) over GF(2); without
feedback f = 1. The shift register holds w(D) = u(D) / f(D), so that c_j = g_j w: codes with the
same generators have the same codewords, whatever their feedback. One with g_0 = f is systematic.
"""

from __future__ import annotations

import re
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from . import gf2
from .gf2 import Bits

TERMINATIONS = ("none", "zero", "tail-biting")

_SPEC = re.compile(
    r"(?P<generators>-?[0-7]+(,-?[0-7]+)*)(/(?P<feedback>[0-7]+))?(@(?P<puncture>[01]+))?"
    r"(:(?P<k>\d+)(:(?P<termination>[a-z-]+))?)?"
)


class ConvolutionalCode:
    """Frames of k message bits of a convolutional code.

    generators: octal numbers as integers, as the literature writes them: the newest bit's
        coefficient is the most significant, so (0o171, 0o133) is the usual code of K = 7. A
        negative one sends the complement of its output: (0o171, -0o133) is the code of CCSDS
        131.0-B, clause 3.3, and of Galileo.
    feedback: likewise, no shorter than any generator; None: feedforward.
    k: message bits of a frame.
    termination: a frame starts in state 0 and ends anywhere ("none") or in state 0 after K - 1
        tail steps ("zero"); or it starts in the state in which it ends ("tail-biting").
    puncture: 1: sent, 0: not; repeats over the coded bits c_0 c_1 ... of step 0, then step 1,
        and so on. Its length is a multiple of n_0, the number of generators. None: all are sent.

    ``n`` is the number of coded bits sent for a frame. ValueError for anything else, and for a
    recursive tail-biting code with a frame length for which a message has no circular state
    (f(D) and D^k + 1 have a common factor: for f = 7 where 3 divides k).
    """

    def __init__(
        self,
        generators: ArrayLike,
        feedback: int | None = None,
        *,
        k: int = 100,
        termination: str = "none",
        puncture: ArrayLike | None = None,
    ) -> None:
        self.generators = [int(g) for g in np.atleast_1d(generators)]
        self.feedback = int(feedback) if feedback else None
        self.k, self.termination = int(k), termination
        self.puncture = [] if puncture is None else [int(p) for p in np.atleast_1d(puncture)]
        length = max(g.bit_length() for g in [*self.generators, self.feedback or 0])
        rate = len(self.generators)
        if not 1 <= rate <= 6 or 0 in self.generators or (self.feedback or 1) < 1:
            raise ValueError(
                "expected 1 to 6 generators other than 0 and a feedback above 0, "
                f"got {self.generators} and {self.feedback}"
            )
        if not 2 <= length <= 9:
            raise ValueError(f"expected a constraint length of 2 to 9, got {length}")
        if self.feedback and self.feedback.bit_length() != length:
            raise ValueError(
                f"expected a feedback of {length} bits, the constraint length, "
                f"got {self.feedback:o} (octal)"
            )
        if termination not in TERMINATIONS:
            raise ValueError(f"expected a termination of {TERMINATIONS}, got {termination!r}")
        self.memory = length - 1
        least = self.memory if termination == "tail-biting" else 1
        if self.k < least:
            raise ValueError(f"expected a frame of at least {least} bits, got {self.k}")
        if len(self.puncture) % rate or not set(self.puncture) <= {0, 1}:
            raise ValueError(
                f"expected a puncturing pattern of 0 and 1 of a multiple of {rate} bits, "
                f"got {self.puncture}"
            )
        self.steps = self.k + (self.memory if termination == "zero" else 0)
        pattern = self.puncture or [1]
        self._inverted = np.array([g < 0 for g in self.generators], dtype=np.uint8)
        self.kept = np.resize(np.array(pattern, dtype=bool), self.steps * rate)
        self.n = int(self.kept.sum())
        if not self.n:
            raise ValueError(f"expected a puncturing pattern that sends a bit, got {pattern}")
        if termination == "tail-biting":
            _ = self._circular_states

    def __repr__(self) -> str:
        return f"ConvolutionalCode({self.spec})"

    @property
    def spec(self) -> str:
        """The code as `code` reads it."""
        text = "conv:" + ",".join(f"{g:o}" for g in self.generators)
        text += f"/{self.feedback:o}" if self.feedback else ""
        text += "@" + "".join(map(str, self.puncture)) if self.puncture else ""
        return f"{text}:{self.k}:{self.termination}"

    def with_frame(self, k: int, termination: str) -> ConvolutionalCode:
        """Return the same code with other frames."""
        return ConvolutionalCode(
            self.generators,
            self.feedback,
            k=k,
            termination=termination,
            puncture=self.puncture or None,
        )

    def decoder_arguments(self) -> dict[str, Any]:
        """Return what the kernels and blocks of its decoders ask of the code, by keyword."""
        return self.stream_arguments() | {"k": self.k, "termination": self.termination}

    def stream_arguments(self) -> dict[str, Any]:
        """Return what decoders of endless streams ask of the code, by keyword."""
        return {
            "generators": self.generators,
            "feedback": self.feedback or 0,
            "puncture": self.puncture,
        }

    def encode(self, messages: ArrayLike) -> Bits:
        """Encode messages.

        Parameters
        ----------
        messages : (F, k) or one message (k,), 0 and 1

        Returns
        -------
        uint8 (F, n), or (n,) for one message. ValueError for another shape or other values.
        """
        u = gf2.as_frames(messages, self.k, "messages")
        if np.ndim(messages) == 1:
            return self.encode(u)[0]
        history = np.zeros((len(u), self.memory), dtype=np.uint8)
        if self.termination == "tail-biting":
            end = _state(self._register(u, history)[:, -self.memory :])
            history = _history(self._circular_states[end], self.memory)
        w = np.hstack([history, self._register(u, history)])
        if self.termination == "zero":
            w = np.pad(w, ((0, 0), (0, self.memory)))
        coded = np.stack([_filter(w, self._taps(g)) for g in self.generators], axis=-1)
        return (coded ^ self._inverted).reshape(len(u), self.kept.size)[:, self.kept]

    def depuncture(self, llrs: ArrayLike) -> np.ndarray:
        """Return LLRs (F, n) as float32 (F, steps, n_0), 0 where no bit was sent.

        They are the LLRs of the generators' outputs: signs are turned where a generator sends the
        complement.
        """
        llrs = np.asarray(llrs, dtype=np.float32)
        full = np.zeros((len(llrs), self.kept.size), dtype=np.float32)
        full[:, self.kept] = llrs
        return full.reshape(len(llrs), self.steps, -1) * self.signs

    @property
    def signs(self) -> np.ndarray:
        """float32 (n_0,): -1 for each generator that sends the complement of its output, else 1."""
        return np.where(self._inverted, np.float32(-1), np.float32(1))

    def _taps(self, generator: int) -> list[int]:
        return [abs(generator) >> (self.memory - i) & 1 for i in range(self.memory + 1)]

    def _register(self, u: Bits, history: Bits) -> Bits:
        """w = u / f of w's first m values, (F, T)."""
        if not self.feedback:
            return u
        taps = self._taps(self.feedback)
        # The history's part of f w, moved to the other side.
        rest = np.pad(history, ((0, 0), (0, u.shape[1])))
        driven = u ^ _filter(rest, taps)[:, : u.shape[1]]
        # f divides 1 + D^p: with h = (1 + D^p) / f, w_t = w_{t-p} + (h * driven)_t.
        numerator, period = _division(taps)
        padded = np.pad(driven, ((0, 0), (len(numerator) - 1, -u.shape[1] % period)))
        w = _filter(padded, numerator)
        rows = w.reshape(len(u), -1, period)
        return np.bitwise_xor.accumulate(rows, axis=1).reshape(len(u), -1)[:, : u.shape[1]]

    @cached_property
    def _circular_states(self) -> np.ndarray:
        """For each end state of the frame encoded from state 0, the state that it must start
        in: with x_k = A^k x_0 + z and x_k = x_0, z = (A^k + 1) x_0."""
        states = np.arange(1 << self.memory)
        if not self.feedback:
            # The register holds the message alone: it ends as it must start.
            return states
        silence = np.zeros((len(states), self.k), dtype=np.uint8)
        ends = _state(self._register(silence, _history(states, self.memory))[:, -self.memory :])
        reached = ends ^ states
        if len(set(reached)) < len(states):
            raise ValueError(
                f"a tail-biting frame of {self.k} bits has no unique start state with feedback "
                f"{self.feedback:o} (octal); choose another length"
            )
        starts = np.empty_like(states)
        starts[reached] = states
        return starts


def _filter(w: Bits, taps: list[int]) -> Bits:
    """sum_i taps_i w_{t-i} modulo 2 of (F, m + T), m = len(taps) - 1, -> (F, T)."""
    last = len(taps) - 1
    out = np.zeros((w.shape[0], w.shape[1] - last), dtype=np.uint8)
    for i, tap in enumerate(taps):
        if tap:
            out ^= w[:, last - i : w.shape[1] - i]
    return out


def _division(taps: list[int]) -> tuple[list[int], int]:
    """h and p with f h = 1 + D^p; f has taps_0 = 1. h is 1/f up to its period."""
    memory = len(taps) - 1
    inverse: list[int] = []
    while True:
        t = len(inverse)
        bit = int(t == 0) ^ (
            sum(taps[i] & inverse[t - i] for i in range(1, min(memory, t) + 1)) & 1
        )
        inverse.append(bit)
        # 1/f starts again where 1 + D^p is a multiple of f.
        p = len(inverse)
        product = np.convolve(inverse, taps) % 2
        if (
            p >= 1
            and not product[1:p].any()
            and product[p : p + memory].tolist() == ([1] + [0] * (memory - 1))
        ):
            return inverse, p


def _state(register: Bits) -> np.ndarray:
    """The last m register bits (F, m), oldest first, as a number."""
    return register @ (1 << np.arange(register.shape[1])[::-1])


def _history(states: np.ndarray, memory: int) -> Bits:
    """Numbers of `_state` to register bits (F, m)."""
    return ((np.asarray(states)[:, None] >> np.arange(memory)[::-1]) & 1).astype(np.uint8)


def from_spec(argument: str) -> ConvolutionalCode:
    """Make the code of a spec.

    Specs are ``7,5``, ``7,5/7:1000:zero``, ``171,-133@110110:2000:tail-biting`` and their like:
    octal generators, with a minus sign where the complement of the output is sent; then / and the
    octal feedback of a recursive code, @ and the puncturing pattern, : and the message bits of a
    frame (100), : and the termination (none).
    """
    match = _SPEC.fullmatch(argument)
    if not match:
        raise ValueError(
            f"expected conv:G,G[/F][@PUNCTURE][:K[:TERMINATION]], octal G and F, got {argument!r}"
        )
    return ConvolutionalCode(
        [int(g, 8) for g in match["generators"].split(",")],
        int(match["feedback"], 8) if match["feedback"] else None,
        k=int(match["k"] or 100),
        termination=match["termination"] or "none",
        puncture=[int(p) for p in match["puncture"]] if match["puncture"] else None,
    )
