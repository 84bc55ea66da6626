# SPDX-License-Identifier: GPL-3.0-or-later
"""Ordered-statistics decoding of any `LinearCode` of up to 1024 message and check bits."""

import math
import re

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..codes import LinearCode
from ..codes.gf2 import Bits
from ..phy.llr import frames
from ..remade import Remade


class OrderedStatistics(Remade):
    """Ordered-statistics decoder (Fossorier and Lin 1995) of order 0 to 4.

    Takes the k most reliable independent positions as they are and with up to ``order`` of
    them changed, and decides for the codeword nearest to the LLRs: the one with the least
    sum of |L| over the positions where it contradicts their signs. Patterns that cannot be
    the nearest any more are left out. With order k this is maximum likelihood decoding.

    early: leave out those, too, that are improbable to be the nearest, after C. Yue et al.,
        "Probability-based ordered-statistics decoding for short block codes", IEEE Commun. Lett.,
        2021: patterns whose changed positions cost more than the best word so far, less what the
        check bits of the word sent are expected to cost by |L|, less a standard deviation of
        that. It asks for true LLRs: where they are too small words are lost, where they are too
        large nothing is left out.
    """

    def __init__(self, code: LinearCode, order: int, *, early: bool = False) -> None:
        from .. import _kernels

        if not isinstance(code, LinearCode):
            raise ValueError(f"expected a binary linear block code, got {code!r}")
        # Before a generator matrix of a long code is made.
        if max(code.k, code.n - code.k) > 1024:
            raise ValueError(
                f"expected a code of at most 1024 message bits and 1024 check bits, got {code!r}"
            )
        self.n, self.k = code.n, code.k
        self._kernel = _kernels.OrderedStatistics(code.generator, code.pseudo_inverse, order, early)

    def decode(
        self,
        llrs: NDArray[np.float32],
        improved: NDArray[np.float32] | None = None,
        reach: float = math.inf,
    ) -> tuple[Bits, dict[str, int]]:
        """Messages uint8 (F, k) of LLRs (F, n); NaN counts as 0, an infinite LLR as certain.

        improved: LLRs (F, n) of another decoder, by which positions are ordered and taken;
        distances stay those to ``llrs``.
        reach: with improved, positions are changed together only if their improved |L| sum up
        to at most this.

        stats: ``frames``, ``bad_samples``. ValueError for another shape.
        """
        more = () if improved is None else (frames(improved, self.n), reach)
        messages, bad_samples = self._kernel.decode(frames(llrs, self.n), *more)
        return messages, {"frames": len(messages), "bad_samples": bad_samples}


def osd(argument: str, code: LinearCode) -> OrderedStatistics:
    """Spec ``osd:ORDER`` or ``osd:ORDER,early``."""
    words = re.fullmatch("([0-4])(,early)?", argument)
    if words is None:
        raise ValueError(
            f"expected osd:ORDER or osd:ORDER,early with an order of 0 to 4, got osd:{argument}"
        )
    return OrderedStatistics(code, int(words[1]), early=words[2] is not None)


def distance(codewords: ArrayLike, llrs: NDArray[np.float32]) -> NDArray[np.float64]:
    """Sum of |L| where codewords (F, n) contradict the signs of LLRs (F, n): float64 (F,).

    Less is likelier: log P(codeword | LLRs) is minus this and a constant.
    """
    contradicts = np.asarray(codewords, dtype=bool) != (np.asarray(llrs) > 0)
    return np.sum(np.abs(llrs) * contradicts, axis=1, dtype=np.float64)


def surely_wrong(
    code: LinearCode, messages: Bits, decoded: Bits, llrs: NDArray[np.float32]
) -> NDArray[np.bool_]:
    """Find the frames (F,) on which maximum likelihood decoding fails, too.

    There a decoder's wrong word is likelier than the one sent; their rate is a lower bound of the
    maximum likelihood rate.
    """
    return (messages != decoded).any(axis=1) & (
        distance(code.encode(decoded), llrs) < distance(code.encode(messages), llrs)
    )
