# SPDX-License-Identifier: GPL-3.0-or-later
"""A file over a live front end, with and without a way back, and what goes wrong with it."""

import importlib.util
import io
import json
import os
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pytest
from gnuradio import neuralfec
from gnuradio.neuralfec.radio import file_link

PROGRAM = Path(__file__).parents[2] / "apps" / "radio_link.py"
needs_soapy = pytest.mark.skipif(
    not isinstance(neuralfec.soapy_source, type), reason="built without SoapySDR"
)


@pytest.fixture(scope="module")
def program():
    sys.path.insert(0, str(PROGRAM.parent))
    spec = importlib.util.spec_from_file_location("radio_link", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def loop(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("file.bin").write_bytes(np.random.default_rng(1).bytes(5000))
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield f"loop:{name}"
    Path("/dev/shm", f"neuralfec-loop-{name}").unlink(missing_ok=True)


def start(*words):
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *words], stderr=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def fails(process, status, said, seconds=60):
    """It ends with this status and one line."""
    out, errors = process.communicate(timeout=seconds)
    assert process.returncode == status, errors
    assert errors.count("\n") == 1 and said in errors and out == ""


class Lossy:
    """A file from a sender to a receiver, without samples but for the bursts themselves."""

    def __init__(self, size, window, seed, loss):
        self.rng, self.loss, self.now = np.random.default_rng(seed), loss, 0.0
        self.framing = file_link.Framing("polar-nr:256,128", "qam4", "burst-64", 24)
        self.data = self.rng.bytes(size)
        self.sender = file_link.Sender(self.framing, io.BytesIO(self.data), size, window, 0.5, 30)
        self.out = io.BytesIO()
        self.receiver = file_link.Receiver(self.framing, "sc", self.out, anywhere=True)
        here = file_link.Station(self.framing, self.sender, clock=lambda: self.now)
        there = file_link.Station(self.framing, None, self.receiver, True, lambda: self.now)
        self.stations = [here, there]

    def run(self):
        silence = np.zeros(2000, np.complex64)
        while not self.sender.over and self.now < 1000:
            for one, other in (self.stations, self.stations[::-1]):
                burst = one.next()
                if burst is not None and self.rng.random() >= self.loss:
                    other.push(np.concatenate([silence, burst, silence]).astype(np.complex64))
            self.now += 0.2


@pytest.mark.parametrize(("window", "loss"), [(1, 0.3), (4, 0.0), (4, 0.3), (100, 0.3)])
def test_what_is_lost_comes_again(window, loss):
    """Bursts, questions and reports are lost alike."""
    link = Lossy(1500, window, 1, loss)
    link.run()
    assert link.out.getvalue() == link.data
    assert link.receiver.missing() == []
    assert (link.sender.counts["repeated"] > 0) == (loss > 0 and window > 1)
    assert link.sender.counts["reports"] > 0


def test_many_holes_do_not_fit_one_report():
    """Every second frame is missing, of more than a report has ranges for."""
    framing = file_link.Framing()
    receiver = file_link.Receiver(framing, anywhere=True)
    receiver.total, receiver._there = 400, np.arange(400) % 2 == 1
    receiver._seen = 300
    text = receiver.report(209)
    sender = file_link.Sender(framing, io.BytesIO(bytes(30 * 400)), 30 * 400, 100)
    while sender._next < sender.total:
        sender.next(0.0)
    sender.report(text, 1.0)
    # Of those behind the report's end nothing is known yet.
    assert sender._again == [(2 * i, 2 * i) for i in range(25)]
    assert not sender.over
    receiver._there[:] = True
    sender.next(2.0)
    receiver._seen = 400
    sender.report(receiver.report(209), 3.0)
    assert sender.over


def test_no_report_for_too_long():
    sender = file_link.Sender(file_link.Framing(), io.BytesIO(b"x"), 1, 1, 0.5, 2)
    assert sender.next(0.0) is not None and sender.next(0.1) is None
    assert sender.next(1.0) is not None
    with pytest.raises(RuntimeError, match="no report from the receiver for 2 s; 2 times asked"):
        sender.next(3.0)


@needs_soapy
def test_both_roles_in_one_program(program, loop):
    words = ["--front-end", f"{loop},snr=20,cfo=1500,ppm=10", "--rate", "2e5", "--file", "file.bin"]
    words += ["--quantizer", "qam16-11bit", "--picture", "p.png", "--quiet"]
    assert program.main([*words, "--out", "out", "--json", "j"]) == 0
    assert Path("out").read_bytes() == Path("file.bin").read_bytes()
    record = json.loads(Path("j").read_text())
    assert abs(record["bursts"][0]["cfo_cycles_a_sample"] - 1500 / 2e5) < 1e-4
    assert abs(record["bursts"][0]["clock_offset_ppm"] - 10) < 5
    # 20 dB over the whole band.
    assert abs(record["bursts"][0]["snr_db"] - 20 - 10 * np.log10(128 / 104)) < 0.5
    assert record["front_end"]["overflows"] == 0
    assert Path("p.png").stat().st_size > 10_000


@needs_soapy
def test_two_programs_and_lost_frames(loop):
    """One hears through fading and overflows; both end, and the file is whole."""
    common = [
        "--rate",
        "2e5",
        "--symbols",
        "20",
        "--window",
        "4",
        "--retransmit",
        "--patience",
        "40",
    ]
    worse = f"{loop},snr=17,fading=3,overflows=3,seed=4"
    receiver = start("--role", "rx", "--front-end", worse, "--out", "out", "--json", "j", *common)
    sender = start("--role", "tx", "--front-end", loop, "--file", "file.bin", *common)
    assert sender.wait(timeout=100) == 0, sender.stderr.read()
    assert receiver.wait(timeout=100) == 0, receiver.stderr.read()
    assert Path("out").read_bytes() == Path("file.bin").read_bytes()
    record = json.loads(Path("j").read_text())
    assert record["front_end"]["overflows"] > 0 and record["missing_frames"] == []


@needs_soapy
def test_a_sender_without_a_receiver(loop):
    words = ["--role", "tx", "--front-end", loop, "--file", "file.bin", "--rate", "5e5"]
    fails(start(*words, "--retransmit", "--patience", "1"), 1, "no report from the receiver")


@needs_soapy
def test_a_receiver_without_a_sender(loop):
    words = ["--role", "rx", "--front-end", loop, "--out", "o", "--patience", "0.5"]
    fails(start(*words), 1, "no burst in")
    assert not Path("o").exists()


@needs_soapy
def test_a_receiver_takes_no_transmitter(loop):
    """Both are taken, and one may still listen."""
    device = f"driver=neuralfec-loop,name={loop.removeprefix('loop:')}"
    taken = [neuralfec.soapy_sink(f"{device},seed={seed}") for seed in (2, 3)]
    words = ["--role", "rx", "--front-end", loop, "--out", "o", "--patience", "0.5"]
    fails(start(*words), 1, "no burst in")
    del taken


@needs_soapy
@pytest.mark.parametrize("role", ["rx", "tx"])
def test_unplugged_in_mid_run(role, loop):
    Path("file.bin").write_bytes(bytes(1_000_000))
    words = ["--role", role, "--front-end", loop, *(["--out", "o"] if role == "rx" else [])]
    process = start(*words, *(["--file", "file.bin"] if role == "tx" else []), "--quiet")
    memory = Path("/dev/shm", f"neuralfec-loop-{loop.partition(':')[2]}")
    deadline = time.monotonic() + 30
    while not memory.exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.5)
    memory.unlink()
    fails(process, 1, "unplugged")
    assert not Path("o").exists()


@needs_soapy
def test_busy_and_wrong_rate(program, loop, capsys):
    taken = [
        neuralfec.soapy_sink(f"driver=neuralfec-loop,name={loop[5:]},seed={i}") for i in (2, 3)
    ]
    words = ["--role", "tx", "--front-end", loop, "--file", "file.bin"]
    for more, said in (([], "busy"), (["--rate", "2e6"], "wrong rate")):
        assert program.main(words + more) == 2
        errors = capsys.readouterr().err
        assert errors.count("\n") == 1 and said in errors
    del taken


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("uhd:type=b200", "no USRP found|needs GNU Radio"),
        ("soapy:driver=no-such", "no such device|without SoapySDR"),
        ("iio:ip:127.0.0.1", "no device answers|needs GNU Radio"),
        ("zmq:tcp://127.0.0.1:port", "Invalid argument|needs GNU Radio"),
        ("file:none.c64", "no such file"),
        ("sigmf:none.sigmf-meta", "no such file"),
        ("loop:x,snr=loud", "number for snr|without SoapySDR"),
        ("b200", "expected a front end of"),
    ],
)
def test_a_front_end_that_is_not_there(spec, said, loop):
    begin = time.monotonic()
    process = start("--role", "rx", "--front-end", spec, "--out", "o")
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 2 and out == ""
    assert errors.count("\n") == 1 and any(part in errors for part in said.split("|")), errors
    assert time.monotonic() - begin < 30 and not Path("o").exists()


def test_a_live_front_end_that_gives_nothing(program, loop, capsys):
    """A socket nobody sends to: no samples is not the same as no bursts."""
    words = ["--role", "rx", "--front-end", "zmq:ipc:///tmp/nobody", "--out", "o"]
    assert program.main([*words, "--patience", "60"]) == 1
    assert "no samples for 5 s" in capsys.readouterr().err
