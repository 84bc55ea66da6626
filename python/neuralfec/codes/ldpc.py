# SPDX-License-Identifier: GPL-3.0-or-later
"""Low-density parity-check codes of standards; the tables are in ``tables``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from . import tables
from .linear import LinearCode
from .rate_matching import RateMatchedCode
from .sparse import Ones


def quasi_cyclic(blocks: Iterable[tuple[int, int, int]], size: int, shape: tuple[int, int]) -> Ones:
    """Make the parity-check matrix of blocks (row, column, shift) in ``shape`` (rows, columns).

    A block is the ``size`` x ``size`` identity shifted right by ``shift``, whose row r has its
    one in column (r + shift) mod size. Several blocks at one place add up.
    """
    row, column, shift = np.array(list(blocks), dtype=np.int64).reshape(-1, 3).T
    r = np.arange(size)
    rows = (row[:, None] * size + r).ravel()
    columns = (column[:, None] * size + (r + shift[:, None]) % size).ravel()
    return Ones.at(rows, columns, (shape[0] * size, shape[1] * size))


def wifi(argument: str) -> LinearCode:
    """Make an LDPC code of IEEE 802.11n and 802.11ac from ``N-RATE``; message bits first.

    N is 648, 1296 or 1944, RATE 1/2, 2/3, 3/4 or 5/6 (1/2 where it is left out). Source: IEEE Std
    802.11-2012, annex F.
    """
    n, _, rate = argument.partition("-")
    base = [
        row for row in tables.records("wifi-ldpc") if (row["n"], row["rate"]) == (n, rate or "1/2")
    ]
    blocks = [
        (i, j, int(row[str(j)])) for i, row in enumerate(base) for j in range(24) if row[str(j)]
    ]
    h = quasi_cyclic(blocks, int(n) // 24, (len(base), 24))
    return LinearCode(h, name=f"wifi-{argument}")


def ccsds(argument: str) -> LinearCode:
    """Make the telecommand code (128,64), (256,128) or (512,256) of ``N,K``; message bits first.

    Source: CCSDS 231.0-B, "TC synchronization and channel coding".
    """
    n, _, k = argument.replace(" ", "").partition(",")
    base = [row for row in tables.records("ccsds-tc") if row["n"] == n]
    if not base or int(k or 0) * 2 != int(n):
        raise ValueError(f"expected ccsds:128,64, 256,128 or 512,256, got ccsds:{argument}")
    blocks = [
        (i, j, int(shift))
        for i, row in enumerate(base)
        for j in range(8)
        for shift in row[str(j)].split()
    ]
    return LinearCode(quasi_cyclic(blocks, int(n) // 8, (4, 8)), name=f"ccsds:{n},{k}")


def dvb_s2(argument: str, frame: str = "normal", name: str = "dvb-s2") -> LinearCode:
    """Make the LDPC code of DVB-S2's normal frames of 64800 bits; message bits first.

    Rates are 1/4, 1/3, 2/5, 1/2, 3/5, 2/3, 3/4, 4/5, 5/6, 8/9 and 9/10. The message is what the
    standard's outer BCH code gives: BCH coding, scrambling and interleaving are not part of it.
    Source: ETSI EN 302 307-1, clause 5.3.2 and annexes B and C.
    """
    groups = [row for row in tables.records("dvb-s2") if row["frame"] == frame]
    rates = list(dict.fromkeys(row["rate"] for row in groups))
    addresses = [row["addresses"].split() for row in groups if row["rate"] == argument]
    if not addresses:
        raise ValueError(f"expected {name}:RATE of {', '.join(rates)}, got {name}:{argument}")
    n = {"normal": 64800, "short": 16200}[frame]
    k = 360 * len(addresses)
    m = n - k
    # Message bit i of a group adds to the parity bits at (address + i m / 360) mod m, and each
    # parity bit to the next one.
    i = np.arange(360)
    rows, columns = [], []
    for group, first in enumerate(addresses):
        start = np.array(first, dtype=np.int64)[:, None]
        rows.append(((start + i * (m // 360)) % m).ravel())
        columns.append(np.tile(360 * group + i, len(first)))
    parity = np.arange(m)
    rows += [parity, parity[1:]]
    columns += [k + parity, k + parity[:-1]]
    ones = Ones.at(np.concatenate(rows), np.concatenate(columns), (m, n))
    return LinearCode(ones, name=f"{name}:{argument}")


def dvb_s2_short(argument: str) -> LinearCode:
    """Make the LDPC code of DVB-S2's short frames of 16200 bits; message bits first.

    Rates are named as in the standard, 1/4, 1/3, 2/5, 1/2, 3/5, 2/3, 3/4, 4/5, 5/6 and 8/9; the
    code's own is a little less for some: (16200, 3240) for 1/4. Otherwise as `dvb_s2`.
    """
    return dvb_s2(argument, "short", "dvb-s2-short")


class BaseGraph(NamedTuple):
    """A base graph of 3GPP TS 38.212, clause 5.3.2."""

    number: int
    rows: int
    columns: int
    message_columns: int
    starts: tuple[int, int, int, int]
    """Of the redundancy versions, in columns behind the two that are never sent."""


_GRAPHS = {
    1: BaseGraph(1, 46, 68, 22, (0, 17, 33, 56)),
    2: BaseGraph(2, 42, 52, 10, (0, 13, 25, 43)),
}
_CORE = 4  # columns of check bits that are solved together; each further one has a row of its own
_NEVER_SENT = 2  # columns


def lifting_sizes() -> dict[int, int]:
    """Return the lifting sizes Z and the set that each is of (3GPP TS 38.212, table 5.3.2-1)."""
    factors = (2, 3, 5, 7, 9, 11, 13, 15)
    return {a << j: number for number, a in enumerate(factors) for j in range(8) if a << j <= 384}


def nr_base_graph(k: int, e: int) -> BaseGraph:
    """Choose the base graph for k message bits at rate k / e (3GPP TS 38.212, clause 6.2.2)."""
    rate = k / e
    return _GRAPHS[2 if k <= 292 or (k <= 3824 and rate <= 0.67) or rate <= 0.25 else 1]


def nr_ldpc(argument: str) -> RateMatchedCode:
    """Make an LDPC code of 5G NR, one code block, of ``K,E``, ``K,E,RV`` or ``K,E,RV,bgN``.

    K message bits, those of a cyclic redundancy check among them, and E bits that are sent, from
    the start that the redundancy version RV (0 to 3; 0) has. Several, as in ``K,E,0+2``, are
    several transmissions of E bits, one after the other. bg1 or bg2 is the base graph; without,
    it is chosen by K and K / E (clause 6.2.2, with K for the size of the transport block).

    Source: 3GPP TS 38.212, clauses 5.2.2 (lifting size), 5.3.2 (coding) and 5.4.2.1 (bit
    selection, without limited buffer). The bit interleaver of clause 5.4.2.2, which depends on
    the modulation, is not part of it. Filler bits are 0 and not sent; check bits that are not
    sent are left out of the graph with their checks.
    """
    words = [word.strip() for word in argument.split(",")]
    numbers = words[:2] + (words[2].split("+") if len(words) > 2 else [])
    if not 2 <= len(words) <= 4 or not all(word.isdecimal() for word in numbers):
        raise ValueError(f"expected nr-ldpc:K,E[,RV[,bg1|bg2]], got nr-ldpc:{argument}")
    k, e = int(words[0]), int(words[1])
    versions = [int(v) for v in words[2].split("+")] if len(words) > 2 else [0]
    if max(versions) > 3:
        raise ValueError(f"expected redundancy versions 0 to 3, got nr-ldpc:{argument}")
    if words[3:] not in ([], ["bg1"], ["bg2"]):
        raise ValueError(f"expected a base graph bg1 or bg2, got nr-ldpc:{argument}")
    if k < 1 or e * len(versions) < k:
        raise ValueError(f"expected 1 <= K and K bits to be sent, got nr-ldpc:{argument}")
    graph = _GRAPHS[int(words[3][2])] if len(words) > 3 else nr_base_graph(k, e)
    largest = graph.message_columns * 384
    if k > largest:
        raise ValueError(
            f"expected at most {largest} message bits in base graph {graph.number}, got {k}: "
            "longer messages are cut into code blocks, each a code of its own"
        )
    filled = graph.message_columns
    if graph.number == 2:
        filled = 10 if k > 640 else 9 if k > 560 else 8 if k > 192 else 6
    sizes = lifting_sizes()
    size = min(z for z in sizes if filled * z >= k)

    # Bit selection: a circular buffer of all columns but the first two, without the filler.
    buffer = np.arange(_NEVER_SENT * size, graph.columns * size)
    is_filler = (buffer >= k) & (buffer < graph.message_columns * size)
    sent = []
    for version in versions:
        turned = np.roll(np.arange(buffer.size), -graph.starts[version] * size)
        kept = buffer[turned[~is_filler[turned]]]
        sent.append(np.resize(kept, e))
    chosen = np.concatenate(sent)

    core_rows = _CORE * size
    first_single = (graph.message_columns + _CORE) * size
    singles = np.unique(chosen[chosen >= first_single])
    rows = np.concatenate([np.arange(core_rows), core_rows + singles - first_single])
    core = np.arange(graph.message_columns * size, first_single)
    columns = np.concatenate([np.arange(k), core, singles])

    records = [r for r in tables.records("nr-ldpc") if r["graph"] == str(graph.number)]
    blocks = [(int(r["row"]), int(r["column"]), int(r[str(sizes[size])]) % size) for r in records]
    whole = quasi_cyclic(blocks, size, (graph.rows, graph.columns))
    name = f"nr-ldpc:{argument}"
    mother = LinearCode(whole.select(rows, columns), name=name)
    return RateMatchedCode(mother, np.searchsorted(columns, chosen), name=name)
