# SPDX-License-Identifier: GPL-3.0-or-later
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gnuradio.neuralfec.phy import channel
from gnuradio.neuralfec.phy.constellation import constellation
from gnuradio.neuralfec.phy.demapping import demap

APP = Path(__file__).parents[2] / "apps" / "demap.py"


def run(*arguments):
    return subprocess.run(
        [sys.executable, APP, *map(str, arguments)], capture_output=True, text=True, timeout=120
    )


@pytest.fixture
def received(tmp_path):
    rng = np.random.default_rng(1)
    x = rng.choice(constellation("qam64").points, 100_003)
    y, h = channel.rayleigh(rng, x, 0.02)
    y[5] = np.nan
    y.astype("<c8").tofile(tmp_path / "y.c64")
    h.astype("<c8").tofile(tmp_path / "h.c64")
    return y, h


@pytest.mark.parametrize("method", ["exact", "max-log"])
def test_a_file_of_several_chunks(tmp_path, received, method):
    y, h = received
    flags = ["--constellation", "qam64", "--noise-var", 0.02, "--method", method]
    done = run(*flags, "--csi", tmp_path / "h.c64", tmp_path / "y.c64", tmp_path / "o.f32")
    assert done.returncode == 0, done.stderr
    assert "100003 symbols" in done.stderr and "1 symbols with NaN" in done.stderr
    llrs = np.fromfile(tmp_path / "o.f32", "<f4").reshape(-1, 6)
    np.testing.assert_array_equal(llrs, demap(y, "qam64", 0.02, h, method))


@pytest.mark.parametrize(
    "flags, message",
    [
        (["missing.c64", "o"], "missing.c64: no such file"),
        (["empty.c64", "o"], "empty.c64: the file is empty"),
        (["odd.c64", "o"], "odd.c64: expected a multiple of 8 bytes"),
        (["y.c64", "no/folder/o"], "no/folder/o: cannot be written"),
        (["--csi", "short.c64", "y.c64", "o"], "short.c64: expected as many gains"),
        (["--noise-var", "0", "y.c64", "o"], "--noise-var: expected a finite number > 0"),
        (["--noise-var", "nan", "y.c64", "o"], "--noise-var: expected a finite number > 0"),
        (["--constellation", "qam5", "y.c64", "o"], "qam5"),
        (["--method", "maxlog", "y.c64", "o"], "max-log"),
        (["y.c64", "y.c64"], "is an input, too"),
    ],
)
def test_one_line_and_status_2(tmp_path, monkeypatch, received, flags, message):
    monkeypatch.chdir(tmp_path)
    Path("empty.c64").touch()
    Path("odd.c64").write_bytes(bytes(12))
    Path("short.c64").write_bytes(bytes(16))
    done = run("--constellation", "qam16", "--noise-var", "0.1", *flags)
    assert done.returncode == 2
    last = done.stderr.strip().splitlines()[-1]
    assert message in last and "Traceback" not in done.stderr
    assert np.fromfile("y.c64", "<c8").size == 100_003
