# SPDX-License-Identifier: GPL-3.0-or-later
"""Log-likelihood ratios of the other sign."""

from typing import TypeVar

T = TypeVar("T")


def flip_sign(llrs: T) -> T:
    """log P(b=0) - log P(b=1) of our log P(b=1) - log P(b=0), and the other way round.

    For blocks and libraries that take positive for bit 0: NumPy array or torch tensor of
    any shape.
    """
    return -llrs  # type: ignore[operator]
