# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks against the NumPy door, and gr-fec's decoder on the same frames."""

import numpy as np
import pytest
from gnuradio import blocks, fec, gr, neuralfec
from gnuradio.neuralfec.codes import code
from gnuradio.neuralfec.decoders import convolutional
from gnuradio.neuralfec.sequence import decoder


def noisy(the_code, frames, seed, sigma=0.6):
    rng = np.random.default_rng(seed)
    messages = rng.integers(0, 2, (frames, the_code.k), dtype=np.uint8)
    sent = 2.0 * the_code.encode(messages) - 1
    return messages, (sent + sigma * rng.standard_normal(sent.shape)).astype(np.float32)


def run(block, llrs, length, out_length, buffer=0, out_type=np.uint8):
    """Frames, or a stream where the lengths are 1, through a block."""
    top = gr.top_block()
    source = blocks.vector_source_f(llrs.ravel().tolist(), False, length)
    if buffer:
        source.set_max_output_buffer(buffer)
    sink = (blocks.vector_sink_b if out_type == np.uint8 else blocks.vector_sink_f)(out_length)
    top.connect(source, block, sink)
    top.run()
    return np.array(sink.data(), dtype=out_type).reshape(-1, out_length)


@pytest.mark.parametrize("termination", ["none", "zero", "tail-biting"])
@pytest.mark.parametrize("generators", ["7,5", "171,133@110110"])
def test_frames(generators, termination):
    the_code = code(f"conv:{generators}:60:{termination}")
    _, llrs = noisy(the_code, 300, 1)
    llrs[3, 4] = np.nan
    expected, _ = convolutional.ViterbiDecoder(the_code).decode(llrs)
    viterbi = neuralfec.viterbi_decoder(the_code)
    assert np.array_equal(run(viterbi, llrs, the_code.n, 60), expected)
    assert viterbi.stats() == {"frames": 300, "bad_samples": 1}
    generic = fec.decoder(neuralfec.generic_viterbi_decoder(the_code), 4, 1)
    assert np.array_equal(run(generic, llrs, 1, 1).reshape(-1, 60), expected)
    expected, _ = convolutional.BcjrDecoder(the_code).posteriors(llrs)
    bcjr = neuralfec.bcjr_decoder(the_code.spec)
    found = run(bcjr, llrs, the_code.n, 60, out_type=np.float32)
    np.testing.assert_allclose(found, expected, atol=1e-3)
    assert bcjr.stats() == {"frames": 300, "bad_samples": 1}


def gr_fec(the_code, symbols, termination):
    """Messages of gr-fec's decoder for symbols (frames, n) of -128 to 127."""
    mode = {"zero": fec.CC_TERMINATED, "tail-biting": fec.CC_TAILBITING}[termination]
    theirs = fec.cc_decoder.make(the_code.k, 7, 2, [0o117, 0o155], 0, 0, mode)
    converted = (symbols + 128).astype(np.uint8)
    top = gr.top_block()
    source = blocks.vector_source_b(converted.ravel().tolist())
    sink = blocks.vector_sink_b()
    top.connect(source, fec.decoder(theirs, 1, 1), sink)
    top.run()
    return np.array(sink.data(), dtype=np.uint8).reshape(-1, the_code.k)


def test_gr_fec_decides_the_same():
    """gr-fec rounds a branch metric, the mean of two 8-bit symbols, to a multiple of four and
    more. Symbols of +-32 and +-96 keep their order: every message of ours has the metric of
    theirs, and is theirs but for ties."""
    the_code = code("conv:171,133:200:zero")
    _, llrs = noisy(the_code, 500, 2, sigma=0.7)
    symbols = np.sign(llrs) * np.where(np.abs(llrs) > 0.7, np.float32(96), np.float32(32))
    theirs = gr_fec(the_code, symbols, "zero")
    for metric in ("int16", "int8"):
        ours, _ = convolutional.ViterbiDecoder(the_code, metric).decode(symbols)
        difference = the_code.encode(ours).astype(int) - the_code.encode(theirs)
        assert not (difference * symbols).sum(axis=1).any()
        assert np.mean((ours == theirs).all(axis=1)) > 0.95


def best_metric(symbols, termination):
    """The largest sum of c_i L_i of all codewords of conv:171,133, as in the textbooks: for
    each state that a path starts in, add, compare and select."""
    state = np.arange(64)
    edges = state[:, None] + 64 * np.arange(2)  # register bits, the newest one lowest
    outputs = [
        np.array([bin(e & int(f"{g:07b}"[::-1], 2)).count("1") % 2 for e in range(128)])
        for g in (0o171, 0o133)
    ]
    starts = 1 if termination == "zero" else 64
    metrics = np.full((len(symbols), starts, 64), -np.inf)
    metrics[:, np.arange(starts), np.arange(starts)] = 0
    for first, second in zip(symbols.T[::2], symbols.T[1::2], strict=True):
        branch = first[:, None] * outputs[0] + second[:, None] * outputs[1]
        paths = metrics[:, :, edges >> 1] + branch[:, None, edges]
        metrics = paths.max(axis=-1)
    return metrics[:, np.arange(starts), np.arange(starts)].max(axis=1)


@pytest.mark.parametrize("termination", ["zero", "tail-biting"])
def test_gr_fec_decides_no_better(termination):
    """On finer symbols its rounding tells, and its tail-biting search is not exact."""
    the_code = code(f"conv:171,133:200:{termination}")
    _, llrs = noisy(the_code, 200, 2, sigma=0.7)
    symbols = np.clip(np.round(llrs * 20), -60, 60).astype(np.float32)
    theirs = gr_fec(the_code, symbols, termination)
    ours, _ = convolutional.ViterbiDecoder(the_code).decode(symbols)

    def metric(decided):
        return (the_code.encode(decided) * symbols).sum(axis=1)

    assert np.array_equal(metric(ours), best_metric(symbols, termination))
    loss = metric(ours) - metric(theirs)
    assert (loss >= 0).all()
    assert np.count_nonzero(loss == 0) > 0.9 * len(loss)


def test_viterbi_stream():
    the_code = code("conv:171,133@110110:20000")
    messages, llrs = noisy(the_code, 1, 3, sigma=0.4)
    results = []
    for buffer in (0, 700):
        block = neuralfec.viterbi_stream_decoder(the_code, block=300)
        results.append(run(block, llrs, 1, 1, buffer).ravel())
        assert block.stats()["bits"] == len(results[-1])
    assert np.array_equal(*results)
    assert len(results[0]) == 20000
    assert np.count_nonzero(results[0] != messages[0, : len(results[0])]) <= 5


def test_rnn_blocks():
    the_code = code("conv:7,5:60:zero")
    _, llrs = noisy(the_code, 200, 4)
    block = neuralfec.rnn_decoder(the_code.spec)
    found = run(block, llrs, the_code.n, 60)
    assert np.array_equal(found, decoder.RnnDecoder(the_code).decode(llrs)[0])
    assert block.error is None and block.stats()["frames"] == 200

    the_code = code("conv:7,5:20000")
    _, llrs = noisy(the_code, 1, 5)
    stream = decoder.RnnStream(the_code, window=300)
    expected = np.concatenate([stream.decode(llrs)[0], stream.flush()])
    assert len(expected) == 20000
    for buffer in (0, 900):
        block = neuralfec.rnn_stream_decoder("conv:7,5", window=300, batch=8)
        assert np.array_equal(run(block, llrs, 1, 1, buffer).ravel(), expected)
        assert block.error is None


def test_refuses():
    the_code = code("conv:7,5:10")
    for make in (neuralfec.viterbi_decoder, neuralfec.generic_viterbi_decoder):
        for wrong in ("conv:7,0:10", "conv:7,5/3:10", "conv:7,5:10:circular", code("bch:31,16")):
            with pytest.raises(ValueError, match="expected"):
                make(wrong)
        with pytest.raises(ValueError, match="expected"):
            make(the_code, metric="int4")
    with pytest.raises(ValueError, match="at least 1 codeword"):
        neuralfec.generic_viterbi_decoder(the_code, codewords=0)
    with pytest.raises(ValueError, match="int16"):
        neuralfec.viterbi_stream_decoder(the_code, metric="float")
    with pytest.raises(ValueError, match="expected"):
        neuralfec.bcjr_decoder(the_code, method="map")
    with pytest.raises(ValueError, match="shipped"):
        neuralfec.rnn_decoder("conv:171,133")


def test_blocks_take_the_codes_numbers_too():
    the_code = code("conv:171,-133@110110:60:tail-biting")
    _, llrs = noisy(the_code, 100, 3)
    numbers = the_code.decoder_arguments()
    expected, _ = convolutional.ViterbiDecoder(the_code).decode(llrs)
    viterbi = neuralfec.viterbi_decoder(**numbers)
    assert np.array_equal(run(viterbi, llrs, the_code.n, 60), expected)
    generic = fec.decoder(neuralfec.generic_viterbi_decoder(**numbers, codewords=2), 4, 1)
    assert np.array_equal(run(generic, llrs, 1, 1).reshape(-1, 60), expected)
    expected, _ = convolutional.BcjrDecoder(the_code).decode(llrs)
    posteriors = run(neuralfec.bcjr_decoder(**numbers), llrs, the_code.n, 60, out_type=np.float32)
    assert np.array_equal(posteriors > 0, expected)
    first = run(neuralfec.viterbi_stream_decoder(the_code), llrs, 1, 1)
    numbers = the_code.stream_arguments()
    second = run(neuralfec.viterbi_stream_decoder(**numbers), llrs, 1, 1)
    assert len(first) > 1000 and np.array_equal(first, second)
