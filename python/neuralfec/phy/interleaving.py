# SPDX-License-Identifier: GPL-3.0-or-later
"""Orders in which an interleaver sends the bits of a frame."""

import math

import numpy as np
from numpy.typing import NDArray

NAMES = ("random", "rows-columns", "none")


def interleaver(name: str, n: int) -> NDArray[np.uint32]:
    """Make the order of an interleaver: bit i of what is sent is bit order[i] of the frame.

    Parameters
    ----------
    name : "none" keeps the order; "random" is one fixed pseudo-random permutation for each n;
        "rows-columns" writes a frame into rows of ceil(sqrt(n)) bits and reads its columns
    n : bits of a frame, at least 1

    Returns uint32 (n,). ValueError for another name or n.
    """
    if n < 1:
        raise ValueError(f"expected frames of at least 1 bit, got {n}")
    if name == "none":
        order = np.arange(n)
    elif name == "random":
        order = np.random.default_rng(1).permutation(n)
    elif name == "rows-columns":
        width = math.isqrt(n - 1) + 1
        order = np.concatenate([np.arange(column, n, width) for column in range(width)])
    else:
        raise ValueError(f"expected an interleaver of {', '.join(NAMES)}, got {name!r}")
    return order.astype(np.uint32)
