# SPDX-License-Identifier: GPL-3.0-or-later
"""The base of the Python blocks in running flow graphs."""

import threading
import time

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr
from gnuradio.neuralfec import models
from gnuradio.neuralfec.models import Card, Method
from gnuradio.neuralfec.python_block import PythonBlock, page_items, run, set_batch

N = 8


def finishes(top_block, seconds=10):
    """Whether the graph ends by itself."""
    top_block.start()
    waiter = threading.Thread(target=top_block.wait, daemon=True)
    waiter.start()
    waiter.join(seconds)
    ended = not waiter.is_alive()
    top_block.stop()
    waiter.join()
    return ended


class NetworkBlock(PythonBlock, gr.sync_block):
    """A small network; frames that are not finite count as bad and become zeros."""

    def __init__(self, module):
        super().__init__("network", [(np.float32, N)], [(np.float32, 3)])
        self.module = module
        self.seen = []

    def process(self, input_items, output_items):
        import torch

        self.seen.append((torch.get_num_threads(), torch.is_inference_mode_enabled()))
        frames = np.array(input_items[0])
        bad = ~np.isfinite(frames).all(axis=1)
        frames[bad] = 0
        self.counts["bad_frames"] += int(bad.sum())
        output_items[0][:] = self.module(torch.from_numpy(frames)).numpy()
        return len(frames)


class Fails(PythonBlock, gr.sync_block):
    """Raises once it has passed on some items, or at a message."""

    def __init__(self, after=None):
        super().__init__("fails", [np.float32], [np.float32])
        self.after = after
        self.message_port("pdus", self.handle)

    def handle(self, message):
        raise ValueError(f"expected a PDU, got {message}")

    def process(self, input_items, output_items):
        if self.after is not None and self.counts["items"] >= self.after:
            raise ValueError("frame of the wrong kind")
        output_items[0][:] = input_items[0]
        return len(output_items[0])


class MessageBlock(PythonBlock, gr.basic_block):
    """Messages alone; raises at the third."""

    def __init__(self):
        super().__init__("messages", None, None)
        self.stats_interval = 0
        self.message_port("pdus", self.handle)

    def handle(self, message):
        if self.counts["pdus"] == 2:
            raise KeyError("no such session")
        self.counts["pdus"] += 1


@pytest.fixture
def module(tmp_path):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(N, 3), torch.nn.Tanh())
    card = Card(
        system="quantization",
        name="t",
        methods={"forward": Method({"llrs": (None, N)}, {"latent": (None, 3)})},
    )
    models.save(tmp_path / "t.pt", network, card)
    return models.load(tmp_path / "t.pt")[0]


def test_a_network_in_a_graph_loses_no_tail(module):
    import torch

    rng = np.random.default_rng(0)
    frames = rng.normal(size=(1001, N)).astype(np.float32)
    frames[[3, 500], [0, 7]] = np.nan, np.inf
    source = blocks.vector_source_f(frames.ravel().tolist(), vlen=N)
    block, sink = NetworkBlock(module), blocks.vector_sink_f(3)
    top_block = gr.top_block()
    top_block.connect(source, block, sink)
    run(top_block, block)
    frames[[3, 500]] = 0
    with torch.inference_mode():
        expected = module(torch.from_numpy(frames)).numpy()
    np.testing.assert_allclose(np.reshape(sink.data(), (-1, 3)), expected, atol=1e-6)
    assert set(block.seen) == {(1, True)}
    stats = block.stats()
    assert stats["items"] == 1001 and stats["bad_frames"] == 2


def test_an_exception_in_work_ends_the_graph():
    block = Fails(after=100)
    source, sink = blocks.vector_source_f(np.arange(50.0), repeat=True), blocks.null_sink(4)
    top_block = gr.top_block()
    top_block.connect(source, block, sink)
    assert finishes(top_block)
    assert isinstance(block.error, ValueError)
    assert str(block.error) == "frame of the wrong kind"


def test_an_exception_in_a_handler_ends_a_stream_graph():
    block, source = Fails(), blocks.null_source(4)
    throttle, sink = blocks.throttle(4, 1e5), blocks.null_sink(4)
    strobe = blocks.message_strobe(pmt.intern("nonsense"), 20)
    top_block = gr.top_block()
    top_block.connect(source, throttle, block, sink)
    top_block.msg_connect(strobe, "strobe", block, "pdus")
    with pytest.raises(RuntimeError, match=r"fails.* failed: ValueError: expected a PDU, got nons"):
        run(top_block, block)


def test_an_exception_in_a_block_of_messages_ends_it_and_run():
    block, log = MessageBlock(), blocks.message_debug()
    strobe = blocks.message_strobe(pmt.intern("x"), 10)
    top_block = gr.top_block()
    top_block.msg_connect(strobe, "strobe", block, "pdus")
    top_block.msg_connect(block, "stats", log, "store")
    with pytest.raises(RuntimeError, match="no such session"):
        run(top_block, block)
    assert block.stats() == {"pdus": 2}
    published = [pmt.to_python(log.get_message(i)) for i in range(log.num_messages())]
    assert published == [{"pdus": 1}, {"pdus": 2}]


def test_messages_of_stats_come_at_intervals(module):
    source = blocks.vector_source_f([0.0] * N * 100, vlen=N)
    block, sink, log = NetworkBlock(module), blocks.null_sink(4 * 3), blocks.message_debug()
    block.stats_interval = 3600
    block.set_max_noutput_items(5)
    top_block = gr.top_block()
    top_block.connect(source, block, sink)
    top_block.msg_connect(block, "stats", log, "store")
    run(top_block, block)
    assert block.stats()["calls"] >= 20
    assert log.num_messages() == 1


def test_a_graph_can_be_run_again(module):
    source = blocks.vector_source_f([0.0] * N * 10, vlen=N)
    block, sink = NetworkBlock(module), blocks.vector_sink_f(3)
    top_block = gr.top_block()
    top_block.connect(source, block, sink)
    for _ in range(2):
        source.rewind()
        run(top_block, block)
    assert block.stats()["items"] == 20
    assert set(block.seen) == {(1, True)}


@pytest.mark.parametrize("batch", [10, 100])
def test_set_batch_makes_room_for_batches(batch):
    length, sizes = 5000, []

    class Slow(PythonBlock, gr.sync_block):
        def process(self, input_items, output_items):
            time.sleep(0.02)
            sizes.append(len(input_items[0]))
            return sizes[-1]

    block = Slow("slow", [(np.float32, length)], [(np.float32, length)])
    source, head = blocks.null_source(4 * length), blocks.head(4 * length, 10 * batch + 1)
    sink = blocks.null_sink(4 * length)
    set_batch(batch, head, block)
    top_block = gr.top_block()
    top_block.connect(source, head, block, sink)
    run(top_block, block)
    assert sum(sizes) == 10 * batch + 1
    # GNU Radio makes buffers of whole pages: 128 items of this size.
    assert batch <= max(sizes) <= max(3 * batch, page_items(4 * length))


def test_set_batch_wants_a_batch():
    with pytest.raises(ValueError, match="at least 1"):
        set_batch(0)


def test_a_source_ends_its_graph_with_work_done():
    class source(PythonBlock, gr.sync_block):
        def __init__(self):
            super().__init__("source", None, [np.uint8])
            self.left = 10

        def process(self, input_items, output_items):
            if not self.left:
                return gr.WORK_DONE
            self.left -= 1
            output_items[0][0] = self.left
            return 1

    graph = gr.top_block()
    graph.source, graph.sink = source(), blocks.vector_sink_b()
    graph.connect(graph.source, graph.sink)
    run(graph, graph.source)
    assert list(graph.sink.data()) == list(range(9, -1, -1))
    assert graph.source.counts["items"] == 10
