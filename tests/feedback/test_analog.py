# SPDX-License-Identifier: GPL-3.0-or-later
"""The code over analog feedback against plain twins, closed forms, and the shared belief."""

import math
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from feedback import belief_twin
from gnuradio.neuralfec import models
from gnuradio.neuralfec.feedback import evaluation, files
from gnuradio.neuralfec.feedback.belief import model
from gnuradio.neuralfec.feedback.belief import training as belief_training
from gnuradio.neuralfec.feedback.belief.analog import AnalogBeliefCode
from gnuradio.neuralfec.feedback.belief.confirmation import Confirmation
from gnuradio.neuralfec.feedback.belief.digital import DigitalBeliefCode
from gnuradio.neuralfec.feedback.belief.model import load_network
from gnuradio.neuralfec.feedback.belief.parameters import AnalogParameters, BeliefParameters
from gnuradio.neuralfec.feedback.session import Receiver, SimulatedLink, Transmitter, converse
from gnuradio.neuralfec.feedback.setting import Setting
from gnuradio.neuralfec.simulation import clopper_pearson
from scipy.special import logsumexp, ndtr

SHARED = "feedback/belief-4bit-1dB"


@pytest.fixture(scope="module")
def network():
    return load_network(SHARED)[0]


def state_of(module):
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def make(network, threshold=7.0, gain=0.97, amplitude=1.0, **changes):
    p = AnalogParameters(
        4, gains=[(1.0, [(7.0, gain)])], amplitudes=[(1.0, [(7.0, amplitude)])], **changes
    )
    return AnalogBeliefCode(p, state_of(network), threshold)


def population(code, blocks, feedback_snr_db=None, seed=1):
    setting = Setting(1.0, feedback_snr_db, threshold=code.threshold)
    return evaluation.Population(code, setting, blocks, np.random.default_rng(seed))


def test_receiver_follows_the_plain_twin(network):
    code = make(network)
    p = code.parameters
    state = {name: value.double().numpy() for name, value in network.state_dict().items()}
    rng = np.random.default_rng(3)
    slots = np.array([2, 0])
    encoder, decoder = code.encoder(3), code.decoder(3)
    messages = rng.integers(0, 2, (2, 48), np.uint8)
    encoder.start(slots, messages)
    decoder.start(slots)
    labels = code.labels(messages)
    sizes = SimpleNamespace(
        patterns=16, symbols=1, peak=4.0, snr_db=1.0, noise_variance=1.15 * 10 ** (-p.snr_db / 10)
    )
    tracked = [[belief_twin.Group(sizes, state, 7.0, 0.97) for _ in range(12)] for _ in slots]
    posterior = np.zeros((2, 12, 16))
    for left in range(12, 6, -1):
        sending = ~decoder.decoded[slots]
        x = encoder.encode(slots)
        y = x + 0.89 * rng.standard_normal(x.shape).astype(np.float32)
        decided = decoder.decode(slots, y)
        back = decoder.feedback(slots, y)
        encoder.observe(slots, back, decided)
        for b, q in zip(*np.nonzero(sending), strict=True):
            twin = tracked[b][q]
            twin.propose(left)
            points = twin.candidates[0]
            assert x[b, q] == pytest.approx(points[labels[b, q]], abs=2e-4)
            posterior[b, q] -= (y[b, q] - points) ** 2 / (2 * p.noise_variance)
            posterior[b, q] -= logsumexp(posterior[b, q])
            costs = []
            for i in range(-3, 4):
                after = twin.log_belief - (1.25 * i - points) ** 2 / (2 * sizes.noise_variance)
                after -= logsumexp(after)
                costs.append(0.04 * i**2 - np.exp(posterior[b, q]) @ after)
            i = int(np.argmin(costs)) - 3
            twin.update(1.25 * i)
            best = posterior[b, q].max()
            odds = best - math.log(-math.expm1(best))
            assert -math.log(decoder.odds[slots[b], q]) == pytest.approx(odds, abs=2e-3)
            assert decided[b, q] == (odds > 7)
            assert back[b, q] == (0 if decided[b, q] else i)
    assert np.array_equal(decoder.decisions(slots), posterior.argmax(2))
    going = ~decoder.decoded[slots]
    heard, told = encoder.table.log_ratios[slots], decoder.table.log_ratios[slots]
    assert np.array_equal(heard[going], told[going])


def test_fine_numbers_give_the_shared_belief(network):
    """Without noise or price, and with as many numbers, both codes are the same."""
    fine = make(
        network, feedback_bits=8, feedback_step=1 / 16, inflation=1.0, number_price=0.0
    )  # fmt: skip
    p = BeliefParameters(4, gains=[(1.0, [(7.0, 0.97)])])
    shared = DigitalBeliefCode(p, state_of(network), 7.0)
    counts = []
    for code in (fine, shared):
        blocks = population(code, 500)
        while blocks.active.size:
            blocks.step()
        counts.append(blocks.symbols.sum(1))
    # The same noise, and nearly the same rounds: the rest is the width of the numbers.
    assert np.corrcoef(counts)[0, 1] > 0.9
    assert counts[0].mean() == pytest.approx(counts[1].mean(), rel=0.005)
    # Coarse ones cost rounds.
    blocks = population(make(network), 500)
    while blocks.active.size:
        blocks.step()
    assert blocks.symbols.sum(1).mean() > 1.02 * counts[1].mean()


@pytest.mark.statistics
def test_posterior_is_exact_where_numbers_arrive(network):
    """Coarse as they are, what goes back takes nothing from the receiver's own knowledge."""
    blocks = population(make(network, threshold=1.5), 4000)
    while blocks.active.size:
        blocks.step()
    every = np.arange(4000)
    odds = blocks.decoder.odds.astype(float)
    expected = odds / (1 + odds)
    wrong = blocks.decoder.decisions(every) != blocks.encoder.labels
    spread = 4 * math.sqrt((expected * (1 - expected)).sum())
    assert expected.sum() > 1000
    assert wrong.sum() == pytest.approx(expected.sum(), abs=spread)


@pytest.mark.statistics
def test_posterior_is_exact_for_noise_that_is_told(network):
    """Another variance in each round and of each block, and both ends track the same belief."""
    code = make(network, threshold=1.5)
    rng = np.random.default_rng(12)
    slots = np.arange(3000)
    encoder, decoder = code.encoder(3000), code.decoder(3000)
    messages = rng.integers(0, 2, (3000, 48), np.uint8)
    encoder.start(slots, messages)
    decoder.start(slots)
    active = slots
    while active.size:
        x = encoder.encode(active)
        variance = rng.uniform(0.4, 2.5, active.size)
        noise = rng.standard_normal(x.shape) * np.sqrt(variance)[:, None]
        y = (x + noise).astype(np.float32)
        decided = decoder.decode(active, y, noise_variance=variance)
        encoder.observe(active, decoder.feedback(active, y), decided, variance)
        going = ~decided
        told, heard = (end.table.log_ratios[active][going] for end in (decoder, encoder))
        np.testing.assert_array_equal(told, heard)
        active = active[~decoder.over(active)]
    odds = decoder.odds.astype(float)
    expected = odds / (1 + odds)
    wrong = decoder.decisions(slots) != encoder.labels
    spread = 4 * math.sqrt((expected * (1 - expected)).sum())
    assert expected.sum() > 1000
    assert wrong.sum() == pytest.approx(expected.sum(), abs=spread)


@pytest.mark.parametrize("feedback_snr_db", [10.0, 14.0])
def test_wrong_numbers_are_as_many_as_pulse_amplitudes_give(network, feedback_snr_db):
    code = make(network, amplitude=0.8)
    blocks = population(code, 3000, feedback_snr_db)
    blocks.step()
    told, heard = blocks.decoder.numbers, blocks.encoder.numbers
    going = ~blocks.decoder.decoded
    inner, outer = going & (np.abs(told) < 3), going & (np.abs(told) == 3)
    tail = ndtr(-0.4 * 10 ** (feedback_snr_db / 20))
    expected = 2 * tail * inner.sum() + tail * outer.sum()
    wrong = (told != heard)[going].sum()
    assert expected > 100
    assert wrong == pytest.approx(expected, abs=4 * math.sqrt(expected))
    counted = blocks.feedback_energy / blocks.feedback_symbols
    assert counted == pytest.approx(0.64 * np.square(told[going].astype(float)).mean())


def test_samples_that_are_missing_tell_nothing(network):
    code = make(network)
    slots = np.arange(2)
    encoder, decoder = code.encoder(2), code.decoder(2)
    encoder.start(slots, np.zeros((2, 48), np.uint8))
    decoder.start(slots)
    encoder.encode(slots)
    decided = decoder.decode(slots, np.full((2, 12), np.nan, np.float32))
    assert not decided.any() and (decoder.posterior == 0).all()
    before = encoder.table.log_ratios
    encoder.observe(slots, np.full((2, 12), np.nan, np.float32), decided)
    assert np.array_equal(encoder.table.log_ratios, before)


def test_sessions_carry_it(network):
    code = make(network, threshold=9.0)
    setting = Setting(1.0, 20.0, threshold=code.threshold)
    transmitter, receiver = Transmitter(code, setting), Receiver(code, setting)
    transmitter.submit(np.random.default_rng(9).integers(0, 2, (600, 48), np.uint8))
    forward, back = SimulatedLink(1, setting.noise_deviation), SimulatedLink(2, 0.1)
    converse(transmitter, receiver, forward, back)
    assert sum(outcome.delivered for outcome in transmitter.outcomes) >= 595
    symbols = np.array([outcome.symbols for outcome in transmitter.outcomes])
    result = evaluation.evaluate(code, setting, 3000, np.random.default_rng(1))
    spread = 4 * symbols.std() / math.sqrt(len(symbols))
    assert symbols.mean() == pytest.approx(result["symbols"] / result["blocks"], abs=spread)
    assert receiver.counts["feedback_samples"] > 0 and receiver.counts["feedback_bits"] == 0


def confirmed(theta=6.0, accept=8.0, **changes):
    file = "feedback/belief-4bit-1dB-feedback-20dB-confirmed"
    p, _ = model.parameters(file)
    return AnalogBeliefCode(p, models.parameters(file), theta, Confirmation(accept, **changes))


@pytest.mark.statistics
def test_confirmed_blocks_are_wrong_as_often_as_the_posterior_tells():
    """At an acceptance so low that errors can be counted."""
    code = confirmed(3.5, 3.5, most=1, margin=-9.0, last_margin=-9.0)
    setting = Setting(1.0, 20.0, threshold=code.threshold)
    result = evaluation.evaluate(code, setting, 12_000, np.random.default_rng(4))
    low, high = clopper_pearson(result["block_errors"], result["blocks"], 0.999)[1:]
    assert result["block_errors"] > 20
    assert low < result["block_error_rate_by_posterior"] < high
    assert result["reopened_blocks"] > 50


@pytest.mark.statistics
def test_numbers_that_were_heard_wrong_make_erasures():
    """At 17 dB one block in ten has one; without check symbols most of them would be wrong."""
    code = confirmed()
    setting = Setting(1.0, 17.0, threshold=code.threshold)
    blocks = evaluation.Population(code, setting, 4000, np.random.default_rng(6))
    misheard = np.zeros(4000, bool)
    while blocks.active.size:
        active, going = blocks.active, ~blocks.decoder.decoded[blocks.active]
        blocks.step()
        told, heard = blocks.decoder.numbers[active], blocks.encoder.numbers[active]
        # What the last round carried nobody needs.
        on = np.isin(active, blocks.active)
        misheard[active] |= on & ((told != heard) & going).any(1)
    every = np.arange(4000)
    erased, denied = blocks.decoder.erased(every), blocks.encoder.denied
    assert misheard.sum() > 200
    # Before any group is decided no check symbol tells of it; later ones do.
    assert (denied[misheard]).mean() > 0.95
    assert erased[misheard].mean() > 0.95
    wrong = (blocks.decoder.decisions(every) != blocks.encoder.labels).any(1) & ~erased
    assert wrong.sum() <= 2
    # A few were heard wrong in their last round alone, which is not counted above.
    assert denied[~misheard].mean() < 0.01


def test_sessions_carry_confirmed_blocks():
    code = confirmed()
    setting = Setting(1.0, 20.0, threshold=code.threshold)
    transmitter, receiver = Transmitter(code, setting), Receiver(code, setting)
    sent = np.random.default_rng(9).integers(0, 2, (400, 48), np.uint8)
    transmitter.submit(sent)
    forward, back = SimulatedLink(1, setting.noise_deviation), SimulatedLink(2, 0.1)
    converse(transmitter, receiver, forward, back)
    outcomes = list(transmitter.outcomes)
    assert sum(outcome.delivered for outcome in outcomes) >= 390
    assert all(outcome.delivered or outcome.erased for outcome in outcomes)
    for delivery in receiver.deliveries:
        if delivery.bits is not None:
            assert np.array_equal(delivery.bits, sent[delivery.session[1]])


@pytest.mark.statistics
def test_the_card_keeps_what_it_promises():
    code, setting, _ = files.load("feedback/belief-4bit-1dB-feedback-20dB", error_target=1e-5)
    result = evaluation.evaluate(code, setting, 6000, np.random.default_rng(8))
    assert result["rate"] > 0.515 and result["block_errors"] <= 1
    assert result["mean_power"] == pytest.approx(1, abs=0.015)
    assert result["feedback_power"] == pytest.approx(1, abs=0.015)
    assert result["block_error_rate_by_posterior"] < 1.3e-5
    assert result["erasure_rate"] < 6e-3


def test_refuses_what_it_does_not_serve(network):
    code = make(network)
    with pytest.raises(ValueError, match="stopped by its receiver"):
        setting = Setting(1.0, 20.0, "hybrid", code.threshold, 0.9)
        code.check(setting)
    for wrong in (
        {"inflation": 0.0},
        {"number_price": -1.0},
        {"feedback_snr_db": math.inf},
        {"feedback_bits": 9},
    ):
        with pytest.raises(ValueError, match="expected"):
            AnalogParameters(4, **wrong)


def options(tmp_path, *more):
    return [
        str(tmp_path / "m.pt"), "--feedback-snr", "20", "--group-bits", "2", "--batch", "256",
        "--hidden", "8", "8", "--measured-groups", "6000", *more,
    ]  # fmt: skip


def test_training_improves_and_writes_a_model(tmp_path):
    arguments = options(tmp_path, "--steps", "25", "--rate", "0.01")
    assert belief_training.main(arguments) == 0
    code, setting, card = files.load(tmp_path / "m.pt", threshold=6.0)
    assert isinstance(code, AnalogBeliefCode) and setting.feedback_snr_db == 20
    assert card.training.steps == 25
    result = evaluation.evaluate(code, setting, 2000, np.random.default_rng(0))
    assert result["mean_power"] == pytest.approx(1, abs=0.06)
    assert result["feedback_power"] == pytest.approx(1, abs=0.06)


def interrupt_after(monkeypatch, steps):
    """Ctrl-C in a step of the next training."""
    step = belief_training.BeliefTrainer.step

    def interrupted(self, number):
        if number == steps:
            monkeypatch.undo()
            signal.raise_signal(signal.SIGINT)
        return step(self, number)

    monkeypatch.setattr(belief_training.BeliefTrainer, "step", interrupted)


def test_an_interrupted_training_goes_on_as_if_nothing_had_been(tmp_path, monkeypatch):
    states = []
    for name, pieces in (("a", 1), ("b", 4)):
        folder = tmp_path / name
        folder.mkdir()
        more = ["--steps", "5"]
        if pieces > 1:
            interrupt_after(monkeypatch, 3)
            assert belief_training.main(options(folder, *more)) == 75
        assert belief_training.main(options(folder, *more)) == 0
        assert (folder / "m.pt").exists()
        states.append(load_network(folder / "m.pt")[0].state_dict())
    for name, value in states[0].items():
        torch.testing.assert_close(value, states[1][name], rtol=0, atol=0)


def test_the_shipped_model_keeps_its_powers():
    code, setting, _ = files.load("feedback/belief-4bit-1dB-feedback-20dB")
    assert (setting.snr_db, setting.feedback_snr_db) == (1.0, 20.0)
    result = evaluation.evaluate(code, setting, 2000, np.random.default_rng(7))
    assert result["mean_power"] == pytest.approx(1, abs=0.02)
    assert result["feedback_power"] == pytest.approx(1, abs=0.02)
    assert result["rate"] > 0.42 and result["block_errors"] <= 8
