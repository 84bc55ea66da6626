# SPDX-License-Identifier: GPL-3.0-or-later
"""The command `neuralfec`: every program by its name."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gnuradio.neuralfec import app, command, models

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.prefix, "bin", "neuralfec")


def neuralfec(*words, cwd=None):
    # No PATH of a virtual environment: the command knows its Python.
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(cwd or "/nowhere")}
    return subprocess.run(
        [COMMAND, *words], capture_output=True, text=True, cwd=cwd, env=environment
    )


def test_every_program_is_a_subcommand():
    files = {path.name for path in (ROOT / "apps").glob("[!_]*.py")}
    assert {path.name for path in command.programs().values()} >= files
    listed = neuralfec()
    assert listed.returncode == 0
    for name in command.programs():
        assert f"  {name} " in listed.stdout


def test_names_that_are_none(tmp_path):
    done = neuralfec("dmap", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "demap" in done.stderr
    assert "curves bicm" in neuralfec("curves", cwd=tmp_path).stdout
    assert neuralfec("--version", cwd=tmp_path).stdout.startswith("gr-neuralfec ")


def test_a_file_through_the_programs(tmp_path):
    data = bytes(range(256)) * 10
    (tmp_path / "file").write_bytes(data)
    # What the README shows, with a channel that leaves no error.
    for words in (
        "encode --code wifi-648 --packed file code.u8",
        "map --constellation qam16 --channel awgn --noise-var 0.02 --csi h.c64 code.u8 y.c64",
        "demap --constellation qam16 --noise-var 0.02 --csi h.c64 y.c64 llrs.f32",
        "decode --code wifi-648 --decoder bp:50 --packed llrs.f32 copy",
    ):
        done = neuralfec(*words.split(), cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy").read_bytes()[: len(data)] == data


@pytest.mark.parametrize("name", ["codes", "decoders", "constellations", "models list"])
def test_lists(tmp_path, name):
    done = neuralfec(*name.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 5


def test_one_code_constellation_and_model(tmp_path):
    told = neuralfec("codes", "polar-nr:64,32", cwd=tmp_path).stdout
    assert "64 code bits, 32 message bits, rate 0.5" in told and "osd:ORDER" in told
    points = neuralfec("constellations", "psk8", cwd=tmp_path).stdout
    (tmp_path / "points").write_text(points)
    again = neuralfec("constellations", "file:points", cwd=tmp_path)
    assert again.stdout == points, again.stderr
    assert "system: quantization" in neuralfec("models", "show", "quantization/qam256-15bit").stdout
    measured = neuralfec("models", "speed", "quantization/qam16-11bit").stdout
    assert "LLRs there and back/s" in measured and "multiply-adds an LLR" in measured
    done = neuralfec("models", "export", "quantization/qam256-15bit", "a.npz", cwd=tmp_path)
    assert done.returncode == 0 and (tmp_path / "a.npz").stat().st_size > 1000, done.stderr


def test_training_by_its_system(tmp_path):
    pytest.importorskip("torch")
    words = "train syndrome mine.pt --code polar-nr:16,8 --steps 2 --batch 4"
    done = neuralfec(*words.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "mine.pt").exists()
    card = neuralfec("models", "show", str(tmp_path / "mine.pt")).stdout
    assert words.removesuffix(" --batch 4") in card


def test_models_are_shown_and_exported(tmp_path):
    done = neuralfec("models", "show", "syndrome/polar-nr-64-32", cwd=tmp_path)
    assert done.returncode == 0 and "cancellation_network" in done.stdout
    done = neuralfec("models", "export", "sequence/conv-7-5", "m.npz", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "m.npz") as file:
        assert set(file) == set(models.parameters("sequence/conv-7-5"))
    done = neuralfec("models", "export", "sequence/conv-7-5", "m.txt", cwd=tmp_path)
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    pytest.importorskip("onnx", reason="torch needs it to write ONNX")
    done = neuralfec("models", "export", "sequence/conv-7-5", "m.onnx", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "m.onnx").stat().st_size > 200_000


def test_trainings_stop_and_go_on(tmp_path):
    """By the command, one line where something is wrong, and 75 where it is not done."""
    pytest.importorskip("torch")
    words = "train syndrome m.pt --code polar-nr:32,16 --steps 4 --batch 8".split()
    done = neuralfec(*words, "--minutes", "0", cwd=tmp_path)
    assert done.returncode == 75, done.stderr
    done = neuralfec(*words, "--batch", "9", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1 and "batch '8', not '9'" in done.stderr
    done = neuralfec(*words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert models.read_card(tmp_path / "m.pt").training.command.startswith("neuralfec train")


def test_a_module_that_ctrl_c_stops_while_it_loads_is_an_interruption(capsys):
    """pybind11 says ImportError("initialization failed") then, and its users wrap that."""

    def run(_):
        try:
            raise ImportError("initialization failed") from KeyboardInterrupt()
        except ImportError as error:
            raise ValueError("loop:air: initialization failed") from error

    assert app.main(app.parser("Does nothing."), run, []) == 130
    assert "interrupted; nothing was written" in capsys.readouterr().err


def test_ctrl_c_while_files_are_closed_changes_nothing(tmp_path, monkeypatch):
    made = app.parser("Writes a file.")
    made.add_argument("out", type=app.OutputFile)
    discard, calls = app.OutputFile.discard, []

    def interrupted(output):
        calls.append(output)
        # The first time belongs to keeping the file.
        if len(calls) == 2:
            raise KeyboardInterrupt
        discard(output)

    def run(args):
        with args.out.open() as stream:
            stream.write(b"whole")

    monkeypatch.setattr(app.OutputFile, "discard", interrupted)
    assert app.main(made, run, [str(tmp_path / "out")]) == 0
    assert [file.name for file in tmp_path.iterdir()] == ["out"] and len(calls) == 3
