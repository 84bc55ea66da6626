# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks that are confirmed: against a plain ledger, counts, faults, and in sessions."""

import dataclasses
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
from gnuradio.neuralfec import _kernels, models
from gnuradio.neuralfec.feedback import evaluation, files
from gnuradio.neuralfec.feedback.belief import choice
from gnuradio.neuralfec.feedback.belief import model as belief_model
from gnuradio.neuralfec.feedback.belief.confirmation import CONFIRM, NOTHING, Confirmation
from gnuradio.neuralfec.feedback.belief.digital import DigitalBeliefCode
from gnuradio.neuralfec.feedback.session import (
    Faults,
    Receiver,
    SimulatedLink,
    Transmitter,
    converse,
)
from gnuradio.neuralfec.feedback.setting import Setting
from gnuradio.neuralfec.simulation import clopper_pearson
from scipy.stats import poisson

MODEL = "feedback/belief-4bit-1dB"


def confirmed(theta=5.0, accept=8.0, double_rounds=0, **changes):
    """Return the shipped code, whose groups may send twice at the start: the second time as if
    ranks that lie side by side in the first symbol were far apart."""
    p, _ = belief_model.parameters(MODEL)
    state = dict(models.parameters(MODEL))
    if double_rounds:
        p = dataclasses.replace(p, double_rounds=double_rounds)
        ranks = [0, 1, 8, 9, 4, 5, 12, 13, 2, 3, 10, 11, 6, 7, 14, 15]
        for name in ("layer3.weight", "layer3.bias"):
            state[name] = np.concatenate([state[name], state[name][ranks]])
    return DigitalBeliefCode(p, state, theta, Confirmation(accept, **changes))


def setting_of(code, snr_db=1.0):
    return Setting(snr_db, threshold=code.threshold)


def joined(*odds):
    """prod (1 + o) - 1."""
    return math.expm1(sum(math.log1p(float(o)) for o in odds))


class PlainLedger:
    """One block's confirmation, in plain double precision and by the formulas as they stand."""

    def __init__(self, code):
        self.code, self.s, self.p = code, code.confirmation, code.parameters
        self.covered = [False] * self.p.groups
        self.against = 0.0

    def places(self, left, decided, odds):
        s, p, q = self.s, self.p, self.p.groups
        going = [g for g in range(q) if not decided[g]]
        places = {g: g for g in going}
        if left > p.rounds - p.double_rounds:
            places |= {q + g: q + g for g in going}
        free = [g for g in range(p.places) if g not in places]
        repeats = s.repeats[left - 1] if left <= len(s.repeats) else 1
        copies = min(repeats - 1, len(free) // len(going)) if going else 0
        for g in going * copies:
            places[free.pop(0)] = g
        fresh = [g for g in range(q) if decided[g] and not self.covered[g]]
        self.before = joined(self.against, *(odds[g] for g in fresh))
        self.asked = []
        if any(decided) and (left == 1 or (len(going) <= s.early and (fresh or not going))):
            mean, deviation = p.peak**2 / 2 / p.noise_variance, p.peak / p.noise_variance**0.5
            margin = s.last_margin if left == 1 else s.margin
            count = next(
                (
                    n
                    for n in range(1, s.most)
                    if -math.log(self.before) + n * mean - margin * n**0.5 * deviation > s.accept
                ),
                s.most,
            )
            count = count if left == 1 else min(count, 2)
            for place in free[:count]:
                places[place] = CONFIRM
                self.asked.append(place)
            self.speaks_of = [g for g in range(q) if decided[g]]
        return [places.get(g, NOTHING) for g in range(p.places)]

    def accepts(self, values, odds):
        p = self.p
        if self.asked:
            total = sum(float(values[place]) for place in self.asked)
            evidence = (len(self.asked) * p.peak**2 / 2 - p.peak * total) / p.noise_variance
            self.against = self.before * math.exp(-evidence)
            self.covered = [g in self.speaks_of for g in range(p.groups)]
        rest = [odds[g] for g in range(p.groups) if not self.covered[g]]
        block = joined(self.against, *rest)
        return any(self.covered) and -math.log(block) > self.s.accept


@pytest.mark.parametrize("double_rounds", [0, 3])
def test_ends_follow_the_plain_ledger(double_rounds):
    """Without reopening: which places carry what, and what is accepted when."""
    code = confirmed(reopen=-70.0, double_rounds=double_rounds)
    blocks = evaluation.Population(code, setting_of(code), 60, np.random.default_rng(2))
    plain = [PlainLedger(code) for _ in range(60)]
    decoder, seen = blocks.decoder, set()
    while blocks.active.size:
        active = blocks.active
        left = 12 - decoder.rounds[active[0]]
        expected = [
            plain[b].places(left, decoder.decoded[b].copy(), decoder.odds[b].copy()) for b in active
        ]
        levels = []
        quantize = decoder.feedback

        def noted(slots, y, variance=None, quantize=quantize, levels=levels):
            levels.append(quantize(slots, y, variance))
            return levels[-1]

        decoder.feedback = noted
        blocks.step()
        decoder.feedback = quantize
        assert decoder.ledger.places[active].tolist() == expected
        assert blocks.encoder.ledger.places[active].tolist() == expected
        values = code.values(levels[0])
        for row, b in enumerate(active):
            assert plain[b].accepts(values[row], decoder.odds[b]) == decoder.ledger.accepted[b]
        seen |= {place for row in expected for place in row}
        seen |= {"copy" for row in expected if len({*row} - {NOTHING, CONFIRM}) < sum(
            place >= 0 for place in row)}  # fmt: skip
    assert {CONFIRM, NOTHING, "copy"} <= seen
    assert decoder.ledger.accepted.mean() > 0.8


@pytest.mark.statistics
@pytest.mark.parametrize("theta, double_rounds", [(3.0, 0), (5.0, 0), (4.0, 4)])
def test_counted_errors_lie_where_the_posterior_puts_them(theta, double_rounds):
    """Of accepted blocks, at an acceptance so low that errors can be counted."""
    code = confirmed(theta, 3.0, most=1, margin=-9.0, last_margin=-9.0)
    result = evaluation.evaluate(code, setting_of(code), 40_000, np.random.default_rng(5))
    low, high = clopper_pearson(result["block_errors"], result["blocks"], 0.999)[1:]
    assert result["block_errors"] > 20
    assert low < result["block_error_rate_by_posterior"] < high
    assert result["reopened_blocks"] > 100


@pytest.mark.statistics
def test_a_block_that_was_refused_remembers_why():
    """Errors among blocks that were opened again: none more than the posterior tells."""
    p, _ = belief_model.parameters(MODEL)
    settings = Confirmation(4.0, step=0.1, early=4)
    code = DigitalBeliefCode(p.at(5.0), models.parameters(MODEL), 1.5, settings)
    rng = np.random.default_rng(5)
    wrong = expected = 0.0
    for _ in range(20):
        blocks = evaluation.Population(code, setting_of(code, 5.0), 8000, rng)
        while blocks.active.size:
            blocks.step()
        ledger, every = blocks.decoder.ledger, np.arange(8000)
        again = ledger.accepted & (ledger.opened > 0)
        right = (code.bits(blocks.decoder.decisions(every)) == blocks.messages).all(1)
        wrong += int((again & ~right).sum())
        expected += ledger.error[again].sum()
    assert expected > 40
    assert wrong < poisson.ppf(0.999, expected)


@pytest.mark.statistics
def test_confirmation_makes_errors_erasures():
    plain, _, _ = belief_model.load(MODEL, threshold=5.0)
    alone = evaluation.evaluate(plain, setting_of(plain), 20_000, np.random.default_rng(1))
    code = confirmed()
    result = evaluation.evaluate(code, setting_of(code), 20_000, np.random.default_rng(1))
    assert alone["block_errors"] > 80 and alone["erasures"] == 0
    assert result["block_errors"] <= 5 and 0 < result["erasures"] < alone["block_errors"]
    assert result["rate"] == pytest.approx(
        (20_000 - result["erasures"]) * 48 / result["symbols"], rel=1e-12
    )
    # No symbol is sent twice in a place, and none beyond the peak.
    assert result["average_block_rounds"] <= 12


@pytest.mark.statistics
def test_the_card_keeps_what_it_promises():
    """Rate, power and erasures of the shipped confirmation for 1e-5."""
    code, setting, card = files.load(MODEL, error_target=1e-5)
    row = next(
        r for r in card.measured["confirmed"] if (r["error_target"], r["snr_db"]) == (1e-5, 1.0)
    )
    result = evaluation.evaluate(code, setting, 30_000, np.random.default_rng(8))
    assert result["rate"] == pytest.approx(row["rate"], abs=0.0015)
    assert result["mean_power"] == pytest.approx(1, abs=0.01)
    assert result["erasure_rate"] < 4.5e-3
    assert result["block_error_rate_by_posterior"] < 2e-5
    assert result["block_errors"] <= 4


def test_error_targets():
    code, setting, _ = files.load(MODEL, error_target=3e-5)
    assert code.confirmation == files.load(MODEL, error_target=1e-5)[0].confirmation
    assert code.threshold == setting.threshold
    assert code.identity != files.load(MODEL, error_target=1e-7)[0].identity
    there = [files.load(MODEL, snr_db=snr, error_target=1e-5) for snr in (0.0, 3.0)]
    assert [setting.snr_db for _, setting, _ in there] == [0.0, 3.0]
    assert there[0][0].threshold > there[1][0].threshold
    # The model names others far from 1 dB.
    low, _, card = files.load("feedback/belief-4bit-1dB", snr_db=-1.0, error_target=1e-5)
    assert (card.name, low.parameters.group_bits) == ("belief-3bit-low", 3)
    with pytest.raises(ValueError, match="1e-12; it has"):
        files.load(MODEL, error_target=1e-12)
    with pytest.raises(ValueError, match="not both"):
        files.load(MODEL, 6.0, error_target=1e-5)
    for name in ("feedback/deepvlf-r-1dB", "feedback/belief-3bit-1dB"):
        with pytest.raises(ValueError, match="confirm"):
            files.load(name, error_target=1e-5)


@pytest.mark.statistics
def test_choice_finds_unit_power_below_the_target():
    p, _ = belief_model.parameters(MODEL)
    row, result = choice.choose(
        p, models.parameters(MODEL), 1e-3, blocks=4000, thresholds=(5.5, 6.5)
    )
    assert row.error_target == 1e-3 and row.threshold in (5.5, 6.5)
    assert result["mean_power"] == pytest.approx(1, abs=0.01)
    assert result["block_error_rate_by_posterior"] < 1.6e-3
    with pytest.raises(ValueError, match="error target"):
        choice.choose(p, models.parameters(MODEL), 0.5)


def test_choices_are_written_beside_those_that_a_card_has(tmp_path, capsys):
    file = tmp_path / "more.pt"
    asked = ["--error-target", "1e-3", "--snr", "3", "--thresholds", "4.5", "--blocks", "1500"]
    name = "feedback/belief-4bit-1dB-confirmed"
    assert choice.main([name, str(file), *asked, "--repeats", "4", "2"]) == 0
    code, _, card = files.load(file, snr_db=3.0, error_target=1e-3)
    assert code.threshold == 4.5 and code.confirmation.repeats == (4, 2)
    assert card.name == "more" and card.measured["confirmed"][-1]["blocks"] == 1500
    before = files.load(name, snr_db=1.0, error_target=1e-5)[0]
    assert files.load(file, snr_db=1.0, error_target=1e-5)[0].identity == before.identity
    assert choice.main([str(file), str(file), *asked, "--seed", "2"]) == 0
    assert len(files.load(file)[2].parameters["confirmations"]) == len(
        card.parameters["confirmations"]
    )
    capsys.readouterr()
    assert choice.main([name, str(file), "--snr", "9"]) == 2
    assert "not trained for 9 dB" in capsys.readouterr().err


@pytest.mark.parametrize("double_rounds, snr_db", [(0, -1.5), (3, -2.5)])
def test_sessions_report_erasures_at_both_ends(double_rounds, snr_db):
    """A channel too bad for the code: what cannot be confirmed is declared lost."""
    code = confirmed(double_rounds=double_rounds)
    setting = setting_of(code, snr_db)
    transmitter = Transmitter(code, setting, capacity=64, stream=3)
    receiver = Receiver(code, setting, capacity=128)
    sent = np.random.default_rng(8).integers(0, 2, (400, 48), np.uint8)
    transmitter.submit(sent)
    faults = Faults(0.05, 0.05, 0.05, 0.0)
    forward = SimulatedLink(1, setting.noise_deviation, faults)
    converse(transmitter, receiver, forward, SimulatedLink(2, 0.0, faults))
    erased = {outcome.session for outcome in transmitter.outcomes if outcome.erased}
    delivered = {outcome.session for outcome in transmitter.outcomes if outcome.delivered}
    assert len(erased) > 20 and len(delivered) > 20
    known = {d.session[1]: d for d in receiver.deliveries}
    for session in erased:
        assert known[session].reason == "erased" and known[session].bits is None
    for session in delivered:
        assert np.array_equal(known[session].bits, sent[session])


def test_two_processes_on_different_targets_agree_to_the_bit():
    file = Path(__file__).parents[2] / "benchmarks/belief_agreement.py"
    spec = importlib.util.spec_from_file_location("belief_agreement", file)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    rounds, _ = script.agreement(MODEL, _kernels.simd_targets()[-1], 1000, error_target=1e-5)
    assert rounds > 6000


@pytest.mark.statistics
def test_both_ends_use_the_noise_variance_that_they_are_told():
    """Rounds of different noise, told: the posterior stays exact."""
    code = confirmed(3.0, 3.0, most=1, margin=-9.0, last_margin=-9.0)
    rng = np.random.default_rng(3)
    wrong = expected = blocks = 0
    for _ in range(6):
        slots = np.arange(2000)
        messages = rng.integers(0, 2, (2000, 48), np.uint8)
        encoder, decoder = code.encoder(2000), code.decoder(2000)
        encoder.start(slots, messages)
        decoder.start(slots)
        while slots.size:
            variance = rng.uniform(0.3, 1.6, len(slots))
            x = encoder.encode(slots)
            y = x + np.sqrt(variance)[:, None] * rng.standard_normal(x.shape)
            decoder.decode(slots, y.astype(np.float32), noise_variance=variance)
            levels = decoder.feedback(slots, y.astype(np.float32), variance)
            encoder.observe(slots, levels, noise_variance=variance)
            slots = slots[~decoder.over(slots)]
        every = np.arange(2000)
        assert np.array_equal(encoder.ledger.accepted, decoder.ledger.accepted)
        right = (code.bits(decoder.decisions(every)) == messages).all(1)
        wrong += int((~right & decoder.ledger.accepted).sum())
        expected += decoder.ledger.error.sum()
        blocks += 2000
    low, high = clopper_pearson(wrong, blocks, 0.999)[1:]
    assert wrong > 5 and low < expected / blocks < high


def test_confirm_symbols_that_do_not_arrive_confirm_nothing():
    code = confirmed()
    slots = np.arange(50)
    rng = np.random.default_rng(4)
    encoder, decoder = code.encoder(50), code.decoder(50)
    encoder.start(slots, rng.integers(0, 2, (50, 48), np.uint8))
    decoder.start(slots)
    while slots.size:
        x = encoder.encode(slots)
        y = x + 0.89 * rng.standard_normal(x.shape).astype(np.float32)
        y[encoder.ledger.places[slots] == CONFIRM] = np.nan
        decoder.decode(slots, y)
        encoder.observe(slots, decoder.feedback(slots, y))
        slots = slots[~decoder.over(slots)]
    # Groups of threshold 5 are not sure enough of themselves.
    assert decoder.ledger.accepted.mean() < 0.1
    assert decoder.erased(np.arange(50)).mean() > 0.9


@pytest.mark.parametrize(
    "change",
    [
        {"accept": 60.0},
        {"accept": math.nan},
        {"reopen": 9.0},
        {"gain": 0.0},
        {"most": 0},
        {"early": -1},
        {"step": -1.0},
        {"repeats": (0,)},
    ],
)
def test_confirmations_that_make_no_sense(change):
    with pytest.raises(ValueError, match="expected"):
        Confirmation(**({"accept": 8.0} | change))


def test_a_row_comes_back_from_a_card():
    row = belief_model.Confirmed(1e-5, 5.5, 1.0, Confirmation(8.0, repeats=(4, 2, 2)))
    assert belief_model.Confirmed.from_card(row.to_card()) == row
    assert dataclasses.asdict(row.confirmation)["repeats"] == (4, 2, 2)
