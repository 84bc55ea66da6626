# SPDX-License-Identifier: GPL-3.0-or-later
"""Convolutional codes that send the complement of an output, as CCSDS and Galileo do: every
decoder, block and door decides as that of the plain code does with the signs turned."""

import numpy as np
import pytest
from gnuradio import blocks, fec, gr, neuralfec
from gnuradio.neuralfec import codes, decoders
from gnuradio.neuralfec.sequence import blocks as sequence_blocks

PAIRS = [
    ("171,-133", "171,133"),
    ("-171,133@110110", "171,133@110110"),
    ("-7,-5", "7,5"),
    ("7,-5/7", "7,5/7"),
    ("133,-171,165", "133,171,165"),
]


def turned(inverted, values):
    """Values (F, n) of sent bits with the signs of the complemented ones turned."""
    signs = [-1.0 if g < 0 else 1.0 for g in inverted.generators]
    sign = np.resize(signs, inverted.steps * len(signs))
    return (values * sign[inverted.kept]).astype(np.float32)


def noisy(plain, frames=50, seed=3):
    rng = np.random.default_rng(seed)
    messages = rng.integers(0, 2, (frames, plain.k), dtype=np.uint8)
    sent = 2.0 * plain.encode(messages) - 1
    return messages, (3 * (sent + 0.6 * rng.standard_normal(sent.shape))).astype(np.float32)


def through(block, values, kind, length=1, out_length=1):
    """A flow graph's output for values."""
    sources = {"f": blocks.vector_source_f, "b": blocks.vector_source_b}
    graph = gr.top_block()
    source = sources[kind[0]](values.ravel().tolist(), False, length)
    sink = (blocks.vector_sink_b if kind[1] == "b" else blocks.vector_sink_f)(out_length)
    graph.connect(source, block, sink)
    graph.run()
    return np.array(sink.data(), np.uint8 if kind[1] == "b" else np.float32)


@pytest.mark.parametrize("termination", ["none", "zero", "tail-biting"])
@pytest.mark.parametrize(("inverted", "plain"), PAIRS)
def test_frames(inverted, plain, termination):
    # 61: the recursive code's tail-biting frames need a length that 3 does not divide.
    inverted = codes.code(f"conv:{inverted}:61:{termination}")
    plain = codes.code(f"conv:{plain}:61:{termination}")
    assert codes.code(inverted.spec).spec == inverted.spec
    messages, llrs = noisy(plain)
    expected = turned(inverted, 2.0 * plain.encode(messages) - 1) > 0
    assert np.array_equal(inverted.encode(messages), expected)
    tried = 0
    for spec in ("viterbi", "viterbi:int8", "bcjr", "bcjr:max-log", "rnn"):
        try:
            of_plain = decoders.decoder(spec, plain)
        except (ValueError, OSError):
            assert spec == "rnn"  # There are models of some codes only.
            continue
        tried += 1
        of_inverted = decoders.decoder(spec, inverted)
        assert np.array_equal(
            of_inverted.decode(turned(inverted, llrs))[0], of_plain.decode(llrs)[0]
        ), spec
    assert tried >= 4
    expected = decoders.decoder("viterbi", plain).decode(llrs)[0].ravel()
    of_inverted = turned(inverted, llrs)
    block = neuralfec.viterbi_decoder(inverted)
    assert np.array_equal(through(block, of_inverted, "fb", inverted.n, 61), expected)
    door = fec.decoder(neuralfec.generic_viterbi_decoder(inverted), 4, 1)
    assert np.array_equal(through(door, of_inverted, "fb"), expected)
    block = neuralfec.bcjr_decoder(inverted)
    expected = decoders.decoder("bcjr", plain).decode(llrs)[0].ravel()
    assert np.array_equal(through(block, of_inverted, "ff", inverted.n, 61) > 0, expected)


@pytest.mark.parametrize(("inverted", "plain"), PAIRS)
def test_streams(inverted, plain):
    inverted = codes.code(f"conv:{inverted}:6000")
    plain = codes.code(f"conv:{plain}:6000")
    _, llrs = noisy(plain, 1)
    streams = [lambda c: neuralfec.viterbi_stream_decoder(c, block=512)]
    if inverted.spec.startswith("conv:-7,-5:"):
        streams.append(lambda c: sequence_blocks.rnn_stream_decoder(c.spec))
    for make in streams:
        expected = through(make(plain), llrs, "fb")
        assert len(expected) >= 4000
        assert np.array_equal(through(make(inverted), turned(inverted, llrs), "fb"), expected)


def test_gr_fecs_encoder_sends_the_same_bits():
    # gr-fec writes polynomials with the newest bit least significant: 171 is 79, 133 is 109.
    code = codes.code("conv:171,-133:64:zero")
    messages = np.random.default_rng(1).integers(0, 2, (5, 64), dtype=np.uint8)
    theirs = fec.cc_encoder.make(64, 7, 2, [79, -109], 0, fec.CC_TERMINATED)
    sent = through(fec.encoder(theirs, 1, 1), messages, "bb")
    assert np.array_equal(sent, code.encode(messages).ravel())
