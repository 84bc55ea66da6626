# SPDX-License-Identifier: GPL-3.0-or-later
"""The belief-driven code against plain twins, closed forms, and itself in another process."""

import dataclasses
import importlib.util
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from feedback import belief_twin
from gnuradio.neuralfec import _kernels
from gnuradio.neuralfec.feedback import evaluation, files
from gnuradio.neuralfec.feedback.belief import model as belief_files
from gnuradio.neuralfec.feedback.belief import network, parameters, rollout
from gnuradio.neuralfec.feedback.belief import training as belief_training
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


def evaluate(code, snr_db, blocks, rng):
    return evaluation.evaluate(code, Setting(snr_db, threshold=code.threshold), blocks, rng)


def state_of(module):
    return {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}


def random_code(group_bits=4, threshold=8.0, seed=1, **changes):
    torch.manual_seed(seed)
    p = parameters.BeliefParameters(group_bits, **changes)
    made = network.BeliefNetwork(p.patterns, p.hidden, p.symbols)
    return p, made, DigitalBeliefCode(p, state_of(made), threshold)


@pytest.mark.parametrize(
    "group_bits, double_rounds, planned_rounds, factor",
    [
        (1, 0, 0, 1),
        (3, 0, 0, 1),
        (4, 0, 0, 1),
        (6, 0, 0, 1),
        (8, 0, 0, 1),
        (1, 12, 0, 1),
        (4, 3, 0, 1),
        (6, 4, 0, 1),
        (8, 12, 0, 1),
        (4, 0, 3, 1.05),
        (4, 3, 12, 0.9),
    ],
)
def test_ends_follow_the_plain_twin(group_bits, double_rounds, planned_rounds, factor):
    p, made, code = random_code(
        group_bits,
        gains=[(1.0, ((5.0, 0.9), (10.0, 1.1)))],
        double_rounds=double_rounds,
        planned_rounds=planned_rounds,
    )
    state = {name: value.double().numpy() for name, value in made.state_dict().items()}
    rng = np.random.default_rng(3)
    slots = np.array([2, 0])
    messages = rng.integers(0, 2, (2, 48), np.uint8)
    encoder, decoder = code.encoder(3), code.decoder(3)
    encoder.factor = decoder.factor = factor
    encoder.start(slots, messages)
    decoder.start(slots)
    gain = factor * (0.9 + 0.2 * 3 / 5)
    twins = [[belief_twin.Group(p, state, 8.0, gain) for _ in range(p.groups)] for _ in slots]
    bits = messages.reshape(2, p.groups, p.group_bits)
    classes = (bits * 2 ** np.arange(p.group_bits)).sum(2)
    for left in range(12, 6, -1):
        sending = ~decoder.decoded[slots]
        both = 12 - left < double_rounds
        x = encoder.encode(slots)
        y = x + 0.89 * rng.standard_normal(x.shape).astype(np.float32)
        decoder.decode(slots, y)
        levels = decoder.feedback(slots, y)
        encoder.observe(slots, levels)
        for b, q in zip(*np.nonzero(sending), strict=True):
            twin = twins[b][q]
            # Of rounds beyond those planned for each is the last one.
            twin.propose(max(left - 12 + (planned_rounds or 12), 1))
            places = [q, p.groups + q] if both else [q]
            sent = twin.candidates[: len(places), classes[b, q]]
            assert x[b, places] == pytest.approx(sent, abs=2e-4)
            level = np.clip(np.round(y[b, places] * 16), -127, 127)
            assert (levels[b, places] == level + 128).all()
            odds = twin.update(*level / 16)
            assert decoder.odds[slots[b], q] == pytest.approx(odds, rel=2e-3, abs=1e-12)
            assert decoder.decisions(slots)[b, q] == twin.log_belief.argmax()
        silent = np.concatenate([~sending, ~sending | ~np.array(both)], 1)[:, : p.places]
        assert (encoder.sent[slots] == ~silent).all() and (x[silent] == 0).all()
    assert np.array_equal(encoder.odds[slots], decoder.odds[slots])


@pytest.mark.parametrize("double_rounds", [0, 12])
def test_network_in_torch_is_the_kernels(double_rounds):
    p, made, code = random_code(4, double_rounds=double_rounds)
    table = code.table(1)
    block = np.array([0])
    code.kernel.start(table, block)
    rng = np.random.default_rng(1)
    for left in (12, 11, 10):
        code.kernel.propose(table, block, np.array([left], np.uint8), 8.0, code.gain, 1.0)
        before = torch.from_numpy(table.log_ratios[0])
        conditions = torch.tensor([[left, 8.0, p.peak, p.snr_db]]).expand(p.groups, -1)
        candidates = made(before, conditions, torch.tensor(code.gain))
        np.testing.assert_allclose(table.candidates[0], candidates.detach(), atol=2e-5)
        levels = rng.integers(100, 156, p.places).astype(np.uint8)
        values = code.values(levels)
        # Each symbol has a noise variance of its own.
        variances = rng.uniform(0.5, 2, p.places).astype(np.float32)
        code.kernel.update(table, block, values, variances, 8.0)
        y, v = (torch.from_numpy(a).reshape(-1, p.groups, 1) for a in (values, variances))
        after, points = before, candidates.split(p.patterns, 1)
        for number in range(p.symbols):
            after, origin = network.update(after, points[number], y[number], v[number])
            points = [other.gather(1, origin) for other in points]
        np.testing.assert_allclose(table.log_ratios[0], after.detach(), atol=1e-4)


def test_two_processes_on_different_targets_agree_to_the_bit(trained):
    """A hundred thousand symbols between a process held to the worst target and one on the
    best; `benchmarks/belief_agreement.py` is for more."""
    file = Path(__file__).parents[2] / "benchmarks/belief_agreement.py"
    spec = importlib.util.spec_from_file_location("belief_agreement", file)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    rounds, symbols = script.agreement(trained, _kernels.simd_targets()[-1], 2000)
    assert rounds > 12000 and symbols > 100_000


@pytest.fixture(scope="session")
def trained():
    """The shipped code of 4 bits a group."""
    return "feedback/belief-4bit-1dB"


@pytest.mark.statistics
def test_counted_errors_lie_where_the_posterior_puts_them(trained):
    code, _, _ = belief_files.load(trained, threshold=5.0)
    result = evaluate(code, 1.0, 20000, np.random.default_rng(5))
    low, high = clopper_pearson(result["block_errors"], result["blocks"], 0.999)[1:]
    assert result["block_errors"] > 100
    assert low < result["block_error_rate_by_posterior"] < high


@pytest.mark.statistics
def test_shipped_code_meets_its_card(trained):
    code, _, card = belief_files.load(trained)
    result = evaluate(code, 1.0, 20000, np.random.default_rng(6))
    assert result["mean_power"] == pytest.approx(1, abs=0.01)
    stated = card.measured["at_threshold"][f"{code.threshold:g}"]
    assert result["rate"] == pytest.approx(stated["rate"], abs=0.003)
    assert result["rate"] < result["capacity"]
    # Four errors at 1e-5 would be a probability of 1e-4.
    assert result["block_errors"] <= 3
    # A channel without noise ends soon and right.
    easy = evaluate(code, 60.0, 500, np.random.default_rng(7))
    assert easy["block_errors"] == 0
    assert easy["rate"] > result["rate"]


def test_symbols_that_do_not_arrive_leave_the_belief(trained):
    code, _, _ = belief_files.load(trained)
    slots = np.arange(2)
    decoder, encoder = code.decoder(2), code.encoder(2)
    message = np.ones((2, 48), np.uint8)
    encoder.start(slots, message)
    decoder.start(slots)
    before = decoder.table.log_ratios
    x = encoder.encode(slots)
    x[0] = np.nan
    decoder.decode(slots, x)
    levels = decoder.feedback(slots, x)
    assert (levels[0] == 0).all() and (levels[1] > 0).all()
    assert np.array_equal(decoder.table.log_ratios[0], before[0])
    assert not np.array_equal(decoder.table.log_ratios[1], before[1])
    encoder.observe(slots, levels)
    while not decoder.decoded.all():
        x = encoder.encode(slots)
        decoder.decode(slots, x)
        encoder.observe(slots, decoder.feedback(slots, x))
    assert np.array_equal(code.bits(decoder.decisions(slots)), message)


def test_blocks_in_any_company_and_round(trained):
    """A block's symbols do not depend on which others go with it."""
    code, _, _ = belief_files.load(trained)
    rng = np.random.default_rng(4)
    messages = rng.integers(0, 2, (5, 48), np.uint8)
    noise = rng.standard_normal((12, 5, code.parameters.groups)).astype(np.float32)

    def play(slots):
        encoder, decoder = code.encoder(5), code.decoder(5)
        sent = [[] for _ in range(5)]
        for late, part in enumerate(slots):
            encoder.start(part, messages[part])
            decoder.start(part)
            for _ in range(late):
                step(encoder, decoder, part, sent)
        for _ in range(3):
            step(encoder, decoder, np.concatenate(slots), sent)
        return sent

    def step(encoder, decoder, slots, sent):
        rounds = encoder.rounds[slots]
        x = encoder.encode(slots)
        for slot, symbols in zip(slots, x, strict=True):
            sent[slot].append(symbols)
        y = x + noise[rounds, slots]
        decoder.decode(slots, y)
        encoder.observe(slots, decoder.feedback(slots, y))

    together = play([np.arange(5)])
    apart = play([np.array([3]), np.array([4, 1]), np.array([0, 2])])
    for a, b in zip(together, apart, strict=True):
        assert np.array_equal(a[:3], b[:3])


def test_training_goes_on_where_it_stopped(tmp_path):
    common = [
        "--group-bits",
        "2",
        "--batch",
        "32",
        "--measured-groups",
        "2000",
        "--hidden",
        "8",
        "8",
    ]

    def train(output, *more):
        return belief_training.main([str(output), *common, "--steps", "6", *more])

    assert train(tmp_path / "once.pt") == 0
    # No time at all: stops before the first step, then goes on.
    assert train(tmp_path / "twice.pt", "--minutes", "0") == 75
    assert not (tmp_path / "twice.pt").exists()
    assert train(tmp_path / "twice.pt") == 0
    networks = [belief_files.load_network(tmp_path / f"{name}.pt") for name in ("once", "twice")]
    for name, value in networks[0][0].state_dict().items():
        assert torch.equal(value, networks[1][0].state_dict()[name])
    code, _, card = belief_files.load(tmp_path / "once.pt", threshold=6.0)
    result = evaluate(code, 1.0, 2000, np.random.default_rng(1))
    assert result["mean_power"] == pytest.approx(1, abs=0.05)
    assert card.training.steps == 6
    # Another code's checkpoint is refused.
    assert (
        belief_training.main([str(tmp_path / "once.pt"), *common, "--steps", "6", "--peak", "3"])
        == 2
    )


def test_two_symbols_of_a_round_that_say_the_same_are_a_repeated_one():
    """Of one network: both outputs alike, and its one output sent twice."""
    p, made, _ = random_code(2)
    both = network.BeliefNetwork(4, p.hidden, 2)
    network.widen(both, made)
    with torch.no_grad():
        both.layer3.weight[4:], both.layer3.bias[4:] = made.layer3.weight, made.layer3.bias

    def play(net, double_rounds, repeats):
        q = dataclasses.replace(p, rounds=1, double_rounds=double_rounds)
        full = [torch.full((100_000,), value) for value in (30.0, 1.0, p.peak, p.snr_db)]
        generator = torch.Generator().manual_seed(1)
        batch = rollout.Batch(*full)
        return rollout.rollout(rollout.Digital, net, q, batch, 0.3, generator, False, 9.0, repeats)

    twice, doubled = play(made, 0, (2,)), play(both, 1, ())
    torch.testing.assert_close(doubled.rounds, twice.rounds)
    torch.testing.assert_close(doubled.energy, twice.energy)
    # The noise is drawn otherwise.
    assert doubled.price.mean().item() == pytest.approx(twice.price.mean().item(), rel=0.01)


@pytest.mark.parametrize("double_rounds", [0, 12])
def test_a_widened_network_sees_the_likeliest_classes(double_rounds):
    """Classes beyond those of the smaller network take its points over again."""
    small = random_code(3)[1]
    wide = network.BeliefNetwork(32, (80, 50), 2 if double_rounds else 1)
    network.widen(wide, small)
    log_ratios = -torch.arange(32.0)[None] * 0.7
    # So little is left to the rest that it does not move the mean.
    log_ratios[:, 8:] -= 60
    conditions, gain = torch.tensor([[5.0, 8.0, 4.0, 1.0]]), torch.tensor(0.9)
    points = wide(log_ratios, conditions, gain).reshape(-1, 4, 8)
    expected = small(log_ratios[:, :8], conditions, gain)
    torch.testing.assert_close(points[0], expected.expand(4, -1))
    # The second symbol has the same points in another order, and so about another mean.
    for second in points[1:].reshape(-1, 8):
        assert not torch.allclose(second, expected[0], atol=1e-3)
        moved = second.sort().values - expected[0].sort().values
        torch.testing.assert_close(moved, moved[:1].expand(8), atol=1e-4, rtol=0)
    with pytest.raises(ValueError, match="at most as many"):
        network.widen(small, wide)


def test_repeated_symbols_are_worth_a_better_channel():
    """Four symbols of one value are one over a channel 6.02 dB better, at four times its cost."""
    p, made, _ = random_code(2)
    with torch.no_grad():
        made.layer1.weight[:, -1] = 0  # The network is not to see the SNR.

    def play(snr_db, horizon, repeats):
        full = [torch.full((64,), value) for value in (30.0, horizon, p.peak, snr_db)]
        generator = torch.Generator().manual_seed(1)
        batch = rollout.Batch(*full)
        return rollout.rollout(rollout.Digital, made, p, batch, 0.3, generator, False, 9.0, repeats)

    repeated = play(1.0, 1.0, (4,))
    better = play(1.0 + 20 * math.log10(2), 1.0, ())
    torch.testing.assert_close(repeated.price, better.price)
    torch.testing.assert_close(repeated.rounds, 4 * better.rounds)
    torch.testing.assert_close(repeated.energy, 4 * better.energy)
    # Far below the threshold all rounds are sent: once, twice, three times.
    torch.testing.assert_close(play(1.0, 3.0, (3, 2)).rounds, torch.full((64,), 6.0))


def test_gradient_of_the_received_symbol():
    """Of E[y] and E[y^2], known in closed form for the mixture sum p_i N(x_i, s^2)."""
    n, variance = 400_000, 0.8
    ratios = torch.tensor([0.0, -0.4, -1.0])
    points = torch.tensor([0.3, -0.6, 0.9])
    leaves = [ratios.clone().requires_grad_(), points.clone().requires_grad_()]
    generator = torch.Generator().manual_seed(1)
    y = rollout.received(
        *(leaf.expand(n, -1) for leaf in leaves), torch.full((n, 1), variance), generator
    )
    for power in (1, 2):
        found = torch.autograd.grad((y**power).mean(), leaves, retain_graph=True)
        expected = [leaf.detach().requires_grad_() for leaf in (ratios, points)]
        moment = expected[1] if power == 1 else expected[1] ** 2 + variance
        mean = (torch.softmax(expected[0], 0) * moment).sum()
        assert (y**power).mean().item() == pytest.approx(mean.item(), abs=0.01)
        for a, b in zip(found, torch.autograd.grad(mean, expected), strict=True):
            torch.testing.assert_close(a, b, atol=0.01, rtol=0)


def test_gain_between_thresholds():
    p = parameters.BeliefParameters(
        3, gains=((1.0, ((6.0, 1.0), (8.0, 1.2), (12.0, 1.0))), (3.0, ((9.0, 2.0),)))
    )
    assert [p.gain(t) for t in (2.0, 6.0, 7.0, 8.0, 11.0, 20.0)] == pytest.approx(
        [1.0, 1.0, 1.1, 1.2, 1.05, 1.0]
    )
    assert p.at(2.5).gain(7.0) == pytest.approx(1.1 / 4 + 2 * 3 / 4)
    assert [p.at(snr_db).snr_db for snr_db in (-5.0, 1.5, 4.0)] == [1.0, 1.5, 3.0]


@pytest.mark.parametrize(
    "change",
    [
        {"group_bits": 12},
        {"group_bits": 7},
        {"group_bits": 5},
        {"rounds": 0},
        {"planned_rounds": 13},
        {"planned_rounds": -1},
        {"peak": math.nan},
        {"feedback_bits": 9},
        {"feedback_step": 0},
        {"hidden": (3,)},
        {"gains": ((1.0, ((8.0, 1.0), (6.0, 1.0))),)},
        {"gains": ((2.0, ((8.0, 1.0),)), (1.0, ((8.0, 1.0),)))},
        {"snr_db": math.inf},
    ],
)
def test_parameters_that_make_no_sense(change):
    with pytest.raises(ValueError, match="expected"):
        parameters.BeliefParameters(**({"group_bits": 4} | change))


def test_bad_calls():
    p, made, code = random_code(2)
    with pytest.raises(ValueError, match="threshold"):
        DigitalBeliefCode(p, state_of(made), 0)
    encoder, decoder = code.encoder(1), code.decoder(1)
    one = np.array([0])
    with pytest.raises(ValueError, match="messages of 48 bits"):
        encoder.start(one, np.zeros((1, 47), np.uint8))
    encoder.start(one, np.zeros((1, 48), np.uint8))
    for _ in range(12):
        encoder.encode(one)
    with pytest.raises(ValueError, match="rounds"):
        encoder.encode(one)
    decoder.start(one)
    with pytest.raises(ValueError, match="loaded with"):
        decoder.decode(one, np.zeros((1, 24), np.float32), 9.0)
    with pytest.raises(ValueError, match="at least 1 block"):
        evaluate(code, 1.0, 0, np.random.default_rng(1))


def test_sessions_carry_it_over_bad_links(trained):
    """A tenth of the messages is dropped, doubled, delayed or corrupted, both ways."""
    code, setting, _ = files.load(trained)
    transmitter = Transmitter(code, setting, capacity=128, max_records=16, stream=3)
    receiver = Receiver(code, setting, capacity=256)
    sent = np.random.default_rng(8).integers(0, 2, (500, 48), np.uint8)
    transmitter.submit(sent)
    faults = Faults(0.1, 0.1, 0.1, 0.1)
    forward = SimulatedLink(1, setting.noise_deviation, faults)
    converse(transmitter, receiver, forward, SimulatedLink(2, 0.0, faults))
    right = [outcome for outcome in transmitter.outcomes if outcome.delivered]
    # Spoiled samples of an intact record are noise like any other, and cost a few.
    assert len(right) > 400
    for delivery in receiver.deliveries:
        if delivery.bits is not None:
            assert np.array_equal(delivery.bits, sent[delivery.session[1]])


@pytest.mark.statistics
def test_sessions_give_the_evaluators_figures(trained):
    code, setting, _ = files.load(trained, threshold=9.0)
    transmitter, receiver = Transmitter(code, setting), Receiver(code, setting)
    transmitter.submit(np.random.default_rng(9).integers(0, 2, (3000, 48), np.uint8))
    forward = SimulatedLink(1, setting.noise_deviation)
    converse(transmitter, receiver, forward, SimulatedLink(2))
    assert sum(outcome.delivered for outcome in transmitter.outcomes) >= 2995
    symbols = np.array([outcome.symbols for outcome in transmitter.outcomes])
    energy = sum(outcome.energy for outcome in transmitter.outcomes)
    result = evaluate(code, setting.snr_db, 20000, np.random.default_rng(1))
    spread = 4 * symbols.std() / math.sqrt(len(symbols))
    assert symbols.mean() == pytest.approx(result["symbols"] / result["blocks"], abs=spread)
    assert energy / symbols.sum() == pytest.approx(1, abs=0.02)


def test_thresholds_of_both_kinds(trained):
    """Log-odds are held, the probability is for printing; and a code takes its own."""
    code, setting, _ = files.load(trained)
    assert code.threshold == setting.threshold == 12
    assert setting.gamma == pytest.approx(1 - math.exp(-12), abs=1e-10)
    for theta in (0.5, 26, 27, 30, 33, 35.9):
        code, setting, _ = files.load(trained, threshold=theta)
        assert code.threshold == setting.threshold == theta
        code.check(setting)
        Receiver(code, setting)
    for theta in (0.0, -1.0, 36.0, math.nan):
        with pytest.raises(ValueError, match="threshold above"):
            files.load(trained, threshold=theta)


@pytest.mark.parametrize(
    "change",
    [
        {"termination": "hybrid", "transmitter_threshold": 0.9},
        {"feedback_snr_db": 20.0},
        {"threshold": 9.0},
    ],
)
def test_settings_that_it_does_not_serve(trained, change):
    code, setting, _ = files.load(trained)
    with pytest.raises(ValueError, match=r"expected the threshold|stopped by its receiver"):
        Receiver(code, dataclasses.replace(setting, **change))


def test_no_draw_of_the_trainer_has_more_rounds_than_the_code(tmp_path, monkeypatch):
    options = belief_training.options_of_training().parse_args(
        [str(tmp_path / "m.pt"), "--batch", "64"]
    )
    trainer = belief_training.BeliefTrainer(belief_training.parameters(options), options)
    # The largest that a draw may round to.
    monkeypatch.setattr(
        trainer, "uniform", lambda low, high, size: torch.full((size,), float(high))
    )
    assert trainer.step(0)["rounds"] <= 12
