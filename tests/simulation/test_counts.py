# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts under any key come back as they were stored."""

from pathlib import Path

import pytest
from gnuradio.neuralfec.simulation import Results, counts

KEY = {"what": str, "at": lambda text: float(text) if text else None, "seed": int}
ROWS = {
    ("a, b", 1.5, 0): {"blocks": 10, "power": 1.25},
    ("c", None, 2): {"blocks": 3, "extra": 1},
}
RESULTS = Path(__file__).parents[2] / "results"


def test_rows_come_back_as_they_were_stored(tmp_path):
    file = tmp_path / "new" / "x.csv"
    counts.save(file, tuple(KEY), ROWS, ("blocks",))
    assert file.read_text().splitlines()[0] == "what,at,seed,blocks,power,extra"
    assert counts.load(file, KEY, ("blocks",)) == ROWS
    assert counts.about(file) == {}
    counts.save_about(file, {"name": "x"})
    assert counts.about(file) == {"name": "x"}
    assert sorted(entry.name for entry in file.parent.iterdir()) == ["x.csv", "x.json"]


def test_tells_what_is_wrong_with_a_file(tmp_path):
    file = tmp_path / "x.csv"
    counts.save(file, tuple(KEY), ROWS)
    with pytest.raises(ValueError, match="no column bits, snr_db"):
        counts.load(file, KEY | {"snr_db": float}, ("bits",))
    file.write_text(file.read_text().replace("1.5", "one"))
    with pytest.raises(ValueError, match="line 2: could not convert"):
        counts.load(file, KEY, ("blocks",))

    def check(row, name):
        if row["blocks"] < 5:
            raise ValueError(f"{name}: few")

    counts.save(file, tuple(KEY), ROWS)
    with pytest.raises(ValueError, match=r"line 3: row of .*few"):
        counts.load(file, KEY, ("blocks",), check)


def test_counts_add_up():
    total = counts.add({"blocks": 1}, {"blocks": 2, "errors": 0.5})
    assert counts.add(total, {"errors": 1}) == {"blocks": 3, "errors": 1.5}


@pytest.mark.parametrize(
    "file",
    [
        file
        for file in sorted(RESULTS.glob("*.csv"))
        if file.read_text().startswith("scheme,snr_db,seed")
    ],
    ids=lambda file: file.stem,
)
def test_stored_results_are_written_back_unchanged(file, tmp_path):
    Results.load(file.stem, RESULTS).save(tmp_path)
    for suffix in (".csv", ".json"):
        written = (tmp_path / file.name).with_suffix(suffix)
        assert written.read_bytes() == file.with_suffix(suffix).read_bytes()
