# SPDX-License-Identifier: GPL-3.0-or-later
"""A feedback code over bursts: its mapping against theory, and both ends over bad links."""

import dataclasses

import numpy as np
import pytest
from gnuradio.neuralfec import models
from gnuradio.neuralfec.feedback.belief import model
from gnuradio.neuralfec.feedback.belief.digital import DigitalBeliefCode
from gnuradio.neuralfec.phy.burst import BurstReceiver, burst_format
from gnuradio.neuralfec.phy.channel import complex_normal
from gnuradio.neuralfec.phy.impairments import Impairments
from gnuradio.neuralfec.radio.feedback_link import (
    FeedbackFraming,
    Initiator,
    Responder,
    despread,
    spread,
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


@pytest.mark.parametrize("taps", [1, 10])
@pytest.mark.parametrize("snr_db", [3, 12])
def test_the_told_snr_is_that_of_the_values(taps, snr_db):
    """Error and told SNR agree, and in flat channels both are the channel's."""
    format = burst_format("burst-128")
    rng = np.random.default_rng(snr_db)
    receiver = BurstReceiver(format)
    told, real, scale = [], [], []
    for _ in range(20):
        x = rng.standard_normal(9001).astype(np.float32)
        (burst,) = receiver.push(over(rng, format, np.pad(format.build(spread(format, x)), 700),
                                      snr_db, taps))  # fmt: skip
        values, snr = despread(burst, format, x.size)
        told.append(snr)
        real.append(1 / np.mean((values - x) ** 2, dtype=np.float64))
        scale.append(np.dot(values, x) / np.dot(x, x))
    # Estimates of the channel scatter by some percent a burst.
    assert abs(np.mean(scale) - 1) < 0.03
    difference = 10 * np.log10(np.mean(told) / np.mean(real))
    assert -0.25 < difference < 0.1
    if taps == 1:
        assert -0.6 < 10 * np.log10(np.mean(real)) - snr_db < 0.1


def exchange(initiator, responder, forward, back):
    """Run until all is over; forward and back are lists of samples of what came of a burst."""
    for _ in range(300):
        if initiator.over:
            return
        for samples in forward(initiator.samples()):
            for answer in responder.push(samples):
                for heard in back(answer):
                    initiator.push(heard)
    raise AssertionError("not over after 300 bursts")


@pytest.mark.parametrize("bits", [8, 6, 5, 4])
def test_bytes_come_through(code, bits):
    """400 blocks at 1 dB, by levels of so many bits: some errors, which the CRC finds."""
    step = {8: 1 / 16, 6: 0.25, 5: 0.5, 4: 0.75}[bits]
    p = dataclasses.replace(code.parameters, feedback_bits=bits, feedback_step=step)
    framing = FeedbackFraming(DigitalBeliefCode(p, models.parameters(NAME), 10), blocks=100)
    rng = np.random.default_rng(bits)
    data = rng.bytes(4 * framing.capacity - 17)
    initiator, responder = Initiator(framing, data), Responder(framing)
    exchange(
        initiator,
        responder,
        lambda s: [over(rng, framing.format, s, 1.5, 1)],
        lambda s: [over(rng, framing.format, s, 26, 1)],
    )
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


def test_faults_deliver_nothing_wrong(code):
    """Lost, doubled, late and torn bursts both ways."""
    framing = FeedbackFraming(code, blocks=100)
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
