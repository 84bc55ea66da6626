# SPDX-License-Identifier: GPL-3.0-or-later
"""Classical decoders, and all decoders by a short spec:
``decoder("bp:50", codes.code("wifi-648"))``.

`REGISTRY` is a switchboard: it names decoders of the systems, too, which stand above this
package. So nothing of a system asks for `decoder`; what needs one is given one.
"""

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..codes.rate_matching import RateMatchedCode
from ..phy.llr import frames
from ..registry import Registry


class Decoder(Protocol):
    """What every decoder offers."""

    n: int
    """LLRs a frame."""
    k: int
    """Message bits a frame."""

    def decode(self, llrs: NDArray[np.float32]) -> tuple[NDArray[np.uint8], dict[str, int | float]]:
        """Messages uint8 (F, k) of LLRs (F, n), log P(b=1) - log P(b=0), and totals of what
        happened: at least ``frames`` and ``bad_samples``, LLRs that were NaN and counted as 0.
        """
        ...


class RateMatchedDecoder:
    """A decoder of the mother code that takes the LLRs of the bits that are sent."""

    def __init__(self, decoder: Decoder, code: RateMatchedCode) -> None:
        self._decoder, self._code = decoder, code
        self.n, self.k = code.n, code.k

    def decode(self, llrs: NDArray[np.float32]) -> tuple[NDArray[np.uint8], dict[str, int | float]]:
        """Decode LLRs (F, n) to messages uint8 (F, k); stats are the decoder's."""
        whole, bad_samples = self._code.expand(frames(llrs, self.n))
        messages, stats = self._decoder.decode(whole)
        return messages, {**stats, "bad_samples": bad_samples}


# A new decoder is one line: name: (module, factory of the text and the code, what may stand
# after the name).
REGISTRY = Registry(
    "decoder",
    __name__,
    {
        "bp": (".belief_propagation", "sum_product", "[:ITERATIONS]"),
        "min-sum": (".belief_propagation", "min_sum", "[:ITERATIONS[,SCALE]]"),
        "bp-layered": (".belief_propagation", "layered_sum_product", "[:ITERATIONS]"),
        "min-sum-layered": (".belief_propagation", "layered_min_sum", "[:ITERATIONS[,SCALE]]"),
        "min-sum-int8": (".belief_propagation", "int8_min_sum", "[:ITERATIONS[,SCALE]]"),
        "viterbi": (".convolutional", "viterbi", "[:int8]"),
        "bcjr": (".convolutional", "bcjr", "[:max-log]"),
        "bcjr-burst": (".burst", "bcjr_burst", "[:STATES]"),
        "rnn": ("..sequence.decoder", "rnn", "[:MODEL]"),
        "sc": (".successive_cancellation", "sc", "[:exact]"),
        "scl": (".successive_cancellation", "scl", ":L[,exact]"),
        "scl-osd": (".successive_cancellation", "scl_osd", ":L,ORDER[,early]"),
        "ae-sc": (".successive_cancellation", "ae_sc", ":M[,AGREEMENT]"),
        "osd": (".ordered_statistics", "osd", ":ORDER[,early]"),
        "syndrome": ("..syndrome.decoder", "syndrome", "[:MODEL]"),
        "syndrome-ae": ("..syndrome.decoder", "syndrome_ensemble", ":M[,MODEL]"),
        "syndrome-osd": ("..syndrome.decoder", "syndrome_osd", ":ORDER[,MODEL]"),
    },
)


def specs() -> list[str]:
    """Return the specs that `decoder` understands."""
    return REGISTRY.specs()


def decoder(spec: str, code: Any) -> Decoder:
    """Make the decoder that a spec names, for a code of `codes.code`.

    A code of which some bits are not sent, or are sent twice, is decoded by what decodes its
    mother code. ValueError for another spec, with the known ones, and for a code it does not
    decode.
    """
    if isinstance(code, RateMatchedCode):
        return RateMatchedDecoder(REGISTRY.make(spec, code.mother), code)
    return REGISTRY.make(spec, code)
