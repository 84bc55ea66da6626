# SPDX-License-Identifier: GPL-3.0-or-later
"""Successive-cancellation decoders of polar codes, with and without a list."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codes.gf2 import Bits
from ..codes.polar import PolarCode


class PolarDecoder:
    """Successive cancellation, with a list of ``list_size`` paths (1, 2, 4, ... 32).

    Check nodes are min-sum, or exact (f(a, b) = 2 atanh(tanh(a/2) tanh(b/2))), which asks
    for true LLRs where min-sum is the same at every scale. A CRC of the code chooses among
    the list's words.
    """

    def __init__(self, code: PolarCode, list_size: int = 1, *, exact: bool = False) -> None:
        from .. import _kernels

        if not isinstance(code, PolarCode):
            raise ValueError(f"expected a polar code, got {code!r}")
        self.n, self.k = code.n, code.k
        self._kernel = _kernels.SuccessiveCancellation(
            **code.decoder_arguments(), list_size=list_size, exact=exact
        )

    def decode(self, llrs: NDArray[np.float32]) -> tuple[Bits, dict[str, int]]:
        """Messages uint8 (F, k) of LLRs (F, n); NaN and infinite LLRs count as 0.

        stats: ``frames``, ``bad_samples``. ValueError for another shape.
        """
        messages, bad_samples = self._kernel.decode(llrs)
        return messages, {"frames": len(messages), "bad_samples": bad_samples}


def sc(argument: str, code: Any) -> PolarDecoder:
    """Spec ``sc`` or ``sc:exact``."""
    if argument not in ("", "exact"):
        raise ValueError(f"expected sc or sc:exact, got sc:{argument}")
    return PolarDecoder(code, exact=argument == "exact")


def scl(argument: str, code: Any) -> PolarDecoder:
    """Spec ``scl:L`` or ``scl:L,exact``."""
    words = argument.split(",")
    if not words[0].isdecimal() or words[1:] not in ([], ["exact"]):
        raise ValueError(f"expected scl:L or scl:L,exact, got scl:{argument}")
    return PolarDecoder(code, int(words[0]), exact=len(words) == 2)
