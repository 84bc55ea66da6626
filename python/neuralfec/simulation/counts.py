# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts under any key, in a CSV file with a row for each key.

The key's columns come first; what else a row has is counts, and a count that a row lacks is an
empty cell. Files are whole at every moment: before, during and after they are written.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Counts = dict[str, float]
Rows = dict[tuple, Counts]


def number(text: str) -> float:
    """Return what a cell holds, an int where it is written as one."""
    return int(text) if text.lstrip("-").isdigit() else float(text)


def load(
    file: str | os.PathLike,
    key: Mapping[str, Callable[[str], Any]],
    required: Iterable[str],
    check: Callable[[Counts, str], Any] | None = None,
) -> Rows:
    """Read the rows of a file.

    Parameters
    ----------
    key : the key's columns in order, each with what makes its value of a cell's text
    required : counts that every row has
    check : called with the counts of a row and its name; ValueError where they cannot be

    Raises
    ------
    ValueError : for a file of something else, with the line where it is one
    """
    rows: Rows = {}
    with open(file, newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        missing = {*key, *required} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(
                f"{file}: not counts of a simulation, no column {', '.join(sorted(missing))}"
            )
        for record in reader:
            try:
                of = tuple(make(record.pop(column)) for column, make in key.items())
                rows[of] = {column: number(text) for column, text in record.items() if text}
                if check:
                    check(rows[of], f"row of {of}")
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"{file}, line {reader.line_num}: {error}") from None
    return rows


def save(
    file: str | os.PathLike,
    key: Sequence[str],
    rows: Mapping[tuple, Mapping[str, float]],
    first: Sequence[str] = (),
) -> None:
    """Write rows; first : counts whose columns come before the others."""
    columns = dict.fromkeys(first)
    for counts in rows.values():
        columns.update(dict.fromkeys(counts))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*key, *columns])
    for of, counts in rows.items():
        cells = ["" if value is None else value for value in of]
        writer.writerow([*cells, *(counts.get(column, "") for column in columns)])
    replace(Path(file), text.getvalue())


def add(total: Counts, counts: Mapping[str, float]) -> Counts:
    """Add counts to a total, and return it."""
    for name, value in counts.items():
        total[name] = total.get(name, 0) + value
    return total


def about(file: str | os.PathLike) -> dict:
    """Read the JSON file beside a file of counts, which tells how they were made."""
    beside = Path(file).with_suffix(".json")
    return json.loads(beside.read_text()) if beside.exists() else {}


def save_about(file: str | os.PathLike, about: Mapping[str, Any]) -> None:
    """Write the JSON file beside a file of counts."""
    replace(Path(file).with_suffix(".json"), json.dumps(about, indent=2) + "\n")


def replace(file: Path, text: str) -> None:
    """Write a file, whole or not at all; its folder is made where there is none."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        part.write_text(text)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)
