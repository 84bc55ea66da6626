# SPDX-License-Identifier: GPL-3.0-or-later
"""Viterbi, BCJR and the recurrent decoder: exhaustive search, gr-fec, bounds, each other."""

import math

import numpy as np
import pytest
import torch
from gnuradio.neuralfec import _kernels, models
from gnuradio.neuralfec.codes import code
from gnuradio.neuralfec.decoders import convolutional
from gnuradio.neuralfec.sequence import decoder

TERMINATIONS = ["none", "zero", "tail-biting"]


def transmit(the_code, frames, snr_db, seed):
    """Messages and true LLRs over +-1 and real noise of variance 10^(-SNR/10)."""
    rng = np.random.default_rng(seed)
    messages = rng.integers(0, 2, (frames, the_code.k), dtype=np.uint8)
    noise_var = 10 ** (-snr_db / 10)
    sent = 2.0 * the_code.encode(messages) - 1
    received = sent + math.sqrt(noise_var) * rng.standard_normal(sent.shape)
    return messages, (2 / noise_var * received).astype(np.float32)


def all_messages(k):
    return (np.arange(1 << k)[:, None] >> np.arange(k) & 1).astype(np.uint8)


@pytest.mark.parametrize("termination", TERMINATIONS)
@pytest.mark.parametrize("generators", ["7,5", "7,5/7", "171,133@110110", "13,15,17"])
def test_viterbi_and_bcjr_are_exhaustive_search(generators, termination):
    the_code = code(f"conv:{generators}:11:{termination}")
    book = all_messages(11)
    codewords = the_code.encode(book)
    _, llrs = transmit(the_code, 100, 0, 1)
    metrics = llrs @ codewords.T.astype(np.float32)
    best = metrics.max(axis=1)

    def metric(decided):
        words = the_code.encode(decided)
        return (words * llrs).sum(axis=1)

    # 11 bits of an LLR can err by half a level for each of n.
    close = metric(convolutional.ViterbiDecoder(the_code).decode(llrs)[0])
    assert (best - close).max() < 0.05 * np.abs(llrs).mean()

    weights = np.exp(metrics - best[:, None]).astype(np.float64)
    ones, zeros = weights @ book, weights @ (1 - book)
    posteriors, _ = convolutional.BcjrDecoder(the_code).posteriors(llrs)
    np.testing.assert_allclose(posteriors, np.log(ones / zeros), atol=2e-3)
    largest = [np.where(book == bit, metrics[:, :, None], -np.inf).max(axis=1) for bit in (0, 1)]
    posteriors, _ = convolutional.BcjrDecoder(the_code, "max-log").posteriors(llrs)
    np.testing.assert_allclose(posteriors, largest[1] - largest[0], atol=1e-3)


@pytest.mark.parametrize("spec", ["7,5", "7,5/7", "171,133", "561,753", "133,171,165"])
def test_no_error_without_noise(spec):
    rng = np.random.default_rng(2)
    the_code = code(f"conv:{spec}:20000:zero")
    messages = rng.integers(0, 2, (64, the_code.k), dtype=np.uint8)
    llrs = 4 * the_code.encode(messages).astype(np.float32) - 2
    for metric in ("int16", "int8"):
        decided, stats = convolutional.ViterbiDecoder(the_code, metric).decode(llrs)
        assert np.array_equal(decided, messages)
        assert stats == {"frames": 64, "bad_samples": 0}


def error_event_spectrum(generators, memory, limit):
    """Message bits of all paths that leave state 0 and come back to it, by codeword weight."""
    bits = np.zeros(limit + 1)
    mask = (1 << memory) - 1

    def output_weight(register):
        # The newest bit is the most significant of a generator, the least of the register.
        return sum(
            sum((g >> (memory - i) & 1) & (register >> i & 1) for i in range(memory + 1)) & 1
            for g in generators
        )

    # From state 1 after the first edge: (state, weight, message bits) -> number of paths.
    paths = {(1, output_weight(1), 1): 1}
    while paths:
        longer = {}
        for (state, weight, ones), count in paths.items():
            for bit in (0, 1):
                register = state << 1 | bit
                total = weight + output_weight(register)
                if total > limit:
                    continue
                if register & mask == 0:
                    bits[total] += count * (ones + bit)
                else:
                    key = (register & mask, total, ones + bit)
                    longer[key] = longer.get(key, 0) + count
        paths = longer
    return bits


def test_union_bound():
    """At high SNR the bit error rate is the union bound sum_d B_d Q(sqrt(d / noise_var))."""
    spectrum = error_event_spectrum([7, 5], 2, 14)
    assert spectrum[:8].tolist() == [0, 0, 0, 0, 0, 1, 4, 12]
    the_code = code("conv:7,5:1000:zero")
    snr_db = 5.0
    bound = sum(
        b * 0.5 * math.erfc(math.sqrt(d * 10 ** (snr_db / 10) / 2)) for d, b in enumerate(spectrum)
    )
    messages, llrs = transmit(the_code, 6000, snr_db, 3)
    for one in (convolutional.ViterbiDecoder(the_code), convolutional.BcjrDecoder(the_code)):
        errors = np.count_nonzero(one.decode(llrs)[0] != messages)
        # 600 errors in events of 1 to 3 bits; the bound is 5 % above the truth here.
        assert errors / messages.size == pytest.approx(bound, rel=0.2)


def test_int8_loses_little():
    the_code = code("conv:171,133:1000:zero")
    messages, llrs = transmit(the_code, 300, 1.5, 4)
    _, better = transmit(the_code, 300, 2.0, 4)
    errors = [
        np.count_nonzero(convolutional.ViterbiDecoder(the_code, metric).decode(x)[0] != messages)
        for metric, x in (("int16", better), ("int8", better), ("int16", llrs))
    ]
    assert errors[0] <= errors[1] < errors[2]


def test_stream_cut_anywhere():
    rng = np.random.default_rng(5)
    the_code = code("conv:171,133@1101:30000")
    message = rng.integers(0, 2, (1, the_code.k), dtype=np.uint8)
    sent = 2.0 * the_code.encode(message)[0] - 1
    llrs = (sent + 0.5 * rng.standard_normal(sent.size)).astype(np.float32)

    def run(cuts):
        stream = _kernels.ViterbiStream(**the_code.stream_arguments(), block=500)
        return np.concatenate([stream.decode(part)[0] for part in np.split(llrs, cuts)])

    whole = run([])
    assert len(whole) >= the_code.k - 600
    assert np.count_nonzero(whole != message[0, : len(whole)]) < 10
    assert np.array_equal(run(range(1, 3000)), whole)
    assert np.array_equal(run(np.sort(rng.integers(0, llrs.size, 40))), whole)


@pytest.fixture(scope="module")
def model():
    return decoder.RecurrentModel(code("conv:7,5"))


def test_kernel_is_the_torch_network(model):
    network, _ = models.load("sequence/conv-7-5")
    x = np.random.default_rng(6).standard_normal((37, 60, 2)).astype(np.float32)
    with torch.inference_mode():
        expected = network(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(model(x), expected, atol=1e-4)


@pytest.mark.statistics
@pytest.mark.parametrize("generators", ["7,5", "7,5/7"])
@pytest.mark.parametrize("termination", TERMINATIONS)
def test_rnn_matches_viterbi(generators, termination):
    """BER at most 1.05 of Viterbi's (a known start, an unknown and a circular end alike), within
    three standard deviations of its count."""
    the_code = code(f"conv:{generators}:100:{termination}")
    messages, llrs = transmit(the_code, 700, 2.0, 7)
    viterbi, rnn = (
        np.count_nonzero(one.decode(llrs)[0] != messages, axis=1)
        for one in (convolutional.ViterbiDecoder(the_code), decoder.RnnDecoder(the_code))
    )
    difference = rnn - 1.05 * viterbi
    assert difference.sum() < 3 * math.sqrt(len(difference)) * difference.std()


@pytest.mark.statistics
def test_rnn_windows_do_not_matter():
    the_code = code("conv:7,5:1500:zero")
    _, llrs = transmit(the_code, 20, 3.0, 8)
    short, _ = decoder.RnnDecoder(the_code, window=100, overlap=32).posteriors(llrs)
    whole, _ = decoder.RnnDecoder(the_code, window=1600).posteriors(llrs)
    assert np.mean((short > 0) != (whole > 0)) < 2e-4
    scaled, _ = decoder.RnnDecoder(the_code, window=1600).posteriors(llrs * 64)
    assert np.array_equal(scaled, whole)


def test_rnn_stream_cut_anywhere():
    the_code = code("conv:7,5:6000")
    messages, llrs = transmit(the_code, 1, 5.0, 9)
    llrs = llrs[0]

    def run(cuts):
        stream = decoder.RnnStream(the_code, window=300)
        return np.concatenate([stream.decode(part)[0] for part in np.split(llrs, cuts)])

    whole = run([])
    assert len(whole) == 300 * ((6000 - 32) // 300)
    assert np.count_nonzero(whole != messages[0, : len(whole)]) <= 6
    assert np.array_equal(run(range(50, llrs.size, 1111)), whole)
    stream = decoder.RnnStream(the_code, window=300)
    pieces, position = [], 0
    while position < llrs.size and (room := stream.room(600)):
        bits, _ = stream.decode(llrs[position : position + room])
        assert len(bits) <= 600
        pieces.append(bits)
        position += room
    assert np.array_equal(np.concatenate(pieces), whole)


def test_nothing_known():
    """NaN is counted and decodes as zero."""
    the_code = code("conv:7,5:50:zero")
    _, llrs = transmit(the_code, 3, 2.0, 10)
    llrs[0, 5], llrs[1, 6], llrs[2, 7] = np.nan, np.nan, np.nan
    erased = np.where(np.isfinite(llrs), llrs, 0)
    for make in (convolutional.viterbi, convolutional.bcjr, decoder.rnn):
        one = make("", the_code)
        decided, stats = one.decode(llrs)
        assert stats == {"frames": 3, "bad_samples": 3}
        again, stats = one.decode(erased)
        assert np.array_equal(decided, again) and stats["bad_samples"] == 0


def test_refuses():
    the_code = code("conv:7,5")
    for make in (convolutional.viterbi, convolutional.bcjr, decoder.rnn):
        with pytest.raises(ValueError, match="convolutional"):
            make("", code("wifi-648"))
        with pytest.raises(ValueError, match="200"):
            make("", the_code).decode(np.zeros((2, 199), dtype=np.float32))
        with pytest.raises(ValueError, match=r"expected|shipped"):
            make("nonsense", the_code)
    with pytest.raises(ValueError, match="unpunctured"):
        decoder.rnn("", code("conv:7,5@1101"))
    with pytest.raises(ValueError, match="shipped"):
        decoder.rnn("", code("conv:171,133"))
    with pytest.raises(ValueError, match="generators"):
        decoder.rnn("sequence/conv-7-5", code("conv:5,7"))
    with pytest.raises(ValueError, match="overlap"):
        decoder.RnnStream(the_code, overlap=3)
