import signal

import numpy as np
import pytest
import torch
from gnuradio.neuralfec.feedback import evaluation, files
from gnuradio.neuralfec.feedback.deepvlf import matching, model, rollout, training
from gnuradio.neuralfec.feedback.deepvlf.code import DeepvlfCode
from gnuradio.neuralfec.feedback.setting import log_odds

SMALL = [
    "--bits", "4", "--groups", "2", "--rounds", "4", "--first-decision", "2", "--snr", "6",
    "--batch", "64", "--threshold", "0.99", "--statistics-blocks", "512",
    "--evaluation-blocks", "512", "--measure", "20", "--progress-blocks", "256",
]  # fmt: skip


def options(*arguments):
    return training.options_of_training().parse_args([*map(str, arguments), *SMALL])


@pytest.mark.parametrize(("scheme", "steps"), [("R", 60), ("T", 60), ("hybrid", 5), ("GBAF", 5)])
def test_each_scheme_learns_and_is_exported(tmp_path, scheme, steps, capsys):
    out = tmp_path / "m.pt"
    status = training.main(
        [
            *SMALL,
            "--scheme",
            scheme,
            "--steps",
            str(steps),
            str(out),
            "--feedback-snr",
            "20",
        ]
    )
    said = capsys.readouterr()
    assert status == 0, said.err
    lines = [line for line in said.out.splitlines() if "loss" in line]
    losses = [float(line.split("loss")[1].split()[0]) for line in lines]
    assert steps < 60 or losses[-1] < 0.9 * losses[0]
    code, setting, card = files.load(out)
    assert setting.snr_db == 6 and setting.feedback_snr_db == 20
    assert setting.termination == {"R": "receiver", "T": "transmitter", "GBAF": "none"}.get(
        scheme, "hybrid"
    )
    result = evaluation.evaluate(code, setting, 2048, np.random.default_rng(0))
    # Four bits by guessing are right once in 16.
    assert result["block_error_rate"] < (0.85 if steps == 60 else 1)
    # The peak only takes power away.
    assert 0.9 < result["mean_power"] < 1.05
    assert card.training.steps == steps and card.training.command
    assert card.parameters["power_normalisation"]["over"] == "symbols sent"


def test_an_interrupted_training_goes_on_as_if_nothing_had_been(tmp_path, monkeypatch):
    def train(name, *more):
        return training.main([str(tmp_path / name), *SMALL, "--steps", "12", *more])

    assert train("a.pt") == 0
    played, calls = training.rollout, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 5:
            signal.raise_signal(signal.SIGINT)
        return played(*arguments)

    monkeypatch.setattr(training, "rollout", interrupted)
    assert train("b.pt") == 75 and not (tmp_path / "b.pt").exists()
    assert train("b.pt") == 0 and len(calls) == 12
    expected = model.load_module(tmp_path / "a.pt")[0].state_dict()
    for name, value in model.load_module(tmp_path / "b.pt")[0].state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)
    # One that is not to go on is written as it is.
    calls.clear()
    assert train("c.pt") == 75
    assert train("c.pt", "--finish") == 0
    assert files.load(tmp_path / "c.pt")[2].training.steps == 5
    assert train("b.pt", "--peak", "3") == 2


def test_power_is_one_over_what_is_sent():
    generator = torch.Generator().manual_seed(0)
    o = 3 * torch.randn(200, 5, generator=generator) + 7
    sent = torch.rand(200, 5, generator=generator) < torch.tensor([1.0, 0.9, 0.6, 0.4, 0.05])
    x = rollout.standardised(o, sent)
    for q in range(4):
        kept = o[sent[:, q], q]
        expected = (kept - kept.mean()) / kept.std(unbiased=False)
        torch.testing.assert_close(x[sent[:, q], q], expected, rtol=1e-4, atol=1e-4)
    # Ten symbols tell little of their own: all positions speak for the last.
    kept = o[sent]
    expected = (o[:, 4] - kept.mean()) / kept.std(unbiased=False)
    torch.testing.assert_close(x[:, 4], expected, rtol=1e-3, atol=1e-3)


def test_rollout_counts_what_it_sends():
    module = training.FeedbackCode(training.parameters(options("x")))
    rng = torch.Generator().manual_seed(0)
    point = rollout.Point(6.0, None, "none", 4.6, 4)
    figures = rollout.rollout(module, point, 3.0, 500, rng)
    assert figures.symbols == 500 * 2 * 4 and figures.blocks == 500
    assert figures.energy / figures.symbols == pytest.approx(1, abs=0.02)
    assert 400 < figures.block_errors <= 500
    # Two bits a group are worth log 4 to a network that knows nothing.
    assert float(figures.loss.detach()) == pytest.approx(np.log(4), rel=0.3)
    point = rollout.Point(6.0, None, "transmitter", 4.6, 4)
    genie = rollout.rollout(module, point, 3.0, 500, rng)
    assert genie.symbols < figures.symbols


def test_first_phase_eases_in_and_second_holds_the_point():
    asked = options("x", "--steps", 100)
    target = training.setting(asked)
    rng = np.random.default_rng(0)
    easy, hard = [], []
    for step in range(100):
        point, progress = training.draw_point(asked, step, target, 10, rng)
        assert 0 <= progress < 1
        (easy if step < 60 else hard).append(point)
    assert all(point.snr_db >= 6 and point.threshold <= 4.6 for point in easy)
    assert easy[0].horizon == 5 and easy[-1].horizon == 10
    assert {(point.snr_db, point.threshold, point.horizon) for point in hard} == {
        (6.0, log_odds(0.99), 10)
    }


def test_matching_sends_what_the_belief_is_wrong_by():
    rng = np.random.default_rng(2)
    belief = rng.dirichlet(np.ones(8), (50, 3)).astype(np.float32)
    labels, sent = rng.integers(0, 8, (50, 3)), rng.random((50, 3)) < 0.7
    x = matching.symbols(*(torch.from_numpy(a) for a in (belief, labels, sent))).numpy()
    assert (x[sent] ** 2).mean() == pytest.approx(1, rel=1e-5)
    # Eight levels -7, -5 .. 7, whose scale the power takes away.
    error = 2 * labels - (belief * 2 * np.arange(8)).sum(2)
    expected = error / np.sqrt((error[sent] ** 2).mean())
    np.testing.assert_allclose(x, expected, rtol=1e-4, atol=1e-5)
    assert matching.amplitudes(8).square().mean().item() == pytest.approx(1, rel=1e-6)


def test_matching_is_schalkwijk_and_kailaths_scheme_for_a_normal_amplitude():
    """Fine levels with normal weights: x is the error of the linear estimate, and so white."""
    rng = np.random.default_rng(3)
    levels, sigma = np.linspace(-5, 5, 512), 0.7
    prior = np.exp(-(levels**2) / 2)
    labels = rng.choice(512, (4000, 1), p=prior / prior.sum())
    a, log, variance, linear = levels[labels[:, 0]], np.log(prior)[None, None], 1.0, 0.0
    sent = torch.ones(4000, 1, dtype=torch.bool)
    for _ in range(4):
        belief = np.exp(log - log.max(2, keepdims=True))
        belief = np.broadcast_to(belief / belief.sum(2, keepdims=True), (4000, 1, 512))
        mean = belief[:, 0] @ levels
        x = matching.symbols(
            torch.tensor(belief, dtype=torch.float32), torch.from_numpy(labels), sent
        )[:, 0].numpy()
        np.testing.assert_allclose(
            x, (a - linear) / np.sqrt(((a - linear) ** 2).mean()), rtol=0.02, atol=0.02
        )
        scale = np.sqrt(((a - mean) ** 2).mean())
        y = x + sigma * rng.normal(size=4000)
        candidate = (levels - mean[:, None, None]) / scale
        log = log - (y[:, None, None] - candidate) ** 2 / (2 * sigma**2)
        gain = variance / scale
        gain /= variance / scale**2 + sigma**2
        linear = linear + gain * y
        variance -= gain * variance / scale


def test_matching_with_an_exact_receiver_has_the_rate_that_is_told_of_it():
    """T at 1 dB with a receiver that knows what would be sent for each pattern."""
    rng = torch.Generator().manual_seed(1)
    blocks, sigma = 2000, 10**-0.05
    labels = torch.randint(0, 8, (blocks, 16), generator=rng)
    log, active, sent = torch.zeros(blocks, 16, 8), torch.ones(blocks, dtype=torch.bool), 0
    for _ in range(12):
        belief = log.softmax(2)
        going = active[:, None].expand(-1, 16)
        # What is sent for pattern j: the symbol of label j, of the same scale.
        x = matching.symbols(belief, labels, going)
        levels = matching.amplitudes(8)
        error = levels - (belief @ levels)[:, :, None]
        true = error.gather(2, labels[:, :, None])[:, :, 0]
        would = error * (x[going].square().sum() / true[going].square().sum()).sqrt()
        y = x + sigma * torch.randn(x.shape, generator=rng)
        log = log - (y[:, :, None] - would).square() / (2 * sigma**2)
        sent += 16 * int(active.sum())
        active = active & ~(log.argmax(2) == labels).all(1)
    assert not active.any()
    assert 48 * blocks / sent == pytest.approx(0.530, abs=0.006)


def test_imitation_adds_the_distance_in_proportion():
    module = training.FeedbackCode(training.parameters(options("x")))

    def loss(weight):
        point = rollout.Point(6.0, None, "receiver", 2.0, 4, imitation=weight)
        rng = torch.Generator().manual_seed(0)
        return float(rollout.rollout(module, point, 1.5, 200, rng).loss.detach())

    none, once, twice = loss(0.0), loss(0.1), loss(0.2)
    assert once > none + 0.01
    assert twice - none == pytest.approx(2 * (once - none), rel=1e-3)


def test_fading_costs_in_the_evaluator():
    torch.manual_seed(0)
    module = training.FeedbackCode(training.parameters(options("x")))
    code = DeepvlfCode.of(module)
    results = {}
    for channel in ("awgn", "tdl-c"):
        setting = evaluation.Setting(6, None, "receiver", 0.0, channel=channel)
        population = evaluation.Population(code, setting, 4000, np.random.default_rng(0))
        population.step()
        results[channel] = population.decoder.inputs[:, :, 0].var()
    assert results["tdl-c"] > 1.3 * results["awgn"]


def test_refuses_what_makes_no_sense(tmp_path, capsys):
    for more, reason in (
        (["--groups", "3"], "groups"),
        (["--imitation", "-1"], "--imitation of at least 0"),
        (["--imitation", "0.1", "--scheme", "GBAF"], "none for GBAF"),
    ):
        assert training.main([str(tmp_path / "m.pt"), *SMALL, *more]) == 2
        assert reason in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "snr", "feedback", "termination", "rate"),
    [
        ("deepvlf-r-1dB", 1.0, 20.0, "receiver", 0.29),
        ("deepvlf-t-1dB", 1.0, 20.0, "transmitter", 0.36),
        ("deepvlf-t-1dB-noiseless", 1.0, None, "transmitter", 0.495),
        ("deepvlf-r-1dB-noiseless", 1.0, None, "receiver", 0.42),
        ("deepvlf-r-0dB-noiseless", 0.0, None, "receiver", 0.37),
        ("deepvlf-r-3dB-noiseless", 3.0, None, "receiver", 0.55),
        ("deepvlf-t-1dB-20dB", 1.0, 20.0, "transmitter", 0.44),
        ("deepvlf-r-1dB-20dB", 1.0, 20.0, "receiver", 0.39),
        ("deepvlf-hybrid-1dB-20dB", 1.0, 20.0, "hybrid", 0.44),
        ("gbaf-1dB-noiseless", 1.0, None, "none", 0.333),
        ("deepvlf-t-1dB-learned", 1.0, 20.0, "transmitter", 0.40),
        ("deepvlf-hybrid-1dB-learned", 1.0, 20.0, "hybrid", 0.42),
        # Over fading; few blocks have deep fades, so that rates scatter.
        ("deepvlf-r-5dB-tdl-c", 5.0, None, "receiver", 0.19),
        ("deepvlf-t-5dB-tdl-c", 5.0, None, "transmitter", 0.36),
        ("gbaf-5dB-tdl-c", 5.0, None, "none", 0.333),
    ],
)
def test_shipped_models_keep_their_power(name, snr, feedback, termination, rate):
    code, setting, card = files.load(f"feedback/{name}")
    assert (setting.snr_db, setting.feedback_snr_db) == (snr, feedback)
    assert setting.fades == name.endswith("tdl-c")
    assert setting.termination == termination and code.parameters.peak == 4.0
    result = evaluation.evaluate(code, setting, 1000, np.random.default_rng(3))
    assert result["mean_power"] == pytest.approx(1, abs=0.03)
    assert result["rate"] > rate
    high = card.measured["block_error_rate_interval"][1]
    assert result["block_errors"] < 1000 * high + 4 * (1000 * high) ** 0.5


def test_a_receiver_that_decides_may_begin_with_a_transmitters_code(tmp_path, capsys):
    began, out = tmp_path / "t.pt", tmp_path / "r.pt"
    assert training.main([*SMALL, "--scheme", "T", "--steps", "5", str(began)]) == 0
    more = ["--scheme", "R", "--init", str(began)]
    # With next to no rate the networks stay as they were.
    assert training.main([*SMALL, *more, "--steps", "1", "--rate", "1e-9", str(out)]) == 0
    (first, _), (second, _) = model.load_module(began), model.load_module(out)
    assert second.code.termination == "receiver" and not second.code.belief_input
    assert second.code.first_decision == 2
    for one, other in zip(first.parameters(), second.parameters(), strict=True):
        torch.testing.assert_close(other, one, rtol=1e-4, atol=1e-5)
    capsys.readouterr()
    assert training.main([*SMALL, *more, "--rounds", "5", str(tmp_path / "x.pt")]) == 2
    assert "transmitter network of" in capsys.readouterr().err
