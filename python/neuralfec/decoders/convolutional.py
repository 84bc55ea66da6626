# SPDX-License-Identifier: GPL-3.0-or-later
"""Viterbi and BCJR decoders of convolutional codes.

Both take LLRs, log P(b=1) - log P(b=0), in the order in which coded bits are sent. NaN
counts as 0 (nothing known), and is counted; an infinite LLR counts as certain.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..codes.convolutional import ConvolutionalCode
from ..phy.llr import frames
from ..remade import Remade

Bits = NDArray[np.uint8]
Llrs = NDArray[np.float32]


class ViterbiDecoder(Remade):
    """Maximum likelihood: the message whose codeword c has the largest sum of c_i L_i.

    metric: "int16", with LLRs of 11 bits; "int8", coarser (see docs/sequence-decoding.md) and
    faster. The LLRs' scale does not matter.
    """

    def __init__(self, code: ConvolutionalCode, metric: str = "int16") -> None:
        from .. import _kernels

        check_code(code)
        self.n, self.k = code.n, code.k
        self._kernel = _kernels.ViterbiDecoder(**code.decoder_arguments(), metric=metric)

    def decode(self, llrs: ArrayLike) -> tuple[Bits, dict[str, int]]:
        """Messages uint8 (F, k) of LLRs (F, n); stats `frames`, `bad_samples`."""
        messages, bad = self._kernel.decode(frames(llrs, self.n))
        return messages, {"frames": len(messages), "bad_samples": bad}


class BcjrDecoder(Remade):
    """Each bit's posterior LLR: max* over paths with u = 1 less max* over those with u = 0.

    method: "log-map", max*(a, b) = log(e^a + e^b), which asks for true LLRs and has the least
    bit error rate; or "max-log", max*(a, b) = max(a, b), whose decisions are Viterbi's.
    """

    def __init__(self, code: ConvolutionalCode, method: str = "log-map") -> None:
        from .. import _kernels

        check_code(code)
        self.n, self.k = code.n, code.k
        self._kernel = _kernels.BcjrDecoder(**code.decoder_arguments(), method=method)

    def posteriors(self, llrs: ArrayLike) -> tuple[Llrs, dict[str, int]]:
        """LLRs float32 (F, k) of the messages from LLRs (F, n)."""
        decided, bad = self._kernel.decode(frames(llrs, self.n))
        return decided, {"frames": len(decided), "bad_samples": bad}

    def decode(self, llrs: ArrayLike) -> tuple[Bits, dict[str, int]]:
        """Messages uint8 (F, k) of LLRs (F, n); stats `frames`, `bad_samples`."""
        decided, stats = self.posteriors(llrs)
        return (decided > 0).astype(np.uint8), stats


def check_code(code: Any) -> None:
    """Raise ValueError for what is not a convolutional code."""
    if not isinstance(code, ConvolutionalCode):
        raise ValueError(f"expected a convolutional code (conv:...), got {code!r}")


def viterbi(argument: str, code: Any) -> ViterbiDecoder:
    """Spec ``viterbi`` or ``viterbi:int8``."""
    return ViterbiDecoder(code, argument or "int16")


def bcjr(argument: str, code: Any) -> BcjrDecoder:
    """Spec ``bcjr`` or ``bcjr:max-log``."""
    return BcjrDecoder(code, argument or "log-map")
