# SPDX-License-Identifier: GPL-3.0-or-later
"""Matrices over the field of two elements, as uint8 arrays of 0 and 1."""

from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

Bits = NDArray[np.uint8]


def as_bits(values: ArrayLike, what: str, ndim: int = 2) -> Bits:
    """Return values as a uint8 array of ``ndim`` dimensions.

    ValueError for others than 0 and 1; ``what`` names them there.
    """
    array = np.asarray(values)
    if array.ndim != ndim:
        raise ValueError(f"{what}: expected {ndim} dimensions, got shape {array.shape}")
    if array.dtype == np.bool_:
        return array.astype(np.uint8)
    if array.dtype.kind not in "iuf":
        raise ValueError(f"{what}: expected numbers 0 and 1, got {array.dtype}")
    wrong = (array != 0) & (array != 1)
    if wrong.any():
        raise ValueError(f"{what}: expected 0 and 1, got {array[wrong][0]}")
    return array.astype(np.uint8)


def as_frames(values: ArrayLike, length: int, what: str) -> Bits:
    """Return words as uint8 (F, length): F of them as they are, a single one (length,) as F = 1.

    ValueError for another shape and for other than 0 and 1.
    """
    array = np.asarray(values)
    if array.ndim not in (1, 2) or array.shape[-1] != length:
        raise ValueError(f"expected {what} of shape (F, {length}), got {array.shape}")
    return as_bits(np.atleast_2d(array), what)


def product(a: Bits, b: Bits) -> Bits:
    """a b over GF(2)."""
    # float32 has the fast product, and counts ones exactly to 2^24.
    ones = a.astype(np.float32) @ b.astype(np.float32)
    return (ones.astype(np.int32) & 1).astype(np.uint8)


def pack(matrix: Bits) -> Bits:
    """Pack 8 columns into a byte: uint8 (rows, ceil(n / 64) 8).

    Column c is bit 7 - c % 8 of byte c // 8, and a row fills whole words of 64 bits.
    """
    rows, n = matrix.shape
    packed = np.zeros((rows, -(-n // 64) * 8), dtype=np.uint8)
    packed[:, : -(-n // 8)] = np.packbits(matrix, axis=1)
    return packed


def eliminate(
    packed: Bits,
    columns: Iterable[int],
    *,
    upwards: bool = True,
    progress: Callable[[float], None] = lambda share: None,
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Bring a packed matrix to reduced row echelon form, in place.

    ``columns``: those that are tried as pivots, in this order. ``upwards``: rows above a pivot are
    cleared in its column, too; without, it is an echelon form, in half the time.
    ``progress`` is told the share of rows done.

    Returns the pivots, row by row, and the number that each row had before: those rows are a
    basis of the row space where all columns are tried.
    """
    words = packed.view(np.uint64)
    rows = packed.shape[0]
    origins = np.arange(rows)
    pivots: list[int] = []
    for column in columns:
        rank = len(pivots)
        if rank == rows:
            break
        bit = packed[:, column // 8] & (0x80 >> column % 8)
        below = np.flatnonzero(bit[rank:])
        if below.size == 0:
            continue
        pivot = rank + below[0]
        ones = np.flatnonzero(bit) if upwards else rank + below
        words[ones[ones != pivot]] ^= words[pivot]
        words[[rank, pivot]] = words[[pivot, rank]]
        origins[[rank, pivot]] = origins[[pivot, rank]]
        pivots.append(int(column))
        progress(len(pivots) / rows)
    return np.array(pivots, dtype=np.intp), origins[: len(pivots)]


def row_reduce(matrix: Bits, columns: Iterable[int] | None = None) -> tuple[Bits, NDArray[np.intp]]:
    """Reduced row echelon form by Gauss-Jordan elimination.

    ``columns``: the order in which columns are tried as pivots (default: left to right).

    Returns the rank nonzero rows and their pivots: reduced[i, pivots[i]] is the only one
    in column pivots[i].
    """
    n = matrix.shape[1]
    packed = pack(matrix)
    pivots, _ = eliminate(packed, range(n) if columns is None else columns)
    reduced = np.unpackbits(packed[: len(pivots)], axis=1, count=n)
    return reduced, pivots


def null_space(matrix: Bits, columns: Iterable[int] | None = None) -> tuple[Bits, NDArray[np.intp]]:
    """Find a basis B (n - rank, n) of {x : matrix x^T = 0} and the free columns S, ascending.

    B[:, S] is the identity. ``columns`` as in `row_reduce`: columns tried first end up
    outside S.
    """
    n = matrix.shape[1]
    reduced, pivots = row_reduce(matrix, columns)
    free = np.setdiff1d(np.arange(n), pivots)
    basis = np.zeros((free.size, n), dtype=np.uint8)
    basis[np.arange(free.size), free] = 1
    basis[:, pivots] = reduced[:, free].T
    return basis, free


def inverse(matrix: Bits) -> Bits:
    """Inverse of a square matrix; ValueError if it is singular."""
    k = matrix.shape[0]
    reduced, pivots = row_reduce(np.hstack([matrix, np.eye(k, dtype=np.uint8)]))
    if not np.array_equal(pivots, np.arange(k)):
        raise ValueError(f"expected an invertible {k} x {k} matrix, got one of lower rank")
    return reduced[:, k:]
