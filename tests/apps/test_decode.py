# SPDX-License-Identifier: GPL-3.0-or-later
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gnuradio.neuralfec import codes
from gnuradio.neuralfec.codes import alist

APP = Path(__file__).parents[2] / "apps" / "decode.py"


@pytest.fixture(scope="module")
def app():
    spec = importlib.util.spec_from_file_location("decode", APP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def transmit(spec, frames, seed=1):
    code = codes.code(spec)
    rng = np.random.default_rng(seed)
    messages = rng.integers(0, 2, (frames, code.k), dtype=np.uint8)
    noisy = 2.0 * code.encode(messages) - 1 + rng.normal(0, 0.6, (frames, code.n))
    return messages, (2 / 0.36 * noisy).astype("<f4")


@pytest.fixture
def command(app, tmp_path, capsys, monkeypatch):
    """Runs the app on the file in.f32 to out.u8; options replace the defaults."""

    def command(code="wifi-648", decoder="bp:50", source="in.f32", target="out.u8", **options):
        words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
        paths = [str(tmp_path / source), str(tmp_path / target)]
        words = ["decode.py", "--code", code, "--decoder", decoder, *words, *paths]
        monkeypatch.setattr(sys, "argv", words[:1])
        return app.main(words[1:]), capsys.readouterr()

    return command


def test_as_a_program(tmp_path):
    messages, llrs = transmit("wifi-648", 30)
    llrs.tofile(tmp_path / "in.f32")
    options = "--code wifi-648 --decoder bp:50 --json stats.json"
    subprocess.run(
        [sys.executable, APP, *options.split(), "in.f32", "out.u8"],
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
    assert (tmp_path / "out.u8").read_bytes() == messages.tobytes()
    stats = json.loads((tmp_path / "stats.json").read_text())
    assert (stats["code"], stats["decoder"]) == ("wifi-648", "bp:50")
    assert (stats["frames"], stats["converged"], stats["bad_samples"]) == (30, 30, 0)
    assert 0 < stats["iterations"] < 300
    assert stats["bits_per_second"] == pytest.approx(30 * 324 / stats["seconds"])


@pytest.mark.parametrize("decoder", ["min-sum:30", "bp"])
def test_file_larger_than_a_batch(app, command, tmp_path, monkeypatch, decoder):
    alist.write(tmp_path / "code.alist", codes.code("wifi-648").parity_check)
    messages, llrs = transmit("wifi-648", 25)
    llrs[3, 5] = np.nan
    llrs.tofile(tmp_path / "in.f32")
    monkeypatch.setattr(app, "CHUNK", 7 * 648)
    status, said = command(f"alist:{tmp_path / 'code.alist'}", decoder)
    assert status == 0, said.err
    assert "frames 25, " in said.err and "bad_samples 1, " in said.err
    assert (tmp_path / "out.u8").read_bytes() == messages.tobytes()


def test_packed_bits_have_no_gaps_between_batches(app, tmp_path, monkeypatch):
    """324 bits a frame fill no whole bytes; a pipe's batches are as they come."""
    messages, llrs = transmit("wifi-648", 25)
    llrs.tofile(tmp_path / "in.f32")
    monkeypatch.setattr(app, "CHUNK", 7 * 648)
    words = "--code wifi-648 --decoder min-sum:30 --packed".split()
    assert app.main([*words, str(tmp_path / "in.f32"), str(tmp_path / "out.bin")]) == 0
    assert (tmp_path / "out.bin").read_bytes() == np.packbits(messages).tobytes()


def test_other_decoders(command, tmp_path):
    messages, llrs = transmit("polar-nr:64,16", 40)
    llrs.tofile(tmp_path / "in.f32")
    assert command("polar-nr:64,16", "scl:8")[0] == 0
    decoded = np.fromfile(tmp_path / "out.u8", np.uint8).reshape(-1, 16)
    assert (decoded != messages).any(axis=1).sum() <= 2


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"code": "wifi"}, "expected a code of wifi-648, "),
        ({"decoder": "turbo"}, "expected a decoder of bp[:ITERATIONS], min-sum"),
        ({"decoder": "bp:0"}, "expected bp:ITERATIONS"),
        ({"decoder": "sc"}, "expected a polar code"),
        ({"source": "missing.f32"}, "missing.f32: no such file"),
        ({"source": "."}, "no such file"),
        ({"source": "empty.f32"}, "empty.f32: the file is empty"),
        ({"source": "cut.f32"}, "multiple of 2592 bytes (frames of 648 float32), got 2595 bytes"),
        ({"target": "missing/out.u8"}, "out.u8: cannot be written: No such file or directory"),
        ({"target": "in.f32"}, "in.f32: is an input, too"),
        ({"code": "alist:/missing.alist"}, "/missing.alist: No such file"),
        ({"json": "/missing/stats.json"}, "/missing/stats.json: cannot be written"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(command, tmp_path, wrong, message):
    transmit("wifi-648", 2)[1].tofile(tmp_path / "in.f32")
    (tmp_path / "empty.f32").touch()
    (tmp_path / "cut.f32").write_bytes(bytes(2595))
    status, said = command(**wrong)
    assert status == 2
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""


@pytest.mark.parametrize("decoder", ["viterbi", "bcjr", "rnn"])
@pytest.mark.parametrize("termination", ["none", "zero", "tail-biting"])
def test_frames_of_a_convolutional_code(command, tmp_path, decoder, termination):
    messages, llrs = transmit(f"conv:7,5:80:{termination}", 40)
    llrs.tofile(tmp_path / "in.f32")
    status, _ = command("conv:7,5", decoder, frame=80, termination=termination)
    assert status == 0
    decided = np.fromfile(tmp_path / "out.u8", dtype=np.uint8).reshape(40, 80)
    assert np.mean(decided != messages) < 5e-3


def test_frames_are_of_convolutional_codes(command, tmp_path):
    np.zeros(648, "<f4").tofile(tmp_path / "in.f32")
    status, words = command(frame=80)
    assert status != 0 and "conv:" in words.err
    np.zeros(161, "<f4").tofile(tmp_path / "in.f32")
    status, words = command("conv:7,5", "viterbi", frame=80)
    assert status != 0 and "160" in words.err
