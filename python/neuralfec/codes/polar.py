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
from .rate_matching import RateMatchedCode

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
    """Return the m-th Kronecker power of F, uint8 (n, n), n = 2^m; it is its own inverse."""
    matrix = np.ones((1, 1), dtype=np.uint8)
    while matrix.shape[0] < n:
        matrix = np.kron(np.array([[1, 0], [1, 1]], dtype=np.uint8), matrix)
    return matrix


class PolarCode(LinearCode):
    """A polar code.

    ``n``: length, a power of two. ``unfrozen``: rising positions in u of the message and,
    behind it, the check bits. ``crc``: "", "crc6", "crc11" or "crc24c", the polynomials of
    3GPP TS 38.212 with a register that starts at 0. ``interleaver``: where the bits of message and
    check bits, one after the other, stand on the unfrozen positions: the one on the j-th of them
    is number interleaver[j]; left out, they stand in their order.

    The generator matrix has the rows of F^(x)m in the information set, the parity-check
    matrix the transposed columns of F^(x)m in the frozen set (and one row a CRC bit);
    so the syndrome of a word x is (x F^(x)m) in the frozen set.
    """

    def __init__(
        self,
        n: int,
        unfrozen: ArrayLike,
        *,
        crc: str = "",
        interleaver: ArrayLike | None = None,
        name: str = "",
    ) -> None:
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
        identity = np.arange(self.unfrozen.size)
        # Which of the unfrozen positions holds each message and check bit.
        self.order = identity if interleaver is None else np.argsort(np.asarray(interleaver))
        if not np.array_equal(np.sort(self.order), identity):
            raise ValueError(
                f"expected an interleaver of {identity.size} bits, got {interleaver!r}"
            )
        positions = self.unfrozen[self.order]
        self.unfrozen.flags.writeable = self.order.flags.writeable = False
        transform = transform_matrix(n)
        k = self.unfrozen.size - self.crc_degree
        checks = _crc_matrix(k, self.crc_degree, self.crc_polynomial)
        on_unfrozen = transform[positions]
        generator = on_unfrozen[:k] ^ (checks @ on_unfrozen[k:] & 1)
        # u_crc + u_message checks = 0, with u = x F^(x)m.
        of_u = transform[:, positions]
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
        """Return what the kernel and the block ``polar_decoder`` ask of the code, by keyword."""
        return {
            "n": self.n,
            "information_set": self.unfrozen.tolist(),
            "order": self.order.tolist(),
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
    """Make the polar code of ``N,K`` or ``N,K,CRC`` in the order of 5G NR, without rate matching.

    K is the number of message bits, N at most 1024. The information set is the last of the
    reliability order with the indices of N and above left out (3GPP TS 38.212, 5.3.1.2), K
    positions and those of the CRC.
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


# 3GPP TS 38.212, table 5.4.1.1-1.
_SUBBLOCKS = (
    *(0, 1, 2, 4, 3, 5, 6, 7, 8, 16, 9, 17, 10, 18, 11, 19),
    *(12, 20, 13, 21, 14, 22, 15, 23, 24, 25, 26, 28, 27, 29, 30, 31),
)


def _nr_length(k: int, e: int, largest: int) -> int:
    """N for k unfrozen bits and e sent ones (3GPP TS 38.212, clause 5.3.1)."""
    log_e = (e - 1).bit_length()
    if 8 * e <= 9 * 2 ** (log_e - 1) and 16 * k < 9 * e:
        log_e -= 1
    return 1 << max(min(log_e, (8 * k - 1).bit_length(), largest), 5)


def _triangular(e: int) -> NDArray[np.intp]:
    """The interleaver of coded bits (clause 5.4.1.3): written by rows, read by columns of a
    triangle."""
    side = 1
    while side * (side + 1) // 2 < e:
        side += 1
    triangle = np.full((side, side), -1)
    begin = 0
    for row in range(side):
        triangle[row, : side - row] = np.arange(begin, begin + side - row)
        begin += side - row
    read = triangle.T.ravel()
    return read[(read >= 0) & (read < e)]


def nr_rate_matched(argument: str) -> RateMatchedCode:
    """Make a polar code of 5G NR with CRC and rate matching of ``K,E`` or ``K,E,LINK``.

    It is one block of K message bits and E bits that are sent. LINK is ``uplink`` (if left out):
    control on PUCCH and PUSCH, CRC-11, N up to 1024, interleaved coded bits, K from 20 on (shorter
    messages have another CRC and parity-check bits); or ``downlink``: CRC-24C, N up to 512,
    interleaved message and check bits, K up to 140. The broadcast channel is ``32,864,downlink``.
    The CRC's register starts at 0: what PDCCH puts before and over it, ones and the terminal's
    number, is not part of the code.

    Source: 3GPP TS 38.212, clauses 5.3.1 (coding), 5.4.1 (rate matching), 6.3.1 and 7.1.
    """
    words = [word.strip() for word in argument.split(",")]
    link = words[2] if len(words) == 3 else "uplink"
    if (
        len(words) not in (2, 3)
        or not all(word.isdecimal() for word in words[:2])
        or link not in ("uplink", "downlink")
    ):
        raise ValueError(f"expected nr-polar:K,E[,uplink|downlink], got nr-polar:{argument}")
    k, e = int(words[0]), int(words[1])
    crc, largest, least, most = {
        "uplink": ("crc11", 10, 20, 1013),
        "downlink": ("crc24c", 9, 1, 140),
    }[link]
    unfrozen = k + _CRCS[crc][0]
    if not least <= k <= most or not unfrozen <= e <= 8192:
        raise ValueError(
            f"expected K from {least} to {most} and E from K + {_CRCS[crc][0]} to 8192 in the "
            f"{link}, got K = {k} and E = {e}"
        )
    n = _nr_length(unfrozen, e, largest)
    if unfrozen > n:
        raise ValueError(f"expected at most N = {n} message and check bits, got {unfrozen}")
    index = np.arange(n)
    # Sub-block interleaving (5.4.1.1), then bit selection (5.4.1.2).
    blocks = np.array(_SUBBLOCKS)[32 * index // n] * (n // 32) + index % (n // 32)
    shortened: NDArray[np.intp] = np.zeros(0, dtype=np.intp)
    if e >= n:
        selected, frozen = np.resize(blocks, e), shortened
    elif 16 * unfrozen <= 7 * e:  # punctured
        selected = blocks[n - e :]
        low = -(-(3 * n - 2 * e) // 4) if 4 * e >= 3 * n else -(-(9 * n - 4 * e) // 16)
        frozen = np.concatenate([blocks[: n - e], index[: max(low, 0)]])
    else:
        selected = blocks[:e]
        frozen = shortened = blocks[e:]
    order = nr_order(n)
    free = order[~np.isin(order, frozen)]
    if free.size < unfrozen:
        raise ValueError(f"expected at most {free.size} message and check bits, got {unfrozen}")
    interleaver = None
    if link == "downlink":
        pattern = np.array([int(i) for row in tables.rows("nr-polar-interleaver") for i in row])
        interleaver = (pattern - (pattern.size - unfrozen))[pattern >= pattern.size - unfrozen]
    else:
        selected = selected[_triangular(e)]
    name = f"nr-polar:{argument}"
    mother = PolarCode(n, np.sort(free[-unfrozen:]), crc=crc, interleaver=interleaver, name=name)
    return RateMatchedCode(mother, selected, shortened=shortened, name=name)


def rptu(argument: str) -> PolarCode:
    """Make the (128, 64) code of RPTU Kaiserslautern's database of channel codes (d_min 8)."""
    if [word.strip() for word in argument.split(",")] != ["128", "64"]:
        raise ValueError(f"expected polar-rptu:128,64, got {argument!r}")
    return PolarCode(128, _RPTU_128_64, name="polar-rptu:128,64")


def reed_muller(argument: str) -> PolarCode:
    """Make the Reed-Muller code of ``R,M``: order R and length 2^M, 0 <= R < M <= 10.

    It is spanned by the rows of F^(x)M of weight 2^(M - R) and more, message bits in their order;
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
