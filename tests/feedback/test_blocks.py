import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pmt
import pytest
from gnuradio import gr, neuralfec
from gnuradio.neuralfec import models, vectors
from gnuradio.neuralfec.feedback import blocks, evaluation, files
from gnuradio.neuralfec.feedback.session import Message
from gnuradio.neuralfec.python_block import PythonBlock

LINK = Path(__file__).parents[2] / "apps" / "feedback_link.py"


MODEL = "feedback/belief-4bit-1dB"


class Inbox(PythonBlock, gr.basic_block):
    def __init__(self):
        super().__init__("inbox", None, None)
        self.messages = []
        self.message_port("in", self.messages.append)


class Loop(gr.top_block):
    def __init__(self, faults, timeout=0.05, **options):
        super().__init__()
        self.transmitter = neuralfec.feedback_transmitter(MODEL, timeout=timeout, **options)
        self.receiver = neuralfec.feedback_receiver(MODEL)
        self.forward = neuralfec.feedback_link(1.0, 1, *faults, longest_delay=0.1)
        self.back = neuralfec.feedback_link(float("inf"), 2, *faults, longest_delay=0.1)
        self.outcomes, self.decoded, self.failed = Inbox(), Inbox(), Inbox()
        self.msg_connect(self.transmitter, "symbols", self.forward, "in")
        self.msg_connect(self.forward, "out", self.receiver, "symbols")
        self.msg_connect(self.receiver, "feedback", self.back, "in")
        self.msg_connect(self.back, "out", self.transmitter, "feedback")
        self.msg_connect(self.transmitter, "outcomes", self.outcomes, "in")
        self.msg_connect(self.receiver, "pdus", self.decoded, "in")
        self.msg_connect(self.receiver, "failures", self.failed, "in")

    def run_until(self, sessions, seconds=120):
        """Starts, waits until so many sessions have ended, stops."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if sum(len(self.column(m, "session")) for m in self.outcomes.messages) >= sessions:
                break
            time.sleep(0.02)
        self.stop()
        self.wait()
        for block in (self.transmitter, self.receiver, self.forward, self.back):
            assert block.error is None

    @staticmethod
    def column(message, name):
        return vectors.to_array(pmt.dict_ref(pmt.car(message), pmt.intern(name), pmt.PMT_NIL))

    def all(self, name):
        return np.concatenate([self.column(m, name) for m in self.outcomes.messages])


def pdu(bits, **meta):
    return pmt.cons(pmt.to_pmt(meta), vectors.from_array(np.ravel(bits).astype(np.uint8)))


@pytest.mark.parametrize("faults", [(0, 0, 0, 0), (0.1, 0.1, 0.1, 0.1)])
def test_messages_go_round_in_one_graph(faults):
    loop = Loop(faults, capacity=64)
    sent = np.random.default_rng(0).integers(0, 2, (300, 48), np.uint8)
    loop.start()
    loop.transmitter.post("pdus", pdu(sent[:200]))
    for i in range(200, 300):
        loop.transmitter.post("pdus", pdu(sent[i]))
    loop.run_until(300)
    sessions, delivered = loop.all("session"), loop.all("delivered").astype(bool)
    assert sorted(sessions) == list(range(300))
    got = {}
    for message in loop.decoded.messages:
        meta = pmt.to_python(pmt.car(message))
        assert meta["session"] not in got
        got[meta["session"]] = vectors.to_array(pmt.cdr(message))
    for session, bits in got.items():
        np.testing.assert_array_equal(bits, sent[session])
    assert set(sessions[delivered]) <= set(got)
    failed = {pmt.to_python(pmt.car(m))["session"] for m in loop.failed.messages}
    assert failed | set(got) >= set(range(300)) - set(sessions[~delivered])
    assert not failed & set(got)
    rounds = np.concatenate([vectors.to_array(pmt.cdr(m)) for m in loop.outcomes.messages])
    assert rounds.dtype == np.float32 and set(rounds) <= set(range(1, 13))
    if any(faults):
        assert loop.transmitter.stats()["repeats"]
        assert loop.forward.stats()["dropped"] and loop.back.stats()["corrupted"]
    else:
        # One batch, and singles that were gathered into a few.
        assert loop.forward.stats()["sent"] < 60


@pytest.mark.statistics
def test_the_graph_does_what_the_evaluator_does():
    code, setting, _ = files.load(MODEL)
    groups = code.parameters.groups
    expected = evaluation.evaluate(code, setting, 4096, np.random.default_rng(5))
    loop = Loop((0, 0, 0, 0), capacity=512)
    sent = np.random.default_rng(1).integers(0, 2, (2000, 48), np.uint8)
    loop.start()
    loop.transmitter.post("pdus", pdu(sent))
    loop.run_until(2000)
    symbols, energy = loop.all("symbols").astype(float), loop.all("energy").astype(float)
    error = symbols.std() * np.sqrt(1 / 2000 + 1 / 4096) / groups
    assert symbols.mean() / groups == pytest.approx(
        expected["average_rounds"], abs=5 * error + 1e-9
    )
    low, high = expected["mean_power_interval"]
    assert energy.sum() / symbols.sum() == pytest.approx((low + high) / 2, abs=4 * (high - low))
    # So few errors that only a broken link could be seen in them.
    assert loop.all("delivered").mean() > 1 - expected["block_error_rate_interval"][1] - 0.01


def test_senseless_messages_are_counted_and_dropped():
    loop = Loop((0, 0, 0, 0))
    loop.start()
    floats = vectors.from_array(np.zeros(48, np.float32))
    for senseless in (
        pmt.PMT_T,
        pmt.cons(pmt.PMT_NIL, pmt.from_long(3)),
        pdu(np.zeros(47)),
        pdu(np.full(48, 2)),
        pmt.cons(pmt.make_dict(), floats),
    ):
        loop.transmitter.post("pdus", senseless)
    for senseless in (pmt.PMT_NIL, pdu(np.zeros(4)), pmt.cons(pmt.make_dict(), floats)):
        loop.receiver.post("symbols", senseless)
    loop.transmitter.post("pdus", pdu(np.ones(48)))
    loop.run_until(1)
    assert loop.transmitter.stats()["malformed_pdus"] == 5
    assert loop.receiver.stats()["malformed_pdus"] == 3


def test_messages_and_pdus_convert_both_ways():
    message = Message(b"\x00\x01\xff", np.array([1.5, -2, 1e-9], np.float32))
    back = blocks.message_of(blocks.pdu_of(message))
    assert back.control == message.control
    np.testing.assert_array_equal(back.samples, message.samples)
    empty = blocks.message_of(blocks.pdu_of(Message(b"", np.zeros(0, np.float32))))
    assert empty.control == b"" and empty.samples.size == 0


def test_arguments_are_checked():
    with pytest.raises(ValueError, match="capacity"):
        neuralfec.feedback_transmitter(MODEL, capacity=0)
    with pytest.raises(ValueError, match="idle"):
        neuralfec.feedback_receiver(MODEL, idle=0)
    with pytest.raises(ValueError, match="serves"):
        neuralfec.feedback_receiver(MODEL, termination="transmitter")
    with pytest.raises(ValueError, match="shares"):
        neuralfec.feedback_link(drop=1.0)
    with pytest.raises(ValueError, match="nan"):
        neuralfec.feedback_link(float("nan"))


def test_a_file_goes_between_two_processes(tmp_path):
    """Over ZMQ, with faults; each process has its own half of the links."""
    data = np.random.default_rng(7).bytes(301)
    (tmp_path / "in").write_bytes(data)
    common = [
        "--forward", f"ipc://{tmp_path}/f", "--back", f"ipc://{tmp_path}/b",
        "--drop", "0.1", "--corrupt", "0.05", "--timeout", "0.05", "--passes", "9",
        "--patience", "120",
    ]  # fmt: skip
    start, picture = [sys.executable, str(LINK)], tmp_path / "p.png"
    receiver = subprocess.Popen(
        [*start, "--role", "rx", "--out", tmp_path / "out", "--linger", "3", *common],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    transmitter = subprocess.run(
        [*start, "--role", "tx", "--file", tmp_path / "in", "--picture", picture, *common],
        capture_output=True, text=True, timeout=240,
    )  # fmt: skip
    said, _ = receiver.communicate(timeout=240)
    assert transmitter.returncode == 0, transmitter.stdout + transmitter.stderr
    assert receiver.returncode == 0, said
    assert (tmp_path / "out").read_bytes() == data
    assert "average rounds" in transmitter.stdout and "control bits" in said
    assert picture.stat().st_size > 1000


def ended(delivered, symbols, repeated, rounds):
    """A PDU of outcomes, as the transmitter gives it."""
    meta = pmt.make_dict()
    columns = {"delivered": (delivered, np.uint8), "symbols": (symbols, np.uint32)}
    for name, (values, kind) in (columns | {"repeated": (repeated, np.uint32)}).items():
        meta = pmt.dict_add(meta, pmt.intern(name), vectors.from_array(np.array(values, kind)))
    return pmt.cons(meta, vectors.from_array(np.array(rounds, np.float32)))


def test_the_rate_counts_what_was_delivered_by_all_that_was_sent(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    sink = neuralfec.feedback_rate_sink(48, 1.0, last=3)
    sink._take(ended([1], [1], [0], [1]))
    assert sink.stats()["messages"] == 0  # It was under way before.
    now[0] += 1
    sink._take(ended([1, 1, 0, 1], [90, 80, 70, 60], [10, 0, 30, 0], [8, 7, 6, 5]))
    assert sink.stats()["rate"] == pytest.approx(48 * 2 / (80 + 100 + 60))
    assert sink.rounds().tolist() == [7, 6, 5]
    sink.set_snr_db(3.0)
    now[0] += 1
    sink._take(ended([1], [48], [0], [4]))
    assert sink.rates == {1.0: pytest.approx(0.4), 3.0: pytest.approx(1.0)}
    assert sink.rounds().tolist() == [4]


@pytest.mark.parametrize("arguments", [(0, 1.0), (48, float("nan")), (48, 1.0, 0)])
def test_the_rate_sink_refuses(arguments):
    with pytest.raises(ValueError, match="expected"):
        neuralfec.feedback_rate_sink(*arguments)


def test_the_rate_of_a_running_code_is_near_that_of_its_card():
    # What nothing loses is not to be sent again, on however slow a machine: it would count.
    loop = Loop((0.0, 0.0, 0.0, 0.0), timeout=60)
    loop.sink = neuralfec.feedback_rate_sink(48, 1.0)
    loop.sink._settled = 0.0
    loop.msg_connect(loop.transmitter, "outcomes", loop.sink, "outcomes")
    loop.start()
    loop.transmitter.session.submit(np.random.default_rng(1).integers(0, 2, (200, 48), np.uint8))
    loop.run_until(200)
    found = loop.sink.stats()
    measured = models.read_card(MODEL).measured["at_threshold"]["12"]["rate"]
    assert found["delivered"] >= 190
    assert found["rate"] == pytest.approx(measured, rel=0.15)
