# SPDX-License-Identifier: GPL-3.0-or-later
"""Parity-check matrices in MacKay's alist format.

The lines of a file, all numbers blank-separated integers, indices from 1:

1. n m: columns (bits) and rows (checks);
2. the largest column weight and the largest row weight;
3. the n column weights;
4. the m row weights;
5. n lines: the rows of the ones in each column;
6. m lines: the columns of the ones in each row.

A list shorter than the largest weight may be filled with zeros or end early.

Source: D. J. C. MacKay, "Alist format", inference.org.uk/mackay/codes/alist.html
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from . import gf2
from .gf2 import Bits
from .linear import LinearCode


def from_file(path: str | Path) -> LinearCode:
    """The code of an alist file, systematic with the message bits as far in front as can be."""
    return LinearCode(read(path), name=f"alist:{path}")


def read(path: str | Path) -> Bits:
    """The parity-check matrix, uint8 (m, n), of an alist file.

    ValueError naming the line, what was expected and what came, for anything that does
    not fit together; OSError where the file cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="ascii")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a text file of integers, got other bytes") from error
    lines = _Lines(path, text)
    n, m = lines.integers("the columns n and rows m", 2, 1)
    column_max, row_max = lines.integers("the largest column and row weight", 2, 0)
    column_weights = lines.weights("column", n, column_max, m)
    row_weights = lines.weights("row", m, row_max, n)

    matrix = np.zeros((m, n), dtype=np.uint8)
    for column, weight in enumerate(column_weights):
        matrix[lines.ones(f"column {column + 1}", weight, column_max, m), column] = 1
    for row, weight in enumerate(row_weights):
        ones = lines.ones(f"row {row + 1}", weight, row_max, n)
        by_columns = np.flatnonzero(matrix[row])
        if not np.array_equal(np.sort(ones), by_columns):
            lines.fail(
                f"row {row + 1} with ones in columns {_from_one(by_columns)}, "
                "as the column lists have it",
                str(_from_one(ones)),
            )
    lines.end()
    return matrix


def write(path: str | Path, parity_check: ArrayLike) -> None:
    """Writes a parity-check matrix, (m, n), as an alist file with zero-filled lists."""
    matrix = gf2.as_bits(parity_check, "parity-check matrix")
    by_column = [np.flatnonzero(column) + 1 for column in matrix.T]
    by_row = [np.flatnonzero(row) + 1 for row in matrix]
    largest = [max(len(ones) for ones in lists) for lists in (by_column, by_row)]
    lines = [matrix.shape[::-1], largest]
    lines += [[len(ones) for ones in lists] for lists in (by_column, by_row)]
    for lists, weight in zip((by_column, by_row), largest, strict=True):
        lines += [np.pad(ones, (0, weight - len(ones))) for ones in lists]
    text = "".join(" ".join(map(str, line)) + "\n" for line in lines)
    Path(path).write_text(text, encoding="ascii")


def _from_one(indices: list[int] | np.ndarray) -> list[int]:
    return sorted(int(i) + 1 for i in indices)


class _Lines:
    """The lines of a file, with what each must hold."""

    def __init__(self, path: str | Path, text: str) -> None:
        self._path = path
        self._number = 0
        self._lines: Iterator[str] = iter(text.split("\n"))

    def fail(self, expected: str, got: str) -> None:
        raise ValueError(f"{self._path}, line {self._number}: expected {expected}, got {got}")

    def _next(self, expected: str) -> list[int]:
        self._number += 1
        line = next(self._lines, None)
        if line is None:
            self.fail(expected, "the end of the file")
        try:
            return [int(word) for word in line.split()]
        except ValueError:
            self.fail(expected, repr(line.strip()[:60]))

    def integers(self, what: str, count: int, least: int) -> list[int]:
        expected = f"{what}: {count} integers of at least {least}"
        numbers = self._next(expected)
        if len(numbers) != count:
            self.fail(expected, f"{len(numbers)} numbers")
        if min(numbers) < least:
            self.fail(expected, str(min(numbers)))
        return numbers

    def weights(self, what: str, count: int, largest: int, length: int) -> list[int]:
        numbers = self.integers(f"the {what} weights", count, 0)
        if largest > length:
            self.fail(f"{what} weights of at most {length}", f"a largest {what} weight {largest}")
        if max(numbers) != largest:
            self.fail(f"{what} weights with largest {largest}, as in line 2", str(max(numbers)))
        return numbers

    def ones(self, what: str, weight: int, largest: int, length: int) -> list[int]:
        """Indices from 0."""
        expected = f"{weight} indices of the ones of {what}"
        numbers = self._next(expected)
        indices, filling = numbers[:weight], numbers[weight:]
        if len(indices) < weight or 0 in indices or any(filling):
            self.fail(expected, f"{sum(number != 0 for number in numbers)}: {numbers}")
        if len(numbers) > max(largest, weight):
            self.fail(f"at most {largest} numbers for {what}", str(len(numbers)))
        for index in indices:
            if not 1 <= index <= length:
                self.fail(f"indices of {what} from 1 to {length}", str(index))
        if len(set(indices)) != weight:
            self.fail(f"{weight} different indices for {what}", str(indices))
        return [index - 1 for index in indices]

    def end(self) -> None:
        for line in self._lines:
            self._number += 1
            if line.strip():
                self.fail("the end of the file", repr(line.strip()[:60]))
