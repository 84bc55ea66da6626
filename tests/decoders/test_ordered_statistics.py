# SPDX-License-Identifier: GPL-3.0-or-later
import itertools

import numpy as np
import pytest
from gnuradio import blocks, fec, gr, neuralfec
from gnuradio.neuralfec.codes import LinearCode, code
from gnuradio.neuralfec.decoders import ordered_statistics
from gnuradio.neuralfec.decoders.ordered_statistics import OrderedStatistics
from gnuradio.neuralfec.decoders.successive_cancellation import PolarDecoder


def transmit(the_code, frames, deviation, seed):
    """Messages, and the LLRs of their codewords as +-1 in real Gaussian noise."""
    rng = np.random.default_rng(seed)
    messages = rng.integers(0, 2, (frames, the_code.k), dtype=np.uint8)
    received = 2.0 * the_code.encode(messages) - 1 + rng.normal(0, deviation, (frames, the_code.n))
    return messages, (2 / deviation**2 * received).astype(np.float32)


def maximum_likelihood(the_code, llrs):
    every = np.array(list(itertools.product((0, 1), repeat=the_code.k)), dtype=np.uint8)
    signs = 2.0 * the_code.encode(every) - 1
    return every[np.argmax(llrs @ signs.T, axis=1)]


@pytest.mark.parametrize("spec", ["polar-nr:16,4", "rm:1,3", "bch:15,5", "polar-nr:32,10"])
def test_order_k_is_maximum_likelihood(spec):
    # Orders above 4 are not offered: 4 is order k for k = 4; beyond, the excess of order 4
    # over exhaustive search has to be invisible in codes this small.
    the_code = code(spec)
    _, llrs = transmit(the_code, 2000, 1.2, 1)
    decoded, _ = OrderedStatistics(the_code, 4).decode(llrs)
    expected = maximum_likelihood(the_code, llrs)
    different = (decoded != expected).any(axis=1)
    assert different.sum() <= (0 if the_code.k <= 5 else 2)


def test_order_4_has_the_error_rate_of_maximum_likelihood():
    the_code = code("polar-nr:64,14")
    messages, llrs = transmit(the_code, 1500, 1.35, 2)
    wrong = (OrderedStatistics(the_code, 4).decode(llrs)[0] != messages).any(axis=1).sum()
    exact = (maximum_likelihood(the_code, llrs) != messages).any(axis=1).sum()
    assert exact > 50
    assert exact <= wrong <= exact + 2 * np.sqrt(exact)


def test_orders_and_a_long_list_agree_near_maximum_likelihood():
    """The nearest word of OSD-3 is at least as near as that of a list decoder of 32 paths."""
    the_code = code("polar-nr:64,32")
    messages, llrs = transmit(the_code, 1500, 0.8, 3)
    distances = []
    for order in (0, 1, 2, 3):
        decoded, _ = OrderedStatistics(the_code, order).decode(llrs)
        distances.append(ordered_statistics.distance(the_code.encode(decoded), llrs))
    for nearer, farther in itertools.pairwise(distances[::-1]):
        assert (nearer <= farther * (1 + 1e-5)).all()
    listed, _ = PolarDecoder(the_code, 32).decode(llrs)
    of_list = ordered_statistics.distance(the_code.encode(listed), llrs)
    assert np.mean(distances[3] > of_list * (1 + 1e-5)) < 0.003
    bound = ordered_statistics.surely_wrong(the_code, messages, listed, llrs).sum()
    assert 0 < bound <= (listed != messages).any(axis=1).sum()


@pytest.mark.parametrize("spec", ["polar-nr:32,10", "bch:31,11"])
def test_an_early_end_is_near_maximum_likelihood(spec):
    """Order 4 beside exhaustive search; true LLRs."""
    the_code = code(spec)
    messages, llrs = transmit(the_code, 2000, 0.9, 8)
    expected = maximum_likelihood(the_code, llrs)
    decoded, _ = OrderedStatistics(the_code, 4, early=True).decode(llrs)
    wrong = (expected != messages).any(axis=1).sum()
    assert wrong > 20
    assert (decoded != messages).any(axis=1).sum() <= 1.1 * wrong
    assert (decoded != expected).any(axis=1).sum() <= 0.15 * wrong


def test_an_early_end_costs_no_errors_and_leaves_nothing_out_at_large_llrs():
    the_code = code("polar-nr:128,64")
    messages, llrs = transmit(the_code, 500, 0.78, 9)
    plain, _ = OrderedStatistics(the_code, 2).decode(llrs)
    early, _ = OrderedStatistics(the_code, 2, early=True).decode(llrs)
    errors = [(words != messages).any(axis=1).sum() for words in (plain, early)]
    assert 20 < errors[0] <= errors[1] <= 1.1 * errors[0]
    # The nearest word it tries is never nearer than the best of all that are tried.
    distances = [
        ordered_statistics.distance(the_code.encode(words), llrs) for words in (plain, early)
    ]
    assert (distances[0] <= distances[1] * (1 + 1e-5)).all()
    certain, _ = OrderedStatistics(the_code, 2, early=True).decode(llrs * np.float32(1e4))
    assert np.array_equal(certain, plain)


def test_other_llrs_can_order_the_positions():
    the_code = code("bch:63,45")
    messages, llrs = transmit(the_code, 300, 0.7, 4)
    # Told the codeword, order 0 finds it, for any channel LLRs.
    told = 2.0 * the_code.encode(messages) - 1
    assert np.array_equal(OrderedStatistics(the_code, 0).decode(llrs, told)[0], messages)
    # With order 1 it takes the nearer of all words one change away.
    decoded, _ = OrderedStatistics(the_code, 1).decode(llrs, told)
    sent = ordered_statistics.distance(the_code.encode(messages), llrs)
    found = ordered_statistics.distance(the_code.encode(decoded), llrs)
    assert (found <= sent * (1 + 1e-5)).all()


def test_scale_and_sent_word_change_nothing():
    the_code = code("polar-nr:64,32")
    messages, llrs = transmit(the_code, 400, 0.85, 5)
    decoder = OrderedStatistics(the_code, 2)
    decoded, _ = decoder.decode(llrs)
    assert np.array_equal(decoder.decode(llrs * np.float32(0.125))[0], decoded)
    # The same errors on the zero codeword.
    towards_zero = llrs * (1 - 2.0 * the_code.encode(messages)).astype(np.float32)
    assert np.array_equal(decoder.decode(towards_zero)[0], decoded ^ messages)


@pytest.mark.parametrize("early", [False, True])
def test_block_and_generic_decoder(early):
    the_code = code("bch:31,16")
    _, llrs = transmit(the_code, 300, 0.8, 6)
    llrs[3, 3], llrs[7, 30] = np.nan, np.inf
    expected, stats = OrderedStatistics(the_code, 2, early=early).decode(llrs)
    assert stats == {"frames": 300, "bad_samples": 1}
    block = neuralfec.osd_decoder(the_code, order=2, early=early)
    generic = neuralfec.generic_osd_decoder(the_code, order=2, early=early)
    assert fec.get_decoder_input_size(generic) == 31
    around = fec.extended_decoder(generic, threading=None)
    for decoder, n, k in ((block, 31, 16), (around, 1, 1)):
        graph = gr.top_block()
        source = blocks.vector_source_f(llrs.ravel().tolist(), False, n)
        sink = blocks.vector_sink_b(k)
        graph.connect(source, decoder, sink)
        graph.run()
        assert np.array_equal(np.array(sink.data()).reshape(-1, 16), expected)
    assert block.stats() == stats


def test_refuses():
    the_code = code("bch:15,7")
    for argument in ("", "5", "x", "-1", "2,", "2,late", "early"):
        with pytest.raises(ValueError, match="order"):
            ordered_statistics.osd(argument, the_code)
    decoder = ordered_statistics.osd("1", the_code)
    with pytest.raises(ValueError, match="15"):
        decoder.decode(np.zeros((2, 14), dtype=np.float32))
    with pytest.raises(ValueError, match="15"):
        decoder.decode(np.zeros((2, 15), dtype=np.float32), np.zeros((2, 14), dtype=np.float32))


def test_the_packed_map_is_the_product():
    from gnuradio.neuralfec import _kernels

    rng = np.random.default_rng(7)
    for rows, columns in ((1, 1), (7, 64), (65, 130)):
        matrix = rng.integers(0, 2, (rows, columns), dtype=np.uint8)
        words = rng.integers(0, 2, (20, rows), dtype=np.uint8)
        assert np.array_equal(_kernels.Gf2Map(matrix).apply(words), words @ matrix % 2)
    the_code = code("polar-nr:64,32")
    words = rng.integers(0, 2, (20, 64), dtype=np.uint8)
    assert np.array_equal(
        _kernels.Gf2Map(the_code.parity_check.T).apply(words), the_code.syndrome(words)
    )


def test_pseudo_inverse():
    for spec in ("polar-nr:32,11", "bch:31,21", "rm:2,5"):
        the_code = code(spec)
        product = the_code.generator @ the_code.pseudo_inverse % 2
        assert np.array_equal(product, np.eye(the_code.k))


@pytest.mark.parametrize(
    ("spec", "d_min"), [("bch:15,7", 5), ("bch:15,5", 7), ("bch:31,11", 11), ("bch:7,4", 3)]
)
def test_bch_codes_have_their_designed_distance(spec, d_min):
    the_code = code(spec)
    every = np.array(list(itertools.product((0, 1), repeat=the_code.k)), dtype=np.uint8)
    words = the_code.encode(every)
    assert words[1:].sum(axis=1).min() == d_min
    # Cyclic, and systematic in front.
    assert not the_code.syndrome(np.roll(words[:100], 1, axis=1)).any()
    assert np.array_equal(words[:, : the_code.k], every)


def test_reed_muller_codes():
    # RM(1, 4): 16 bits, k = 5, all words but 0 and 1 have weight 8.
    the_code = code("rm:1,4")
    assert (the_code.n, the_code.k) == (16, 5)
    every = np.array(list(itertools.product((0, 1), repeat=5)), dtype=np.uint8)
    weights = the_code.encode(every).sum(axis=1)
    assert sorted(weights) == [0, *[8] * 30, 16]


def test_mat_files(tmp_path):
    import scipy.io
    import scipy.sparse

    bch = code("bch:15,7")
    path = tmp_path / "code.mat"
    for contents in (
        {"H": bch.parity_check},
        {"H": bch.parity_check.astype(float), "G": bch.generator},
        {"checks": scipy.sparse.csc_matrix(bch.parity_check.astype(float)), "rate": 0.47},
    ):
        scipy.io.savemat(path, contents)
        loaded = code(f"mat:{path}")
        assert isinstance(loaded, LinearCode)
        assert np.array_equal(loaded.parity_check, bch.parity_check)
        assert not bch.syndrome(loaded.encode(np.eye(7, dtype=np.uint8))).any()
    for contents in ({}, {"A": bch.parity_check, "B": bch.generator}, {"H": bch.parity_check * 2}):
        scipy.io.savemat(path, contents)
        with pytest.raises(ValueError, match="expected"):
            code(f"mat:{path}")
    path.write_text("no MATLAB file")
    with pytest.raises(ValueError, match="MATLAB"):
        code(f"mat:{path}")


@pytest.mark.parametrize("spec", ["bch:63,44", "bch:64,32", "bch:63", "rm:3,3", "rm:x,4", "rm:2"])
def test_refuses_codes(spec):
    with pytest.raises(ValueError, match="expected"):
        code(spec)
