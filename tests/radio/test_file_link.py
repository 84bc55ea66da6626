# SPDX-License-Identifier: GPL-3.0-or-later
"""A file from recording to recording, through channels made here by plain NumPy."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from gnuradio.neuralfec.radio import file_link, recordings

APPS = Path(__file__).parents[2] / "apps"


@pytest.fixture(scope="module")
def program():
    sys.path.insert(0, str(APPS))
    spec = importlib.util.spec_from_file_location("radio_link", APPS / "radio_link.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def noise(rng, samples, snr_db):
    """White noise by the mean power of what is not silent."""
    power = np.mean(np.abs(samples[np.abs(samples) > 0]) ** 2)
    rails = rng.standard_normal((2, samples.size)) * np.sqrt(power / 2 / 10 ** (snr_db / 10))
    return samples + rails[0] + 1j * rails[1]


def rotated(rng, x):
    """Carrier at 0.03 of the sample rate, 20 ppm, phase noise, gain 0.01, 20 dB."""
    n = np.arange(int(x.size * (1 + 20e-6)))
    at = n / (1 + 20e-6)
    # Twice the rate by zeros in frequency, then lines between these samples.
    spectrum = np.fft.fft(x)
    padded = np.zeros(8 * x.size, complex)
    half = x.size // 2
    padded[:half], padded[-half:] = spectrum[:half], spectrum[-half:]
    fine = 8 * np.fft.ifft(padded)
    y = np.interp(8 * at, np.arange(fine.size), fine.real) + 1j * np.interp(
        8 * at, np.arange(fine.size), fine.imag
    )
    wander = np.cumsum(rng.standard_normal(n.size)) * 1e-4
    return noise(rng, 0.01 * y * np.exp(1j * (2 * np.pi * 0.03 * n + 1 + wander)), 20)


def echoed(rng, x):
    """Eight static taps, an image of -30 dB and DC of -20 dB, 24 dB."""
    taps = (rng.standard_normal(8) + 1j * rng.standard_normal(8)) * 0.7 ** np.arange(8)
    y = noise(rng, np.convolve(x, taps), 24)
    rms = np.sqrt(np.mean(np.abs(y) ** 2))
    return y + 0.03 * np.exp(0.5j) * y.conj() + 0.1 * rms


@pytest.mark.parametrize("through", [rotated, echoed])
def test_a_file_comes_through(through, program, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    Path("file.bin").write_bytes(rng.bytes(20_000))
    assert program.main(["--role", "tx", "--front-end", "file:tx.c64", "--file", "file.bin"]) == 0
    sent = np.fromfile("tx.c64", np.complex64)
    assert np.abs(sent).max() < 1
    through(rng, sent).astype(np.complex64).tofile("rx.c64")
    words = ["--role", "rx", "--front-end", "file:rx.c64", "--out", "out.bin", "--json", "j.json"]
    recorded = Path("rx.c64").read_bytes()
    assert program.main([*words, "--picture", "p.png"]) == 0
    assert Path("out.bin").read_bytes() == Path("file.bin").read_bytes()
    assert Path("rx.c64").read_bytes() == recorded
    record = json.loads(Path("j.json").read_text())
    assert record["missing_frames"] == [] and record["counts"]["damaged"] == 0
    if through is rotated:
        for burst in record["bursts"]:
            assert abs(burst["cfo_cycles_a_sample"] - 0.03) < 1e-5
            assert abs(burst["clock_offset_ppm"] - 20) < 5


@pytest.mark.parametrize(
    ("code", "constellation", "decoder", "format"),
    [
        ("polar-nr:64,32", "psk8", "scl:4", "burst-64"),
        ("conv:7,5:100:zero", "qam4", "viterbi", "burst-128"),
        ("wifi-648", "apsk32", "min-sum", "burst-64"),
        ("bch:63,45", "qam1024", "osd:2", "burst-128"),
    ],
)
def test_any_code_and_constellation(code, constellation, decoder, format, tmp_path):
    data = np.random.default_rng(2).bytes(1234)
    (tmp_path / "data").write_bytes(data)
    framing = file_link.Framing(code, constellation, format, 20)
    with open(tmp_path / "out", "wb") as output, open(tmp_path / "data", "rb") as file:
        receiver = file_link.Receiver(framing, decoder, output)
        sender = file_link.Sender(framing, file, len(data))
        while not sender.over:
            burst = sender.next(0.0)
            receiver.push(noise(np.random.default_rng(3), burst, 40).astype(np.complex64))
        receiver.finish()
    assert receiver.missing() == []
    assert (tmp_path / "out").read_bytes() == data


def test_lost_and_damaged_frames_are_told(program, tmp_path, monkeypatch, capsys):
    """A burst that is cut out, and one with a drop: what is left is right, the rest is named."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(4)
    data = rng.bytes(20_000)
    Path("file.bin").write_bytes(data)
    program.main(["--role", "tx", "--front-end", "sigmf:t.sigmf-meta", "--file", "file.bin"])
    marks = json.loads(Path("t.sigmf-meta").read_text())["annotations"]
    sent = np.fromfile("t.sigmf-data", np.complex64)
    second, fourth = (marks[i]["core:sample_start"] for i in (1, 3))
    assert marks[1]["core:sample_count"] == fourth - marks[2]["core:sample_start"]
    gone = [*range(second, second + marks[1]["core:sample_count"]), fourth + 9000]
    noise(rng, np.delete(sent, gone), 20).astype(np.complex64).tofile("t.sigmf-data")
    words = ["--role", "rx", "--front-end", "sigmf:t.sigmf-meta", "--out", "o", "--json", "j"]
    assert program.main(words) == 1
    record = json.loads(Path("j").read_text())
    assert record["receiver"]["torn_by_residual"] == 1
    frames = file_link.Framing()
    step = frames.frames_a_burst
    assert record["missing_frames"] == [[step, 2 * step - 1], [3 * step, 4 * step - 1]]
    capacity = frames.frames.capacity
    kept = data[: step * capacity] + data[2 * step * capacity : 3 * step * capacity]
    assert Path("o").read_bytes() == kept + data[4 * step * capacity :]
    assert "without frames" in capsys.readouterr().out


def test_second_pass_rescues_frames():
    """Short bursts near the threshold, where the channel's error counts."""
    rng = np.random.default_rng(5)
    damaged = []
    for second_pass in (False, True):
        framing = file_link.Framing(constellation="qam16", symbols=14)
        receiver = file_link.Receiver(framing, second_pass=second_pass)
        rng = np.random.default_rng(5)
        for _ in range(60):
            frames = framing.frames.build(rng.bytes(framing.frames_a_burst * 30))
            frames = frames[: framing.frames_a_burst]
            burst = framing.format.build(framing.symbols_of(frames), user=len(frames))
            taps = rng.standard_normal((2, 10)) * 10 ** (-0.05 * np.arange(10))
            taps = (taps[0] + 1j * taps[1]) / np.sqrt(np.sum(taps**2))
            x = np.convolve(np.concatenate([np.zeros(400), burst, np.zeros(900)]), taps)
            receiver.push(
                (x + np.sqrt(framing.format.noise_var(9.6) / 2)
                 * (rng.standard_normal(x.size) + 1j * rng.standard_normal(x.size)))
                .astype(np.complex64)
            )  # fmt: skip
        damaged.append(receiver.counts["damaged"])
    assert damaged[0] > damaged[1] > 0 or damaged[0] > 0 == damaged[1]


@pytest.mark.parametrize("kind", ["ci16_le", "ci8", "cu8"])
def test_sigmf_of_other_types(kind, tmp_path):
    rail, zero, scale = recordings._TYPES[kind]
    values = np.array([0.5, -0.25, 0.125, -0.5])
    (tmp_path / "a.sigmf-data").write_bytes(np.round(values * scale + zero).astype(rail).tobytes())
    meta = {"global": {"core:datatype": kind, "core:sample_rate": 2e6}}
    (tmp_path / "a.sigmf-meta").write_text(json.dumps(meta))
    source = recordings.Source(f"sigmf:{tmp_path}/a.sigmf-meta")
    (piece,) = source.pieces()
    np.testing.assert_allclose(piece.view(np.float32), values, atol=1 / 127)
    assert source.sample_rate == 2e6


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--front-end", "nothing:type=b200"], "file:PATH"),
        (
            ["--front-end", "file:a", "--file", "file.bin", "--out", "o", "--retransmit"],
            "sends and",
        ),
        (["--front-end", "file:a", "--file", "file.bin", "--out", "o", "--window", "0"], "window"),
        (["--front-end", "sigmf:x.c64"], "sigmf-meta"),
        (["--front-end", "file:none.c64", "--role", "rx", "--out", "o"], "no such file"),
        (["--front-end", "file:short.c64", "--role", "rx", "--out", "o"], "9 bytes"),
        (["--front-end", "file:file.bin", "--role", "tx"], "expected --file"),
        (["--front-end", "file:file.bin", "--role", "tx", "--file", "file.bin"], "too"),
        (["--front-end", "file:a", "--file", "file.bin", "--out", "a"], "too"),
        (["--front-end", "file:a", "--file", "file.bin", "--out", "o", "--symbols", "0"], "symb"),
        (["--front-end", "file:silence.c64", "--role", "rx", "--out", "o"], "no burst"),
    ],
)
def test_what_cannot_be(words, said, program, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("file.bin").write_bytes(b"data")
    Path("short.c64").write_bytes(b"123456789")
    np.zeros(5000, np.complex64).tofile("silence.c64")
    assert program.main(words) == (1 if "silence" in words[1] else 2)
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and said in error
    assert Path("file.bin").read_bytes() == b"data"
    assert not Path("o").exists() and not Path("a").exists()
