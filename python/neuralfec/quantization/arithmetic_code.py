# SPDX-License-Identifier: GPL-3.0-or-later
"""Arithmetic coding of a quantizer's levels: as few bits as their distribution needs.

The distribution is learned from the levels themselves as they go by: with n_s of the n levels
before it equal to s, of M = 2^bits, the next one costs -log2 of (n_s + 1/2) / (n + M / 2)
(Krichevsky and Trofimov, IEEE Trans. Inf. Theory 27 (2), 1981). Above 4 bits the upper ones come
first, and the lower four are counted apart for each of their values. It is the arithmetic coding
of Witten, Neal and Cleary (CACM 30 (6), 1987) on integers: every machine makes the same bytes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _kernels


def encode(levels: ArrayLike, bits: int, contexts: ArrayLike = ()) -> bytes:
    """Code levels, uint8 (n,) below 2^bits.

    contexts : uint8 (n,), what is known of each level beforehand at both ends; the levels of each
        are counted apart. None where nothing is known.

    ValueError for levels of 2^bits and above, for other than 1 to 8 bits, and for another number
    of contexts.
    """
    levels, contexts = (np.asarray(a, np.uint8).reshape(-1) for a in (levels, contexts))
    return _kernels.arithmetic_encode(levels, bits, contexts)


def decode(code: bytes, count: int, bits: int, contexts: ArrayLike = ()) -> NDArray[np.uint8]:
    """Return the levels of a code, uint8 (count,), whose contexts were those of `encode`.

    Bytes behind the code do no harm. Bytes that are no code give some levels below 2^bits: a check
    of their own must tell. ValueError for other than 1 to 8 bits, for a negative count, and for
    another number of contexts.
    """
    if count < 0:
        raise ValueError(f"expected a count of at least 0, got {count}")
    contexts = np.asarray(contexts, np.uint8).reshape(-1)
    return _kernels.arithmetic_decode(np.frombuffer(code, np.uint8), bits, count, contexts)


def longest(count: int, bits: int, contexts: int = 1) -> int:
    """Return the most bytes that `encode` makes of so many levels, of so many contexts."""
    # Each set of counts may cost half a bit a number for each doubling of what it counts, and
    # the shares are rounded to a part in 256.
    numbers = 1 << bits
    learned = contexts * (numbers / 2 * np.log2(count + 2) + numbers)
    return int(np.ceil((1.01 * count * bits + learned) / 8)) + 5
