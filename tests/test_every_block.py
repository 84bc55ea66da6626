# SPDX-License-Identifier: GPL-3.0-or-later
"""What every block must do, over a table of all of them: start again, and take bits as it says.

A new block fails here until it has its line in the table.
"""

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, neuralfec
from gnuradio.neuralfec import codes
from gnuradio.neuralfec.python_block import PythonBlock

SOURCES = {
    np.uint8: blocks.vector_source_b,
    np.float32: blocks.vector_source_f,
    np.complex64: blocks.vector_source_c,
    np.int32: blocks.vector_source_i,
}
SINKS = {
    np.uint8: blocks.vector_sink_b,
    np.float32: blocks.vector_sink_f,
    np.complex64: blocks.vector_sink_c,
    np.int32: blocks.vector_sink_i,
}


@dataclass
class Case:
    """A block, the type and vector length of its ports, and which inputs hold bits.

    random: what comes out is drawn anew. sink_data: what a block without outputs has to show.
    """

    make: Any
    inputs: list
    outputs: list
    bits: tuple = ()
    random: bool = False
    scale: float = 3.0


def wifi():
    return codes.code("wifi-648")


def conv():
    return codes.code("conv:7,5:60:zero")


def polar():
    return codes.code("polar-nr:64,32")


BITS, LLRS, SYMBOLS = np.uint8, np.float32, np.complex64
CASES = {
    "channel": Case(
        lambda: neuralfec.channel("rayleigh"), [(SYMBOLS, 1)], [(SYMBOLS, 1)] * 2, random=True
    ),
    "ber_sink": Case(
        lambda: neuralfec.ber_sink(60, vectors=True), [(BITS, 60)] * 2, [], bits=(0, 1)
    ),
    "bicm_transmitter": Case(
        lambda: neuralfec.bicm_transmitter("wifi-648"), [(BITS, 1)], [(SYMBOLS, 1)], bits=(0,)
    ),
    "bicm_receiver": Case(
        lambda: neuralfec.bicm_receiver("wifi-648"), [(SYMBOLS, 1)], [(BITS, 1)], scale=0.7
    ),
    "error_counter": Case(
        lambda: neuralfec.error_counter(60), [(BITS, 60)] * 2, [], bits=(0, 1)
    ),
    "frame_decoder": Case(
        lambda: neuralfec.frame_decoder("wifi-648", "bp:5"), [(LLRS, 648)], [(BITS, 324)]
    ),
    "frame_encoder": Case(
        lambda: neuralfec.frame_encoder("wifi-648"), [(BITS, 324)], [(BITS, 648)], bits=(0,)
    ),
    "impairments": Case(
        lambda: neuralfec.impairments(0.01, [1, 0.5j], noise_var=0.1, bits=8),
        [(SYMBOLS, 1)],
        [(SYMBOLS, 1)],
        random=True,
    ),
    "interleaver": Case(
        lambda: neuralfec.interleaver(4, list(range(59, -1, -1))), [(LLRS, 60)], [(LLRS, 60)]
    ),
    "ldpc_decoder": Case(
        lambda: neuralfec.ldpc_decoder(wifi(), 5), [(LLRS, 648)], [(BITS, 324), (BITS, 1)]
    ),
    "linear_encoder": Case(
        lambda: neuralfec.linear_encoder(wifi()), [(BITS, 324)], [(BITS, 648)], bits=(0,)
    ),
    "llr_dequantizer": Case(
        lambda: neuralfec.llr_dequantizer("qam16-11bit", 8), [(BITS, 11)], [(LLRS, 32)]
    ),
    "llr_quantizer": Case(
        lambda: neuralfec.llr_quantizer("qam16-11bit", 8), [(LLRS, 32)], [(BITS, 11)]
    ),
    "llr_store": Case(
        lambda: neuralfec.llr_store("qam16-11bit", 32), [(LLRS, 32)], [(LLRS, 32)]
    ),
    "mapper": Case(lambda: neuralfec.mapper("qam16"), [(BITS, 1)], [(SYMBOLS, 1)], bits=(0,)),
    "polar_decoder": Case(
        lambda: neuralfec.polar_decoder("polar-nr:64,32"), [(LLRS, 64)], [(BITS, 32)]
    ),
    "osd_decoder": Case(
        lambda: neuralfec.osd_decoder("polar-nr:64,32", order=1), [(LLRS, 64)], [(BITS, 32)]
    ),
    "snapshot": Case(lambda: neuralfec.snapshot("float", 5000), [(LLRS, 1)], []),
    "soft_demapper": Case(
        lambda: neuralfec.soft_demapper("qam16"), [(SYMBOLS, 1)], [(LLRS, 1)], scale=0.7
    ),
    "syndrome_decoder": Case(
        lambda: neuralfec.syndrome_decoder("polar-nr:64,32"), [(LLRS, 64)], [(BITS, 32)]
    ),
    "bcjr_decoder": Case(
        lambda: neuralfec.bcjr_decoder(conv()), [(LLRS, 124)], [(LLRS, 60)]
    ),
    "rnn_decoder": Case(
        lambda: neuralfec.rnn_decoder("conv:7,5:60:zero"), [(LLRS, 124)], [(BITS, 60)]
    ),
    "rnn_stream_decoder": Case(
        lambda: neuralfec.rnn_stream_decoder("conv:7,5", window=64), [(LLRS, 1)], [(BITS, 1)]
    ),
    "viterbi_decoder": Case(
        lambda: neuralfec.viterbi_decoder(conv()), [(LLRS, 124)], [(BITS, 60)]
    ),
    "viterbi_stream_decoder": Case(
        lambda: neuralfec.viterbi_stream_decoder("conv:7,5", block=64), [(LLRS, 1)], [(BITS, 1)]
    ),
}  # fmt: skip

# Blocks that are held by other tests: files, PDUs, and definitions, which are no blocks.
ELSEWHERE = {
    "burst_meter": "tests/radio",
    "burst_receiver": "tests/radio",
    "burst_transmitter": "tests/radio",
    "feedback_initiator": "tests/radio",
    "feedback_responder": "tests/radio",
    "radio_sink": "tests/radio",
    "radio_source": "tests/radio",
    "soapy_sink": "tests/radio",
    "soapy_source": "tests/radio",
    "frame_source": "tests/link",
    "frame_sink": "tests/link",
    "torch_model": "tests/networks",
}
NO_BLOCKS = ("generic_",)
OF_MESSAGES = ("deepvlf_", "feedback_")

every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def test_every_block_has_its_line():
    missing = [
        name
        for name in neuralfec._BLOCKS
        if name not in CASES
        and name not in ELSEWHERE
        and not name.startswith((*NO_BLOCKS, *OF_MESSAGES))
    ]
    assert not missing


def data_for(case, seed, items=300):
    rng = np.random.default_rng(seed)
    found = []
    for index, (kind, length) in enumerate(case.inputs):
        # Streams need enough for several windows.
        size = items * (length if length > 1 else 40)
        if index in case.bits:
            values = rng.integers(0, 2, size)
        elif kind == np.uint8:
            values = rng.integers(0, 256, size)
        elif kind == np.complex64:
            values = case.scale * (rng.normal(size=size) + 1j * rng.normal(size=size))
        else:
            values = case.scale * rng.normal(size=size)
        found.append(values.astype(kind))
    return found


class Graph(gr.top_block):
    """Sources that can be filled anew, the block, and sinks."""

    def __init__(self, case, block, rate=None, repeat=False):
        super().__init__()
        self.case, self.block = case, block
        self.sources = [SOURCES[kind]([], repeat, length, []) for kind, length in case.inputs]
        self.sinks = [SINKS[kind](length) for kind, length in case.outputs]
        self.throttles = []
        for port, source in enumerate(self.sources):
            if rate:
                kind, length = case.inputs[port]
                throttle = blocks.throttle(np.dtype(kind).itemsize * length, rate)
                self.throttles.append(throttle)
                self.connect(source, throttle, (block, port))
            else:
                self.connect(source, (block, port))
        for port, sink in enumerate(self.sinks):
            self.connect((block, port), sink)

    def fill(self, arrays):
        for source, values in zip(self.sources, arrays, strict=True):
            source.set_data(values.tolist())
            source.rewind()
        for sink in self.sinks:
            sink.reset()

    def result(self):
        """What came out, or what a block without outputs has counted or kept."""
        if self.sinks:
            return [np.array(sink.data()) for sink in self.sinks]
        kept = getattr(self.block, "data", None)
        totals = getattr(self.block, "totals", lambda: self.block.counts)
        return [kept()] if kept else [np.array([totals().get("bit_errors", 0)])]

    def run_to_the_end(self, seconds=60):
        self.start()
        self.wait_for_the_end(seconds)

    def wait_for_the_end(self, seconds=60):
        waiter = threading.Thread(target=self.wait, daemon=True)
        waiter.start()
        waiter.join(seconds)
        assert not waiter.is_alive(), "the graph does not end"
        if isinstance(self.block, PythonBlock):
            assert self.block.error is None


def once(case, arrays):
    graph = Graph(case, case.make())
    graph.fill(arrays)
    graph.run_to_the_end()
    return graph.result()


def assert_same(case, found, expected):
    for one, other in zip(found, expected, strict=True):
        assert len(one) == len(other)
        if not case.random:
            np.testing.assert_array_equal(one, other)


@every_case
def test_it_decodes_a_new_recording_in_each_run(case):
    """Run 2 and 3 of one object give what a new object gives."""
    graph = Graph(case, case.make())
    before = 0
    for seed in (1, 2, 3):
        arrays = data_for(case, seed)
        graph.fill(arrays)
        graph.run_to_the_end()
        found = graph.result()
        if not case.outputs and hasattr(graph.block, "counts") and not hasattr(graph.block, "data"):
            # Counters go on over runs.
            found, before = [found[0] - before], found[0]
        assert_same(case, found, once(case, arrays))


@every_case
def test_it_starts_again_after_a_stop_in_the_middle(case):
    graph = Graph(case, case.make(), rate=2000)
    graph.fill(data_for(case, 1))
    graph.start()
    time.sleep(0.05)
    graph.stop()
    graph.wait_for_the_end()
    before = graph.result()[0] if not case.outputs else 0
    arrays = data_for(case, 2, items=100)
    for throttle in graph.throttles:
        throttle.set_sample_rate(1e9)
    graph.fill(arrays)
    graph.run_to_the_end()
    found = graph.result()
    if not case.outputs and not hasattr(graph.block, "data"):
        found = [found[0] - before]
    assert_same(case, found, once(case, arrays))


@every_case
def test_it_goes_on_after_lock_and_unlock(case):
    """GNU Radio itself drops what waits in its buffers; frames that come are right ones."""
    arrays = data_for(case, 4)
    streams = any(length == 1 for _, length in case.inputs)
    graph = Graph(case, case.make(), rate=1e5 if streams else 3000, repeat=True)
    graph.fill(arrays)
    graph.start()

    def amount():
        if graph.sinks:
            return len(graph.sinks[0].data())
        return graph.block.counts["items"]

    def wait_for_more(least):
        before, deadline = amount(), time.monotonic() + 30
        while amount() < before + least and time.monotonic() < deadline:
            time.sleep(0.01)
        assert amount() >= before + least

    wait_for_more(1)
    graph.lock()
    further = blocks.null_source(1), blocks.null_sink(1)
    graph.connect(*further)
    graph.disconnect(*further)
    graph.unlock()
    wait_for_more(40)
    graph.stop()
    graph.wait_for_the_end()
    if streams or case.random or not graph.sinks:
        return
    for (_, length), one, other in zip(
        case.outputs, graph.result(), once(case, arrays), strict=True
    ):
        frames = {frame.tobytes() for frame in other.reshape(-1, length)}
        assert all(frame.tobytes() in frames for frame in one.reshape(-1, length))


@pytest.mark.parametrize(
    "case",
    [case for case in CASES.values() if case.bits],
    ids=[name for name, case in CASES.items() if case.bits],
)
def test_the_lowest_bit_of_a_byte_counts(case):
    arrays = data_for(case, 5)
    dirty = [
        values | np.random.default_rng(6).integers(0, 128, len(values)).astype(np.uint8) << 1
        if port in case.bits
        else values
        for port, values in enumerate(arrays)
    ]
    assert_same(case, once(case, dirty), once(case, arrays))


def stream_cases():
    code = codes.code("conv:7,5:700:zero")
    punctured = codes.code("conv:171,133@110110:700:zero")
    return [
        pytest.param(lambda: neuralfec.viterbi_stream_decoder("conv:7,5"), code, id="viterbi"),
        pytest.param(
            lambda: neuralfec.viterbi_stream_decoder(punctured),
            punctured,
            id="viterbi, punctured",
        ),
        pytest.param(lambda: neuralfec.rnn_stream_decoder("conv:7,5"), code, id="rnn"),
    ]


def llrs_of(code, frames, seed, amplitude=4.0):
    messages = np.random.default_rng(seed).integers(0, 2, (frames, code.k), dtype=np.uint8)
    return messages, ((2.0 * code.encode(messages) - 1) * amplitude).astype(np.float32)


@pytest.mark.parametrize(("make", "code"), stream_cases())
@pytest.mark.parametrize("used", [1, 50, 700, 699])
def test_the_end_of_a_recording_comes_out(make, code, used):
    """All whole steps of a short recording, and the same bits in every run."""
    messages, llrs = llrs_of(code, 1, used)
    outputs = 2 if not code.puncture else None
    size = (
        used * outputs
        if outputs
        else np.count_nonzero(np.tile([1, 1, 0, 1, 1, 0], 250)[: 2 * used])
    )
    top = gr.top_block()
    source, block, sink = (
        blocks.vector_source_f(llrs[0, :size].tolist()),
        make(),
        blocks.vector_sink_b(),
    )
    top.connect(source, block, sink)
    for _ in range(2):
        source.rewind()
        sink.reset()
        top.run()
        found = np.array(sink.data(), np.uint8)
        # A step of which nothing is sent is decided, or not, as it comes.
        assert used <= len(found) <= used + 1
        sure = max(used - 8, 0)
        assert np.array_equal(found[:sure], messages[0, :sure])


class Feed(gr.sync_block):
    """A source that is fed piece by piece and ends when it is told."""

    def __init__(self):
        gr.sync_block.__init__(self, "feed", None, [np.float32])
        self.waiting = np.empty(0, np.float32)
        self.over = False

    def work(self, input_items, output_items):
        out = output_items[0]
        size = min(len(out), len(self.waiting))
        out[:size] = self.waiting[:size]
        self.waiting = self.waiting[size:]
        if size == 0 and self.over:
            return -1
        time.sleep(0.005)
        return size


@pytest.mark.parametrize(("make", "code"), stream_cases())
def test_a_message_flushes_a_stream_decoder(make, code):
    messages, llrs = llrs_of(code, 2, 7)
    top = gr.top_block()
    feed, block, sink = Feed(), make(), blocks.vector_sink_b()
    top.connect(feed, block, sink)
    top.start()
    found = []
    for frame in range(2):
        feed.waiting = llrs[frame]
        deadline = time.monotonic() + 20
        while len(feed.waiting) and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.1)
        block.to_basic_block()._post(pmt.intern("flush"), pmt.PMT_T)
        while len(sink.data()) < (frame + 1) * 700 and time.monotonic() < deadline:
            time.sleep(0.01)
        found.append(len(sink.data()))
    feed.over = True
    top.wait()
    bits = np.array(sink.data(), np.uint8)
    assert np.array_equal(bits[:700], messages[0])
    assert np.array_equal(bits[found[0] : found[0] + 700], messages[1])


def tagged(values, lengths, kind=blocks.vector_source_b):
    tags, offset = [], 0
    for length in lengths:
        tag = gr.tag_t()
        tag.offset, tag.key, tag.value = offset, pmt.intern("packet_len"), pmt.from_long(length)
        tags.append(tag)
        offset += length
    return kind(np.asarray(values).tolist(), False, 1, tags)


def test_packet_len_follows_the_rate():
    lengths = [40, 8, 400]
    bits = np.random.default_rng(1).integers(0, 2, sum(lengths))
    top = gr.top_block()
    source, mapper, demapper = (
        tagged(bits, lengths),
        neuralfec.mapper("qam16"),
        neuralfec.soft_demapper("qam16"),
    )
    symbols, llrs = blocks.vector_sink_c(), blocks.vector_sink_f()
    top.connect(source, mapper, demapper, llrs)
    top.connect(mapper, symbols)
    top.run()
    for sink, rate in ((symbols, 4), (llrs, 1)):
        found = {tag.offset: pmt.to_python(tag.value) for tag in sink.tags()}
        assert found == {0: 40 // rate, 40 // rate: 8 // rate, 48 // rate: 400 // rate}
    assert mapper.stats()["bad_packets"] == demapper.stats()["bad_packets"] == 0


def test_a_packet_of_no_whole_symbols_is_an_error():
    top = gr.top_block()
    source, mapper = tagged(np.zeros(48, np.uint8), [42, 6]), neuralfec.mapper("qam16")
    sink = blocks.vector_sink_c()
    top.connect(source, mapper, sink)
    top.run()
    assert mapper.stats() == {"symbols": 12, "bad_packets": 2}
    assert not sink.tags()


def definitions():
    polar_code, conv_code = polar(), conv()
    return {
        "ldpc": (neuralfec.generic_ldpc_decoder(wifi()), wifi()),
        "polar": (neuralfec.generic_polar_decoder(polar_code), polar_code),
        "osd": (neuralfec.generic_osd_decoder(polar_code, order=1), polar_code),
        "viterbi": (neuralfec.generic_viterbi_decoder(conv_code), conv_code),
    }


@pytest.mark.parametrize("name", ["ldpc", "polar", "osd", "viterbi"])
def test_a_tagged_packet_of_another_length_is_dropped_and_counted(name):
    from gnuradio import fec

    definition, code = definitions()[name]
    messages, llrs = llrs_of(code, 3, 1)
    lengths = [code.n, code.n - 8, 2 * code.n]
    values = np.concatenate([llrs[0], llrs[0, :-8], llrs[1], llrs[2]])
    top = gr.top_block()
    source = tagged(values, lengths, blocks.vector_source_f)
    decoder = fec.tagged_decoder(definition, 4, 1, "packet_len", 1500)
    sink = blocks.vector_sink_b()
    top.connect(source, decoder, sink)
    top.run()
    assert np.array_equal(np.array(sink.data()).reshape(-1, code.k), messages)
    assert [pmt.to_python(tag.value) for tag in sink.tags()] == [code.k, 2 * code.k]
    assert definition.stats()["bad_packets"] >= 1
    assert definition.stats()["frames"] == 3


def test_a_tagged_message_of_another_length_is_dropped_and_counted():
    from gnuradio import fec

    code = wifi()
    definition = neuralfec.generic_linear_encoder(code)
    messages = np.random.default_rng(1).integers(0, 2, (2, code.k), np.uint8)
    top = gr.top_block()
    values = np.concatenate([messages[0], messages[0, :-5], messages[1]])
    source = tagged(values, [code.k, code.k - 5, code.k])
    encoder = fec.tagged_encoder(definition, 1, 1, "packet_len", 1500)
    sink = blocks.vector_sink_b()
    top.connect(source, encoder, sink)
    top.run()
    assert np.array_equal(np.array(sink.data()).reshape(-1, code.n), code.encode(messages))
    assert definition.stats() == {"frames": 2, "bad_packets": definition.stats()["bad_packets"]}
    assert definition.stats()["bad_packets"] >= 1


def test_tab_completion_knows_the_blocks_and_the_rooms_below_them():
    names = dir(neuralfec)
    assert {"soft_demapper", "codes", "decoders", "phy", "syndrome", "feedback"} <= set(names)
    assert "importlib" not in names and all(hasattr(neuralfec, name) for name in ("codes", "phy"))


@pytest.mark.parametrize("name", neuralfec._BLOCKS)
def test_every_block_tells_what_it_does(name):
    text = getattr(neuralfec, name).__doc__
    assert text and len(text) > 20 and "self:" not in text.splitlines()[0]
