# SPDX-License-Identifier: GPL-3.0-or-later
"""Front ends by their specs: what is not there says so, and what is works."""

import re
import socket
import time
import uuid
from pathlib import Path

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, neuralfec
from gnuradio.neuralfec.radio.front_end import REGISTRY, Settings, Unavailable, front_end
from gnuradio.neuralfec.radio.streams import burst_padder, burst_scheduler, event_counter

HAVE_SOAPY = isinstance(neuralfec.soapy_source, type)

# A spec of each kind that is not there here, and what is said of it.
NOT_THERE = {
    "uhd": ("uhd:type=b200", "no USRP found|needs GNU Radio's uhd"),
    "soapy": ("soapy:driver=no-such", "no such device, or no module|without SoapySDR"),
    "iio": ("iio:ip:127.0.0.1", "no device answers there|needs GNU Radio's iio"),
    "zmq": ("zmq:tcp://127.0.0.1:port", "Invalid argument|needs GNU Radio's zeromq"),
    "file": ("file:no-such.c64", "no such file"),
    "sigmf": ("sigmf:no-such.sigmf-meta", "no such file"),
    "loop": ("loop:x,snr=loud", "expected a number for snr|without SoapySDR"),
}
MALFORMED = ["", "uhd", "b200", "loop:", "loop:a/b", "zmq:localhost", "sigmf:x.c64", "file:"]


def test_every_kind_is_in_the_table():
    assert NOT_THERE.keys() == REGISTRY.entries.keys()


@pytest.mark.parametrize("direction", ["source", "sink"])
@pytest.mark.parametrize("kind", NOT_THERE)
def test_not_there(kind, direction, capfd, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    spec, said = NOT_THERE[kind]
    made = front_end(spec)
    assert made.describe().startswith(f"{spec}: transmits, receives")
    if kind in ("file", "sigmf") and direction == "sink":
        return  # It is made.
    with pytest.raises((Unavailable, ValueError)) as error:
        getattr(made, direction)()
    assert re.search(said, str(error.value))
    assert "\n" not in str(error.value) and spec.partition(":")[2] in str(error.value)
    # Drivers do not write besides.
    assert capfd.readouterr() == ("", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("spec", MALFORMED)
def test_malformed(spec):
    with pytest.raises(ValueError, match="expected"):
        front_end(spec)
    with pytest.raises(ValueError, match="expected"):
        neuralfec.radio_source(spec)


def test_receivers_do_not_transmit():
    radio = front_end("soapy:driver=rtlsdr")
    assert "transmits" not in radio.describe() and not radio.timed
    with pytest.raises(ValueError, match="receives only"):
        radio.sink()


def test_settings():
    settings = Settings(2e6, 1e8, gain=20, tx_gain=3)
    assert settings.of(False)["gain"] == 20 and settings.of(True)["gain"] == 3
    assert settings.of(True)["frequency"] == 1e8
    with pytest.raises(ValueError, match="more than 0"):
        Settings(0)


def samples(size=50_000):
    rng = np.random.default_rng(1)
    return (rng.normal(size=size) + 1j * rng.normal(size=size)).astype(np.complex64) / 10


def tagged(x, lengths, times=()):
    tags, offset = [], 0
    for index, length in enumerate(lengths):
        made = gr.tag_t()
        made.offset, made.key, made.value = offset, pmt.intern("packet_len"), pmt.from_long(length)
        tags.append(made)
        if index < len(times) and times[index] is not None:
            made = gr.tag_t()
            made.offset, made.key = offset, pmt.intern("tx_time")
            made.value = pmt.make_tuple(pmt.from_uint64(times[index]), pmt.from_double(0))
            tags.append(made)
        offset += length
    return blocks.vector_source_c(x.tolist(), False, 1, tags)


@pytest.mark.parametrize("spec", ["file:x.c64", "sigmf:x.sigmf-meta"])
def test_recordings_through_the_pair_of_blocks(spec, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    x = samples()
    top = gr.top_block()
    sink = neuralfec.radio_sink(spec, 2e6, 433e6)
    top.connect(tagged(x, [20_000, 30_000]), sink)
    top.run()
    top = gr.top_block()
    source, kept = neuralfec.radio_source(spec), blocks.vector_sink_c()
    top.connect(source, kept)
    top.run()
    np.testing.assert_array_equal(np.array(kept.data(), np.complex64), x)
    assert source.error() == "" == sink.error()
    if spec.startswith("sigmf"):
        import json

        meta = json.loads(Path("x.sigmf-meta").read_text())
        assert meta["global"]["core:sample_rate"] == 2e6
        assert meta["captures"][0]["core:frequency"] == 433e6
        found = [(a["core:sample_start"], a["core:sample_count"]) for a in meta["annotations"]]
        assert found == [(0, 20_000), (20_000, 30_000)]


@pytest.mark.skipif(not HAVE_SOAPY, reason="built without SoapySDR")
def test_the_loop_through_the_pair_of_blocks():
    name = f"test-{uuid.uuid4().hex[:12]}"
    x = np.full(3000, 0.3, np.complex64)
    top = gr.top_block()
    source, head = neuralfec.radio_source(f"loop:{name}", 2e5), blocks.head(8, 100_000)
    kept = blocks.vector_sink_c()
    top.connect(source, head, kept)
    top.start()
    sender = gr.top_block()
    sink = neuralfec.radio_sink(f"loop:{name}", 2e5)
    sender.connect(tagged(x, [1000, 2000]), sink)
    sender.run()
    deadline = time.monotonic() + 20
    while len(kept.data()) < 100_000 and time.monotonic() < deadline:
        time.sleep(0.02)
    top.stop()
    top.wait()
    assert np.count_nonzero(np.abs(kept.data()) > 0.2) == 3000
    assert sink.stats()["bursts"] == 2 and source.stats()["overflows"] == 0


def test_zmq_carries_samples():
    x = samples(20_000)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    top = gr.top_block()
    sink = front_end(f"zmq:{address}").sink()
    # Again and again: the socket sends nothing until somebody connects.
    top.connect(blocks.vector_source_c(x.tolist(), True), sink)
    with pytest.raises(Unavailable, match="busy"):
        front_end(f"zmq:{address}").sink()
    receiver = gr.top_block()
    source = front_end(f"zmq:{address}").source()
    head, kept = blocks.head(8, x.size), blocks.vector_sink_c()
    receiver.connect(source, head, kept)
    receiver.start()
    top.start()
    deadline = time.monotonic() + 20
    while len(kept.data()) < x.size and time.monotonic() < deadline:
        time.sleep(0.02)
    for graph in (receiver, top):
        graph.stop()
        graph.wait()
    np.testing.assert_array_equal(np.array(kept.data(), np.complex64), x)


@pytest.mark.parametrize("limit", [None, 700])
def test_the_scheduler_hands_on_whole_bursts_with_times(limit):
    """Times of their own stay; others lie behind the burst before, never before now."""
    x = samples(10_000)
    lengths, times = [4000, 1000, 5000], [None, None, 77]
    top = gr.top_block()
    scheduler = burst_scheduler(1e3, lambda: 50.0, max_burst=5000, lead=0.5)
    sink = blocks.vector_sink_c()
    top.connect(tagged(x, lengths, times), scheduler, sink)
    if limit:
        top.run(limit)
    else:
        top.run()
    assert scheduler.error is None
    found = {}
    for t in sink.tags():
        found.setdefault(t.offset, {})[pmt.symbol_to_string(t.key)] = pmt.to_python(t.value)
    np.testing.assert_array_equal(np.array(sink.data(), np.complex64), x)
    assert [found[o]["packet_len"] for o in sorted(found)] == lengths
    at = [sum(found[o]["tx_time"]) for o in sorted(found)]
    np.testing.assert_allclose(at, [50.5, 54.5, 77])


def test_the_scheduler_refuses_bursts_that_are_too_long():
    top = gr.top_block()
    scheduler = burst_scheduler(1e3, lambda: 0.0, max_burst=500)
    sink = blocks.vector_sink_c()
    top.connect(tagged(samples(501), [501]), scheduler, sink)
    top.run()
    assert "1 to 500" in str(scheduler.error)


def test_the_padder_fills_with_zeros_between_bursts_only():
    x = samples(9000)
    top = gr.top_block()
    padder, sink = burst_padder(), blocks.vector_sink_c()
    top.connect(tagged(x, [4000, 5000]), padder, sink)
    top.start()
    # There is no end to the zeros, and the source may be late.
    deadline = time.monotonic() + 20
    while np.count_nonzero(sink.data()) < x.size and time.monotonic() < deadline:
        time.sleep(0.01)
    top.stop()
    top.wait()
    found = np.array(sink.data(), np.complex64)
    on = np.flatnonzero(found)
    np.testing.assert_array_equal(found[on], x)
    starts = np.flatnonzero(np.diff(on) > 1) + 1
    assert set(starts) <= {4000}


def test_events_of_a_usrp_are_counted():
    counter = event_counter()
    for code in (2, 8, 8, 1, 16):
        body = pmt.dict_add(pmt.make_dict(), pmt.intern("event_code"), pmt.from_uint64(code))
        counter.handle_event(pmt.cons(pmt.intern("uhd_async_msg"), body))
    counter.handle_event(pmt.PMT_NIL)
    assert counter.events == {"underflows": 2, "late": 2}
