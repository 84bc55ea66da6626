# SPDX-License-Identifier: GPL-3.0-or-later
"""The decoder and the encoder as blocks and in gr-fec's deployments."""

import numpy as np
import pmt
import pytest
from gnuradio import blocks, digital, fec, gr, neuralfec
from gnuradio.neuralfec import codes
from gnuradio.neuralfec.codes import alist
from gnuradio.neuralfec.decoders import decoder as decoder_of
from gnuradio.neuralfec.decoders.belief_propagation import BeliefPropagation

CODE = codes.code("wifi-648")


def transmit(code, frames, deviation, seed):
    """Messages, and the LLRs of their codewords as +-1 in real Gaussian noise."""
    rng = np.random.default_rng(seed)
    messages = rng.integers(0, 2, (frames, code.k), dtype=np.uint8)
    received = 2.0 * code.encode(messages) - 1 + rng.normal(0, deviation, (frames, code.n))
    return messages, (2 / deviation**2 * received).astype(np.float32)


def stream(block, samples, vlen=1, out_vlen=1):
    """The bytes that a block makes of an array of floats or bytes."""
    graph = gr.top_block()
    samples = np.asarray(samples)
    source = blocks.vector_source_f if samples.dtype == np.float32 else blocks.vector_source_b
    sink = blocks.vector_sink_b(out_vlen)
    graph.connect(source(samples.ravel().tolist(), False, vlen), block, sink)
    graph.run()
    return np.array(sink.data(), dtype=np.uint8)


@pytest.mark.parametrize("frames", [1, 3, 100])
def test_block_decodes_as_the_call_does(frames):
    _, llrs = transmit(CODE, frames, 0.85, seed=frames)
    llrs[0, 3] = np.nan
    decoder = neuralfec.ldpc_decoder(CODE, iterations=12)
    graph = gr.top_block()
    source = blocks.vector_source_f(llrs.ravel().tolist(), False, 648)
    bits, flags = blocks.vector_sink_b(324), blocks.vector_sink_b()
    graph.connect(source, decoder, bits)
    graph.connect((decoder, 1), flags)
    graph.run()
    expected = BeliefPropagation(CODE, 12).run(llrs)
    assert np.array_equal(np.reshape(bits.data(), (-1, 324)), expected.messages)
    assert np.array_equal(flags.data(), expected.converged)
    assert decoder.stats() == {
        "frames": frames,
        "converged": expected.converged.sum(),
        "iterations": expected.iterations.sum(),
        "bad_samples": 1,
    }


@pytest.mark.parametrize(
    ("options", "spec"),
    [
        ({"schedule": "layered"}, "bp-layered:12"),
        ({"rule": "min-sum", "scale": 0.8}, "min-sum:12,0.8"),
        ({"rule": "min-sum-int8", "scale": 0.8}, "min-sum-int8:12"),
    ],
)
@pytest.mark.parametrize("code", ["wifi-648", "nr-ldpc:64,128"])
def test_block_has_every_rule_and_schedule(code, options, spec):
    code = codes.code(code)
    _, llrs = transmit(code, 50, 0.85, seed=3)
    block = neuralfec.ldpc_decoder(code, iterations=12, **options)
    expected, stats = decoder_of(spec, code).decode(llrs)
    assert np.array_equal(stream(block, llrs, code.n, code.k).reshape(-1, code.k), expected)
    assert block.stats() == stats
    definition = neuralfec.generic_ldpc_decoder(code, iterations=12, codewords=5, **options)
    decoder = fec.extended_decoder(definition, None)
    assert np.array_equal(stream(decoder, llrs).reshape(-1, code.k), expected)


def test_block_is_the_same_whatever_the_chunks():
    _, llrs = transmit(CODE, 60, 0.85, seed=4)
    expected = stream(neuralfec.ldpc_decoder("wifi-648"), llrs, 648, 324)
    for chunk in (1, 7):
        decoder = neuralfec.ldpc_decoder(CODE)
        decoder.set_max_noutput_items(chunk)
        assert np.array_equal(stream(decoder, llrs, 648, 324), expected)


def test_iterations_change_live():
    _, llrs = transmit(CODE, 20, 1.5, seed=5)
    decoder = neuralfec.ldpc_decoder(CODE, iterations=9)
    stream(decoder, llrs, 648, 324)
    assert decoder.stats()["iterations"] == 180
    decoder.set_iterations(2)
    stream(decoder, llrs, 648, 324)
    assert decoder.stats()["iterations"] == 220
    with pytest.raises(ValueError, match="at least 1 iteration, got 0"):
        decoder.set_iterations(0)


@pytest.mark.parametrize("code", [CODE, codes.code("polar-nr:64,30")])
def test_encoder_block_encodes_as_the_call_does(code):
    messages, _ = transmit(code, 50, 1, seed=6)
    codewords = stream(neuralfec.linear_encoder(code), messages, code.k, code.n)
    assert np.array_equal(codewords.reshape(-1, code.n), code.encode(messages))


@pytest.mark.parametrize("codewords", [1, 5])
@pytest.mark.parametrize("threading", [None, "capillary", "ordinary"])
def test_extended_encoder_and_decoder(codewords, threading):
    messages, llrs = transmit(CODE, 40, 0.8, seed=7)
    # Threads each have a decoder object of their own.
    encoders, decoders = (
        [make(CODE, codewords=codewords) for _ in range(2 if threading else 1)]
        for make in (neuralfec.generic_linear_encoder, neuralfec.generic_ldpc_decoder)
    )
    encoder = fec.extended_encoder(encoders if threading else encoders[0], threading, "11")
    assert np.array_equal(stream(encoder, messages), CODE.encode(messages).ravel())
    decoder = fec.extended_decoder(decoders if threading else decoders[0], threading)
    assert np.array_equal(stream(decoder, llrs), messages.ravel())


class Collector(gr.basic_block):
    """Keeps the payload of every PDU."""

    def __init__(self):
        gr.basic_block.__init__(self, "collector", None, None)
        self.payloads = []
        self.message_port_register_in(pmt.intern("pdus"))
        self.set_msg_handler(pmt.intern("pdus"), self.keep)

    def keep(self, message):
        self.payloads.append(pmt.cdr(message))


def test_async_decoder_takes_pdus_of_several_codewords():
    messages, llrs = transmit(CODE, 6, 0.8, seed=8)
    graph = gr.top_block()
    decoder = fec.async_decoder(neuralfec.generic_ldpc_decoder(CODE), False, False, 6 * 324)
    collector = Collector()
    graph.msg_connect(decoder, "out", collector, "pdus")
    for first, last in ((0, 1), (1, 6)):
        payload = pmt.init_f32vector((last - first) * 648, llrs[first:last].ravel().tolist())
        decoder.to_basic_block()._post(pmt.intern("in"), pmt.cons(pmt.PMT_NIL, payload))
    decoder.to_basic_block()._post(
        pmt.intern("system"), pmt.cons(pmt.intern("done"), pmt.from_long(1))
    )
    graph.run()
    received = [np.array(pmt.u8vector_elements(payload)) for payload in collector.payloads]
    assert [len(part) for part in received] == [324, 5 * 324]
    assert np.array_equal(np.concatenate(received), messages.ravel())


def test_tagged_decoder():
    messages, llrs = transmit(CODE, 3, 0.8, seed=9)
    graph = gr.top_block()
    source = blocks.vector_source_f(llrs.ravel().tolist())
    tagger = blocks.stream_to_tagged_stream(gr.sizeof_float, 1, 648, "packet_len")
    decoder = fec.tagged_decoder(
        neuralfec.generic_ldpc_decoder(CODE), gr.sizeof_float, gr.sizeof_char, "packet_len", 1500
    )
    sink = blocks.vector_sink_b()
    graph.connect(source, tagger, decoder, sink)
    graph.run()
    assert np.array_equal(sink.data(), messages.ravel())


def test_frame_sizes_of_gr_fec():
    decoder = neuralfec.generic_ldpc_decoder(CODE, codewords=3)
    encoder = neuralfec.generic_linear_encoder(CODE, codewords=3)
    assert fec.get_decoder_input_size(decoder) == fec.get_encoder_output_size(encoder) == 3 * 648
    assert fec.get_decoder_output_size(decoder) == fec.get_encoder_input_size(encoder) == 3 * 324
    for generic in (decoder, encoder):
        assert generic.set_frame_size(2 * 324)
        assert not generic.set_frame_size(325)
        assert not generic.set_frame_size(0)
    # Else a tagged decoder of GNU Radio 3.10.12 would take the difference for a tail.
    assert fec.get_decoder_input_size(decoder) == fec.get_decoder_output_size(decoder) == 0
    assert decoder.set_frame_size(2 * 324)
    assert fec.get_decoder_input_size(decoder) == 2 * 648


def test_our_llrs_are_right_for_gnu_radios_ldpc_decoder(tmp_path):
    path = tmp_path / "code.alist"
    alist.write(path, CODE.parity_check)
    # GNU Radio 3.10.5 takes a sigma, 3.10.9 does not: by name both take what both have.
    theirs = fec.ldpc_decoder.make(str(path), max_iterations=50)
    rng = np.random.default_rng(10)
    messages = rng.integers(0, 2, (10, 324), dtype=np.uint8)
    encoder = fec.extended_encoder(fec.ldpc_encoder.make(str(path)), None, "11")
    codewords = stream(encoder, messages).reshape(-1, 648)
    assert CODE.is_codeword(codewords).all()
    symbols = 2.0 * codewords - 1 + rng.normal(0, 0.6, codewords.shape)
    llrs = (2 / 0.36 * symbols).astype(np.float32)
    assert np.array_equal(stream(fec.extended_decoder(theirs, None), llrs), messages.ravel())
    flipped = stream(fec.extended_decoder(theirs, None), -llrs)
    assert (flipped != messages.ravel()).mean() > 0.2
    ours = BeliefPropagation(CODE).run(llrs)
    assert np.array_equal(CODE.encode(ours.messages), codewords)


def test_soft_decisions_of_gnu_radio_are_right_for_our_decoder():
    messages, llrs = transmit(CODE, 10, 0.6, seed=11)
    # Its BPSK carries bit 1 at +1.
    graph = gr.top_block()
    source = blocks.vector_source_c((llrs * 0.18).ravel().tolist())
    demapper = digital.constellation_soft_decoder_cf(digital.constellation_bpsk().base())
    sink = blocks.vector_sink_f()
    graph.connect(source, demapper, sink)
    graph.run()
    theirs = np.array(sink.data(), dtype=np.float32).reshape(-1, 648)
    decoded = BeliefPropagation(CODE).run(theirs)
    assert np.array_equal(decoded.messages, messages)
    # A decoder of the other convention is reached by one flip, and left by another.
    assert not BeliefPropagation(CODE).run(-theirs).converged.any()


def test_wrong_codes_and_settings():
    for make in (neuralfec.ldpc_decoder, neuralfec.generic_ldpc_decoder):
        with pytest.raises(ValueError, match=r"systematic codes.LinearCode, got 648"):
            make(648)
        with pytest.raises(ValueError, match=r"systematic codes.LinearCode, got <PolarCode"):
            make("polar-nr:64,32")
        with pytest.raises(ValueError, match="rule sum-product, min-sum or min-sum-int8, got bp"):
            make(CODE, rule="bp")
        with pytest.raises(ValueError, match="at least 1 iteration"):
            make(CODE, iterations=0)
        with pytest.raises(ValueError, match="scale above 0"):
            make(CODE, rule="min-sum", scale=0)
    for make in (neuralfec.linear_encoder, neuralfec.generic_linear_encoder):
        with pytest.raises(ValueError, match=r"codes.LinearCode, got 648"):
            make(648)
    with pytest.raises(ValueError, match="at least 1 codeword, got 0"):
        neuralfec.generic_ldpc_decoder(CODE, codewords=0)
    with pytest.raises(ValueError, match="at least 1 codeword, got 0"):
        neuralfec.generic_linear_encoder(CODE, codewords=0)
