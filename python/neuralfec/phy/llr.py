# SPDX-License-Identifier: GPL-3.0-or-later
"""Log-likelihood ratios that are no ordinary numbers."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

CERTAIN = np.float32(1e20)
"""The magnitude that stands for certainty: sums of as many as a frame can have stay finite."""

_FLOAT32 = np.dtype(np.float32)


def known(llrs: ArrayLike) -> tuple[NDArray[np.float32], int]:
    """Return LLRs to reckon with, and how many were NaN.

    float32 of the same shape: 0 for NaN (nothing known), +-`CERTAIN` for infinity and what is
    as large.
    """
    llrs = np.asarray(llrs, dtype=np.float32)
    flat = llrs.ravel()
    # A finite sum of squares has no NaN and nothing of 1.9e19 and more: one pass, no memory.
    if np.dot(flat, flat) < np.inf or np.all(np.abs(llrs) <= CERTAIN):
        return llrs, 0
    bad = np.isnan(llrs)
    return np.clip(np.where(bad, np.float32(0), llrs), -CERTAIN, CERTAIN), int(bad.sum())


def frames(llrs: ArrayLike, n: int) -> NDArray[np.float32]:
    """Return LLRs as float32 (F, n), in rows.

    ValueError where they are no real numbers, or of another shape. What float32 cannot hold is
    infinite.
    """
    # What nearly all calls bring: short ones feel the checks below.
    if (
        type(llrs) is np.ndarray
        and llrs.dtype is _FLOAT32
        and llrs.shape[1:] == (n,)
        and llrs.flags.c_contiguous
    ):
        return llrs
    given = np.asarray(llrs)
    if given.dtype.kind not in "fiub":
        raise ValueError(
            f"expected LLRs, real numbers of shape (frames, {n}), got {str(llrs)[:40]!r}"
        )
    if given.ndim != 2 or given.shape[1] != n:
        raise ValueError(f"expected LLRs of shape (frames, {n}), got {given.shape}")
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(given, dtype=np.float32)
