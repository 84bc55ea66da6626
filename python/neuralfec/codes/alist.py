# SPDX-License-Identifier: GPL-3.0-or-later
"""Parity-check matrices in MacKay's alist format.

The lines of a file, all numbers blank-separated integers, indices from 1:

1. n m: columns (bits) and rows (checks);
2. the largest column weight and the largest row weight;
3. the n column weights;
4. the m row weights;
5. n lines: the rows of the ones in each column;
6. m lines: the columns of the ones in each row.

A list shorter than the largest weight may be filled with zeros or end early. From # to the end of
a line is a comment, and a line with nothing else is as if it were not there.

Source: D. J. C. MacKay, "Alist format", inference.org.uk/mackay/codes/alist.html
"""

import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from .gf2 import Bits
from .sparse import Ones


def read(path: str | Path) -> Bits:
    """Return the parity-check matrix, uint8 (m, n), of an alist file; errors as of `read_ones`."""
    return read_ones(path).dense()


def read_ones(path: str | Path) -> Ones:
    """Return the ones of the parity-check matrix of an alist file.

    ValueError naming the line, what was expected and what came, for anything that does
    not fit together; OSError where the file cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a text file of integers, got other bytes") from error
    found = None if "#" in text else _read_regular(text)
    return _read_lines(path, text) if found is None else found


def _read_regular(text: str) -> Ones | None:
    """The matrix of a text whose lists are all filled with zeros, or all end early; None for one
    that is to be read line by line, for what is wrong with it, too."""
    with warnings.catch_warnings():
        # Text that holds other than numbers ends the array with a warning.
        warnings.simplefilter("error", DeprecationWarning)
        try:
            numbers = np.fromstring(text, dtype=np.int64, sep=" ")
        except (DeprecationWarning, ValueError):
            return None
    if numbers.size < 4 or numbers[:2].min() < 1 or numbers.size < 4 + numbers[:2].sum():
        return None
    n, m, *largest = numbers[:4].tolist()
    weights = numbers[4 : 4 + n], numbers[4 + n : 4 + n + m]
    if min(part.min() for part in weights) < 0 or [part.max() for part in weights] != largest:
        return None
    lists, total = numbers[4 + n + m :], weights[0].sum()
    if weights[1].sum() != total:
        return None
    if lists.size == n * largest[0] + m * largest[1]:
        ones = []
        parts = np.split(lists, [n * largest[0]])
        for part, count, weight in zip(parts, weights, largest, strict=True):
            table = part.reshape(count.size, weight)
            inside = np.arange(weight) < count[:, None]
            if table[~inside].any():
                return None
            ones.append(table[inside])
    elif lists.size == 2 * total:
        ones = np.split(lists, 2)
    else:
        return None
    if any(part.size and part.min() < 1 for part in ones) or total == 0:
        return None
    if ones[0].max() > m or ones[1].max() > n:
        return None
    by_column = Ones.at(ones[0] - 1, np.repeat(np.arange(n), weights[0]), (m, n))
    by_row = Ones.at(np.repeat(np.arange(m), weights[1]), ones[1] - 1, (m, n))
    place = by_column.rows.astype(np.int64) * n + by_column.columns
    if (np.diff(place) == 0).any() or not np.array_equal(by_column.columns, by_row.columns):
        return None
    return by_column if np.array_equal(by_column.rows, by_row.rows) else None


def _read_lines(path: str | Path, text: str) -> Ones:
    lines = _Lines(path, text)
    n, m = lines.integers("the columns n and rows m", 2, 1)
    column_max, row_max = lines.integers("the largest column and row weight", 2, 0)
    column_weights = lines.weights("column", n, column_max, m)
    row_weights = lines.weights("row", m, row_max, n)

    columns_of: list[list[int]] = [[] for _ in range(m)]
    for column, weight in enumerate(column_weights):
        for row in lines.ones(f"column {column + 1}", weight, column_max, m):
            columns_of[row].append(column)
    for row, weight in enumerate(row_weights):
        ones = lines.ones(f"row {row + 1}", weight, row_max, n)
        if sorted(ones) != columns_of[row]:
            lines.fail(
                f"row {row + 1} with ones in columns {_from_one(columns_of[row])}, "
                "as the column lists have it",
                str(_from_one(ones)),
            )
    lines.end()
    rows = np.repeat(np.arange(m), [len(ones) for ones in columns_of])
    return Ones.at(rows, [column for ones in columns_of for column in ones], (m, n))


def write(path: str | Path, parity_check: Any) -> None:
    """Write a parity-check matrix, (m, n), as an alist file with zero-filled lists."""
    matrix = Ones.of(parity_check, "parity-check matrix")
    by_column = [ones + 1 for ones in matrix.transposed().lists()]
    by_row = [ones + 1 for ones in matrix.lists()]
    largest = [max(len(ones) for ones in lists) for lists in (by_column, by_row)]
    lines: list[Sequence[int] | np.ndarray] = [matrix.shape[::-1], largest]
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

    def fail(self, expected: str, got: str) -> NoReturn:
        raise ValueError(f"{self._path}, line {self._number}: expected {expected}, got {got}")

    def _next(self, expected: str) -> list[int]:
        while True:
            self._number += 1
            line = next(self._lines, None)
            if line is None:
                self.fail(expected, "the end of the file")
            line, comment, _ = line.partition("#")
            if line.strip() or not comment:
                break
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
            if line.partition("#")[0].strip():
                self.fail("the end of the file", repr(line.strip()[:60]))
