# SPDX-License-Identifier: GPL-3.0-or-later
"""Sparse matrices over the field of two elements, and solving their equations by substitution."""

from __future__ import annotations

import heapq
import sys
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import gf2
from .gf2 import Bits

Indices = NDArray[np.uint32]


class Ones(NamedTuple):
    """A sparse matrix of 0 and 1 as its ones, row by row.

    ``rows``, ``columns``: uint32 (E,), where the ones are, ascending; ``shape``: (m, n).
    """

    rows: Indices
    columns: Indices
    shape: tuple[int, int]

    @classmethod
    def at(cls, rows: ArrayLike, columns: ArrayLike, shape: tuple[int, int]) -> Ones:
        """Make the matrix with ones at these places, in any order and each once."""
        r = np.asarray(rows, dtype=np.uint32).ravel()
        c = np.asarray(columns, dtype=np.uint32).ravel()
        order = np.argsort(r.astype(np.uint64) * shape[1] + c, kind="stable")
        r, c = r[order], c[order]
        r.flags.writeable = c.flags.writeable = False
        return cls(r, c, shape)

    @classmethod
    def of(cls, matrix: Any, what: str) -> Ones:
        """Take the ones of a dense matrix or of one of scipy.sparse.

        ValueError for other than two dimensions and other values than 0 and 1.
        """
        if isinstance(matrix, Ones):
            return matrix
        if hasattr(matrix, "tocoo"):
            coordinates = matrix.tocoo(copy=True)
            coordinates.sum_duplicates()
            coordinates.eliminate_zeros()
            gf2.as_bits(coordinates.data, what, ndim=1)
            return cls.at(coordinates.row, coordinates.col, coordinates.shape)
        dense = gf2.as_bits(matrix, what)
        rows, columns = np.nonzero(dense)
        return cls.at(rows, columns, (dense.shape[0], dense.shape[1]))

    def dense(self) -> Bits:
        """Return the matrix as uint8 (m, n)."""
        matrix = np.zeros(self.shape, dtype=np.uint8)
        matrix[self.rows, self.columns] = 1
        return matrix

    def packed(self) -> Bits:
        """Return the matrix as uint8 (m, ceil(n / 64) 8).

        A byte holds 8 columns, the first one in the highest bit.
        """
        m, n = self.shape
        words = np.zeros((m, -(-n // 64) * 8), dtype=np.uint8)
        bits = (0x80 >> (self.columns & 7)).astype(np.uint8)
        np.bitwise_or.at(words, (self.rows, self.columns >> 3), bits)
        return words

    def transposed(self) -> Ones:
        """Return the transposed matrix."""
        return Ones.at(self.columns, self.rows, self.shape[::-1])

    def begins(self) -> NDArray[np.intp]:
        """Return where each row begins among the ones, and the end: (m + 1,)."""
        return np.searchsorted(self.rows, np.arange(self.shape[0] + 1))

    def lists(self) -> list[NDArray[np.uint32]]:
        """Return the columns of each row's ones."""
        return np.split(self.columns, self.begins()[1:-1])

    def select(self, rows: ArrayLike, columns: ArrayLike) -> Ones:
        """Return the matrix of these rows and columns, both ascending."""
        row_at = np.full(self.shape[0], -1)
        column_at = np.full(self.shape[1], -1)
        rows, columns = np.asarray(rows), np.asarray(columns)
        row_at[rows], column_at[columns] = np.arange(rows.size), np.arange(columns.size)
        r, c = row_at[self.rows], column_at[self.columns]
        kept = (r >= 0) & (c >= 0)
        return Ones.at(r[kept], c[kept], (rows.size, columns.size))

    def product(self, words: Bits) -> Bits:
        """Return the matrix times each word: uint8 (F, m) of words (F, n)."""
        out = np.zeros((len(words), self.shape[0]), dtype=np.uint8)
        begins = self.begins()
        used = np.flatnonzero(np.diff(begins))
        # 8 frames a byte; some megabytes at a time.
        step = 8 * max(1, (1 << 24) // max(self.columns.size, 1))
        for first in range(0, len(words) if used.size else 0, step):
            part = words[first : first + step]
            packed = np.packbits(part.T, axis=1)
            sums = np.bitwise_xor.reduceat(packed[self.columns], begins[:-1][used], axis=0)
            out[first : first + step, used] = np.unpackbits(sums, axis=1, count=len(part)).T
        return out


class Progress:
    """Tells on a terminal how far something is that takes longer than some seconds."""

    def __init__(self, what: str, patience: float = 2.0) -> None:
        self._what, self._next, self._shown = what, time.monotonic() + patience, False

    def __call__(self, share: float) -> None:
        """Show the share done, from 0 to 1."""
        if sys.stderr.isatty() and time.monotonic() >= self._next:
            self._next, self._shown = time.monotonic() + 0.2, True
            print(f"\r{self._what}: {100 * share:3.0f} %", end="", file=sys.stderr, flush=True)

    def end(self) -> None:
        """Clear the line."""
        if self._shown:
            print("\r" + " " * (len(self._what) + 8) + "\r", end="", file=sys.stderr, flush=True)


class Order(NamedTuple):
    """An order in which a matrix gives some of its columns from the others, row by row."""

    steps: list[tuple[int, int]]
    """(column, row): the column is the sum of the others in its row, all known by then."""
    guessed: list[int]
    """Columns that must be known first."""
    unused: list[int]
    """Rows that are no step; they tell the guessed columns."""


def order(matrix: Ones, unknown: ArrayLike) -> Order:
    """Find an order to solve for the ``unknown`` columns with few guessed ones.

    A row with one unknown column left gives it; where there is none, columns of the row with the
    fewest are guessed but for one: inactivation decoding of raptor codes (IETF RFC 5053, 5.5.2).
    """
    is_unknown = np.zeros(matrix.shape[1], dtype=bool)
    is_unknown[np.asarray(unknown)] = True
    kept = is_unknown[matrix.columns]
    inner = Ones(matrix.rows[kept], matrix.columns[kept], matrix.shape)
    row_begins = inner.begins().tolist()
    row_columns = inner.columns.tolist()
    column_wise = inner.transposed()
    column_begins = column_wise.begins().tolist()
    column_rows = column_wise.columns.tolist()

    left = np.diff(row_begins).tolist()
    open_column = is_unknown.tolist()
    ready = [row for row, count in enumerate(left) if count == 1][::-1]
    heap: list[tuple[int, int]] | None = None
    steps: list[tuple[int, int]] = []
    guessed: list[int] = []
    used = bytearray(matrix.shape[0])
    total = int(is_unknown.sum())

    def close(column: int) -> None:
        open_column[column] = False
        for row in column_rows[column_begins[column] : column_begins[column + 1]]:
            left[row] -= 1
            if left[row] == 1:
                ready.append(row)
            elif heap is not None and left[row] > 1:
                heapq.heappush(heap, (left[row], row))

    while len(steps) + len(guessed) < total:
        if ready:
            row = ready.pop()
            if left[row] != 1:
                continue
            column = next(
                c for c in row_columns[row_begins[row] : row_begins[row + 1]] if open_column[c]
            )
            used[row] = 1
            steps.append((column, row))
            close(column)
            continue
        if heap is None:
            heap = [(count, row) for row, count in enumerate(left) if count > 1]
            heapq.heapify(heap)
        while heap:
            count, row = heapq.heappop(heap)
            if count == left[row] and count > 1:
                break
        else:
            # What is left stands in no row.
            rest = [c for c, is_open in enumerate(open_column) if is_open]
            guessed += rest
            break
        columns = [c for c in row_columns[row_begins[row] : row_begins[row + 1]] if open_column[c]]
        for column in columns[1:]:
            guessed.append(column)
            close(column)
    return Order(steps, guessed, [row for row in range(matrix.shape[0]) if not used[row]])


def dependence(matrix: Ones, found: Order, known: Sequence[int]) -> Bits:
    """Return the unused rows over the ``known`` columns, the steps put in.

    They are packed 8 a byte, (unused, ceil(known / 64) 8).
    """
    width = -(-len(known) // 64) * 8
    vectors: dict[int, NDArray[np.uint64]] = {}
    place = np.full(matrix.shape[1], -1)
    place[np.asarray(known, dtype=np.intp)] = np.arange(len(known))
    lists = matrix.lists()
    step_columns = {column for column, _ in found.steps}

    def total(row: int, target: int = -1) -> NDArray[np.uint64]:
        columns = lists[row]
        direct = place[columns]
        direct = direct[direct >= 0]
        bits = np.zeros(width, dtype=np.uint8)
        np.bitwise_or.at(bits, direct >> 3, (0x80 >> (direct & 7)).astype(np.uint8))
        result = bits.view(np.uint64)
        for column in columns.tolist():
            if column in step_columns and column != target:
                result ^= vectors[column]
        return result

    for column, row in found.steps:
        vectors[column] = total(row, column)
    if not found.unused:
        return np.zeros((0, width), dtype=np.uint8)
    return np.stack([total(row) for row in found.unused]).view(np.uint8)


class Equations(NamedTuple):
    """Which bits of the words x with H x^T = 0 the others give."""

    check_bits: NDArray[np.intp]
    """As many positions as H has rank, ascending."""
    rows: NDArray[np.intp]
    """As many independent rows, ascending."""


# Up to this many elements of H positions are chosen by elimination of all of H, in order.
DENSE = 1 << 25


def equations(matrix: Ones, preferred: NDArray[np.intp], progress: Progress) -> Equations:
    """Choose check bits of a parity-check matrix and rows that give them.

    ``preferred``: the order in which bits are taken as check bits: the first m where those are
    independent. Where they are not, each in turn that depends on none before it; in matrices of
    more than 2^25 elements others may come before it.
    """
    m, n = matrix.shape
    head = preferred[:m]
    found = order(matrix, head)
    if m <= n:
        square = dependence(matrix, found, found.guessed)
        pivots, _ = gf2.eliminate(
            square, range(len(found.guessed)), upwards=False, progress=progress
        )
        if len(pivots) == len(found.guessed):
            return Equations(np.sort(head), np.arange(m))
    if m * n <= DENSE:
        pivots, rows = gf2.eliminate(
            matrix.packed(), preferred.tolist(), upwards=False, progress=progress
        )
        return Equations(np.sort(pivots), np.sort(rows))
    known = [*found.guessed, *preferred[m:].tolist()]
    rest = dependence(matrix, found, known)
    pivots, rows = gf2.eliminate(rest, range(len(known)), upwards=False, progress=progress)
    columns = [column for column, _ in found.steps] + [known[p] for p in pivots]
    chosen = [row for _, row in found.steps] + [found.unused[r] for r in rows]
    return Equations(np.sort(columns).astype(np.intp), np.sort(chosen).astype(np.intp))


class Program(NamedTuple):
    """A list of exclusive ors that encodes: see lib/kernels/xor_encoder.h."""

    places: int
    message: NDArray[np.intp]
    targets: NDArray[np.intp]
    begins: NDArray[np.intp]
    sources: NDArray[np.intp]
    sent: NDArray[np.intp]


class PlainEncoder:
    """The kernel ``XorEncoder`` in NumPy."""

    def __init__(self, program: Program) -> None:
        self._program = program

    def encode(self, messages: Bits) -> Bits:
        """Return the codewords, uint8 (F, n), of messages (F, k)."""
        p = self._program
        memory = np.zeros((p.places, -(-len(messages) // 8)), dtype=np.uint8)
        memory[p.message] = np.packbits(messages.T, axis=1)
        for target, begin, end in zip(p.targets, p.begins[:-1], p.begins[1:], strict=True):
            memory[target] = np.bitwise_xor.reduce(memory[p.sources[begin:end]], axis=0)
        return np.unpackbits(memory[p.sent], axis=1, count=len(messages)).T.copy()


def program(steps: Sequence[tuple[ArrayLike, Ones]], **places: Any) -> Program:
    """Make a program of groups of steps.

    A group is (targets, matrix): target t becomes the sum of the places where row t of the matrix
    has ones. ``places``: places, message and sent of the `Program`.
    """
    targets = [np.asarray(t, dtype=np.intp) for t, _ in steps]
    sources = [matrix.columns for _, matrix in steps]
    counts = [np.diff(matrix.begins()) for _, matrix in steps]
    empty = [np.zeros(0, dtype=np.intp)]
    return Program(
        places=places["places"],
        message=np.asarray(places["message"], dtype=np.intp),
        targets=np.concatenate([*targets, *empty]),
        begins=np.concatenate([[0], np.cumsum(np.concatenate([*counts, *empty]))]),
        sources=np.concatenate([*sources, *empty]),
        sent=np.asarray(places["sent"], dtype=np.intp),
    )


def substitution(matrix: Ones, given: Equations, progress: Progress) -> Program:
    """Make the program that encodes into the words x with H x^T = 0.

    The message bits are those that are no check bits, ascending. Guessed check bits are 0 at
    first; what the unused rows then are tells them (Richardson and Urbanke, "Efficient encoding
    of low-density parity-check codes", IEEE Trans. Inf. Theory 47(2), 2001, with the gap found by
    `order`).
    """
    n = matrix.shape[1]
    message = np.setdiff1d(np.arange(n), given.check_bits)
    matrix = matrix.select(given.rows, np.arange(n))
    found = order(matrix, given.check_bits)
    columns = np.array([column for column, _ in found.steps], dtype=np.intp)
    rows = np.array([row for _, row in found.steps], dtype=np.intp)
    by_row = matrix.begins()
    lengths = by_row[rows + 1] - by_row[rows]
    at = np.repeat(by_row[rows] - np.cumsum(lengths) + lengths, lengths) + np.arange(lengths.sum())
    step = np.repeat(np.arange(len(rows)), lengths)
    others = matrix.columns[at] != columns[step]
    substitute = (columns, Ones(step[others], matrix.columns[at][others], (len(rows), n)))
    gap = len(found.guessed)
    if gap == 0:
        return program([substitute], places=n, message=message, sent=np.arange(n))
    # Rows and columns of the inverse: which of the unused rows' sums make up each guessed bit.
    square = dependence(matrix, found, found.guessed)
    width = square.shape[1]
    square = np.hstack([square, gf2.pack(np.eye(gap, dtype=np.uint8))])
    gf2.eliminate(square, range(gap), progress=progress)
    inverse = np.unpackbits(square[:, width:], axis=1, count=gap)
    of_rows = matrix.select(found.unused, np.arange(n))
    of_guessed, of_sums = np.nonzero(inverse)
    return program(
        [
            substitute,
            (n + np.arange(gap), of_rows),
            (np.array(found.guessed), Ones.at(of_guessed, n + of_sums, (gap, n + gap))),
            substitute,
        ],
        places=n + gap,
        message=message,
        sent=np.arange(n),
    )
