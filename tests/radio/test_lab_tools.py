# SPDX-License-Identifier: GPL-3.0-or-later
"""Record, replay and the radio doctor: through recordings, and through the loop device."""

import importlib.util
import json
import re
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from gnuradio import neuralfec
from gnuradio.neuralfec.phy.burst import BurstReceiver
from gnuradio.neuralfec.radio.health import Health, advice

APPS = Path(__file__).parents[2] / "apps"
needs_soapy = pytest.mark.skipif(
    not isinstance(neuralfec.soapy_source, type), reason="built without SoapySDR"
)


def program(name):
    sys.path.insert(0, str(APPS))
    spec = importlib.util.spec_from_file_location(name, APPS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def air(tmp_path, monkeypatch):
    """A recording of a file with noise, and a loop of its own."""
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(1)
    Path("file.bin").write_bytes(rng.bytes(4000))
    words = ["--role", "tx", "--front-end", "file:tx.c64", "--file", "file.bin"]
    assert program("radio_link").main(words) == 0
    sent = np.fromfile("tx.c64", np.complex64)
    noise = 0.013 * rng.normal(size=(sent.size, 2)).view(complex)[:, 0]
    turn = np.exp(2j * np.pi * 0.01 * np.arange(sent.size))
    (turn * sent + noise).astype(np.complex64).tofile("air.c64")
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield f"loop:{name}"
    Path("/dev/shm", f"neuralfec-loop-{name}").unlink(missing_ok=True)


def annotations(path):
    return json.loads(Path(path).read_text())["annotations"]


@pytest.mark.parametrize("code", [[], ["--code", "wifi-648"]])
def test_a_recording_tells_of_its_bursts(code, air):
    words = ["--front-end", "file:air.c64", "--recording", "sigmf:r.sigmf-meta", "--rate", "2e6"]
    assert program("radio_record").main([*words, "--frequency", "433e6", *code]) == 0
    assert Path("r.sigmf-data").read_bytes() == Path("air.c64").read_bytes()
    expected = BurstReceiver().push(np.fromfile("air.c64", np.complex64))
    found = annotations("r.sigmf-meta")
    assert len(found) == len(expected) >= 2
    for one, burst in zip(found, expected, strict=True):
        assert one["core:sample_start"] == burst.start
        assert one["core:sample_count"] == burst.length
        assert abs(one["neuralfec:snr_db"] - 10 * np.log10(burst.snr)) < 1e-3
        assert abs(one["neuralfec:cfo_hz"] - 0.01 * 2e6) < 20
        if code:
            assert one["neuralfec:crc_right"] > 0 and one["neuralfec:crc_wrong"] == 0
    # A receiver of the recording counts what one of the samples does, bit for bit.
    link = program("radio_link")
    counts = []
    for spec in ("file:air.c64", "sigmf:r.sigmf-meta"):
        assert link.main(["--role", "rx", "--front-end", spec, "--out", "o", "--json", "j"]) == 0
        assert Path("o").read_bytes() == Path("file.bin").read_bytes()
        record = json.loads(Path("j").read_text())
        counts.append([record["counts"], record["bursts"], record["receiver"]])
    # What was read is still there.
    assert Path("r.sigmf-data").read_bytes() == Path("air.c64").read_bytes() != b""
    assert counts[0] == counts[1]


@needs_soapy
def test_replay_and_record_through_the_loop(air, capsys):
    """What one program sends again the other records."""
    import subprocess

    recorder = subprocess.Popen(
        [sys.executable, str(APPS / "radio_record.py"), "--front-end", f"{air},snr=30",
         "--recording", "sigmf:r.sigmf-meta", "--rate", "4e5", "--quiet"],
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120

    def recorded():
        """Samples in the recording, which has another name until it is whole."""
        return sum(part.stat().st_size for part in Path().glob(".r.*")) // 8

    def until(samples):
        while recorded() < samples and time.monotonic() < deadline:
            assert recorder.poll() is None, recorder.communicate()
            time.sleep(0.05)

    # A busy machine takes its time until samples come, and until the last ones are written.
    until(1)
    words = ["--recording", "file:air.c64", "--front-end", air, "--rate", "4e5", "--times", "2"]
    assert program("radio_replay").main(words) == 0
    # Where a busy machine let the air run dry, silence cut a burst.
    told = re.search(r"(\d+) underflows", capsys.readouterr().out)
    cut = int(told.group(1)) if told else 0
    until(recorded() + 3e5)
    # Ctrl-C ends it, and keeps what is there.
    recorder.send_signal(2)
    errors = recorder.communicate(timeout=60)[1]
    assert recorder.returncode == 130 and "kept" in errors
    one = len(BurstReceiver().push(np.fromfile("air.c64", np.complex64)))
    assert max(1, 2 * one - cut) <= len(annotations("r.sigmf-meta")) <= 2 * one


def test_wrong_rate_and_recordings_as_radios(air, capsys):
    words = ["--front-end", "file:air.c64", "--recording", "sigmf:r.sigmf-meta", "--rate", "2e6"]
    assert program("radio_record").main([*words, "--quiet"]) == 0
    replay = program("radio_replay")
    for words, said in (
        (["--recording", "sigmf:r.sigmf-meta", "--front-end", air], "wrong rate"),
        (["--recording", "file:air.c64", "--front-end", "file:x.c64"], "expected a radio"),
        (["--recording", "file:no.c64", "--front-end", air], "no such file"),
    ):
        assert replay.main(words) == 2
        assert said in capsys.readouterr().err
    words = ["--front-end", "file:air.c64", "--recording", "file:air.c64"]
    assert program("radio_record").main(words) == 2


def noise(size, level, seed=2):
    x = np.random.default_rng(seed).normal(size=(size, 2)).view(complex)[:, 0]
    return x * level / np.sqrt(2)


def figures(x, pieces=7):
    health = Health(1e6)
    for piece in np.array_split(x.astype(np.complex64), pieces):
        health.push(piece)
    return health.figures()


def test_figures_are_those_of_the_definitions():
    s = noise(400_000, 0.1)
    image, dc = 0.05 * np.exp(1j), 0.02 - 0.01j
    found = figures(s + image * s.conj() + dc)
    assert abs(found["rms_dbfs"] - 10 * np.log10(0.01 * 1.0025 + 5e-4)) < 0.05
    assert abs(found["dc_db"] - 10 * np.log10(5e-4 / 0.01)) < 0.3
    assert abs(complex(*found["dc"]) - dc) < 5e-4
    assert abs(complex(*found["image"]) - image) < 3e-3
    assert found["clipped"] == 0 and found["bursts"] == 0 and found["cfo_hz"] is None


def test_a_noise_floor_between_bursts():
    x = noise(100_000, 0.01)
    x[20_000:80_000] += noise(60_000, 0.5, 3)
    assert abs(figures(x, 1)["noise_floor_dbfs"] + 40) < 0.5


@pytest.mark.parametrize(
    ("x", "more", "said"),
    [
        (noise(200_000, 0.1), {}, None),
        (np.clip(noise(200_000, 1.0).real, -1, 1) + 0j, {}, "clip: lower --gain by 12 dB"),
        (noise(200_000, 1e-4), {}, "raise --gain"),
        (noise(200_000, 0.1) + 0.1, {}, "--lo-offset 750000"),
        (noise(200_000, 0.1).real + 0.5j * noise(200_000, 0.1).imag, {}, "IQ image"),
        (noise(200_000, 0.1), {"overflows_a_second": 3.0}, "lower --rate"),
        (noise(200_000, 0.1), {"cfo_hz": 70e3}, "change --frequency by +70000, or --ppm by -700.0"),
    ],
)
def test_advice(x, more, said):
    lines = advice(figures(x) | more, 1e6, 1e8)
    assert bool(lines) == (said is not None)
    assert said is None or any(said in line for line in lines), lines


def test_the_doctor_sees_a_peer(air, capsys):
    doctor = program("radio_doctor")
    assert doctor.main(["--front-end", "file:air.c64", "--json", "j", "--seconds", "9"]) == 0
    found = json.loads(Path("j").read_text())["figures"]
    assert found["bursts"] >= 2 and abs(found["cfo_hz"] - 0.01 * 1e6) < 20
    expected = 0.04 / (2 * 0.013**2)
    # The SNR is that of the used subcarriers.
    assert abs(found["snr_db"] - 10 * np.log10(expected * 128 / 104)) < 0.3
    assert "carrier offset" in capsys.readouterr().out


@needs_soapy
def test_the_doctor_says_what_to_change(air, capsys):
    doctor = program("radio_doctor")
    words = ["--front-end", f"{air},snr=20,dc=0.03,overflows=40", "--seconds", "0.3"]
    assert doctor.main([*words, "--rate", "4e5"]) == 0
    said = capsys.readouterr().out
    assert "--lo-offset" in said and "overflows a second" in said


def test_health_keeps_little():
    """Windows and bursts do not pile up."""
    health = Health(1e6)
    x = noise(1 << 20, 0.1).astype(np.complex64)
    for _ in range(40):
        health.push(x)
    assert len(health._powers) <= 1 << 14
    assert abs(health.figures()["noise_floor_dbfs"] + 20) < 0.5
