# SPDX-License-Identifier: GPL-3.0-or-later
import time

import numpy as np
import pytest
from gnuradio import blocks, gr, neuralfec
from gnuradio.neuralfec.codes import code
from gnuradio.neuralfec.framing import FrameFormat
from gnuradio.neuralfec.python_block import run

K = 324


class Graph(gr.top_block):
    """Holds its blocks: GNU Radio does not hold Python ones."""

    def __init__(self, *chain):
        super().__init__()
        self.chain = chain
        self.connect(*chain)


def vectors(bits):
    return blocks.vector_source_b(bits.ravel().tolist(), False, bits.shape[1])


@pytest.mark.parametrize("size", [1, 29, 30, 31, 30 * 1001])
@pytest.mark.parametrize("multiple", [1, 5])
def test_file_through(tmp_path, size, multiple):
    data = np.random.default_rng(size).bytes(size)
    (tmp_path / "in").write_bytes(data)
    source = neuralfec.frame_source(str(tmp_path / "in"), K, multiple)
    sink = neuralfec.frame_sink(str(tmp_path / "out"), K)
    run(Graph(source, sink), source, sink)
    assert (tmp_path / "out").read_bytes() == data
    assert sink.counts["frames"] % multiple == 0
    assert sink.counts["written"] == source.frames == -(-size // 30)
    assert sink.lost_frames(source.frames) == []


def test_damaged_and_repeated_frames(tmp_path):
    frame_format = FrameFormat(K)
    data = bytes(range(210))
    bits = frame_format.build(data)
    for damaged in (1, 2, 4, 6):
        bits[damaged, 50] ^= 1
    bits = bits[[0, 0, 1, 2, 3, 4, 5, 5, 6]]
    sink = neuralfec.frame_sink(str(tmp_path / "out"), K)
    run(Graph(vectors(bits), sink), sink)
    assert (tmp_path / "out").read_bytes() == data[:30] + data[90:120] + data[150:180]
    assert sink.lost_frames(7) == [(1, 2), (4, 4), (6, 6)]
    assert sink.counts["damaged"] == 4
    assert sink.counts["repeated"] == 2


def test_encoder_and_decoder(tmp_path):
    wifi = code("wifi-648")
    messages = np.random.default_rng(1).integers(0, 2, (50, wifi.k), np.uint8)
    encoder = neuralfec.frame_encoder("wifi-648")
    sink = blocks.vector_sink_b(wifi.n)
    run(Graph(vectors(messages), encoder, sink), encoder)
    codewords = np.array(sink.data(), np.uint8).reshape(-1, wifi.n)
    assert not (codewords @ wifi.parity_check.T % 2).any()
    assert np.array_equal(codewords[:, : wifi.k], messages)

    llrs = (codewords * 2.0 - 1) * 4
    llrs[:, ::40] = -llrs[:, ::40]
    source = blocks.vector_source_f(llrs.ravel().tolist(), False, wifi.n)
    decoder = neuralfec.frame_decoder("wifi-648", "bp:50")
    sink = blocks.vector_sink_b(wifi.k)
    run(Graph(source, decoder, sink), decoder)
    assert np.array_equal(np.array(sink.data()).reshape(-1, wifi.k), messages)
    assert decoder.counts["frames"] == 50


def test_error_counter():
    sent = np.zeros((3, 4), np.uint8)
    decoded = sent.copy()
    decoded[1, :3] = 1
    counter = neuralfec.error_counter(4)
    assert counter.block_error_rate() == counter.bit_error_rate() == 0
    graph = Graph(vectors(sent), (counter, 0))
    graph.connect(vectors(decoded), (counter, 1))
    run(graph, counter)
    assert counter.counts["blocks"] == 3 and counter.counts["block_errors"] == 1
    assert counter.bit_error_rate() == 3 / 12
    assert counter.block_error_rate() == 1 / 3


def test_bad_arguments(tmp_path):
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_bytes(b"x")
    with pytest.raises(ValueError, match="no such file"):
        neuralfec.frame_source(str(tmp_path / "none"), K)
    with pytest.raises(ValueError, match="is empty"):
        neuralfec.frame_source(str(tmp_path / "empty"), K)
    with pytest.raises(ValueError, match="frame_multiple must be at least 1, got 0"):
        neuralfec.frame_source(str(tmp_path / "full"), K, 0)
    with pytest.raises(ValueError, match="got a code with k = 32"):
        neuralfec.frame_source(str(tmp_path / "full"), 32)
    with pytest.raises(ValueError, match="cannot write"):
        neuralfec.frame_sink(str(tmp_path / "no" / "folder"), K)
    with pytest.raises(ValueError, match="expected a code of"):
        neuralfec.frame_encoder("wifi-649")
    with pytest.raises(ValueError, match="at least 1, got 0"):
        neuralfec.error_counter(0)


def test_file_that_shrinks_ends_the_graph(tmp_path):
    path = tmp_path / "in"
    path.write_bytes(b"x" * 3000)
    source = neuralfec.frame_source(str(path), K)
    path.write_bytes(b"x" * 300)
    sink = neuralfec.frame_sink(str(tmp_path / "out"), K)
    with pytest.raises(RuntimeError, match="became shorter"):
        run(Graph(source, sink), source, sink)


def test_snapshot_keeps_the_beginning_and_does_not_end_the_graph():
    values = np.arange(100_000, dtype=np.float32)
    source = blocks.vector_source_f(values.tolist())
    graph = Graph(source, blocks.vector_sink_f())
    short, long = neuralfec.snapshot("float", 1000), neuralfec.snapshot("float", 200_000)
    graph.connect(source, short)
    graph.connect(source, long)
    run(graph, short, long)
    assert np.array_equal(short.data(), values[:1000])
    assert np.array_equal(long.data(), values)
    assert len(graph.chain[1].data()) == len(values)
    with pytest.raises(ValueError, match="expected type complex, float, byte, got 'int'"):
        neuralfec.snapshot("int", 1)
    with pytest.raises(ValueError, match="at least 1"):
        neuralfec.snapshot("float", 0)


def test_a_second_run_sends_the_file_as_it_then_is(tmp_path):
    path, out = tmp_path / "in", tmp_path / "out"
    path.write_bytes(b"first" * 100)
    source = neuralfec.frame_source(str(path), K)
    sink = neuralfec.frame_sink(str(out), K)
    graph = Graph(source, sink)
    for data in (b"first" * 100, b"second, longer" * 300, b"third"):
        path.write_bytes(data)
        run(graph, source, sink)
        assert out.read_bytes() == data
        assert sink.lost_frames(source.frames) == []


def test_a_pause_goes_on_with_the_file(tmp_path):
    data = np.random.default_rng(1).bytes(300_000)
    (tmp_path / "in").write_bytes(data)
    source = neuralfec.frame_source(str(tmp_path / "in"), K)
    throttle = blocks.throttle(K, 20_000)
    sink = neuralfec.frame_sink(str(tmp_path / "out"), K)
    graph = Graph(source, throttle, sink)
    graph.start()
    deadline = time.monotonic() + 30
    while sink.counts["written"] < 100 and time.monotonic() < deadline:
        time.sleep(0.01)
    graph.stop()
    graph.wait()
    before = (tmp_path / "out").read_bytes()
    assert before == data[: len(before)]
    throttle.set_sample_rate(1e9)
    run(graph, source, sink)
    found = (tmp_path / "out").read_bytes()
    assert found.startswith(before) and found.endswith(data[-1000:])
    lost = sum(last - first + 1 for first, last in sink.lost_frames(source.frames))
    # What was in flight is told, nothing else is missing.
    assert len(found) == len(data) - 30 * lost
