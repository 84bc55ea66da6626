# SPDX-License-Identifier: GPL-3.0-or-later
"""Apps of LLR quantization from the command line."""

import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gnuradio.neuralfec import models
from gnuradio.neuralfec.quantization import LlrQuantizer, names
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


@pytest.mark.parametrize("model", names())
def test_quantize_llrs_with_every_model(model, tmp_path, capsys):
    """Any file of whole symbols, whatever its numbers; in this process, to be quick."""
    main = runpy.run_path(str(APPS / "quantize_llrs.py"))["main"]
    quantizer = LlrQuantizer(model)
    rng = np.random.default_rng(0)
    llrs = rng.normal(size=(77, quantizer.bits_per_symbol)) * 10.0 ** rng.uniform(-3, 3, (77, 1))
    llrs = llrs.astype(np.float32)
    wrong = llrs.copy()
    wrong[0], wrong[5, 0], wrong[76, -1], wrong[9, 1] = np.nan, np.inf, -np.inf, np.nan
    wrong[20], wrong[21] = 0, 3e38
    source, back, stored, again = (tmp_path / name for name in ("in", "out", "stored", "again"))

    def run(*arguments):
        return main(["--model", model, *map(str, arguments)])

    for fast in ([], ["--fast"]):
        wrong.tofile(source)
        assert run(*fast, source, back) == 0
        assert f"{1 + llrs.shape[1]} NaN" in capsys.readouterr().err
        out = np.fromfile(back, np.float32).reshape(llrs.shape)
        assert np.isfinite(out).all()
        zeroed = np.nan_to_num(wrong, nan=0, posinf=1e20, neginf=-1e20)
        expected = LlrQuantizer(model, search=not fast).reconstruct(zeroed)
        if quantizer.bits:
            assert np.array_equal(out, expected)
        else:
            # NumPy rounds a product by where the processor's vectors begin in memory.
            np.testing.assert_allclose(out, expected, rtol=1e-4)
    if quantizer.bits:
        assert run("--packed", stored, source, back) == 0
        assert stored.stat().st_size == -(-77 * quantizer.bits // 8)
        assert run("--unpack", stored, again) == 0
        assert again.read_bytes() == back.read_bytes()
    else:
        assert run("--packed", stored, source, back) == 2
        assert "no bits to store" in capsys.readouterr().err
    source.write_bytes(b"")
    before = back.read_bytes()
    assert run(source, back) == 2
    assert "is empty" in capsys.readouterr().err and back.read_bytes() == before


def test_quantize_llrs_refuses(tmp_path):
    source = tmp_path / "in"
    source.write_bytes(bytes(4 * 7))
    damaged = tmp_path / "damaged.pt"
    damaged.write_bytes(models.path("quantization/qam256-15bit").read_bytes()[:9999])
    for arguments, reason in [
        (("--model", "qam256-15bit", source), "frames of 8 float32"),
        (("--model", "qam256-15bit", tmp_path / "none"), "none"),
        (("--model", "qam256-99bit", source), "there are: "),
        (("--model", damaged, source), "truncated"),
        (("--model", "qam256-15bit", "--unpack", "--symbols", "3", source), "6 bytes for 3"),
    ]:
        ran = app("quantize_llrs", *arguments, tmp_path / "out")
        assert ran.returncode == 2 and reason in ran.stderr
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
    assert ran.returncode == 2 and "--run makes counts" in ran.stderr


def test_scalar_levels_and_the_bound_are_drawn_from_what_is_stored(tmp_path):
    stored = APPS.parent / "results"
    drawn = app(
        "llr_quantization", "--figure", "5", "--figure", "rate", "--results", stored,
        "--output", tmp_path,
    )  # fmt: skip
    assert drawn.returncode == 0, drawn.stderr
    assert "mixed-radix:15:16:20     loss at BLER 0.01:" in drawn.stdout
    for figure in ("5", "rate"):
        assert (tmp_path / f"llr-quantization-figure-{figure}.png").stat().st_size > 10_000
    ran = app("llr_quantization", "--figure", "rate", "--results", tmp_path, "--output", tmp_path)
    assert ran.returncode == 2 and "--run makes it" in ran.stderr


def test_harq(tmp_path):
    picture = tmp_path / "harq.png"
    arguments = ["--snr", "18", "--blocks", "40", "--results", tmp_path, "--picture", picture]
    ran = app("harq_link", *arguments)
    assert ran.returncode == 0, ran.stderr
    # 81 symbols of 15 bits against 648 floats.
    assert "20736" in ran.stdout and "1215" in ran.stdout
    assert picture.stat().st_size > 10_000
    ran = app("harq_link", "--transmissions", "0")
    assert ran.returncode == 2 and "at least 1 transmission" in ran.stderr
