# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes of files: alist, quasi-cyclic base matrices, text, NumPy, scipy.sparse and MATLAB.

A path may be followed by words, each behind an @:

``@first``, ``@last``, ``@systematic``
    where the message stands in a codeword, see `linear.LinearCode`; ``@systematic`` where no word
    is
``@generator=FILE``
    the file of the generator matrix, of any of these forms; it says where the message stands
``@transposed``
    the file holds the transposed matrix, (n, m)
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import BadZipFile

import numpy as np

from . import alist as alist_format
from . import gf2, linear
from .ldpc import quasi_cyclic
from .linear import LinearCode
from .rate_matching import RateMatchedCode
from .sparse import Ones


class Found(NamedTuple):
    """What a file holds."""

    parity_check: Any
    generator: Any = None
    punctured: Any = ()
    """Positions of bits that are never sent."""


def _read_alist(path: str) -> Found:
    return Found(alist_format.read_ones(path))


def _read_qc(path: str) -> Found:
    """A base matrix: "columns rows size", then the rows of cyclic shifts, -1 for zeros; a last
    line of 1 and 0, where there is one, tells which columns of blocks are sent."""
    numbers = _integers(path, "a quasi-cyclic code")
    if len(numbers) < 3 or min(numbers[:3]) < 1:
        raise ValueError(
            f"{path}: expected columns, rows and size of blocks, 3 integers of at least 1, got "
            f"{numbers[:3]}"
        )
    (columns, rows, size), rest = numbers[:3], numbers[3:]
    count = columns * rows
    if len(rest) not in (count, count + columns):
        raise ValueError(
            f"{path}: expected {rows} rows of {columns} shifts, {count} numbers behind the first "
            f"line, and at most {columns} that tell which are sent, got {len(rest)}"
        )
    shifts, sent = np.array(rest[:count]).reshape(rows, columns), np.array(rest[count:])
    if shifts.min() < -1 or shifts.max() >= size:
        raise ValueError(
            f"{path}: expected shifts from 0 to {size - 1} or -1, got {shifts.min()} to "
            f"{shifts.max()}"
        )
    if not set(sent.tolist()) <= {0, 1}:
        raise ValueError(f"{path}: expected a last line of 0 and 1, got {sent.tolist()}")
    row, column = np.nonzero(shifts >= 0)
    blocks = zip(row, column, shifts[row, column], strict=True)
    punctured = np.flatnonzero(np.repeat(sent == 0, size))
    return Found(quasi_cyclic(blocks, size, (rows, columns)), punctured=punctured)


def _read_text(path: str) -> Found:
    """Rows of 0 and 1, between blanks or commas or side by side; # and % begin comments. A first
    line of two numbers, rows and columns in either order, may stand before them."""
    rows: list[str] = []
    size: set[str] = set()
    for line in _text(path, "a matrix of 0 and 1").replace(";", "\n").splitlines():
        digits = re.sub(r"[\s,\[\]]|[#%].*", "", line)
        if digits:
            # 1.0 and 1e0 are ones, too, as numpy.savetxt writes them.
            words = re.sub(r"[#%].*|[\[\]]", "", line).replace(",", " ").split()
            numbers = len(words) == 2 and all(map(str.isdecimal, words))
            if numbers and not rows and not size and max(map(int, words)) > 1:
                size = set(words)
                continue
            rows.append(digits if set(digits) <= {"0", "1"} else _digits(path, words))
    if not rows:
        raise ValueError(f"{path}: expected a matrix of 0 and 1, got no rows")
    for number, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise ValueError(
                f"{path}: expected {len(rows[0])} bits in each row, got {len(row)} in row {number}"
            )
    if size not in (set(), {str(len(rows)), str(len(rows[0]))}):
        raise ValueError(
            f"{path}: expected {len(rows)} rows and {len(rows[0])} columns in the first line, as "
            f"there are, or 0 and 1, got {' and '.join(sorted(size))}"
        )
    bits = np.frombuffer("".join(rows).encode("ascii"), dtype=np.uint8)
    return Found(bits.reshape(len(rows), -1) - ord("0"))


def _digits(path: str, words: list[str]) -> str:
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        numbers = [-1.0]
    if not set(numbers) <= {0.0, 1.0}:
        raise ValueError(
            f"{path}: expected a matrix of 0 and 1, got {' '.join(words)[:60]!r} in a row"
        )
    return "".join(str(int(number)) for number in numbers)


def _read_numpy(path: str) -> Found:
    """An .npy file, an .npz one of scipy.sparse, or one with H, and G where it is there."""
    try:
        content = np.load(path, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return Found(content)
        with content:
            if {"format", "shape", "data"} <= set(content.files):
                import scipy.sparse

                return Found(scipy.sparse.load_npz(path))
            return _of_variables(path, {name: content[name] for name in content.files})
    # zipfile raises a kind of RuntimeError for a compression that it does not know.
    except (ValueError, EOFError, KeyError, RuntimeError, BadZipFile) as error:
        raise ValueError(f"{path}: expected a matrix of NumPy or scipy.sparse: {error}") from error


def _read_matlab(path: str) -> Found:
    """A .mat file up to version 7.2 with H, and G where it is there."""
    import scipy.io

    try:
        variables = scipy.io.loadmat(path)
    # scipy raises a kind of RuntimeError for a file of version 7.3 (HDF5). MatReadError, for
    # one that is cut short, is no ValueError from scipy 1.11 on.
    except (
        *(ValueError, TypeError, IndexError, RuntimeError),
        scipy.io.matlab.MatReadError,
    ) as error:
        raise ValueError(f"{path}: expected a MATLAB file up to version 7.2: {error}") from error
    return _of_variables(path, variables)


def _read_matrix_market(path: str) -> Found:
    import scipy.io

    try:
        return Found(scipy.io.mmread(path))
    except ValueError as error:
        raise ValueError(f"{path}: expected a Matrix Market file: {error}") from error


def _of_variables(path: str, variables: dict[str, Any]) -> Found:
    matrices = {
        name: value
        for name, value in variables.items()
        if not name.startswith("__") and len(getattr(value, "shape", ())) == 2 and min(value.shape)
    }
    large = {name: value for name, value in matrices.items() if min(value.shape) > 1}
    if "H" in matrices:
        return Found(matrices["H"], matrices.get("G"))
    if len(large) != 1:
        raise ValueError(
            f"{path}: expected a matrix H or only one matrix, got {sorted(large) or 'none'}"
        )
    return Found(*large.values())


def _read_any(path: str) -> Found:
    """A matrix of any form: told by the first bytes, and text by its first lines."""
    with open(path, "rb") as file:
        start = file.read(128)
    if start.startswith((b"\x93NUMPY", b"PK\x03\x04")):
        return _read_numpy(path)
    if start.startswith(b"%%MatrixMarket"):
        return _read_matrix_market(path)
    if start.startswith(b"MATLAB") or path.endswith(".mat"):
        return _read_matlab(path)
    if path.endswith(".alist"):
        return _read_alist(path)
    if path.endswith(".qc"):
        return _read_qc(path)
    try:
        return _read_text(path)
    except ValueError as error:
        for read in (_read_alist, _read_qc):
            try:
                return read(path)
            except ValueError:
                continue
        raise error


def _text(path: str, what: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a text file of {what}, got other bytes") from error


def _integers(path: str, what: str) -> list[int]:
    words = re.sub(r"#.*", "", _text(path, what)).replace(",", " ").split()
    try:
        return [int(word) for word in words]
    except ValueError as error:
        raise ValueError(f"{path}: expected the integers of {what}: {error}") from error


def _make(form: str, read: Callable[[str], Found], argument: str) -> LinearCode | RateMatchedCode:
    """Make the code of a file with its words."""
    path, *words = [argument] if Path(argument).exists() else argument.split("@")
    place, transposed, generator = "", False, None
    for word in words:
        if word in linear.PLACES and not place:
            place = word
        elif word == "transposed":
            transposed = True
        elif word.startswith("generator="):
            generator = _read_any(word.removeprefix("generator=")).parity_check
        else:
            raise ValueError(
                f"{form}:{argument}: expected @{', @'.join(linear.PLACES)}, @generator=FILE or "
                f"@transposed behind the path, got @{word}"
            )
    found = read(path)
    parity_check = found.parity_check
    if transposed:
        parity_check = Ones.of(parity_check, "parity-check matrix").transposed()
    if generator is None and not place:
        generator = found.generator
    if generator is not None and hasattr(generator, "toarray"):
        generator = generator.toarray()
    elif isinstance(generator, Ones):
        generator = generator.dense()
    try:
        code = LinearCode(
            parity_check,
            generator,
            name=f"{form}:{argument}",
            message=place or "systematic",
        )
    except ValueError as error:
        m, n = parity_check.shape
        hint = (
            f"; the matrix has {m} rows and {n} columns, more checks than bits: where it is the "
            f"transposed one, write {form}:{argument}@transposed"
        )
        raise ValueError(f"{path}: {error}{hint if m > n else ''}") from error
    if len(found.punctured) == 0:
        return code
    sent = np.setdiff1d(np.arange(code.n), found.punctured)
    return RateMatchedCode(code, sent, name=code.name)


def matrix(argument: str) -> LinearCode | RateMatchedCode:
    """Read the code of a parity-check matrix in a file of any form."""
    return _make("matrix", _read_any, argument)


def alist(argument: str) -> LinearCode | RateMatchedCode:
    """Read the code of an alist file (see `alist.read`)."""
    return _make("alist", _read_alist, argument)


def qc(argument: str) -> LinearCode | RateMatchedCode:
    """Read the code of a file with a base matrix of cyclic shifts."""
    return _make("qc", _read_qc, argument)


def mat(argument: str) -> LinearCode | RateMatchedCode:
    """Read the code of a MATLAB file, up to version 7.2, with ``H`` and, maybe, ``G``.

    Without a variable of that name the file's only matrix is taken for H.
    """
    return _make("mat", _read_matlab, argument)


def generator(argument: str) -> LinearCode:
    """Read the code of a generator matrix in a file of any form.

    The message's positions are the generator's own. ValueError for dependent rows.
    """
    path, *words = [argument] if Path(argument).exists() else argument.split("@")
    found = _read_any(path).parity_check
    rows = found.toarray() if hasattr(found, "toarray") else found
    rows = rows.dense() if isinstance(rows, Ones) else gf2.as_bits(rows, "generator matrix")
    if words == ["transposed"]:
        rows = rows.T
    elif words:
        raise ValueError(f"generator:{argument}: expected @transposed or nothing, got {words}")
    return LinearCode(gf2.null_space(rows)[0], rows, name=f"generator:{argument}")
