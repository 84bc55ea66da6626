# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
from gnuradio import blocks, gr, neuralfec
from gnuradio.neuralfec import _kernels

TYPES = {
    1: (blocks.vector_source_b, blocks.vector_sink_b, np.uint8),
    4: (blocks.vector_source_f, blocks.vector_sink_f, np.float32),
    8: (blocks.vector_source_c, blocks.vector_sink_c, np.complex64),
}


def permute(samples, order, deinterleave, item_size, chunk=0):
    source, sink, _ = TYPES[item_size]
    block = neuralfec.interleaver(item_size, order, deinterleave)
    if chunk:
        block.set_max_noutput_items(chunk)
    graph = gr.top_block()
    end = sink(len(order))
    graph.connect(source(samples.ravel().tolist(), False, len(order)), block, end)
    graph.run()
    return np.array(end.data()).reshape(samples.shape)


@pytest.mark.parametrize("item_size", TYPES)
@pytest.mark.parametrize("size", [1, 3, 648])
def test_permutes_frames_and_back(item_size, size):
    rng = np.random.default_rng(size)
    samples = rng.integers(0, 200, (40, size)).astype(TYPES[item_size][2])
    if item_size == 8:
        samples += 1j * rng.integers(0, 200, samples.shape)
    order = _kernels.random_permutation(size, 7)
    sent = permute(samples, order, False, item_size)
    assert np.array_equal(sent, samples[:, order])
    assert np.array_equal(permute(samples, order, False, item_size, chunk=1), sent)
    assert np.array_equal(permute(sent, order, True, item_size, chunk=3), samples)


@pytest.mark.parametrize("order", [[0, 0], [1, 2], [0, 3, 1]])
def test_orders_that_are_no_permutation(order):
    with pytest.raises(ValueError, match=f"expected each of 0 .. {len(order) - 1} once"):
        neuralfec.interleaver(4, order)


def test_other_wrong_arguments():
    with pytest.raises(ValueError, match="at least 1 element"):
        neuralfec.interleaver(4, [])
    with pytest.raises(ValueError, match="item_size 1, 4 or 8, got 2"):
        neuralfec.interleaver(2, [0, 1])
