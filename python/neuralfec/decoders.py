# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoders, each by a short spec: ``decoder("bp:50", codes.code("wifi-648"))``."""

import importlib
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Decoder(Protocol):
    """What every decoder offers."""

    n: int
    """LLRs a frame."""
    k: int
    """Message bits a frame."""

    def decode(self, llrs: NDArray[np.float32]) -> tuple[NDArray[np.uint8], dict[str, int | float]]:
        """Messages uint8 (F, k) of LLRs (F, n), log P(b=1) - log P(b=0), and totals of what
        happened: at least ``frames`` and ``bad_samples``, LLRs not finite that counted as 0.
        """
        ...


# A new decoder is one line: name: (module here, factory, what may stand after the name).
# The factory gets the text after the colon ("" without one) and the code.
_DECODERS = {
    "bp": ("codes.belief_propagation", "sum_product", "[:ITERATIONS]"),
    "min-sum": ("codes.belief_propagation", "min_sum", "[:ITERATIONS[,SCALE]]"),
    "viterbi": ("sequence.decoder", "viterbi", "[:int8]"),
    "bcjr": ("sequence.decoder", "bcjr", "[:max-log]"),
    "rnn": ("sequence.decoder", "rnn", "[:MODEL]"),
    "sc": ("codes.polar", "sc", "[:exact]"),
    "scl": ("codes.polar", "scl", ":L[,exact]"),
    "osd": ("codes.ordered_statistics", "osd", ":ORDER"),
    "syndrome": ("syndrome.decoder", "syndrome", "[:MODEL]"),
    "syndrome-osd": ("syndrome.decoder", "syndrome_osd", ":ORDER[,MODEL]"),
}


def specs() -> list[str]:
    """The specs that `decoder` understands."""
    return [name + rest for name, (*_, rest) in _DECODERS.items()]


def decoder(spec: str, code: Any) -> Decoder:
    """The decoder that a spec names, for a code of `codes.code`.

    ValueError for another spec, with the known ones, and for a code it does not decode.
    """
    name, _, argument = spec.partition(":")
    if name not in _DECODERS:
        raise ValueError(f"expected a decoder of {', '.join(specs())}, got {spec!r}")
    module, factory, _ = _DECODERS[name]
    package = __name__.rpartition(".")[0]
    return getattr(importlib.import_module(f".{module}", package), factory)(argument, code)
