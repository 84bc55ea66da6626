# SPDX-License-Identifier: GPL-3.0-or-later
"""The version stands in several files, each of which another tool reads."""

import re
from pathlib import Path

import pytest
from gnuradio import neuralfec

ROOT = Path(__file__).resolve().parents[1]
PLACES = {
    "CMakeLists.txt": r"project\(gr-neuralfec VERSION ([\d.]+)",
    "CITATION.cff": r"(?m)^version: ([\d.]+)",
    "MANIFEST.yml": r"(?m)^version: ([\d.]+)",
    "conda/meta.yaml": r'set version = "([\d.]+)"',
}


@pytest.mark.parametrize("file", PLACES)
def test_version_is_the_same_everywhere(file):
    (version,) = re.findall(PLACES[file], (ROOT / file).read_text())
    assert version == neuralfec.__version__
