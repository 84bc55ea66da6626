# SPDX-License-Identifier: GPL-3.0-or-later
"""A feedback code over bursts: its mapping against theory, and both ends over bad links."""

import dataclasses
import json
import subprocess
import sys
import uuid
from pathlib import Path

import numpy as np
import pytest
from gnuradio import neuralfec
from gnuradio.neuralfec import models
from gnuradio.neuralfec.decoders import decoder as make_decoder
from gnuradio.neuralfec.feedback.belief import model
from gnuradio.neuralfec.feedback.belief.digital import DigitalBeliefCode
from gnuradio.neuralfec.phy.burst import BurstReceiver, burst_format
from gnuradio.neuralfec.phy.channel import complex_normal
from gnuradio.neuralfec.phy.constellation import constellation as constellation_of
from gnuradio.neuralfec.phy.impairments import Impairments
from gnuradio.neuralfec.radio.feedback_answers import Reply
from gnuradio.neuralfec.radio.feedback_framing import FEEDBACK, FeedbackFraming, feedback_code
from gnuradio.neuralfec.radio.feedback_link import Initiator, Responder
from gnuradio.neuralfec.radio.feedback_mapping import (
    despread,
    interleave,
    spread,
    straighten,
    subcarrier_snrs,
    subcarriers,
)

NAME = "feedback/belief-4bit-1dB"


@pytest.fixture(scope="module")
def code():
    return model.load(NAME, threshold=10)[0]


def over(rng, format, samples, snr_db, taps):
    """Samples through a channel of their own, all impairments."""
    impaired = Impairments(
        taps=f"rayleigh:{taps}",
        clock_offset=rng.uniform(-4e-5, 4e-5),
        delay=rng.uniform(0, 1),
        cfo=rng.uniform(-10, 10) / format.fft_length,
        phase_noise_dbc=-95,
    ).apply(samples, rng)
    noisy = impaired + complex_normal(rng, impaired.shape, format.noise_var(snr_db))
    return noisy + 0.0316j * noisy.conj() + 0.1


@pytest.mark.statistics
@pytest.mark.parametrize("taps", [1, 10])
@pytest.mark.parametrize("snr_db", [3, 12])
def test_the_told_snr_is_that_of_the_values(taps, snr_db):
    """Error and told SNR agree, weak subcarriers and strong ones by themselves; in flat channels
    both are the channel's."""
    format = burst_format("burst-128")
    rng = np.random.default_rng(snr_db)
    receiver = BurstReceiver(format)
    told, error, scale = [], [], []
    for _ in range(20):
        x = rng.standard_normal(9001).astype(np.float32)
        samples = np.pad(format.build(interleave(format, x)), 700)
        (burst,) = receiver.push(over(rng, format, samples, snr_db, taps))
        snr = subcarrier_snrs(burst)[subcarriers(format, x.size)]
        values = straighten(burst, format, x.size)
        told.append(snr)
        error.append(snr * (values - x) ** 2)
        scale.append(np.average(values * x, weights=snr) / np.average(x * x, weights=snr))
    # Estimates of the channel scatter by some percent a burst.
    assert abs(np.mean(scale) - 1) < 0.03
    snrs, errors = np.concatenate(told), np.concatenate(error)
    for low, high in ((0.3, 1), (1, 4), (4, 20)):
        here = (snrs > low) & (snrs < high)
        assert here.sum() < 2000 or abs(10 * np.log10(errors[here].mean())) < 0.3
    if taps == 1:
        assert -0.6 < 10 * np.log10(snrs.mean()) - snr_db < 0.1


def test_the_told_snr_is_that_of_strong_reals():
    """The error of the channel's estimate grows with a real; told is what Bayes' rule needs."""
    format = burst_format("burst-128")
    rng = np.random.default_rng(4)
    receiver = BurstReceiver(format)
    even, weighted = [], []
    for _ in range(100):
        x = rng.standard_normal(1920).astype(np.float32)
        samples = np.pad(format.build(interleave(format, x)), 700)
        (burst,) = receiver.push(over(rng, format, samples, 3, 1))
        snr = subcarrier_snrs(burst)[subcarriers(format, x.size)]
        error = snr * (straighten(burst, format, x.size) - x) ** 2
        even.append(error.mean())
        weighted.append(np.average(error, weights=x**2))
    # 24 taps by a thousand known values.
    assert abs(np.mean(weighted) - 1) < 0.02
    assert np.mean(even) < np.mean(weighted) - 0.005


@pytest.mark.parametrize("count", [192, 1901, 9001])
def test_reals_are_on_the_subcarriers_that_are_told(count):
    """By the Fourier transforms of the samples: each real has the number of its subcarrier."""
    format = burst_format("burst-128")
    where = subcarriers(format, count)
    x = (0.01 * (where + 1)).astype(np.float32)
    samples = format.build(interleave(format, x))
    symbols = -(-count // (2 * format.data))
    begin = format.preamble_length + format.header_symbols * format.symbol_length
    each = samples[begin:][: symbols * format.symbol_length].reshape(symbols, -1)
    spectra = np.fft.fft(each[:, format.cyclic_prefix :]) * np.sqrt(format.used)
    seen = np.abs(spectra[:, format.subcarriers % format.fft_length]) / format.fft_length
    # Beside pilots, and what makes up the last symbol, of energy 1.
    right = np.abs(seen - 0.01 * np.arange(1, format.used + 1)) < 1e-4
    filled = np.abs(seen - 1) < 1e-4
    mixed = symbols * 2 * format.data - count
    assert right.sum() >= count // 2 - mixed and (~right & ~filled).sum() <= mixed


@pytest.mark.parametrize("taps", [1, 10])
def test_spread_reals_have_one_error_each(taps):
    """Those of strong subcarriers are no better than the others."""
    format = burst_format("burst-128")
    rng = np.random.default_rng(taps)
    receiver = BurstReceiver(format)
    x = rng.standard_normal(19200).astype(np.float32)
    samples = np.pad(format.build(spread(format, x)), 700)
    (burst,) = receiver.push(over(rng, format, samples, 12, taps))
    error = (despread(burst, format, x.size) - x) ** 2
    energy = np.abs(burst.h) ** 2 / burst.noise_var
    least = 1 / (1 / np.mean(1 / (1 + energy)) - 1)
    assert abs(10 * np.log10(error.mean() / least)) < 0.3
    strong = subcarrier_snrs(burst)[subcarriers(format, x.size)]
    half = strong > np.median(strong)
    assert abs(error[half].mean() / error[~half].mean() - 1) < 0.1


def test_fades_are_made_use_of_and_the_power_is_kept(code):
    """More than one SNR for all would carry, by a code that sends 8 % too much by itself."""
    framing = FeedbackFraming(code.scaled(1.04), blocks=200)
    rng = np.random.default_rng(11)
    initiator, responder = Initiator(framing, rng.bytes(10 * framing.capacity)), Responder(framing)
    exchange(
        initiator,
        responder,
        lambda s: [over(rng, framing.format, s, 3, 10)],
        lambda s: [over(rng, framing.format, s, 26, 1)],
    )
    assert (initiator.messages != responder.messages).any(1).sum() < 4
    # 0.584 bit by the mean of 1 / (1 + SNR), 0.68 by that of log2(1 + SNR) / 2; of either some 0.9.
    assert 0.55 < 2000 * 48 / initiator.counts["reals"] < 0.62
    assert 0.97 < initiator.energy / initiator.counts["reals"] < 1.01
    carried = 0.5 * np.log2(1 + np.array(responder.snr))
    assert abs(carried.mean() - 0.66) < 0.03


def test_what_the_code_did_not_decide_goes_on():
    """Nothing is left to be guessed where a code of twelve rounds leaves some blocks."""
    code = feedback_code("digital", threshold=9)
    assert (code.parameters.rounds, code.parameters.planned_rounds) == (16, 12)
    framing = FeedbackFraming(code, blocks=400)
    rng = np.random.default_rng(2)
    initiator, responder = Initiator(framing, rng.bytes(4 * framing.capacity)), Responder(framing)
    exchange(
        initiator,
        responder,
        lambda s: [over(rng, framing.format, s, 3, 10)],
        lambda s: [over(rng, framing.format, s, 26, 1)],
    )
    taken = np.concatenate([ended.rounds for ended in initiator.ended])
    assert taken.size == 1600 and 0 < (taken > 12).sum() < 80
    assert (initiator.messages != responder.messages).any(1).sum() < 4


def test_numbers_of_gains(code):
    framing = FeedbackFraming(code, blocks=10)
    for factor in (0.84, 0.985, 1.0, 1.155):
        assert abs(framing.factor(framing.gain_number(factor)) - factor) < 1e-9
    assert framing.gain_number(0.1) == 0 and framing.gain_number(3) == 63
    assert framing.gain_number(1.002) == framing.gain_number(1.0) == 32


def exchange(initiator, responder, forward, back):
    """Run until all is over; forward and back are lists of samples of what came of a burst."""
    for _ in range(300):
        if initiator.over:
            responder.settle()
            return
        for samples in forward(initiator.samples()):
            for answer in responder.push(samples):
                for heard in back(answer):
                    initiator.push(heard)
    raise AssertionError("not over after 300 bursts")


def exchange_flat(rng, initiator, responder, snr_db):
    """The same over flat channels, the way back at 26 dB."""
    format = initiator.framing.format
    exchange(
        initiator,
        responder,
        lambda s: [over(rng, format, s, snr_db, 1)],
        lambda s: [over(rng, format, s, 26, 1)],
    )


def test_an_initiator_is_over_when_its_last_block_is(code, monkeypatch):
    """A program asks it from another thread at any time: while the next burst is made, too."""
    framing = FeedbackFraming(code, blocks=20)
    initiator, responder = Initiator(framing, bytes(framing.capacity)), Responder(framing)
    asked = []
    burst = initiator._burst
    monkeypatch.setattr(
        initiator, "_burst", lambda lane: asked.append(initiator.over) or burst(lane)
    )
    exchange_flat(np.random.default_rng(4), initiator, responder, 3)
    assert len(asked) > 5 and not any(asked)
    assert initiator.over and responder.over and initiator.counts["blocks"] == 20


@pytest.mark.parametrize(
    "bits", [8, *(pytest.param(b, marks=pytest.mark.statistics) for b in (6, 5, 4))]
)
def test_bytes_come_through(code, bits):
    """400 blocks at 1 dB, by levels of so many bits: some errors, which the CRC finds."""
    step = {8: 1 / 16, 6: 0.25, 5: 0.5, 4: 0.75}[bits]
    p = dataclasses.replace(code.parameters, feedback_bits=bits, feedback_step=step)
    framing = FeedbackFraming(DigitalBeliefCode(p, models.parameters(NAME), 10), blocks=100)
    rng = np.random.default_rng(bits)
    data = rng.bytes(4 * framing.capacity - 17)
    initiator, responder = Initiator(framing, data), Responder(framing)
    exchange_flat(rng, initiator, responder, 1.5)
    wrong = (initiator.messages != responder.messages).any(1).reshape(4, -1)
    # 1e-4 to 1e-3 of the blocks are wrong: seldom one of 400, three in a thousand runs.
    assert wrong.sum() < 3 and responder.counts["blocks"] == 400
    padded = data.ljust(4 * framing.capacity, b"\0")
    for number, body in enumerate(responder.bodies):
        sent = padded[number * framing.capacity :][: framing.capacity]
        assert body == (None if wrong[number].any() else sent)
    rate = 400 * p.message_bits / initiator.counts["reals"]
    assert 0.42 < rate < 0.60
    assert 0.8 < initiator.energy / initiator.counts["reals"] < 1.2


@pytest.mark.statistics
def test_a_wrong_block_takes_its_super_block_along_and_no_other():
    """A burst has room for two, and each has a CRC of its own."""
    code = model.load(NAME, threshold=7)[0]
    framing = FeedbackFraming(code, blocks=600)
    assert (framing.parts, framing.super_block, framing.capacity) == (2, 300, 1796)
    assert [FeedbackFraming(code, blocks=n).super_block for n in (20, 601, 2100)] == [20, 601, 300]
    rng = np.random.default_rng(7)
    data = rng.bytes(7 * framing.capacity - 5)
    initiator, responder = Initiator(framing, data), Responder(framing)
    exchange_flat(rng, initiator, responder, 1)
    wrong = (initiator.messages != responder.messages).any(1).reshape(8, 300).any(1)
    # Two or three blocks of a thousand.
    assert 0 < wrong.sum() < 8
    padded = data.ljust(8 * framing.capacity, b"\0")
    for number, body in enumerate(responder.bodies):
        sent = padded[number * framing.capacity :][: framing.capacity]
        assert body == (None if wrong[number] else sent)
    assert responder.size == len(data) and responder.super_blocks == 8


@pytest.mark.parametrize("feedback", list(FEEDBACK))
def test_faults_deliver_nothing_wrong(feedback):
    """Lost, doubled, late and torn bursts both ways."""
    framing = FeedbackFraming(feedback_code(feedback, threshold=10), blocks=100)
    rng = np.random.default_rng(3)
    initiator, responder = Initiator(framing, rng.bytes(600)), Responder(framing)
    held: dict[float, list[np.ndarray]] = {}

    def faulty(snr_db):
        def link(samples):
            heard = over(rng, framing.format, samples, snr_db, 1)
            came = []
            kind = rng.integers(6)
            if kind == 0:
                return came
            if kind == 1:
                # In the payload of all but the shortest bursts.
                at = heard.size - 500 - int(rng.integers(100))
                came.append(np.delete(heard, np.arange(at, at + int(rng.integers(1, 300)))))
            else:
                came.append(heard)
            if kind == 2:
                came.append(over(rng, framing.format, samples, snr_db, 1))
            came += held.pop(snr_db, [])
            if kind == 3:
                held[snr_db] = [heard]
            return came

        return link

    exchange(initiator, responder, faulty(2.0), faulty(26.0))
    wrong = (initiator.messages != responder.messages).any(1).reshape(2, -1).any(1)
    assert [body is None for body in responder.bodies] == wrong.tolist() == [False, False]
    assert responder.counts["repeated_bursts"] > 0 and initiator.counts["old_answers"] > 0
    assert all(e.receiver.stats()["torn_by_residual"] > 0 for e in (initiator, responder))


def test_wrong_arguments(code):
    framing = FeedbackFraming(code, blocks=10)
    for make in (
        lambda: FeedbackFraming(code, blocks=0),
        lambda: FeedbackFraming(code, blocks=10**6),
        lambda: Initiator(framing, b""),
        lambda: Initiator(framing, bytes(512 * framing.capacity)),
    ):
        with pytest.raises(ValueError, match="expected"):
            make()


def test_the_size_is_known_without_the_first_super_block(code):
    """It comes by the headers of two bursts; what is refused is zeros."""
    framing = FeedbackFraming(code, blocks=20)
    data = bytes(range(1, 201))
    initiator, responder = Initiator(framing, data), Responder(framing)
    assert responder.size is None
    exchange(initiator, responder, lambda s: [np.pad(s, 700)], lambda s: [np.pad(s, 700)])
    assert responder.over and responder.size == 200
    assert b"".join(body or b"" for body in responder.bodies)[:200] == data
    # Over the longest that a header can tell of, all bits of it count.
    most = FeedbackFraming(code, blocks=40000)
    last = Initiator(most, b"x")
    (first,) = BurstReceiver(most.format).push(np.pad(last.samples(), 700))
    assert first.user & 1023 == (most.parts * most.capacity - 1) % 1024


def test_a_prepared_round_is_that_round(code):
    """Candidates made ahead give the same, and for other blocks they are refused."""
    rng = np.random.default_rng(1)
    slots = np.arange(5)
    y = rng.standard_normal((5, code.parameters.groups)).astype(np.float32)
    ahead, at_once = code.decoder(6), code.decoder(6)
    for decoder in (ahead, at_once):
        decoder.start(slots)
    ahead.prepare(slots)
    with pytest.raises(ValueError, match="prepared for"):
        ahead.decode(slots[:4], y[:4])
    for _ in range(2):
        np.testing.assert_array_equal(ahead.decode(slots, y), at_once.decode(slots, y))
        ahead.prepare(slots)
    np.testing.assert_array_equal(ahead.odds, at_once.odds)


@pytest.mark.parametrize("feedback", list(FEEDBACK))
def test_work_that_waits_changes_nothing(feedback):
    """Both ends make the same bursts whether they settle at once or when the next burst comes."""
    framing = FeedbackFraming(feedback_code(feedback, threshold=10), blocks=30)
    data = np.random.default_rng(5).bytes(3 * framing.capacity)
    runs = []
    for at_once in (True, False):
        rng = np.random.default_rng(6)
        initiator, responder = Initiator(framing, data), Responder(framing)
        bursts = []
        while not initiator.over:
            bursts.append(initiator.samples())
            (answer,) = responder.push(over(rng, framing.format, bursts[-1], 3, 1))
            bursts.append(answer)
            assert initiator.push(over(rng, framing.format, answer, 26, 1))
            if at_once:
                responder.settle()
                initiator.settle()
            else:
                # The other table's burst is there before the answer's work is done.
                assert initiator._answered is not None or len(bursts) > 36
        responder.settle()
        runs.append((bursts, responder.messages, initiator.counts["reals"]))
        assert (responder.messages == initiator.messages).all(1).mean() > 0.98
    assert all(np.array_equal(a, b) for a, b in zip(*(run[0] for run in runs), strict=True))
    np.testing.assert_array_equal(runs[0][1], runs[1][1])
    assert runs[0][2] == runs[1][2]


@pytest.mark.parametrize("snr_db", [3, 0.2, -0.6, -5, -6.4])
def test_the_quantizer_s_noise_is_in_the_variance(code, snr_db):
    """Also of the wider steps of weak signals."""
    p = dataclasses.replace(code.parameters, feedback_bits=4, feedback_step=0.75)
    framing = FeedbackFraming(DigitalBeliefCode(p, models.parameters(NAME), 10), blocks=10)
    noise = 10 ** (-snr_db / 10)
    told = framing.told(np.full(framing.format.used, 1 / noise))
    (variance,) = set(framing.variances(told, np.ones((3, p.places), bool)).flat)
    rng = np.random.default_rng(1)
    y = rng.normal(0, np.sqrt(1 + noise), (1000, framing.code.parameters.groups))
    y = y.astype(np.float32)
    levels = framing.code.decoder(1000).feedback(np.arange(1000), y, variance)
    lost = np.mean((framing.code.values(levels, variance) - y) ** 2)
    assert abs(lost / (variance - noise) - 1) < 0.05


@pytest.mark.parametrize(
    "constellation, code_name",
    [("qam256", "wifi-648"), ("qam64", "wifi-648-5/6"), ("qam4", "wifi-1944-1/2")],
)
@pytest.mark.parametrize("count", [0, 1, 100, 9001])
def test_levels_come_back(code, constellation, code_name, count):
    """As long as their distribution asks for; its symbols look like those of a whole burst."""
    known = np.zeros(count, np.uint8)
    p = dataclasses.replace(code.parameters, feedback_bits=4, feedback_step=0.75)
    four = DigitalBeliefCode(p, models.parameters(NAME), 10)
    framing = FeedbackFraming(four, 800, "burst-128", code_name, constellation)
    rng = np.random.default_rng(count)
    levels = four.kernel.quantize(rng.normal(0, 1.3, count).astype(np.float32))
    told = rng.integers(0, 256, framing.format.used, np.uint8)
    payload, coded = framing.answers.payload(Reply(told, levels), known)
    assert abs(np.mean(np.abs(payload) ** 2) - 1) < 0.2
    n, k = framing.answer_code.n, framing.answer_code.k
    bits = payload.size * constellation_of(constellation).bits_per_symbol * k / n
    assert bits < 2.95 * count + 8 * told.size + n + framing.format.data * 8 + 100
    samples = over(rng, framing.format, framing.samples(payload, 0), 30, 1)
    assert samples.size <= framing.longest + 1
    (burst,) = BurstReceiver(framing.format).push(np.pad(samples, 300))
    decoder = make_decoder("min-sum-int8:50", framing.answer_code)
    found = framing.answers.read(burst, coded, known, decoder)
    np.testing.assert_array_equal(found.feedback, levels)
    np.testing.assert_array_equal(found.told, told)
    assert found.decided is None and found.misheard == 0
    more = np.zeros(count + 3, np.uint8)
    assert framing.answers.read(burst, coded, more, decoder) is None or count == 0


def program(tmp_path, *words):
    """The program, in a folder."""
    start = "import sys; from gnuradio.neuralfec.command import main; sys.exit(main())"
    return subprocess.run(
        [sys.executable, "-c", start, "feedback-radio", *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


needs_soapy = pytest.mark.skipif(
    not isinstance(neuralfec.soapy_source, type), reason="built without SoapySDR"
)


@needs_soapy
def test_two_processes_over_a_bad_loop(tmp_path):
    """Bursts lost, doubled and late: the file comes, and what the ends count fits together."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    data = np.random.default_rng(4).bytes(500)
    Path(tmp_path, "in.bin").write_bytes(data)
    faults = "snr=26,phase_noise=-95,lost=0.1,doubled=0.1,late=0.1,lag=0.1"
    words = [
        "--front-end",
        f"loop:{name},{faults},seed=1",
        "--other",
        f"loop:{name},{faults},seed=2",
    ]
    words += ["--blocks", "60", "--threshold", "16", "--rate", "5e5", "--file", "in.bin"]
    words += ["--out", "out.bin", "--json", "j.json", "--processes", "2"]
    done = program(tmp_path, *words)
    Path("/dev/shm", f"neuralfec-loop-{name}").unlink(missing_ok=True)
    assert done.returncode == 0, done.stderr
    assert Path(tmp_path, "out.bin").read_bytes() == data
    found = json.loads(Path(tmp_path, "j.json").read_text())
    assert found["block_errors"] == found["wrong_super_blocks_handed_on"] == 0
    assert found["counts"]["responder"]["blocks"] == found["blocks"] == 120
    # At 24 dB groups of four bits take two symbols or three.
    assert found["rate"] == 120 * 48 / found["counts"]["initiator"]["reals"] > 1
    assert found["host_turnaround_ms"].keys() == {"initiator", "responder"}


@needs_soapy
def test_analog_feedback_over_the_loop(tmp_path):
    """The program with the shipped model, at an SNR that the model was not made for."""
    name = f"test-{uuid.uuid4().hex[:12]}"
    data = np.random.default_rng(4).bytes(500)
    Path(tmp_path, "in.bin").write_bytes(data)
    words = ["--front-end", f"loop:{name},snr=22", "--other", f"loop:{name},snr=4"]
    words += ["--feedback", "analog", "--threshold", "16", "--blocks", "60", "--rate", "5e5"]
    words += ["--answer-constellation", "qam16", "--file", "in.bin", "--out", "out.bin"]
    done = program(tmp_path, *words, "--json", "j.json", "--processes", "2")
    Path("/dev/shm", f"neuralfec-loop-{name}").unlink(missing_ok=True)
    assert done.returncode == 0, done.stderr
    assert Path(tmp_path, "out.bin").read_bytes() == data
    found = json.loads(Path(tmp_path, "j.json").read_text())
    assert found["parameters"]["feedback"] == "analog"
    assert found["block_errors"] == found["wrong_super_blocks_handed_on"] == 0
    assert 0.5 < found["rate"] < 1.2


def test_feedback_that_a_model_was_not_made_for(tmp_path):
    """One line, before any radio is asked for."""
    Path(tmp_path, "in.bin").write_bytes(b"x")
    words = ["--role", "initiator", "--front-end", "loop:none", "--file", "in.bin"]
    for more, text in (
        (["--feedback", "analog", "--model", NAME], "made for analog feedback"),
        (["--model", FEEDBACK["analog"]], "made for digital feedback"),
        (["--feedback", "analog", "--feedback-bits", "4"], "expected digital feedback"),
        (["--feedback", "analog", "--model", "feedback/deepvlf-r-1dB"], "no belief-driven code"),
    ):
        done = program(tmp_path, *words, *more)
        assert done.returncode == 2 and text in done.stderr and done.stderr.count("\n") == 1


@needs_soapy
def test_an_initiator_that_fails_is_told(tmp_path):
    """The reason of the other program, in one line."""
    Path(tmp_path, "in.bin").write_bytes(b"x")
    words = ["--front-end", "soapy:driver=none", "--other", "loop:test-alone", "--blocks", "60"]
    done = program(tmp_path, *words, "--file", "in.bin", "--out", "o", "--processes", "2")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "the initiator: " in done.stderr and "driver=none" in done.stderr
    # Nothing is heard: the two are not on one loop.
    words = ["--front-end", "loop:test-here", "--other", "loop:test-there", "--patience", "3"]
    done = program(tmp_path, *words, "--file", "in.bin", "--out", "o", "--processes", "2")
    assert done.returncode == 1 and "nothing came for 3 s" in done.stderr
    assert done.stderr.count("\n") == 1
    done = program(tmp_path, "--role", "initiator", "--front-end", "loop:x", "--file", "in.bin",
                   "--processes", "2")  # fmt: skip
    assert done.returncode == 2 and "--processes 2: expected --role both" in done.stderr
