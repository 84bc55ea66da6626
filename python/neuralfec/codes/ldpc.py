# SPDX-License-Identifier: GPL-3.0-or-later
"""Low-density parity-check codes of standards."""

import numpy as np

from .gf2 import Bits
from .linear import LinearCode

# IEEE 802.11n (HT), n = 648, rate 1/2: cyclic shifts of the 27 x 27 identity, - is zero.
_WIFI_648 = """
     0  -  -  -  0  0  -  -  0  -  -  0  1  0  -  -  -  -  -  -  -  -  -  -
    22  0  -  - 17  -  0  0 12  -  -  -  -  0  0  -  -  -  -  -  -  -  -  -
     6  -  0  - 10  -  -  - 24  -  0  -  -  -  0  0  -  -  -  -  -  -  -  -
     2  -  -  0 20  -  -  - 25  0  -  -  -  -  -  0  0  -  -  -  -  -  -  -
    23  -  -  -  3  -  -  -  0  -  9 11  -  -  -  -  0  0  -  -  -  -  -  -
    24  - 23  1 17  -  3  - 10  -  -  -  -  -  -  -  -  0  0  -  -  -  -  -
    25  -  -  -  8  -  -  -  7 18  -  -  0  -  -  -  -  -  0  0  -  -  -  -
    13 24  -  -  0  -  8  -  6  -  -  -  -  -  -  -  -  -  -  0  0  -  -  -
     7 20  - 16 22 10  -  - 23  -  -  -  -  -  -  -  -  -  -  -  0  0  -  -
    11  -  -  - 19  -  -  - 13  -  3 17  -  -  -  -  -  -  -  -  -  0  0  -
    25  -  8  - 23 18  - 14  9  -  -  -  -  -  -  -  -  -  -  -  -  -  0  0
     3  -  -  - 16  -  -  2 25  5  -  -  1  -  -  -  -  -  -  -  -  -  -  0
"""


def quasi_cyclic(base: str, size: int) -> Bits:
    """The parity-check matrix that a base matrix of cyclic shifts stands for.

    Each entry s of ``base`` (rows of blank-separated entries) becomes the ``size`` x
    ``size`` identity shifted right by s, whose row r has its one in column
    (r + s) mod size; - becomes zeros.
    """
    shifted = {str(s): np.roll(np.eye(size, dtype=np.uint8), s, axis=1) for s in range(size)}
    shifted["-"] = np.zeros((size, size), dtype=np.uint8)
    return np.block([[shifted[entry] for entry in row.split()] for row in base.split("\n") if row])


def wifi_648() -> LinearCode:
    """The (648, 324) code of IEEE 802.11n; systematic, message bits first."""
    return LinearCode(quasi_cyclic(_WIFI_648.strip("\n "), 27), name="wifi-648")
