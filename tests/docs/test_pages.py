# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the Python that the pages of the documentation show, each page in a folder of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = sorted(
    str(page.relative_to(DOCS))
    for page in DOCS.rglob("*.md")
    if "```python" in page.read_text() and "api" not in page.parts
)


def test_there_are_pages_with_python():
    assert "tour.md" in PAGES and len(PAGES) >= 4


@pytest.mark.parametrize("page", PAGES)
def test_python_of_a_page_runs(page, tmp_path):
    blocks = re.findall(r"(?ms)^```python\n(.*?)^```", (DOCS / page).read_text())
    # A process of its own: a page may start flow graphs and set what it likes.
    run = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks)],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stdout + run.stderr
