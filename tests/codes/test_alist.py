# SPDX-License-Identifier: GPL-3.0-or-later
from pathlib import Path

import numpy as np
import pytest
from gnuradio import fec
from gnuradio.neuralfec import codes
from gnuradio.neuralfec.codes import alist

# Three checks of weights 3, 3, 2 on five bits.
PARITY_CHECK = np.array([[1, 1, 0, 1, 0], [0, 1, 1, 0, 1], [1, 0, 0, 0, 1]])
LINES = [
    "5 3",
    "2 3",
    "2 2 1 1 2",
    "3 3 2",
    "1 3",
    "1 2",
    "2 0",
    "1 0",
    "2 3",
    "1 2 4",
    "2 3 5",
    "1 5 0",
]
GNU_RADIO_FILES = sorted(
    path
    for path in Path("/usr/share/gnuradio/fec/ldpc").glob("*.alist")
    if "gen_matrix" not in path.name
)[:3]


def write(tmp_path, lines):
    path = tmp_path / "code.alist"
    path.write_text("\n".join(lines) + "\n")
    return path


def test_reads_and_writes_by_hand(tmp_path):
    assert np.array_equal(alist.read(write(tmp_path, LINES)), PARITY_CHECK)
    alist.write(tmp_path / "out.alist", PARITY_CHECK)
    assert (tmp_path / "out.alist").read_text().split("\n")[:-1] == LINES
    short = [line.removesuffix(" 0") for line in LINES]
    assert np.array_equal(alist.read(write(tmp_path, [*short, "", ""])), PARITY_CHECK)


def test_a_bit_without_checks(tmp_path):
    lines = ["3 1", "1 2", "1 0 1", "2", "1", "", "1", "1 3"]
    assert alist.read(write(tmp_path, lines)).tolist() == [[1, 0, 1]]


@pytest.mark.skipif(not GNU_RADIO_FILES, reason="GNU Radio's example codes are not installed")
def test_reads_gnu_radios_files_as_gnu_radio_does(tmp_path):
    for path in GNU_RADIO_FILES:
        code = codes.code(f"alist:{path}")
        theirs = fec.ldpc_decoder.make(str(path), max_iterations=1)
        assert fec.get_decoder_input_size(theirs) == code.n
        assert fec.get_decoder_output_size(theirs) == code.k
        alist.write(tmp_path / "again.alist", code.parity_check)
        assert np.array_equal(alist.read(tmp_path / "again.alist"), code.parity_check)


@pytest.mark.parametrize(
    ("line", "text", "message"),
    [
        (1, "5", "line 1: expected the columns n and rows m: 2 integers of at least 1, got 1 num"),
        (1, "0 3", "line 1: .* at least 1, got 0"),
        (1, "5 x", "line 1: .*got '5 x'"),
        (1, "4 3", "line 3: expected the column weights: 4 integers of at least 0, got 5"),
        (2, "3 3", "line 3: expected column weights with largest 3, as in line 2, got 2"),
        (2, "4 3", "line 3: expected column weights of at most 3, got a largest column weight 4"),
        (3, "2 2 1 1", "line 3: expected the column weights: 5 integers of at least 0, got 4"),
        (3, "2 2 1 1 -2", "line 3: .* at least 0, got -2"),
        (4, "3 2 2", "line 11: expected 2 indices of the ones of row 2, got 3: "),
        (5, "1", "line 5: expected 2 indices of the ones of column 1, got 1: "),
        (5, "1 0", "line 5: expected 2 indices of the ones of column 1, got 1: "),
        (5, "1 4", "line 5: expected indices of column 1 from 1 to 3, got 4"),
        (5, "-1 3", "line 5: expected indices of column 1 from 1 to 3, got -1"),
        (5, "3 3", "line 5: expected 2 different indices for column 1, got"),
        (5, "1 2", r"line 10: .*row 1 .* columns \[1, 2, 4\]|line 11: expected row 2 with ones in"),
        (7, "0 2", "line 7: expected 1 indices of the ones of column 3, got 1: "),
        (7, "2 0 0", "line 7: expected at most 2 numbers for column 3, got 3"),
        (10, "1 2 5", r"line 10: expected row 1 with ones in columns \[1, 2, 4\], .*got \[1, 2, 5"),
        (12, "1 5 0\n7", "line 13: expected the end of the file, got '7'"),
        (12, "", "line 12: expected 2 indices of the ones of row 3, got 0"),
    ],
)
def test_every_inconsistency_is_named_with_its_line(tmp_path, line, text, message):
    path = write(tmp_path, [*LINES[: line - 1], text, *LINES[line:]])
    with pytest.raises(ValueError, match=message) as error:
        alist.read(path)
    assert str(error.value).startswith(str(path))


def test_files_cut_short_and_foreign_files(tmp_path):
    for kept in range(len(LINES)):
        path = tmp_path / "cut.alist"
        path.write_text("\n".join(LINES[:kept]))
        with pytest.raises(ValueError, match=f"line {kept + 1}: .*|line {kept}: "):
            alist.read(path)
    path.write_bytes(bytes(range(256)))
    with pytest.raises(ValueError, match="text file of integers"):
        alist.read(path)
    with pytest.raises(OSError, match="missing"):
        codes.code(f"alist:{tmp_path / 'missing.alist'}")
