# SPDX-License-Identifier: GPL-3.0-or-later
"""Feedback codes over fading that the receiver knows: what is told, erased and counted."""

import dataclasses

import numpy as np
import pytest
from gnuradio.neuralfec import models
from gnuradio.neuralfec.feedback import evaluation, fading
from gnuradio.neuralfec.feedback.belief import model as belief_model
from gnuradio.neuralfec.feedback.belief.confirmation import Confirmation
from gnuradio.neuralfec.feedback.belief.digital import DigitalBeliefCode
from gnuradio.neuralfec.feedback.setting import Setting
from gnuradio.neuralfec.phy.impairments import TDL_C
from gnuradio.neuralfec.simulation import clopper_pearson
from scipy.special import j0

MODEL = "feedback/belief-4bit-1dB"


def code_of(theta, confirmation=None):
    p, _ = belief_model.parameters(MODEL)
    return DigitalBeliefCode(p, models.parameters(MODEL), theta, confirmation)


def evaluate(code, blocks, seed=1, snr_db=5.0, apart=False):
    setting = Setting(snr_db, threshold=code.threshold, channel="tdl-c")
    return evaluation.evaluate(code, setting, blocks, np.random.default_rng(seed), apart=apart)


def drawn(channel, blocks, rounds, groups, seed=0):
    if channel == "cdl-c":
        pytest.importorskip("sionna", reason="make sionna brings it")
    return fading.gains(channel, np.random.default_rng(seed), blocks, rounds, groups)


@pytest.mark.parametrize("channel, blocks", [("tdl-c", 20000), ("cdl-c", 2500)])
def test_gains_have_the_statistics_of_their_profile(channel, blocks):
    """Both have the delays and powers of one profile; rays of CDL-C move less than Jakes'."""
    rounds, groups = 8, 61
    h = drawn(channel, blocks, rounds, groups)
    assert h.shape == (blocks, rounds, groups) and h.dtype == np.float32
    slack = 5 / np.sqrt(blocks)
    power = h.astype(np.float64) ** 2
    assert power.mean() == pytest.approx(1, abs=slack)
    # Rayleigh: the square is exponential, its variance 1.
    assert power[:, 0, 0].var() == pytest.approx(1, abs=3 * slack)
    # Both rails of a subcarrier fade alike.
    np.testing.assert_array_equal(h[:, :, 0], h[:, :, 1])

    def correlation(one, other):
        return np.corrcoef(power[:, *one], power[:, *other])[0, 1]

    # Of powers, the correlation is the square of the field's: over frequency by the profile.
    weights = 10 ** (TDL_C[:, 1] / 10)
    turns = np.exp(-2j * np.pi * 30 * fading.SUBCARRIER_HZ * TDL_C[:, 0] * fading.DELAY_SPREAD)
    expected = abs(turns @ weights / weights.sum()) ** 2
    assert 0.7 < expected < 0.9
    assert correlation((0, 0), (0, 60)) == pytest.approx(expected, abs=2 * slack)
    # Jakes over rounds.
    doppler = fading.SPEED / 299792458.0 * fading.CARRIER_HZ
    expected = j0(2 * np.pi * doppler * 7 * fading.SLOT_SECONDS) ** 2
    measured = correlation((0, 0), (7, 0))
    if channel == "tdl-c":
        assert measured == pytest.approx(expected, abs=0.02)
    else:
        assert expected - 0.01 < measured < 0.999


@pytest.mark.parametrize("channel", fading.CHANNELS)
def test_gains_are_those_of_their_seed(channel):
    one, same, other = (drawn(channel, 5, 3, 4, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).any()
    with pytest.raises(ValueError, match=r"expected a fading channel .*cdl-c.*'awgn'"):
        fading.gains("awgn", np.random.default_rng(0), 5, 3, 4)


def test_numbers_tell_the_snr_within_half_a_step():
    snr_db = np.linspace(-26, 21, 400)
    told = -10 * np.log10(fading.told(10 ** (-snr_db / 10)))
    assert abs(told - snr_db).max() == pytest.approx(0.375, abs=0.02)
    assert len(np.unique(told)) <= 2**fading.TOLD_BITS
    # What is beyond the ends is told as the end.
    assert fading.told(np.array([1e6, 1e-6])).tolist() == [398.107170553, 0.007498942]


@pytest.mark.parametrize("confirmation", [None, Confirmation(7.0)])
def test_ends_that_share_nothing_agree(confirmation):
    """`counts` refuses ends whose beliefs differ; told variances are all that they have."""
    code = code_of(5.0, confirmation)
    apart, together = (evaluate(code, 600, apart=apart) for apart in (True, False))
    assert apart == together
    # A sample and a variance a symbol.
    assert apart["feedback_bits"] == apart["symbols"] * (8 + fading.TOLD_BITS)


@pytest.mark.statistics
@pytest.mark.parametrize(
    "code",
    [
        code_of(2.5),
        code_of(2.5, Confirmation(2.0, most=1, margin=-9.0, last_margin=-9.0)),
    ],
)
def test_counted_errors_lie_where_the_posterior_puts_them(code):
    result = evaluate(code, 20_000)
    low, high = clopper_pearson(result["block_errors"], result["blocks"], 0.999)[1:]
    assert result["block_errors"] > 50
    assert low < result["block_error_rate_by_posterior"] < high


def test_blocks_that_stay_undecided_are_erased_and_not_guessed():
    code = code_of(8.0)
    faded = evaluate(code, 3000, snr_db=0.0)
    assert faded["erasures"] == faded["undecided_blocks"] > 1000
    # No more than a channel in outage: 48 bits in 12 rounds of 12 symbols, Rayleigh.
    outage = 1 - np.exp(-(2 ** (2 * 48 / 144) - 1))
    assert outage < faded["erasure_rate"] < outage + 0.2
    assert faded["block_errors"] < 10
    kept = 1 - faded["erasure_rate"]
    assert faded["rate"] == pytest.approx(kept * faded["bits"] / faded["symbols"])
    # Over noise alone the likeliest pattern is taken.
    plain = dataclasses.replace(Setting(0.0, threshold=8.0))
    result = evaluation.evaluate(code, plain, 2000, np.random.default_rng(1), apart=False)
    assert result["undecided_blocks"] > 0 and result["erasures"] == 0


def test_capacity_of_a_round_says_what_is_hopeless():
    variances = np.array([[1.0, 1 / 3], [1 / 7, 1 / 15]])
    assert fading.capacity(variances) == pytest.approx([(1 + 2) / 2, (3 + 4) / 2])
    found = fading.hopeless(
        np.array([10.0, 10, 10]), np.array([2.0, 2, 1]), np.array([5, 4, 10]), 20
    )
    assert found.tolist() == [False, True, False]


@pytest.mark.parametrize("confirmation", [None, Confirmation(7.0)])
def test_a_block_that_its_channel_cannot_carry_is_given_up_at_once(monkeypatch, confirmation):
    code = code_of(8.0, confirmation)

    def constant(low):
        """Every second block has the gain that carries `low` of its bits in all rounds."""
        share = np.array([low, 2.0])[np.arange(100) % 2]
        gain = np.sqrt(2 ** (share * 2 * 48 / 144) - 1).astype(np.float32)
        return lambda *sizes: np.tile(gain[:, None, None], sizes[-2:])

    # The told variance is within 0.375 dB.
    monkeypatch.setattr(fading, "gains", constant(0.9))
    setting = Setting(0.0, threshold=8.0, channel="tdl-c")
    population = evaluation.Population(code, setting, 100, np.random.default_rng(1))
    while population.active.size:
        population.step()
    assert population.encoder.rounds[::2].tolist() == [1] * 50
    assert (population.symbols[::2] == 1).all()
    assert population.encoder.rounds[1::2].min() > 1
    assert population.erased()[::2].all() and not population.erased()[1::2].any()
    monkeypatch.setattr(fading, "gains", constant(1.1))
    population = evaluation.Population(code, setting, 100, np.random.default_rng(1))
    while population.active.size:
        population.step()
    assert population.encoder.rounds[::2].min() > 6


def test_symbols_of_different_noise_are_weighed_by_it():
    """Copies of a group's symbol in other places of the round, by the rule for the mean."""
    code = code_of(8.0, Confirmation(9.0))
    end = code.decoder(1)
    places = np.full((1, 12), -2, np.int8)
    places[0, [3, 5, 8]] = 3
    values = np.full((1, 12), np.nan, np.float32)
    values[0, [3, 5, 8]] = 1.0, 2.5, -0.5
    variance = np.full((1, 12), 1.0, np.float32)
    variance[0, [3, 5, 8]] = 0.5, 2.0, 0.25
    mean, of_mean = end._collected(places, values, variance)
    precision = np.array([2, 0.5, 4])
    assert mean[0, 3] == pytest.approx(precision @ [1.0, 2.5, -0.5] / precision.sum())
    assert of_mean[0, 3] == pytest.approx(1 / precision.sum())
    # The own symbol is lost, the others count.
    values[0, 3] = np.nan
    mean, of_mean = end._collected(places, values, variance)
    assert mean[0, 3] == pytest.approx((0.5 * 2.5 - 4 * 0.5) / 4.5)
    assert of_mean[0, 3] == pytest.approx(1 / 4.5)


def test_strong_noise_does_not_clip_the_samples():
    code = code_of(8.0)
    decoder = code.decoder(1)
    y = np.full((1, 12), 20.0, np.float32)
    levels = decoder.feedback(np.array([0]), y, 9.0)
    assert code.values(levels, 9.0) == pytest.approx(y, abs=0.126)
    # At a variance of 1 or less the steps are those of the model.
    assert (code.values(decoder.feedback(np.array([0]), y, 1.0), 1.0) == 127 / 16).all()


def test_power_is_scaled_to_one_over_the_channel():
    """What the curves do with --statistics-blocks, in two steps."""
    code, _, _ = belief_model.load("feedback/belief-4bit-fading", threshold=7.0)
    power = evaluate(code, 4000, snr_db=0.0)["mean_power"]
    scaled = code.scaled(power**-0.5)
    assert scaled.gain == pytest.approx(code.gain * power**-0.5, abs=2e-6)
    assert scaled.identity != code.identity
    assert evaluate(scaled, 4000, seed=2, snr_db=0.0)["mean_power"] == pytest.approx(1, abs=0.015)
