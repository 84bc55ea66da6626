# SPDX-License-Identifier: GPL-3.0-or-later
"""Raw little-endian files in and out of the apps.

Everything that a user can get wrong is a ValueError of one line; `main` prints it and
exits with status 2.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np


def count_items(path: str | Path, dtype: str, multiple: int = 1) -> int:
    """How many items a file holds; ValueError where it is missing, empty or cut off.

    dtype: NumPy's name with byte order, such as "<c8"; multiple: items of one frame.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f"{path}: no such file")
    size = path.stat().st_size
    item = np.dtype(dtype)
    if size == 0:
        raise ValueError(f"{path}: the file is empty")
    if size % (item.itemsize * multiple):
        what = f"{item.name}" if multiple == 1 else f"frames of {multiple} {item.name}"
        raise ValueError(
            f"{path}: expected a multiple of {item.itemsize * multiple} bytes ({what}), "
            f"got {size} bytes"
        )
    return size // item.itemsize


def read_chunks(path: str | Path, dtype: str, items: int) -> Iterator[np.ndarray]:
    """A file's items in native byte order, at most so many at a time."""
    try:
        with open(path, "rb") as file:
            while chunk := file.read(items * np.dtype(dtype).itemsize):
                yield np.frombuffer(chunk, dtype).astype(np.dtype(dtype).newbyteorder("="))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from error


def open_output(path: str | Path) -> BinaryIO:
    """A file to write; ValueError where there can be none."""
    try:
        return open(path, "wb")
    except OSError as error:
        raise ValueError(f"{path}: cannot be written: {error.strerror}") from error


def main(run: Callable[[], None]) -> None:
    """Run an app: a ValueError or a failed write becomes one line and exit status 2."""
    try:
        run()
    except (ValueError, OSError) as error:
        print(f"{Path(sys.argv[0]).name}: error: {error}", file=sys.stderr)
        sys.exit(2)
