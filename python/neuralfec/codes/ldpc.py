# SPDX-License-Identifier: GPL-3.0-or-later
"""Low-density parity-check codes of standards."""

import numpy as np

from . import tables
from .gf2 import Bits
from .linear import LinearCode


def quasi_cyclic(base: str, size: int) -> Bits:
    """The parity-check matrix that a base matrix of cyclic shifts stands for.

    Each entry s of ``base`` (rows of blank-separated entries) becomes the ``size`` x
    ``size`` identity shifted right by s, whose row r has its one in column
    (r + s) mod size; - becomes zeros.
    """
    shifted = {str(s): np.roll(np.eye(size, dtype=np.uint8), s, axis=1) for s in range(size)}
    shifted["-"] = np.zeros((size, size), dtype=np.uint8)
    return np.block([[shifted[entry] for entry in row.split()] for row in base.split("\n") if row])


def wifi(argument: str) -> LinearCode:
    """``N-RATE``: an LDPC code of IEEE 802.11n and 802.11ac; systematic, message bits first.

    N is 648, 1296 or 1944, RATE 1/2, 2/3, 3/4 or 5/6 (1/2 where it is left out). Source: IEEE Std
    802.11-2012, Annex F.
    """
    n, _, rate = argument.partition("-")
    rate = rate or "1/2"
    base = [
        [row[str(column)] or "-" for column in range(24)]
        for row in tables.records("wifi-ldpc")
        if (row["n"], row["rate"]) == (n, rate)
    ]
    parity_check = quasi_cyclic("\n".join(map(" ".join, base)), int(n) // 24)
    return LinearCode(parity_check, name=f"wifi-{argument}")
