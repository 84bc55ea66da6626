# SPDX-License-Identifier: GPL-3.0-or-later
"""Permutations of positions that map a code to itself."""

import numpy as np
from numpy.typing import NDArray

from .linear import LinearCode


def affine_automorphisms(code: LinearCode, count: int, seed: int = 0) -> NDArray[np.intp]:
    """Draw affine automorphisms of a code of length 2^m.

    They take the binary index x of a position to A x + c, A an invertible matrix. Drawn are
    products of those maps that add one binary digit to another or flip one and that map the code
    to itself. A Reed-Muller code has all of them, a polar code whose set is a decreasing one at
    least those of triangular A (M. Bardet et al., "Algebraic properties of polar codes from a new
    polynomial formalism", ISIT 2016), often those of block triangular A (M. Geiselhart et al., "On
    the automorphism group of polar codes", ISIT 2021).

    Parameters
    ----------
    code : linear block code
    count : how many to draw
    seed : of the draw

    Returns
    -------
    Permutations intp (A, n), all different, none the identity; ``word[:, order]`` is a codeword if
    ``word`` is. A is less than ``count`` where the code has not as many, which 1000 draws decide.

    Raises
    ------
    ValueError
        For a length that is no power of two.
    """
    n = code.n
    m = n.bit_length() - 1
    if n != 2**m:
        raise ValueError(f"expected a code of length 2^m, got {n}")
    index = np.arange(n)
    steps = [index ^ ((index >> j & 1) << i) for i in range(m) for j in range(m) if i != j]
    steps += [index ^ 1 << i for i in range(m)]
    steps = [step for step in steps if code.is_codeword(code.generator[:, step]).all()]
    rng = np.random.default_rng(seed)
    found: dict[bytes, NDArray[np.intp]] = {index.tobytes(): index}
    for _ in range(1000 if steps else 0):
        if len(found) > count:
            break
        order = index
        # Some four times each generator: more change no statistics of the drawn maps.
        for choice in rng.integers(len(steps), size=4 * len(steps)):
            order = order[steps[choice]]
        found.setdefault(order.tobytes(), order)
    return np.array(list(found.values())[1 : count + 1], dtype=np.intp).reshape(-1, n)
