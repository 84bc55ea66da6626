# SPDX-License-Identifier: GPL-3.0-or-later
"""Scalar quantization with unequal numbers of levels, packed in mixed radix.

The classical way to store a symbol's LLRs in N_b bits: bit position k gets L_k levels, whose
product is at most 2^N_b, and the index is the number whose digits are the levels, in radix L_k.
Levels and thresholds of a position keep most of I(b; L) (`scalar.design`), and the L_k are those of
the largest sum of it over all positions. It is the baseline of the learned quantizers.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Levels of a position at most.
_MOST_LEVELS = 24


class MixedRadixQuantizer:
    """Quantizes the LLRs of a symbol position by position, all of a symbol in one index.

    Parameters
    ----------
    levels : LLRs that the levels of each position stand for, rising
    thresholds : between them, one fewer a position; an LLR on a threshold is above it
    bits : N_b, which the product of the numbers of levels fits in

    Attributes
    ----------
    bits_per_symbol : K, the positions

    ValueError where the numbers do not fit.
    """

    def __init__(
        self, levels: list[NDArray[np.float32]], thresholds: list[NDArray[np.float32]], bits: int
    ) -> None:
        self._radix = [len(part) for part in levels]
        if [len(part) + 1 for part in thresholds] != self._radix:
            raise ValueError("expected one threshold fewer than levels at each position")
        product = int(np.prod(np.array(self._radix, object)))
        if product > 1 << bits:
            raise ValueError(f"expected levels whose product is at most 2^{bits}, got {product}")
        self._levels, self._thresholds = levels, thresholds
        self.bits, self.bits_per_symbol = bits, len(levels)

    def quantize(self, llrs: ArrayLike) -> NDArray[np.uint32]:
        """Quantize LLRs, K successive ones a symbol, to indices uint32 (symbols,); NaN is 0."""
        symbols = np.asarray(llrs, np.float32).reshape(-1, self.bits_per_symbol)
        symbols = np.where(np.isnan(symbols), np.float32(0), symbols)
        index = np.zeros(len(symbols), np.uint32)
        for k, (radix, thresholds) in enumerate(zip(self._radix, self._thresholds, strict=True)):
            digit = np.searchsorted(thresholds, symbols[:, k], side="right")
            index = index * np.uint32(radix) + digit.astype(np.uint32)
        return index

    def dequantize(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Return LLRs float32 (symbols, K) of indices (symbols,)."""
        rest = np.asarray(indices, np.uint32)
        llrs = np.empty((rest.size, self.bits_per_symbol), np.float32)
        for k in reversed(range(self.bits_per_symbol)):
            rest, digit = np.divmod(rest, np.uint32(self._radix[k]))
            llrs[:, k] = self._levels[k][digit]
        return llrs

    def reconstruct(self, llrs: ArrayLike) -> NDArray[np.float32]:
        """Return what is left of LLRs, float32 of their shape, after quantizing and back."""
        return self.dequantize(self.quantize(llrs)).reshape(np.shape(llrs))


def allocate(information: list[list[float]], bits: int) -> list[int]:
    """Find the numbers of levels with the largest sum of information.

    Parameters
    ----------
    information : of each position, what 1, 2, 3, ... levels keep of it
    bits : the product of the numbers of levels is at most 2^bits

    Returns
    -------
    Levels of each position
    """
    # By the product so far: the most information, and how it is had.
    best: dict[int, tuple[float, tuple[int, ...]]] = {1: (0.0, ())}
    for kept in information:
        found: dict[int, tuple[float, tuple[int, ...]]] = {}
        for product, (total, chosen) in best.items():
            for levels, more in enumerate(kept, 1):
                size = product * levels
                if size > 1 << bits:
                    break
                if size not in found or found[size][0] < total + more:
                    found[size] = total + more, (*chosen, levels)
        best = found
    return list(max(best.values())[1])


@lru_cache(maxsize=8)
def design(
    constellation: str, bits: int, low_db: float, high_db: float, samples: int = 200_000
) -> MixedRadixQuantizer:
    """Design the quantizer of a square QAM over Rayleigh fading; needs torch.

    Parameters
    ----------
    constellation : name; both rails get the same levels
    bits : N_b
    low_db, high_db : Es/N0 of the LLRs that it is designed by
    samples : symbols of them
    """
    import torch

    from . import scalar
    from .data import LlrSource

    llrs = LlrSource(constellation, (low_db, high_db), seed=1).llrs(samples)
    rail = torch.cat(llrs.chunk(2, dim=1))
    designs: list[list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = []
    information: list[list[float]] = []
    for values in rail.T:
        nothing = np.zeros(1, np.float32), np.zeros(0, np.float32)
        found, kept = [nothing], [0.0]
        for count, (levels, thresholds) in enumerate(scalar.designs(values, _MOST_LEVELS), 2):
            where = torch.searchsorted(thresholds, values.contiguous(), right=True)
            share = torch.bincount(where, minlength=count).double() / len(values)
            one = torch.sigmoid(levels.double())
            entropy = -(torch.xlogy(one, one) + torch.xlogy(1 - one, 1 - one)) / np.log(2)
            kept.append(1 - float((share * entropy).sum()))
            found.append((levels.numpy(), thresholds.numpy()))
        designs.append(found)
        information.append(kept)
    chosen = allocate(information * 2, bits)
    pairs = [found[count - 1] for found, count in zip(designs * 2, chosen, strict=True)]
    return MixedRadixQuantizer([pair[0] for pair in pairs], [pair[1] for pair in pairs], bits)


def from_spec(spec: str, constellation: str) -> MixedRadixQuantizer:
    """Design the quantizer of "mixed-radix:BITS:LOW:HIGH"; ValueError for anything else."""
    words = spec.split(":")
    try:
        name, bits, low, high = words[0], int(words[1]), float(words[2]), float(words[3])
    except (IndexError, ValueError):
        name = ""
    if name != "mixed-radix" or len(words) != 4 or bits < 1 or low > high:
        raise ValueError(f"expected mixed-radix:BITS:LOW:HIGH, Es/N0 in dB, got {spec!r}")
    return design(constellation, bits, low, high)
