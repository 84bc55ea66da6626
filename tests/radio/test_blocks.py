# SPDX-License-Identifier: GPL-3.0-or-later
"""Burst blocks in flow graphs, against the NumPy doors of the same kernels."""

import time

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, neuralfec
from gnuradio.neuralfec.phy.burst import BurstReceiver, burst_format
from gnuradio.neuralfec.phy.channel import complex_normal
from gnuradio.neuralfec.phy.constellation import constellation
from gnuradio.neuralfec.phy.demapping import demap
from gnuradio.neuralfec.radio.feedback_blocks import burst_pdu


def recording(rng, count=4, symbols=30, snr_db=15):
    format = burst_format("burst-128")
    sent, parts = [], [np.zeros(500)]
    for number in range(count):
        x = rng.choice(constellation("qam16").points, symbols * format.data)
        sent.append(x)
        parts += [format.build(x, number), np.zeros(1500)]
    samples = np.concatenate(parts).astype(np.complex64)
    return sent, samples + complex_normal(rng, samples.shape, format.noise_var(snr_db))


def run(samples, tags=(), limit=None, repeat_runs=1):
    graph = gr.top_block()
    source = blocks.vector_source_c(samples.tolist(), False, 1, list(tags))
    receiver = neuralfec.burst_receiver()
    y, h = blocks.vector_sink_c(), blocks.vector_sink_c()
    pdus = blocks.message_debug()
    graph.connect(source, receiver)
    graph.connect((receiver, 0), y)
    graph.connect((receiver, 1), h)
    graph.msg_connect(receiver, "pdus", pdus, "store")
    if limit:
        graph.run(limit)
    else:
        graph.run()
    return receiver, y, h, pdus


@pytest.mark.parametrize("limit", [None, 100, 3000])
def test_receiver_is_its_kernel(limit):
    sent, samples = recording(np.random.default_rng(1))
    expected = BurstReceiver().push(samples)
    assert len(expected) == 4
    receiver, y, h, pdus = run(samples, limit=limit)
    np.testing.assert_array_equal(y.data(), np.concatenate([b.y for b in expected]))
    np.testing.assert_array_equal(h.data(), np.concatenate([b.h for b in expected]))
    told = [tag for tag in y.tags() if pmt.symbol_to_string(tag.key) == "noise_var"]
    assert [tag.offset for tag in told] == [i * sent[0].size for i in range(4)]
    assert [pmt.to_double(tag.value) for tag in told] == [b.noise_var for b in expected]
    assert pdus.num_messages() == 4
    for index, burst in enumerate(expected):
        pdu = pdus.get_message(index)
        meta = pmt.to_python(pmt.car(pdu))
        assert meta["start"] == burst.start and meta["user"] == index
        assert meta["cfo"] == burst.cfo and meta["clock_offset"] == burst.clock_offset
        assert np.isclose(meta["snr_db"], 10 * np.log10(burst.snr))
        np.testing.assert_array_equal(pmt.c32vector_elements(pmt.cdr(pdu)), burst.y)
        # Python blocks that tell of bursts tell the same.
        told = burst_pdu(burst)
        assert pmt.to_python(pmt.car(told)).keys() == meta.keys()
        for key in meta:
            here, there = (
                pmt.dict_ref(pmt.car(p), pmt.intern(key), pmt.PMT_NIL) for p in (told, pdu)
            )
            assert pmt.equal(here, there), key
        assert pmt.equal(pmt.cdr(told), pmt.cdr(pdu))
    assert receiver.stats() == {**receiver.stats(), "bursts": 4, "headers": 4}


def test_receiver_feeds_the_demapper():
    _, samples = recording(np.random.default_rng(2))
    expected = BurstReceiver().push(samples)
    graph = gr.top_block()
    receiver = neuralfec.burst_receiver()
    demapper = neuralfec.soft_demapper("qam16", 1.0, csi=True)
    sink = blocks.vector_sink_f()
    graph.connect(blocks.vector_source_c(samples.tolist()), receiver)
    graph.connect((receiver, 0), (demapper, 0))
    graph.connect((receiver, 1), (demapper, 1))
    graph.connect(demapper, sink)
    graph.run()
    llrs = [demap(b.y, "qam16", b.noise_var, b.h).ravel() for b in expected]
    np.testing.assert_array_equal(np.float32(sink.data()), np.concatenate(llrs))


def test_a_time_tag_inside_tears_a_burst():
    _, samples = recording(np.random.default_rng(3))
    tags = []
    for offset in (0, 2000):
        tag = gr.tag_t()
        tag.offset, tag.key = offset, pmt.intern("rx_time")
        tag.value = pmt.make_tuple(pmt.from_uint64(1), pmt.from_double(0.5))
        tags.append(tag)
    receiver, y, _, _ = run(samples, tags)
    stats = receiver.stats()
    assert (stats["bursts"], stats["torn_by_gap"], stats["gaps"]) == (3, 1, 1)
    assert len(y.data()) == 3 * 30 * 96


def test_receiver_starts_again():
    _, samples = recording(np.random.default_rng(4))
    graph = gr.top_block()
    source = blocks.vector_source_c(samples.tolist())
    receiver = neuralfec.burst_receiver()
    sinks = [blocks.vector_sink_c() for _ in range(2)]
    graph.connect(source, receiver)
    for port, sink in enumerate(sinks):
        graph.connect((receiver, port), sink)
    found = []
    for _ in range(2):
        graph.run()
        found.append(np.array(sinks[0].data()))
        source.rewind()
        sinks[0].reset()
    np.testing.assert_array_equal(*found)


def test_pdus_to_bursts_and_back():
    """Transmitter, impairments, receiver: without streams connected behind it."""
    rng = np.random.default_rng(5)
    graph = gr.top_block()
    transmitter = neuralfec.burst_transmitter()
    channel = neuralfec.impairments(0.02, [0.8, 0.3j], noise_var=1e-3, image=0.02, dc=0.01)
    receiver = neuralfec.burst_receiver()
    pdus, sink = blocks.message_debug(), blocks.vector_sink_c()
    graph.connect(transmitter, channel, receiver)
    graph.connect(transmitter, sink)
    graph.msg_connect(receiver, "pdus", pdus, "store")
    sent = []
    port = transmitter.to_basic_block()
    graph.start()
    for number in range(5):
        x = rng.choice(constellation("qam4").points, 960)
        sent.append(x)
        meta = pmt.dict_add(pmt.make_dict(), pmt.intern("user"), pmt.from_long(number))
        port._post(pmt.intern("pdus"), pmt.cons(meta, pmt.init_c32vector(960, x.tolist())))
    # Some silence behind the last burst: one more burst, of which nothing is looked at.
    port._post(
        pmt.intern("pdus"), pmt.cons(pmt.PMT_NIL, pmt.init_c32vector(96, sent[0][:96].tolist()))
    )
    port._post(pmt.intern("pdus"), pmt.PMT_EOF)
    graph.wait()
    time.sleep(0.1)
    assert transmitter.error is None and transmitter.stats()["bursts"] == 6
    assert pdus.num_messages() >= 5
    for number in range(5):
        pdu = pdus.get_message(number)
        meta = pmt.to_python(pmt.car(pdu))
        assert meta["user"] == number and abs(meta["cfo"] - 0.02 * 128) < 0.01
        y = np.array(pmt.c32vector_elements(pmt.cdr(pdu)))
        error = np.mean(np.abs(y / meta["h"] - sent[number]) ** 2)
        assert error < 0.2
    lengths = [t for t in sink.tags() if pmt.symbol_to_string(t.key) == "packet_len"]
    assert len(lengths) == 6 and sum(pmt.to_long(t.value) for t in lengths) == len(sink.data())


def test_impairments_do_not_depend_on_the_calls():
    x = complex_normal(np.random.default_rng(6), (20_000,))
    found = []
    for limit in (100, 4000):
        graph = gr.top_block()
        block = neuralfec.impairments(0.0123, [1, 0, 0.5j], gain=2.0, image=0.1, dc=0.3)
        sink = blocks.vector_sink_c()
        graph.connect(blocks.vector_source_c(x.tolist()), block, sink)
        graph.run(limit)
        found.append(np.array(sink.data()))
    expected = np.convolve(x, [1, 0, 0.5j])[: x.size]
    expected = 2 * expected * np.exp(2j * np.pi * 0.0123 * np.arange(x.size))
    expected = expected + 0.1 * expected.conj() + 0.3
    for one in found:
        np.testing.assert_allclose(one, expected, atol=2e-4)


def test_wrong_arguments():
    for make in (
        lambda: neuralfec.burst_receiver("burst-1"),
        lambda: neuralfec.burst_receiver(threshold=2),
        lambda: neuralfec.burst_receiver(false_refusals=0),
        lambda: neuralfec.burst_transmitter(amplitude=0),
        lambda: neuralfec.burst_transmitter(silence=-1),
        lambda: neuralfec.burst_transmitter(input="bits"),
        lambda: neuralfec.burst_transmitter(limit=0),
        lambda: neuralfec.impairments(taps=[]),
        lambda: neuralfec.impairments(noise_var=-1),
        lambda: neuralfec.impairments(bits=-2),
    ):
        with pytest.raises(ValueError, match="expected"):
            make()


def packets(symbols, lengths, users):
    tags, offset = [], 0
    for length, user in zip(lengths, users, strict=True):
        for key, value in (("packet_len", length), ("user", user)):
            made = gr.tag_t()
            made.offset, made.key, made.value = offset, pmt.intern(key), pmt.from_long(value)
            tags.append(made)
        offset += length
    return blocks.vector_source_c(symbols.tolist(), False, 1, tags)


@pytest.mark.parametrize("limit", [None, 50])
def test_a_tagged_stream_becomes_the_bursts_of_its_packets(limit):
    rng = np.random.default_rng(8)
    lengths = [96, 960, 480]
    symbols = rng.choice(constellation("qam4").points, sum(lengths)).astype(np.complex64)
    graph = gr.top_block()
    transmitter = neuralfec.burst_transmitter(silence=1, input="stream")
    sink = blocks.vector_sink_c()
    graph.connect(packets(symbols, lengths, [5, 6, 7]), transmitter, sink)
    graph.run(*[limit] * (limit is not None))
    assert transmitter.error is None
    zeros, expected, at = np.zeros(144), [], 0
    for length, user in zip(lengths, [5, 6, 7], strict=True):
        burst = 0.2 * transmitter.format.build(symbols[at : at + length], user)
        expected.append(np.concatenate([zeros, burst, zeros]))
        at += length
    np.testing.assert_allclose(np.array(sink.data()), np.concatenate(expected), atol=1e-6)
    found = {tag.offset: pmt.to_python(tag.value) for tag in sink.tags()}
    assert list(found.values()) == [part.size for part in expected]


def test_pdus_beyond_the_limit_are_dropped_and_counted():
    """Nobody takes samples: the queue does not grow."""
    transmitter = neuralfec.burst_transmitter(limit=3)
    pdu = pmt.cons(pmt.PMT_NIL, pmt.init_c32vector(96, [1] * 96))
    for _ in range(10):
        transmitter.handle_pdu(pdu)
    assert transmitter.stats() == {"bursts": 3, "dropped_pdus": 7}


def test_the_meter_gives_a_value_a_burst():
    _, samples = recording(np.random.default_rng(9))
    expected = BurstReceiver().push(samples)
    graph = gr.top_block()
    receiver, meter = neuralfec.burst_receiver(), neuralfec.burst_meter()
    sinks = [blocks.vector_sink_f() for _ in range(3)]
    graph.connect(blocks.vector_source_c(samples.tolist()), receiver)
    graph.msg_connect(receiver, "pdus", meter, "pdus")
    for port, sink in enumerate(sinks):
        graph.connect((meter, port), sink)
    graph.start()
    deadline = time.monotonic() + 20
    while min(len(s.data()) for s in sinks) < len(expected) and time.monotonic() < deadline:
        time.sleep(0.01)
    graph.stop()
    graph.wait()
    assert meter.error is None
    snr, evm, cfo = (np.array(sink.data()) for sink in sinks)
    np.testing.assert_allclose(snr, [10 * np.log10(b.snr) for b in expected], rtol=1e-6)
    np.testing.assert_allclose(evm, [20 * np.log10(b.evm) for b in expected], rtol=1e-6)
    np.testing.assert_allclose(cfo, [b.cfo for b in expected], rtol=1e-6)
    with pytest.raises(ValueError, match="PDUs of a burst receiver"):
        meter.handle_pdu(pmt.PMT_NIL)
