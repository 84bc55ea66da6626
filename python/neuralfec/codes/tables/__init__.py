# SPDX-License-Identifier: GPL-3.0-or-later
"""Tables of standards, a CSV file each; its first lines name the source."""

import csv
from pathlib import Path


def rows(name: str) -> list[list[str]]:
    """Return the rows of the table ``name``, a list of cells each.

    Lines that begin with # are left out.
    """
    text = (Path(__file__).parent / f"{name}.csv").read_text(encoding="ascii")
    return list(csv.reader(line for line in text.splitlines() if not line.startswith("#")))


def records(name: str) -> list[dict[str, str]]:
    """Return the rows behind the first one of the table ``name``, by its column names."""
    names, *others = rows(name)
    return [dict(zip(names, cells, strict=True)) for cells in others]
