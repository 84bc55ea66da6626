# SPDX-License-Identifier: GPL-3.0-or-later
"""Apps of LLR quantization from the command line."""

import subprocess
import sys
from pathlib import Path

import numpy as np
from gnuradio.neuralfec.quantization import LlrQuantizer
from quantization.oracle import exact_llrs

APPS = Path(__file__).parents[2] / "apps"


def app(name, *arguments):
    return subprocess.run(
        [sys.executable, APPS / f"{name}.py", *map(str, arguments)], capture_output=True, text=True
    )


def test_quantize_llrs(tmp_path):
    model = "qam256-15bit"
    llrs = exact_llrs(4, 18.0, 999).astype(np.float32)
    llrs[3, 3] = np.nan
    source, back, stored, again = (tmp_path / name for name in ("in", "out", "stored", "again"))
    llrs.tofile(source)
    ran = app("quantize_llrs", "--model", model, "--packed", stored, source, back)
    assert ran.returncode == 0 and "1 NaN" in ran.stderr
    out = np.fromfile(back, np.float32).reshape(-1, 8)
    assert np.array_equal(out, LlrQuantizer(model).reconstruct(llrs))
    assert stored.stat().st_size == -(-999 * 15 // 8)
    ran = app("quantize_llrs", "--model", model, "--unpack", stored, again)
    assert ran.returncode == 0
    assert again.read_bytes() == back.read_bytes()


def test_quantize_llrs_refuses(tmp_path):
    source = tmp_path / "in"
    source.write_bytes(bytes(4 * 7))
    for arguments, reason in [
        (("--model", "qam256-15bit", source), "8 a symbol"),
        (("--model", "qam256-15bit", tmp_path / "none"), "none"),
        (("--model", "qam256-99bit", source), "there are: "),
        (("--model", "qam256-15bit", "--unpack", "--symbols", "3", source), "6 bytes for 3"),
    ]:
        ran = app("quantize_llrs", *arguments, tmp_path / "out")
        assert ran.returncode == 1 and reason in ran.stderr
        assert "Traceback" not in ran.stderr


def test_figures(tmp_path):
    arguments = ["--figure", "4", "--run", "--snr", "18.5", "--blocks", "40", "--output", tmp_path]
    arguments += ["--figure", "1", "--schemes", "exact,qam256-15bit"]
    ran = app("llr_quantization", *arguments, "--results", tmp_path)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "llr-quantization-figure-4.png").stat().st_size > 10_000
    assert (tmp_path / "llr-quantization-figure-1.png").stat().st_size > 10_000
    assert (tmp_path / "llr-quantization-rayleigh-ldpc.csv").exists()
    ran = app("llr_quantization", "--figure", "5", "--results", tmp_path, "--output", tmp_path)
    assert ran.returncode == 1 and "--run makes counts" in ran.stderr


def test_harq(tmp_path):
    picture = tmp_path / "harq.png"
    arguments = ["--snr", "18", "--blocks", "40", "--results", tmp_path, "--plot", picture]
    ran = app("harq_link", *arguments)
    assert ran.returncode == 0, ran.stderr
    # 81 symbols of 15 bits against 648 floats.
    assert "20736" in ran.stdout and "1215" in ran.stdout
    assert picture.stat().st_size > 10_000
    ran = app("harq_link", "--transmissions", "0")
    assert ran.returncode == 1 and "at least 1 transmission" in ran.stderr
