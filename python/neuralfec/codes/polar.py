# SPDX-License-Identifier: GPL-3.0-or-later
"""Polar codes.

Codewords are x = u F^(x)m over GF(2), F = [[1, 0], [1, 1]], without bit reversal. The
message stands on the information set of u in ascending order; the other bits of u are 0.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import tables
from .gf2 import Bits
from .linear import LinearCode

# Information set of the (128, 64) code in the channel-code database of RPTU Kaiserslautern.
_RPTU_128_64 = np.array(
    """
    7 11 15 23 27 29 30 31 39 43 45 46 47 51 53 54 55 57 58 59 60 61 62 63 71 75 77 78 79 83 85 86
    87 89 90 91 92 93 94 95 99 101 102 103 105 106 107 108 109 110 111 113 114 115 117 118 119 121
    122 123 124 125 126 127
    """.split(),
    dtype=np.uint32,
)

# 3GPP TS 38.212, 5.1: degree and polynomial without its leading term.
_CRCS = {"crc6": (6, 0x21), "crc11": (11, 0x621), "crc24c": (24, 0xB2B117)}


def transform_matrix(n: int) -> Bits:
    """F^(x)m, uint8 (n, n), n = 2^m; its own inverse."""
    matrix = np.ones((1, 1), dtype=np.uint8)
    while matrix.shape[0] < n:
        matrix = np.kron(np.array([[1, 0], [1, 1]], dtype=np.uint8), matrix)
    return matrix


class PolarCode(LinearCode):
    """A polar code.

    ``n``: length, a power of two. ``unfrozen``: rising positions in u of the message and,
    behind it, the check bits. ``crc``: "", "crc6", "crc11" or "crc24c", the polynomials of
    3GPP TS 38.212 with a register that starts at 0.

    The generator matrix has the rows of F^(x)m in the information set, the parity-check
    matrix the transposed columns of F^(x)m in the frozen set (and one row a CRC bit);
    so the syndrome of a word x is (x F^(x)m) in the frozen set.
    """

    def __init__(self, n: int, unfrozen: ArrayLike, *, crc: str = "", name: str = "") -> None:
        if n < 2 or n & (n - 1):
            raise ValueError(f"expected a polar code's n to be a power of two, got {n}")
        if crc not in ("", *_CRCS):
            raise ValueError(f"expected a CRC of {', '.join(_CRCS)}, got {crc!r}")
        self.unfrozen = np.array(unfrozen, dtype=np.uint32)
        self.crc_degree, self.crc_polynomial = _CRCS.get(crc, (0, 0))
        if self.unfrozen.size <= self.crc_degree:
            raise ValueError(
                f"expected more unfrozen positions than the {self.crc_degree} check bits, "
                f"got {self.unfrozen.size}"
            )
        if (np.diff(self.unfrozen.astype(np.int64)) < 1).any() or self.unfrozen[-1] >= n:
            raise ValueError(f"expected rising unfrozen positions below {n}, got {unfrozen!r}")
        self.unfrozen.flags.writeable = False
        transform = transform_matrix(n)
        k = self.unfrozen.size - self.crc_degree
        checks = _crc_matrix(k, self.crc_degree, self.crc_polynomial)
        on_unfrozen = transform[self.unfrozen]
        generator = on_unfrozen[:k] ^ (checks @ on_unfrozen[k:] & 1)
        # u_crc + u_message checks = 0, with u = x F^(x)m.
        of_u = transform[:, self.unfrozen]
        crc_rows = (of_u[:, k:] ^ (of_u[:, :k] @ checks & 1)).T
        frozen = np.setdiff1d(np.arange(n), self.unfrozen)
        super().__init__(np.vstack([transform[:, frozen].T, crc_rows]), generator, name=name)
        self._message_columns = of_u[:, :k].copy()
        self._message_columns.flags.writeable = False

    @property
    def pseudo_inverse(self) -> Bits:
        """P, uint8 (n, k), with G P = I: the columns of F^(x)m in the information set.

        x P is the message part of u = x F^(x)m, for words that are no codewords, too.
        """
        return self._message_columns

    def decoder_arguments(self) -> dict[str, Any]:
        """What the kernel and the block ``polar_decoder`` ask of the code, by keyword."""
        return {
            "n": self.n,
            "information_set": self.unfrozen.tolist(),
            "crc_degree": self.crc_degree,
            "crc_polynomial": self.crc_polynomial,
        }


def _crc_matrix(k: int, degree: int, polynomial: int) -> Bits:
    """Check bits of the k unit messages, uint8 (k, degree), most significant first."""
    matrix = np.zeros((k, degree), dtype=np.uint8)
    remainder = polynomial
    for row in reversed(matrix):
        row[:] = [remainder >> (degree - 1 - i) & 1 for i in range(degree)]
        remainder <<= 1
        if remainder >> degree:
            remainder ^= polynomial | 1 << degree
    return matrix


def nr_order(n: int) -> NDArray[np.uint32]:
    """Return the indices below n, least reliable first (3GPP TS 38.212, table 5.3.1.2-1)."""
    order = np.array([int(i) for row in tables.rows("nr-polar-order") for i in row], np.uint32)
    return order[order < n]


def nr(argument: str) -> PolarCode:
    """``N,K`` or ``N,K,CRC``: K message bits in the order of 5G NR, N <= 1024, no rate matching.

    The information set is the last of the reliability order with the indices of N and
    above left out (3GPP TS 38.212, 5.3.1.2), K positions and those of the CRC.
    """
    words = argument.split(",")
    if len(words) not in (2, 3) or not all(word.strip().isdecimal() for word in words[:2]):
        raise ValueError(f"expected polar-nr:N,K or polar-nr:N,K,CRC, got {argument!r}")
    n, k = int(words[0]), int(words[1])
    crc = words[2].strip() if len(words) == 3 else ""
    if crc and crc not in _CRCS:
        raise ValueError(f"expected a CRC of {', '.join(_CRCS)}, got {crc!r}")
    if not 2 <= n <= 1024 or n & (n - 1):
        raise ValueError(f"expected N to be a power of two from 2 to 1024, got {n}")
    unfrozen = k + _CRCS.get(crc, (0, 0))[0]
    if not 0 < k <= unfrozen <= n:
        raise ValueError(f"expected K from 1 to N less the CRC, got N = {n}, K = {k} {crc}")
    order = nr_order(n)
    return PolarCode(n, np.sort(order[n - unfrozen :]), crc=crc, name=f"polar-nr:{argument}")


def rptu(argument: str) -> PolarCode:
    """``128,64``: the code of the channel-code database of RPTU Kaiserslautern (d_min 8)."""
    if [word.strip() for word in argument.split(",")] != ["128", "64"]:
        raise ValueError(f"expected polar-rptu:128,64, got {argument!r}")
    return PolarCode(128, _RPTU_128_64, name="polar-rptu:128,64")


def reed_muller(argument: str) -> PolarCode:
    """``R,M``: the Reed-Muller code of order R and length 2^M, 0 <= R < M <= 10.

    Spanned by the rows of F^(x)M of weight 2^(M - R) and more, message bits in their order;
    the polar codes' decoders decode it.
    """
    words = [word.strip() for word in argument.split(",")]
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        raise ValueError(f"expected rm:R,M, got rm:{argument}")
    order, log_length = map(int, words)
    if not order < log_length <= 10:
        raise ValueError(f"expected rm:R,M with R < M <= 10, got rm:{argument}")
    indices = np.arange(2**log_length)
    weights = np.array([int(i).bit_count() for i in indices])
    unfrozen = indices[weights >= log_length - order]
    return PolarCode(indices.size, unfrozen, name=f"rm:{argument}")
