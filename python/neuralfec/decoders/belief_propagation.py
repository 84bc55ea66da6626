# SPDX-License-Identifier: GPL-3.0-or-later
"""Belief propagation for LDPC and other binary linear codes."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..codes import LinearCode
from ..codes.gf2 import Bits
from ..phy.llr import frames
from ..remade import Remade


class Decoded(NamedTuple):
    """What became of F codewords."""

    messages: Bits
    """uint8 (F, k)"""
    iterations: NDArray[np.uint32]
    """Iterations done, (F,)."""
    converged: NDArray[np.bool_]
    """Whether all checks hold and no bit is left at LLR 0, (F,)."""
    posteriors: NDArray[np.float32] | None
    """LLRs of all bits after the last iteration, (F, n), where asked for."""
    bad_samples: int
    """LLRs that were NaN and counted as 0."""


class BeliefPropagation(Remade):
    """Decode by the sum-product or the normalised min-sum rule.

    ``iterations``: the most of a codeword. ``rule``: ``"sum-product"``, exact;
    ``"min-sum"``, whose messages are multiplied by ``scale``; or ``"min-sum-int8"``, the same in
    bytes, several times as fast, with a step of each frame's own. ``parity_stop``: a codeword
    ends once all checks hold, before the first iteration too. ``schedule``: ``"flooding"``, all
    checks and then all bits in turn; ``"layered"``, the bits of each check at once, which
    takes about half as many iterations; or ``"auto"``, flooding, but layered for min-sum-int8,
    which has no other.

    Messages from check c to bit b, with L = log P(b=1) - log P(b=0):
    -2 atanh prod tanh(-L/2) over the other bits, or
    -scale prod sign(-L) min |L|; from b to c the sum of the channel's LLR and the messages
    of the other checks. Sum-product messages into a check are limited to +-41.6.

    Results are the same, bit for bit, on every SIMD target and for every size of batch.

    ValueError for a code that is no `LinearCode`, iterations below 1, scale outside (0, 1],
    another rule or schedule, and min-sum-int8 with flooding.
    """

    def __init__(
        self,
        code: LinearCode,
        iterations: int = 50,
        *,
        rule: str = "sum-product",
        scale: float = 0.75,
        parity_stop: bool = True,
        schedule: str = "auto",
    ) -> None:
        from .. import _kernels

        if not isinstance(code, LinearCode):
            raise ValueError(f"expected a binary linear block code, got {code!r}")
        if iterations < 1:
            raise ValueError(f"expected at least 1 iteration, got {iterations}")
        self.n, self.k = code.n, code.k
        self._code = code
        # The message of a code that is not systematic depends on more than its positions.
        self._kernel = _kernels.BeliefPropagation(
            code.n,
            *code.edges,
            code.information_set if code.systematic else np.arange(code.n),
            rule,
            iterations,
            scale,
            parity_stop,
            schedule,
        )

    def run(self, llrs: ArrayLike, *, posteriors: bool = False) -> Decoded:
        """Decodes LLRs (F, n); ValueError for another shape."""
        bits, iterations, converged, after, bad_samples = self._kernel.decode(
            frames(llrs, self.n), posteriors
        )
        return Decoded(
            bits if self._code.systematic else self._code.messages(bits),
            iterations,
            converged.astype(bool),
            after if posteriors else None,
            bad_samples,
        )

    def decode(self, llrs: ArrayLike) -> tuple[Bits, dict[str, int]]:
        """Messages uint8 (F, k) of LLRs (F, n).

        stats, totals: ``frames``, ``converged``, ``iterations``, ``bad_samples``.
        ValueError for another shape.
        """
        decoded = self.run(llrs)
        return decoded.messages, {
            "frames": len(decoded.messages),
            "converged": int(decoded.converged.sum()),
            "iterations": int(decoded.iterations.sum()),
            "bad_samples": decoded.bad_samples,
        }


def sum_product(argument: str, code: Any, schedule: str = "flooding") -> BeliefPropagation:
    """Make the decoder of the spec ``bp`` or ``bp:ITERATIONS``."""
    if not _is_count(argument or "50"):
        name = "bp-layered" if schedule == "layered" else "bp"
        raise ValueError(
            f"expected {name}:ITERATIONS, a number of at least 1, got {name}:{argument}"
        )
    return BeliefPropagation(code, int(argument or 50), schedule=schedule)


def layered_sum_product(argument: str, code: Any) -> BeliefPropagation:
    """Make the decoder of the spec ``bp-layered`` or ``bp-layered:ITERATIONS``."""
    return sum_product(argument, code, "layered")


def min_sum(argument: str, code: Any) -> BeliefPropagation:
    """Make the decoder of the spec ``min-sum[:ITERATIONS[,SCALE]]``."""
    return _min_sum("min-sum", argument, code, "min-sum", "flooding", 0.75)


def layered_min_sum(argument: str, code: Any) -> BeliefPropagation:
    """Make the decoder of the spec ``min-sum-layered[:ITERATIONS[,SCALE]]``."""
    return _min_sum("min-sum-layered", argument, code, "min-sum", "layered", 0.75)


def int8_min_sum(argument: str, code: Any) -> BeliefPropagation:
    """Make the decoder of the spec ``min-sum-int8[:ITERATIONS[,SCALE]]``, SCALE 0.8."""
    return _min_sum("min-sum-int8", argument, code, "min-sum-int8", "layered", 0.8)


def _min_sum(
    name: str, argument: str, code: Any, rule: str, schedule: str, usual_scale: float
) -> BeliefPropagation:
    iterations, _, scale = (argument or "50").partition(",")
    try:
        factor = float(scale or usual_scale)
    except ValueError:
        factor = float("nan")
    if not (_is_count(iterations) and 0 < factor <= 1):
        raise ValueError(
            f"expected {name}:ITERATIONS,SCALE, a number of at least 1 and one above 0 and at "
            f"most 1, got {name}:{argument}"
        )
    return BeliefPropagation(code, int(iterations), rule=rule, scale=factor, schedule=schedule)


def _is_count(text: str) -> bool:
    return text.isdecimal() and int(text) > 0
