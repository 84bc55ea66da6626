# SPDX-License-Identifier: GPL-3.0-or-later
"""Analog feedback over bursts: answers against plain NumPy, and both ends with one belief."""

import numpy as np
import pytest
from gnuradio.neuralfec import _kernels
from gnuradio.neuralfec.decoders import decoder as make_decoder
from gnuradio.neuralfec.phy.burst import BurstReceiver
from gnuradio.neuralfec.phy.channel import complex_normal
from gnuradio.neuralfec.phy.impairments import Impairments
from gnuradio.neuralfec.radio.feedback_answers import Reply
from gnuradio.neuralfec.radio.feedback_framing import FeedbackFraming, feedback_code
from gnuradio.neuralfec.radio.feedback_link import Initiator, Responder


@pytest.fixture(scope="module")
def code():
    return feedback_code("analog", threshold=10)


def made(code, rng, count, share=0.12):
    """A round: numbers of all groups, which are decided, and what both ends know of that."""
    numbers = rng.choice(np.arange(-3, 4), count, p=[0.02, 0.1, 0.22, 0.32, 0.22, 0.1, 0.02])
    known = rng.integers(0, 10, count).astype(np.uint8)
    decided = rng.random(count) < share * known / 4.5
    feedback = np.where(decided, 0, numbers * code.amplitude).astype(np.float32)
    told = rng.integers(0, 256, 104, np.uint8)
    return numbers, Reply(told, feedback, decided), known


def through(rng, framing, payload, snr_db, taps=1):
    """The burst that comes of payload values."""
    channel = Impairments(taps=f"rayleigh:{taps}", cfo=0.02, clock_offset=1e-5, phase_noise_dbc=-95)
    samples = channel.apply(np.pad(framing.samples(payload, 0), 700), rng)
    noise = complex_normal(rng, samples.shape, framing.format.noise_var(snr_db))
    (burst,) = BurstReceiver(framing.format).push((samples + noise).astype(np.complex64))
    return burst


def plainly(framing, burst, coded, count):
    """The reals behind the coded part: zero forcing, inverse transform, the permutation undone."""
    width = framing.format.data
    grid = (burst.y / burst.h).reshape(-1, width)[coded:]
    values = np.fft.ifft(grid).ravel() * np.sqrt(2 * width)
    mixed = np.column_stack([values.real, values.imag]).ravel()
    return mixed[_kernels.random_permutation(mixed.size, 1)][:count] if count else mixed


@pytest.mark.parametrize(
    "constellation, code_name",
    [("qam64", "wifi-648-5/6"), ("qam256", "wifi-648"), ("qam4", "wifi-1944-1/2")],
)
@pytest.mark.parametrize("count", [1, 40, 9001])
def test_an_answer_is_what_plain_numpy_hears(code, constellation, code_name, count):
    """Nothing is lost, and the mask costs its entropy."""
    framing = FeedbackFraming(code, 800, "burst-128", code_name, constellation)
    rng = np.random.default_rng(count)
    numbers, reply, known = made(code, rng, count)
    payload, coded = framing.answers.payload(reply, known)
    going = ~reply.decided
    burst = through(rng, framing, payload, 30)
    symbols = -(-going.sum() // (2 * framing.format.data))
    heard = plainly(framing, burst, burst.symbols - symbols, going.sum())
    np.testing.assert_array_equal(np.rint(heard / code.amplitude), numbers[going])
    assert np.abs(heard - reply.feedback[going]).max(initial=0) < 0.3
    decoder = make_decoder("min-sum-int8:50", framing.answer_code)
    found = framing.answers.read(burst, coded, known, decoder)
    np.testing.assert_array_equal(found.feedback, reply.feedback)
    np.testing.assert_array_equal(found.decided, reply.decided)
    np.testing.assert_array_equal(found.told, reply.told)
    assert found.misheard == 0
    share = np.clip(0.12 * known / 4.5, 1e-9, 1)
    entropy = -(share * np.log2(share) + (1 - share) * np.log2(1 - share)).sum()
    bits = {"qam64": 6, "qam256": 8, "qam4": 2}[constellation]
    k, n = framing.answer_code.k, framing.answer_code.n
    room = (burst.symbols - symbols) * framing.format.data * bits * k / n
    # Learning the shares of ten contexts, the CRC, the SNRs, and what rounding to words and symbols
    # adds.
    assert room < 1.1 * entropy + 10 * 8 + 32 + 8 * 104 + k + 2 * framing.format.data * bits * k / n
    assert burst.length <= framing.longest


@pytest.mark.statistics
def test_numbers_that_were_heard_wrong_are_put_right(code):
    """As many as plain rounding gets wrong; with too many there is no answer, and no wrong one."""
    framing = FeedbackFraming(code, 800, answer_constellation="qam16")
    decoder = make_decoder("min-sum-int8:50", framing.answer_code)
    rng = np.random.default_rng(5)
    right, none = [], 0
    for snr_db in np.repeat([18.0, 16.5, 13.0], 20):
        numbers, reply, known = made(code, rng, 9000)
        payload, coded = framing.answers.payload(reply, known)
        going = ~reply.decided
        burst = through(rng, framing, payload, snr_db)
        symbols = -(-going.sum() // (2 * framing.format.data))
        heard = plainly(framing, burst, burst.symbols - symbols, going.sum())
        nearest = np.clip(np.rint(heard / code.amplitude), -3, 3)
        wrong = int((nearest != numbers[going]).sum())
        found = framing.answers.read(burst, coded, known, decoder)
        if found is None:
            none += 1
            # One that is far beyond the edge is seldom.
            assert wrong > 1
            continue
        np.testing.assert_array_equal(found.feedback, reply.feedback)
        # Zero forcing and the least mean square differ by next to nothing in a flat channel.
        assert abs(found.misheard - wrong) <= 1 and found.misheard <= 3
        right.append(found.misheard)
    assert np.count_nonzero(right) > 5 and none >= 20


def test_what_does_not_fit_is_no_answer(code):
    framing = FeedbackFraming(code, 400)
    decoder = make_decoder("min-sum-int8:50", framing.answer_code)
    rng = np.random.default_rng(2)
    _, reply, known = made(code, rng, 4000)
    payload, coded = framing.answers.payload(reply, known)
    burst = through(rng, framing, payload, 30)
    read = framing.answers.read
    assert read(burst, coded, known, decoder) is not None
    assert read(burst, coded, np.append(known, known[:9]), decoder) is None
    assert read(burst, coded, known[::-1].copy(), decoder) is None
    for other in (0, coded - 1, coded + 1, 255):
        assert read(burst, other, known, decoder) is None
    # A number at the edge of the range has none beyond it.
    shorter = through(rng, framing, payload[: -framing.format.data], 30)
    assert read(shorter, coded, known, decoder) is None


def test_both_ends_track_one_belief(code):
    """Over channels so bad that numbers are heard wrong: tables are alike, and messages come."""
    framing = FeedbackFraming(code, 100, answer_constellation="qam16")
    rng = np.random.default_rng(8)
    data = rng.bytes(6 * framing.capacity)
    initiator, responder = Initiator(framing, data), Responder(framing)
    while not initiator.over:
        burst = Impairments(cfo=0.01).apply(np.pad(initiator.samples(), 700), rng)
        noise = complex_normal(rng, burst.shape, framing.format.noise_var(2.0))
        for answer in responder.push((burst + noise).astype(np.complex64)):
            noise = complex_normal(rng, (answer.size + 1400,), framing.format.noise_var(17.5))
            heard = (np.pad(answer, 700) + noise).astype(np.complex64)
            came = initiator.push(heard)
        initiator.settle()
        responder.settle()
        if came:
            ends = initiator._encoder, responder._decoder
            under_way = initiator._number >= 0
            np.testing.assert_array_equal(*(end.decoded[under_way] for end in ends))
            going = ~ends[0].decoded & under_way[:, None]
            np.testing.assert_array_equal(*(end.table.log_ratios[going] for end in ends))
    assert initiator.counts["misheard_numbers"] > 3
    wrong = (initiator.messages != responder.messages).any(1)
    # By the posterior 1e-4 of them.
    assert wrong.sum() <= 2 and responder.error_estimate < 1
    assert 0.45 < 600 * 48 / initiator.counts["reals"] < 0.65
    assert 0.85 < initiator.energy / initiator.counts["reals"] < 1.1


def test_answers_too_long_to_be_told_in_symbols_are_told_in_several(code):
    """A way back of QPSK and rate 1/2 for blocks of which all might be decided at once."""
    framing = FeedbackFraming(code, 2100, "burst-64", "wifi-648", "qam4")
    rng = np.random.default_rng(4)
    _, reply, known = made(code, rng, 25000, share=0.5)
    reply = reply._replace(told=reply.told[: framing.format.used])
    payload, coded = framing.answers.payload(reply, known)
    assert coded < 256 and payload.size % framing.format.data == 0
    burst = through(rng, framing, payload, 30)
    decoder = make_decoder("min-sum-int8:50", framing.answer_code)
    found = framing.answers.read(burst, coded, known, decoder)
    np.testing.assert_array_equal(found.feedback, reply.feedback)
