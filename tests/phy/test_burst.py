# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts through impaired channels, against what was sent and what the channel was."""

import numpy as np
import pytest
from gnuradio.neuralfec.phy.burst import PRESETS, BurstFormat, BurstReceiver, burst_format, refine
from gnuradio.neuralfec.phy.channel import complex_normal
from gnuradio.neuralfec.phy.constellation import constellation
from gnuradio.neuralfec.phy.impairments import Impairments

SILENCE = 700


def symbols(rng, format, count, name="qam16"):
    return rng.choice(constellation(name).points, count * format.data)


def over(rng, format, burst, snr_db, **impairments):
    """Samples of a burst through a channel of unit energy, at a mean Es/N0."""
    silence = np.zeros(SILENCE, np.complex64)
    settings = Impairments(taps="rayleigh:10", phase_noise_dbc=-95, **impairments)
    samples = settings.apply(np.concatenate([silence, burst, silence, silence]), rng)
    return samples + complex_normal(rng, samples.shape, format.noise_var(snr_db))


@pytest.mark.parametrize("name", PRESETS)
def test_a_burst_is_what_its_format_says(name):
    format = PRESETS[name]
    rng = np.random.default_rng(1)
    sent = symbols(rng, format, 20)
    burst = format.build(sent, user=5)
    assert burst.size == format.length(20)
    np.testing.assert_allclose(np.mean(np.abs(burst) ** 2), 1, rtol=0.03)
    # The pilots visit every used subcarrier.
    visited = np.concatenate([format.pilot_positions(s) for s in range(format.used)])
    assert set(visited) == set(range(format.used))
    # Without noise: the definition, symbol by symbol with a plain FFT.
    start = format.preamble_length + format.header_symbols * format.symbol_length
    row = burst[start + format.cyclic_prefix :][: format.fft_length]
    values = np.fft.fft(row)[format.subcarriers % format.fft_length]
    values *= np.sqrt(format.used) / format.fft_length
    data = np.delete(values, format.pilot_positions(format.header_symbols))
    np.testing.assert_allclose(np.abs(data), np.abs(sent[: format.data]), atol=1e-5)


@pytest.mark.statistics
@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("snr_db", [3, 20])
def test_estimates(name, snr_db):
    """Carrier, clock and noise as they were, over the whole range of the format."""
    format = PRESETS[name]
    rng = np.random.default_rng(2)
    receiver = BurstReceiver(name)
    told, excess = [], []
    for number in range(40):
        cfo, clock = rng.uniform(-10, 10), rng.uniform(-4e-5, 4e-5)
        sent = symbols(rng, format, 30)
        samples = over(
            rng, format, format.build(sent, number), snr_db,
            cfo=cfo / format.fft_length, clock_offset=clock, delay=rng.uniform(0, 1),
        )  # fmt: skip
        bursts = receiver.push(samples)
        assert [b.user for b in bursts] == [number]
        (burst,) = bursts
        assert abs(burst.cfo - cfo) < 0.01
        assert abs(burst.clock_offset - clock) < 1e-4
        assert abs(burst.start - SILENCE - receiver.stats()["samples"] + samples.size) < 24
        error = np.mean(np.abs(burst.y - burst.h * sent) ** 2)
        told.append(burst.noise_var / error)
        excess.append(error * burst.power / format.noise_var(snr_db))
    # Their spread is 0.3 dB a burst.
    assert abs(10 * np.log10(np.mean(told))) < 0.2
    assert 10 * np.log10(np.mean(excess)) < 0.45


def test_a_long_burst_of_a_clock_that_is_off():
    """900 symbols at 40 ppm: five samples of drift, a third of the prefix."""
    format = burst_format("burst-128")
    rng = np.random.default_rng(3)
    sent = symbols(rng, format, 900, "qam256")
    samples = over(rng, format, format.build(sent), 25, clock_offset=4e-5, cfo=0.02)
    (burst,) = BurstReceiver(format).push(samples)
    assert abs(burst.clock_offset - 4e-5) < 1e-7
    error = np.abs(burst.y - burst.h * sent).reshape(900, -1) ** 2
    np.testing.assert_allclose(error[-100:].mean(), burst.noise_var, rtol=0.1)


def test_dc_and_image_are_learnt_over_bursts():
    format = burst_format("burst-128")
    rng = np.random.default_rng(4)
    receiver = BurstReceiver(format)
    image, dc = 0.0316 * np.exp(1j), 0.1j
    noise = []
    for _ in range(12):
        sent = symbols(rng, format, 60)
        samples = over(rng, format, format.build(sent), 30, cfo=0.013)
        (burst,) = receiver.push(samples + image * samples.conj() + dc)
        noise.append(10 * np.log10(np.mean(np.abs(burst.y - burst.h * sent) ** 2)))
    found_dc, found_image = receiver.offsets()
    assert abs(found_dc - dc) < 0.01 and abs(found_image - image) < 0.003
    assert np.mean(noise[4:]) < -28.5


# What happens to samples from a place in the payload on.
TEARS = {
    "1 lost": lambda samples, at: np.delete(samples, at),
    "2 lost": lambda samples, at: np.delete(samples, np.arange(at, at + 2)),
    "5 lost": lambda samples, at: np.delete(samples, np.arange(at, at + 5)),
    "a symbol lost": lambda samples, at: np.delete(samples, np.arange(at, at + 144)),
    "200 lost": lambda samples, at: np.delete(samples, np.arange(at, at + 200)),
    "1 twice": lambda samples, at: np.insert(samples, at, samples[at]),
    "300 zeros": lambda samples, at: np.where(
        (np.arange(samples.size) - at) // 300 == 0, np.complex64(0), samples
    ),
}


@pytest.mark.parametrize("tear", TEARS)
@pytest.mark.parametrize("snr_db", [0, 3, 10, 25])
@pytest.mark.parametrize("length", [4, pytest.param(50, marks=pytest.mark.statistics)])
def test_a_torn_burst_is_refused_and_counted(tear, snr_db, length):
    """Wherever the tear is: 12 places from the payload's first sample to its last."""
    format = burst_format("burst-128")
    rng = np.random.default_rng([snr_db, length])
    receiver = BurstReceiver(format)
    payload = length * format.symbol_length
    for place in np.linspace(0, payload - 1, 12):
        samples = over(
            rng, format, format.build(symbols(rng, format, length)), snr_db,
            cfo=rng.uniform(-10, 10) / 128, clock_offset=rng.uniform(-4e-5, 4e-5),
        )  # fmt: skip
        at = SILENCE + format.length(0) - format.symbol_length + int(place)
        assert not receiver.push(TEARS[tear](samples, at))
    stats = receiver.stats()
    assert stats["torn_by_residual"] == stats["headers"] >= 11 and stats["bursts"] == 0


@pytest.mark.statistics
@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize(("snr_db", "phase_noise"), [(0, -95), (15, -85), (35, -80)])
def test_whole_bursts_are_not_refused(name, snr_db, phase_noise):
    """The bound on how often they look torn is one: seldom smaller than it says."""
    format = PRESETS[name]
    rng = np.random.default_rng(snr_db)
    receiver = BurstReceiver(format, false_refusals=1e-200)
    chances = []
    for _ in range(60):
        sent = complex_normal(rng, (int(rng.integers(1, 40)) * format.data,))
        samples = Impairments(
            clip_db=7, taps="rayleigh:10", phase_noise_dbc=phase_noise, noise_var=0,
            cfo=rng.uniform(-10, 10) / format.fft_length, clock_offset=rng.uniform(-4e-5, 4e-5),
        ).apply(np.pad(format.build(sent), SILENCE), rng)  # fmt: skip
        samples = samples + complex_normal(rng, samples.shape, format.noise_var(snr_db))
        chances += [burst.whole for burst in receiver.push(samples)]
    # Five tests: at most 3 are expected below 1e-2; 13 are five deviations more.
    assert len(chances) >= 58 and min(chances) > 1e-6
    assert np.sum(np.array(chances) < 1e-2) < 13


def test_the_burst_behind_a_torn_one_comes():
    """Back to back, with samples missing in the first."""
    format = burst_format("burst-128")
    rng = np.random.default_rng(9)
    pair = [format.build(symbols(rng, format, 30), number) for number in range(2)]
    samples = over(rng, format, np.concatenate(pair), 15)
    receiver = BurstReceiver(format)
    at = SILENCE + format.length(15)
    assert [b.user for b in receiver.push(np.delete(samples, np.arange(at, at + 700)))] == [1]
    assert receiver.stats()["torn_by_residual"] == 1


def test_a_gap_tears_a_burst_and_counts_positions():
    format = burst_format("burst-128")
    rng = np.random.default_rng(5)
    samples = over(rng, format, format.build(symbols(rng, format, 50)), 10)
    receiver = BurstReceiver(format)
    assert not receiver.push(samples[:4000])
    receiver.gap(1000)
    assert not receiver.push(samples[5000:])
    (burst,) = receiver.push(samples)
    assert abs(burst.start - samples.size - SILENCE) < 24
    assert receiver.stats()["torn_by_gap"] == 1


def test_known_symbols_as_pilots():
    """With all of the payload known the channel's error is that of many observations."""
    format = burst_format("burst-128")
    rng = np.random.default_rng(6)
    before, after = [], []
    for _ in range(20):
        sent = symbols(rng, format, 14)
        samples = over(rng, format, format.build(sent), 12)
        (burst,) = BurstReceiver(format).push(samples)
        again = refine(samples[burst.window :], burst, format, sent)
        clean = format.noise_var(12)
        before.append(np.mean(np.abs(burst.y - burst.h * sent) ** 2) * burst.power / clean)
        after.append(np.mean(np.abs(again["y"] - again["h"] * sent) ** 2) * again["power"] / clean)
    assert 10 * np.log10(np.mean(after)) < 10 * np.log10(np.mean(before)) - 0.1


@pytest.mark.statistics
def test_found_at_0_db():
    """Counts with many more bursts are in results/."""
    format = burst_format("burst-128")
    rng = np.random.default_rng(7)
    receiver = BurstReceiver(format)
    for number in range(200):
        burst = format.build(symbols(rng, format, 4), number)
        cfo, clock = rng.uniform(-10, 10) / 128, rng.uniform(-4e-5, 4e-5)
        receiver.push(over(rng, format, burst, 0, cfo=cfo, clock_offset=clock))
    # 99.9 % of them; nine lost of 200 would happen once in 10^12 runs.
    assert receiver.stats()["bursts"] > 191


def test_nothing_of_noise_tones_and_other_formats():
    rng = np.random.default_rng(8)
    other = BurstFormat(pilot_step=3)
    receiver = BurstReceiver("burst-128")
    tone = np.exp(2j * np.pi * 0.0123 * np.arange(200_000))
    repetition = np.tile(complex_normal(rng, (16,)), 4000)
    foreign = np.concatenate([other.build(symbols(rng, other, 20)) for _ in range(5)])
    for samples in (tone, np.full(50_000, 0.7j), repetition, foreign, np.zeros(50_000)):
        assert not receiver.push(samples)
        assert not receiver.push(samples + complex_normal(rng, samples.shape, 0.01))
    assert not receiver.push(complex_normal(rng, (2_000_000,)))
    assert other.identity != burst_format("burst-128").identity


def test_wrong_arguments():
    format = burst_format("burst-128")
    for build in (
        lambda: BurstFormat(used=103),
        lambda: BurstFormat(pilots=7),
        lambda: BurstFormat(fft_length=100),
        lambda: burst_format("burst-12"),
        lambda: format.build([]),
        lambda: format.build([np.nan]),
        lambda: format.build(np.ones(10), user=2**36),
        lambda: format.build(np.ones(4096 * format.data)),
        lambda: BurstReceiver(threshold=0),
        lambda: BurstReceiver(false_refusals=1),
        lambda: BurstReceiver().push(np.zeros((2, 2))),
    ):
        with pytest.raises(ValueError, match="expected"):
            build()
