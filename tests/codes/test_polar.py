# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
from gnuradio import blocks, fec, gr, neuralfec
from gnuradio.neuralfec.codes import code, polar
from gnuradio.neuralfec.decoders import decoder
from gnuradio.neuralfec.decoders.ordered_statistics import OrderedStatistics
from gnuradio.neuralfec.decoders.successive_cancellation import PolarDecoder, sc, scl


def transmit(the_code, frames, deviation, seed):
    """Messages, and the LLRs of their codewords as +-1 in real Gaussian noise."""
    rng = np.random.default_rng(seed)
    messages = rng.integers(0, 2, (frames, the_code.k), dtype=np.uint8)
    received = 2.0 * the_code.encode(messages) - 1 + rng.normal(0, deviation, (frames, the_code.n))
    return messages, (2 / deviation**2 * received).astype(np.float32)


def block_errors(messages, decoded):
    return int((messages != decoded).any(axis=1).sum())


def in_flow_graph(block, llrs, n, k):
    """The bits that a block, or gr-fec's extended_decoder around a decoder, makes of LLRs."""
    graph = gr.top_block()
    frames = isinstance(block, neuralfec.polar_decoder)
    source = blocks.vector_source_f(llrs.ravel().tolist(), False, n if frames else 1)
    sink = blocks.vector_sink_b(k if frames else 1)
    decoder = block if frames else fec.extended_decoder(block, threading=None)
    graph.connect(source, decoder, sink)
    graph.run()
    return np.array(sink.data(), dtype=np.uint8).reshape(-1, k)


def bit_reversal(n):
    bits = n.bit_length() - 1
    return np.array([int(f"{i:0{bits}b}"[::-1], 2) for i in range(n)])


def test_codewords_by_hand():
    # u = (0, 0, 0, a, 0, b, c, d): the (8, 4) extended Hamming code.
    the_code = code("polar-nr:8,4")
    assert the_code.unfrozen.tolist() == [3, 5, 6, 7]
    assert the_code.encode([[1, 0, 0, 0], [0, 0, 0, 1]]).tolist() == [
        [1, 1, 1, 1, 0, 0, 0, 0],
        [1, 1, 1, 1, 1, 1, 1, 1],
    ]


@pytest.mark.parametrize(
    ("spec", "d_min_at_least"), [("polar-nr:64,32", 8), ("polar-rptu:128,64", 8)]
)
def test_least_weight_of_the_generators_rows(spec, d_min_at_least):
    # The least weight of a polar code is that of the lightest row of F^(x)m it takes.
    assert code(spec).generator.sum(axis=1).min() == d_min_at_least


def test_the_two_128_64_codes_differ_in_seven_positions():
    nr, rptu = code("polar-nr:128,64"), code("polar-rptu:128,64")
    assert np.setdiff1d(nr.unfrozen, rptu.unfrozen).size == 7


def test_syndrome_is_the_transform_on_the_frozen_set():
    the_code = code("polar-nr:32,13")
    words = np.random.default_rng(1).integers(0, 2, (50, 32), dtype=np.uint8)
    frozen = np.setdiff1d(np.arange(32), the_code.unfrozen)
    u = words @ polar.transform_matrix(32) % 2
    assert np.array_equal(the_code.syndrome(words), u[:, frozen])


@pytest.mark.parametrize(
    ("crc", "degree", "polynomial"), [("crc6", 6, 0b1100001), ("crc11", 11, 0xE21)]
)
def test_crc_by_polynomial_division(crc, degree, polynomial):
    the_code = code(f"polar-nr:64,20,{crc}")
    rng = np.random.default_rng(2)
    messages = rng.integers(0, 2, (20, 20), dtype=np.uint8)
    u = the_code.encode(messages) @ polar.transform_matrix(64) % 2
    for message, bits in zip(messages, u[:, the_code.unfrozen], strict=True):
        assert np.array_equal(bits[:20], message)
        remainder = int("".join(map(str, bits)), 2)
        while remainder.bit_length() > degree:
            remainder ^= polynomial << remainder.bit_length() - degree - 1
        assert remainder == 0


def test_encodes_as_gnu_radio_does():
    the_code = code("polar-nr:64,32")
    messages = np.random.default_rng(3).integers(0, 2, (10, 32), dtype=np.uint8)
    frozen = np.setdiff1d(np.arange(64), the_code.unfrozen)
    encoder = fec.polar_encoder.make(64, 32, frozen.tolist(), [])
    graph = gr.top_block()
    source = blocks.vector_source_b(messages.ravel().tolist())
    sink = blocks.vector_sink_b()
    around = fec.extended_encoder(encoder, threading=None, puncpat="11")
    graph.connect(source, around, sink)
    graph.run()
    theirs = np.array(sink.data(), dtype=np.uint8).reshape(-1, 64)
    assert np.array_equal(theirs[:, bit_reversal(64)], the_code.encode(messages))


@pytest.mark.parametrize("list_size", [1, 8])
def test_decides_as_gnu_radios_decoders_do(list_size):
    """gr-fec's codewords are bit-reversed, its decoders' arithmetic is min-sum as well."""
    the_code = code("polar-nr:64,32")
    frames = 1500
    messages, llrs = transmit(the_code, frames, 0.75, 4)
    frozen = np.setdiff1d(np.arange(64), the_code.unfrozen).tolist()
    theirs = (
        fec.polar_decoder_sc.make(64, 32, frozen, [])
        if list_size == 1
        else fec.polar_decoder_sc_list.make(list_size, 64, 32, frozen, [])
    )
    expected = in_flow_graph(theirs, llrs[:, bit_reversal(64)], 64, 32)
    decoded, stats = PolarDecoder(the_code, list_size).decode(llrs)
    assert stats == {"frames": frames, "bad_samples": 0}
    wrong = block_errors(messages, expected)
    assert wrong > 30
    different = (decoded != expected).any(axis=1)
    assert different.sum() <= (0 if list_size == 1 else wrong / 2)
    # gr-fec's list loses paths: where the two differ ours is the likelier word.
    signs = 2.0 * the_code.encode(decoded) - 2.0 * the_code.encode(expected)
    assert (np.sum(signs * llrs, axis=1)[different] > 0).all()


def test_a_longer_list_and_a_crc_make_fewer_errors():
    the_code = code("polar-nr:128,64,crc6")
    messages, llrs = transmit(the_code, 2000, 0.72, 5)
    errors = [
        block_errors(messages, PolarDecoder(the_code, list_size).decode(llrs)[0])
        for list_size in (1, 2, 8, 32)
    ]
    assert errors == sorted(errors, reverse=True)
    assert errors[-1] < errors[0] / 4
    without = code("polar-nr:128,70")
    plain = PolarDecoder(without, 8).decode(llrs)[0][:, :64]
    assert errors[2] < block_errors(messages, plain)


def test_the_block_decides_and_checks_as_the_decoder_of_a_rate_matched_code_does():
    the_code = code("nr-polar:64,108")
    _, llrs = transmit(the_code, 200, 0.75, 9)
    whole, _ = the_code.expand(llrs)
    expected = PolarDecoder(the_code.mother, 4).run(whole)
    block = neuralfec.polar_decoder(the_code, list_size=4)
    graph = gr.top_block()
    messages, checks = blocks.vector_sink_b(64), blocks.vector_sink_b()
    graph.connect(blocks.vector_source_f(llrs.ravel().tolist(), False, 108), block, messages)
    graph.connect((block, 1), checks)
    graph.run()
    assert np.array_equal(np.reshape(messages.data(), (-1, 64)), expected.messages)
    assert np.array_equal(checks.data(), expected.crc_holds)
    assert 0 < expected.crc_holds.sum() == block.stats()["crc_holds"] < 200


def test_ordered_statistics_decide_what_the_list_loses():
    """Each frame's word is the list's, or that of ordered statistics where its check fails."""
    the_code = code("polar-nr:64,24,crc11")
    sent, llrs = transmit(the_code, 1000, 0.85, 10)
    listed = PolarDecoder(the_code, 2).run(llrs)
    ordered, _ = OrderedStatistics(the_code, 2).decode(llrs)
    decoded, stats = decoder("scl-osd:2,2", the_code).decode(llrs)
    expected = np.where(listed.crc_holds[:, None], listed.messages, ordered)
    assert np.array_equal(decoded, expected)
    assert stats == {"frames": 1000, "bad_samples": 0, "crc_holds": listed.crc_holds.sum()}
    assert 0 < block_errors(sent, decoded) < block_errors(sent, listed.messages) / 2
    with pytest.raises(ValueError, match="CRC"):
        decoder("scl-osd:2,2", code("polar-nr:64,32"))
    for argument in ("", "2", "3,2", "2,5", "2,2,2", "2,2early"):
        with pytest.raises(ValueError, match="expected"):
            decoder(f"scl-osd:{argument}", the_code)


def test_an_ensemble_comes_near_maximum_likelihood_and_stops_early():
    the_code = code("rm:2,5")
    sent, llrs = transmit(the_code, 3000, 0.75, 11)
    # Order 3 finds the nearest word of so short a code.
    best, _ = OrderedStatistics(the_code, 3).decode(llrs)
    alone, _ = sc("", the_code).decode(llrs)
    decoded, stats = decoder("ae-sc:32", the_code).decode(llrs)
    whole, whole_stats = decoder("ae-sc:32,32", the_code).decode(llrs)
    errors = [block_errors(sent, words) for words in (best, whole, decoded, alone)]
    assert 50 < errors[0] <= 1.05 * errors[1] and errors[2] <= 1.05 * errors[0] < errors[3] / 1.3
    assert block_errors(whole, best) < 0.03 * errors[0]
    assert stats["decodings"] < 12 * 3000 and whole_stats["decodings"] > 30 * 3000
    assert np.array_equal(decoder("ae-sc:1", the_code).decode(llrs)[0], alone)


def test_refuses_ensembles():
    for argument in ("", "0", "8,0", "x", "8,2,3"):
        with pytest.raises(ValueError, match="expected"):
            decoder(f"ae-sc:{argument}", code("rm:2,5"))
    with pytest.raises(ValueError, match="CRC"):
        decoder("ae-sc:8", code("polar-nr:64,32,crc6"))
    with pytest.raises(ValueError, match="no more affine"):
        decoder("ae-sc:25", code("rm:1,2"))  # All 24 of AGL(2, 2).


def test_exact_check_nodes_make_no_more_errors():
    the_code = code("polar-nr:256,128")
    messages, llrs = transmit(the_code, 4000, 0.78, 6)
    errors = {
        exact: block_errors(messages, PolarDecoder(the_code, exact=exact).decode(llrs)[0])
        for exact in (False, True)
    }
    assert errors[True] < errors[False]


@pytest.mark.parametrize("list_size", [1, 4])
def test_block_and_generic_decoder(list_size):
    the_code = code("polar-nr:64,32")
    _, llrs = transmit(the_code, 700, 0.8, 7)
    llrs[5, 7], llrs[6, 3] = np.nan, -np.inf
    expected, stats = PolarDecoder(the_code, list_size).decode(llrs)
    assert stats["bad_samples"] == 1
    block = neuralfec.polar_decoder(the_code, list_size=list_size)
    assert np.array_equal(in_flow_graph(block, llrs, 64, 32), expected)
    assert block.stats() == {"frames": 700, "bad_samples": 1}
    generic = neuralfec.generic_polar_decoder("polar-nr:64,32", list_size=list_size)
    assert np.array_equal(in_flow_graph(generic, llrs, 64, 32), expected)
    assert fec.get_decoder_input_size(generic) == 64
    assert fec.get_decoder_output_size(generic) == 32


@pytest.mark.parametrize(
    "spec",
    [
        "polar-nr:64",
        "polar-nr:64,65",
        "polar-nr:64,0",
        "polar-nr:48,24",
        "polar-nr:2048,256",
        "polar-nr:64,32,crc5",
        "polar-nr:16,8,crc11",
        "polar-nr:64,x",
        "polar-rptu:64,32",
    ],
)
def test_refuses_codes(spec):
    with pytest.raises(ValueError, match="expected"):
        code(spec)


def test_refuses_decoders_and_llrs():
    the_code = code("polar-nr:64,32")
    for spec in ("3", "512", "x", "8,fast", ""):
        with pytest.raises(ValueError, match="expected"):
            scl(spec, the_code)
    with pytest.raises(ValueError, match="expected"):
        sc("fast", the_code)
    with pytest.raises(ValueError, match="polar code"):
        sc("", code("wifi-648"))
    with pytest.raises(ValueError, match="64"):
        sc("", the_code).decode(np.zeros((2, 63), dtype=np.float32))
    with pytest.raises(ValueError, match="rising"):
        polar.PolarCode(8, [5, 3])


@pytest.mark.parametrize(
    "spec", ["polar-nr:512,32,crc24c", "polar-nr:512,64,crc11", "polar-nr:1024,512,crc11"]
)
def test_long_codes_with_crc(spec):
    the_code = code(spec)
    messages, llrs = transmit(the_code, 30, 0.5, 8)
    assert np.array_equal(decoder("scl:8", the_code).decode(llrs)[0], messages)


def test_setting_a_bit_of_an_index_makes_it_more_reliable():
    # The addition rule of Schuerch, "A partial order for the synthesized channels of a polar
    # code", ISIT 2016.
    order = polar.nr_order(1024)
    assert np.array_equal(np.sort(order), np.arange(1024))
    rank = np.argsort(order)
    index = np.arange(1024)
    for bit in range(10):
        without = index[~index & 1 << bit > 0]
        assert (rank[without] < rank[without | 1 << bit]).all()
