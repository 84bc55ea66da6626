# SPDX-License-Identifier: GPL-3.0-or-later
"""BCJR decoder of convolutional codes over noise that comes in bursts."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..codes.convolutional import ConvolutionalCode
from ..phy.llr import frames
from ..remade import Remade
from .convolutional import Bits, Llrs, check_code


@dataclass(frozen=True)
class NoiseChain:
    """Gaussian noise whose variance follows a Markov chain of S states, symbol by symbol.

    A symbol is received as y = a + n (bit 1) or y = -a + n (bit 0); the scale of y is any.
    """

    amplitude: float
    """a."""
    variance: NDArray[np.float64]
    """Variance of n in each state, float64 (S,), on the scale of y^2."""
    start: NDArray[np.float64]
    """Probabilities of the states before a frame's first symbol, float64 (S,)."""
    step: NDArray[np.float64]
    """P(next state | state), float64 (S, S)."""

    def stationary(self) -> NDArray[np.float64]:
        """Return the share of all symbols that each state has, float64 (S,)."""
        states = len(self.variance)
        equations = np.vstack([self.step.T - np.eye(states), np.ones(states)])
        return np.linalg.lstsq(equations, np.eye(states + 1)[states], rcond=None)[0]


class BurstBcjrDecoder(Remade):
    """Decode over bursts of noise of which nothing is known before.

    The states of the trellis are pairs of a state of the code and one of the noise, a
    `NoiseChain`. Its parameters are the most likely ones of the frames themselves, found by
    expectation maximisation (Baum, Petrie, Soules, Weiss 1970) over at most 256 frames of
    each call, spread evenly. So a call should hold frames that went over the same channel;
    even one frame of 100 bits tells most of it.

    Values may be LLRs of any common scale, such as those of a demapper that was told an
    assumed noise variance, or received symbols of +-a: the amplitude is a parameter, too.
    All symbols must have one amplitude: BPSK or QPSK without fading.

    Parameters
    ----------
    code : ConvolutionalCode
        Frames with a termination of none or zero.
    noise_states : int
        2 (quiet and loud, the default), 3 or 4.

    Raises
    ------
    ValueError
        For another code, a tail-biting one, or another number of states.
    """

    def __init__(self, code: ConvolutionalCode, noise_states: int = 2) -> None:
        from .. import _kernels

        check_code(code)
        self.n, self.k = code.n, code.k
        self._kernel = _kernels.BurstBcjr(**code.decoder_arguments(), noise_states=noise_states)

    def learn(self, llrs: ArrayLike) -> NoiseChain:
        """Find the parameters of the noise in LLRs (F, n)."""
        chain, _ = self._kernel.learn(frames(llrs, self.n))
        return NoiseChain(**chain)

    def posteriors(
        self, llrs: ArrayLike, noise: NoiseChain | None = None
    ) -> tuple[Llrs, dict[str, int]]:
        """Compute LLRs float32 (F, k) of the messages from LLRs (F, n).

        With `noise` they are exact for it; without, its parameters are found first. Stats:
        ``frames``, ``bad_samples`` and ``iterations`` of the search.
        """
        values = frames(llrs, self.n)
        iterations = 0
        if noise is None:
            chain, iterations = self._kernel.learn(values)
        else:
            chain = vars(noise)
        decided, bad = self._kernel.decode(values, chain)
        return decided, {
            "frames": len(decided),
            "bad_samples": bad,
            "iterations": iterations,
        }

    def decode(self, llrs: ArrayLike) -> tuple[Bits, dict[str, int]]:
        """Decode LLRs (F, n) to messages uint8 (F, k); stats as of `posteriors`."""
        decided, stats = self.posteriors(llrs)
        return (decided > 0).astype(np.uint8), stats


def bcjr_burst(argument: str, code: Any) -> BurstBcjrDecoder:
    """Make the decoder of the spec ``bcjr-burst`` or ``bcjr-burst:STATES``."""
    if argument not in ("", "2", "3", "4"):
        raise ValueError(
            f"expected bcjr-burst[:STATES] with 2, 3 or 4 states, got bcjr-burst:{argument}"
        )
    return BurstBcjrDecoder(code, int(argument or 2))
