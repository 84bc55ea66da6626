# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of quantization in flow graphs."""

import time

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, neuralfec
from gnuradio.neuralfec import python_block
from gnuradio.neuralfec.quantization import LlrQuantizer

MODEL = "qam256-15bit"


def run(data, made, vlen_in, sink, size=4, buffer=None):
    top = gr.top_block()
    source = blocks.vector_source_f(data.tolist(), False, vlen_in) if size == 4 else None
    if source is None:
        source = blocks.vector_source_b(data.tolist(), False, vlen_in)
    if buffer:
        source.set_max_output_buffer(buffer)
    top.connect(source, made, sink)
    top.run()
    return np.array(sink.data())


@pytest.mark.parametrize("frame_symbols", [1, 8, 81])
@pytest.mark.parametrize("search", [True, False])
def test_packed_stream(llrs256, frame_symbols, search):
    frames = len(llrs256) // frame_symbols
    llrs = llrs256[: frames * frame_symbols]
    quantizer = LlrQuantizer(MODEL, search=search)
    indices = quantizer.quantize(llrs)
    size = -(-frame_symbols * 15 // 8)
    expected = [quantizer.pack(frame) for frame in indices.reshape(frames, -1)]
    for buffer in (None, 2):
        made = neuralfec.llr_quantizer(MODEL, frame_symbols, search=search)
        sink = blocks.vector_sink_b(size)
        packed = run(llrs.ravel(), made, 8 * frame_symbols, sink, buffer=buffer)
        assert np.array_equal(packed.astype(np.uint8), np.concatenate(expected))
    made = neuralfec.llr_dequantizer(MODEL, frame_symbols)
    sink = blocks.vector_sink_f(8 * frame_symbols)
    back = run(np.concatenate(expected), made, size, sink, size=1)
    assert np.array_equal(back.astype(np.float32), quantizer.dequantize(indices).ravel())


def test_index_stream(llrs256):
    quantizer = LlrQuantizer(MODEL)
    top = gr.top_block()
    source = blocks.vector_source_f(llrs256.ravel().tolist(), False, 16)
    forth = neuralfec.llr_quantizer(MODEL, 2, packed=False)
    back = neuralfec.llr_dequantizer(MODEL, 2, packed=False)
    indices, llrs = blocks.vector_sink_i(2), blocks.vector_sink_f(16)
    top.connect(source, forth, back, llrs)
    top.connect(forth, indices)
    top.run()
    assert np.array_equal(indices.data(), quantizer.quantize(llrs256))
    assert np.array_equal(np.float32(llrs.data()), quantizer.reconstruct(llrs256).ravel())


def test_nan_is_counted(llrs256):
    spoilt = llrs256[:80].copy()
    spoilt[5, 1] = np.nan
    spoilt[70, 7] = np.inf
    made = neuralfec.llr_quantizer(MODEL)
    top = gr.top_block()
    # A Python list of floats keeps NaN and Inf.
    source = blocks.vector_source_f(spoilt.ravel().tolist(), False, 64)
    top.connect(source, made, blocks.null_sink(15))
    top.run()
    assert made.bad_samples() == 1


def test_bad_arguments():
    with pytest.raises(ValueError, match="frames of at least 1 symbol"):
        neuralfec.llr_quantizer(MODEL, 0)
    # Those of other systems are not named.
    with pytest.raises(ValueError, match=r"no model .*are: (quantization/[^ ]*,? ?)+$"):
        neuralfec.llr_quantizer("qam256-17bit")
    with pytest.raises(ValueError, match="multiple of 8 LLRs"):
        neuralfec.llr_store(MODEL, 644)


def test_store_stream(llrs256):
    frames = llrs256[:243].reshape(3, 648)
    tags = [
        gr.tag_utils.python_to_tag((offset, pmt.intern("frame_id"), pmt.from_long(frame_id)))
        for offset, frame_id in [(0, 5), (2, 5)]
    ]
    store = neuralfec.llr_store(MODEL, 648)
    source = blocks.vector_source_f(frames.ravel().tolist(), False, 648, tags)
    sink = blocks.vector_sink_f(648)
    top = gr.top_block()
    top.connect(source, store, sink)
    python_block.run(top, store)
    out = np.float32(sink.data()).reshape(3, 648)
    stored = LlrQuantizer(MODEL).reconstruct(frames[0])
    # The second frame has no id.
    assert np.array_equal(out[:2], frames[:2])
    np.testing.assert_allclose(out[2], frames[2] + stored)
    stats = store.stats()
    assert (stats["frames"], stats["combined"], stats["memory"]) == (1, 1, 152)


def pdu(frame_id, llrs):
    meta = pmt.dict_add(pmt.make_dict(), pmt.intern("frame_id"), pmt.from_long(frame_id))
    return pmt.cons(meta, pmt.init_f32vector(len(llrs), llrs.tolist()))


def test_store_messages(llrs256):
    frames = llrs256[:162].reshape(2, 648)
    store = neuralfec.llr_store(MODEL, 648, stream=False)
    debug = blocks.message_debug()
    top = gr.top_block()
    top.msg_connect(store, "pdus_out", debug, "store")
    top.start()
    pdus, release = pmt.intern("pdus"), pmt.intern("release")

    def wait(counter, value):
        """Ports have queues of their own: the next message waits for the last one's effect."""
        end = time.monotonic() + 10
        while store.stats().get(counter, 0) < value and time.monotonic() < end:
            time.sleep(0.01)

    store._post(pdus, pdu(9, frames[0]))
    store._post(pdus, pdu(9, frames[1]))
    wait("combined", 1)
    store._post(release, pmt.from_long(9))
    wait("released", 1)
    store._post(pdus, pdu(9, frames[1]))
    store._post(pdus, pmt.intern("nonsense"))
    store._post(pdus, pdu(9, frames[1][:8]))
    store._post(release, pmt.intern("nonsense"))
    wait("malformed", 3)
    top.stop()
    top.wait()
    assert store.error is None
    assert store.counts["malformed"] == 3
    out = [np.float32(pmt.f32vector_elements(pmt.cdr(debug.get_message(i)))) for i in range(3)]
    stored = LlrQuantizer(MODEL).reconstruct(frames[0])
    assert np.array_equal(out[0], frames[0])
    np.testing.assert_allclose(out[1], frames[1] + stored)
    assert np.array_equal(out[2], frames[1])
