# SPDX-License-Identifier: GPL-3.0-or-later
"""The learned rule of the transmitter to stop."""

import dataclasses
import math
import signal

import numpy as np
import pytest
import torch
from gnuradio.neuralfec.feedback import evaluation, files
from gnuradio.neuralfec.feedback.deepvlf import model, stopping, training, witness
from gnuradio.neuralfec.feedback.deepvlf.network import StoppingNetwork
from gnuradio.neuralfec.feedback.deepvlf.witness import Witness
from gnuradio.neuralfec.training import Run


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A small code that its transmitter stops, and the same with a learned rule."""
    folder = tmp_path_factory.mktemp("models")
    plain, learned = folder / "t.pt", folder / "learned.pt"
    status = training.main(
        [
            "--scheme", "T", "--bits", "4", "--groups", "2", "--rounds", "6", "--snr", "3",
            "--feedback-snr", "20", "--batch", "128", "--steps", "100", "--measure", "1000",
            "--statistics-blocks", "2048", "--evaluation-blocks", "512", str(plain),
        ]
    )  # fmt: skip
    assert status == 0
    status = stopping.main(
        [
            str(learned), "--init", str(plain), "--blocks", "4096", "--steps", "400",
            "--hidden", "16", "--evaluation-blocks", "512", "--statistics-blocks", "2048",
            "--probability", "0.97",
        ]
    )  # fmt: skip
    assert status == 0
    return plain, learned


def state_of(module):
    return {name: tensor.numpy() for name, tensor in module.state_dict().items()}


def run(file, blocks=4000, **changes):
    code, setting, _ = files.load(file)
    setting = dataclasses.replace(setting, **changes)
    return evaluation.evaluate(code, setting, blocks, np.random.default_rng(5))


def test_witness_remembers_three_rounds():
    remembered = Witness(3, 2)
    slots = np.array([2, 0])
    labels = np.array([[1, 0], [0, 1]])
    beliefs = np.array([[[0.1, 0.9], [0.7, 0.3]], [[0.4, 0.6], [0.2, 0.8]]], np.float32)
    inputs = [
        remembered.observe(slots, beliefs / number, labels, np.array([number, number]))
        for number in (1, 2, 3, 4)
    ]
    first = np.array([[[0.9, 0.1], [0.7, 0.3]], [[0.4, 0.6], [0.8, 0.2]]])
    np.testing.assert_allclose(inputs[0][:, :, :2], first, rtol=1e-6)
    assert (inputs[0][:, :, 2:6] == 0).all()
    expected = np.concatenate((first / 4, first / 3, first / 2), 2)
    np.testing.assert_allclose(inputs[3][:, :, :6], expected, rtol=1e-6)
    np.testing.assert_allclose(inputs[3][:, :, 6], 0.4)
    remembered.start(np.array([2]))
    assert (remembered.history[2] == 0).all() and (remembered.history[0] != 0).any()


def test_log_probability_of_a_block_by_hand():
    torch.manual_seed(0)
    network = StoppingNetwork(5)
    state = {name: value.double().numpy() for name, value in network.state_dict().items()}
    inputs = np.random.default_rng(0).normal(size=(3, 4, 7)).astype(np.float32)
    h = inputs.astype(float)
    for name in ("layer1", "layer2"):
        h = np.maximum(h @ state[f"{name}.weight"].T + state[f"{name}.bias"], 0)
    odds = (h @ state["layer3.weight"].T + state["layer3.bias"])[:, :, 0]
    expected = -np.log1p(np.exp(-odds)).sum(1)
    np.testing.assert_allclose(
        witness.log_probability(state_of(network), inputs), expected, rtol=1e-5
    )


def test_training_finds_the_probability(tmp_path):
    """Decisions drawn with a known probability: the network gives it back."""
    rng = np.random.default_rng(1)
    inputs = rng.uniform(0, 1, (40000, 7)).astype(np.float32)
    odds = 6 * (inputs[:, 0] - inputs[:, 1]) + 1
    p = 1 / (1 + np.exp(-odds))
    torch.manual_seed(1)
    network = StoppingNetwork(16)
    options = stopping.options_of_stopping().parse_args(
        [str(tmp_path / "x.pt"), "--steps", "300", "--batch", "1024"]
    )
    run = Run(tmp_path / "c", {})
    right = rng.random(40000) < p
    stopping.fit(network, inputs, right, run, options, torch.Generator().manual_seed(1))
    found = np.exp(witness.log_probability(state_of(network), inputs[:, None]))
    assert np.abs(found - p).mean() < 0.03
    assert found.mean() == pytest.approx(p.mean(), abs=0.02)


def test_the_code_is_the_same_but_for_the_rule(models):
    plain, learned = (model.load_module(file)[0] for file in models)
    state = learned.state_dict()
    for name, value in plain.state_dict().items():
        # Statistics are of the symbols that the new rule lets go on.
        assert torch.equal(state.pop(name), value) or name in ("mean", "deviation")
    assert {name.split(".")[0] for name in state} == {"termination"}
    assert files.load(models[1])[1].transmitter_threshold == 0.97


def test_rule_stops_by_its_probability(models):
    results = [run(models[1], transmitter_threshold=eta) for eta in (0.0, 0.8, 0.99, 0.9999999)]
    rounds = [result["average_rounds"] for result in results]
    errors = [result["block_error_rate"] for result in results]
    assert rounds[0] == 1 and rounds == sorted(rounds) and rounds[3] > rounds[1] + 0.5
    assert errors[0] > 10 * errors[1]
    # A block stops when it is right with at least this probability, or at the end, as in the
    # last of the runs.
    for eta, error in ((0.8, errors[1]), (0.99, errors[2])):
        assert error < 1 - eta + errors[3] + 4 * math.sqrt((1 - eta) / 4000)


def test_rule_beats_the_fixed_threshold(models):
    """At no more errors, fewer rounds than some threshold takes."""
    fixed = run(models[0], transmitter_threshold=0.9)
    learned = run(models[1], transmitter_threshold=0.97)
    assert learned["average_rounds"] < fixed["average_rounds"]


def test_refuses_codes_that_others_stop(tmp_path, capsys):
    file = str(tmp_path / "x.pt")
    for more, reason in (
        (["--init", "feedback/belief-4bit-1dB"], "feedback/belief-4bit-1dB"),
        ([], "--init MODEL"),
    ):
        assert stopping.main([file, *more]) == 2
        error = capsys.readouterr().err
        assert reason in error and error.count("\n") == 1


def test_an_interrupted_training_goes_on_as_if_nothing_had_been(models, tmp_path, monkeypatch):
    more = [
        "--init", str(models[0]), "--blocks", "256", "--steps", "12", "--batch", "64",
        "--evaluation-blocks", "64", "--statistics-blocks", "64",
    ]  # fmt: skip
    collected, calls = stopping.collect, []

    def counted(*arguments):
        calls.append(arguments)
        return collected(*arguments)

    monkeypatch.setattr(stopping, "collect", counted)
    assert stopping.main([str(tmp_path / "a.pt"), *more]) == 0
    loss, asked = torch.nn.functional.binary_cross_entropy_with_logits, []

    def interrupted(*arguments):
        asked.append(arguments)
        if len(asked) == 5:
            signal.raise_signal(signal.SIGINT)
        return loss(*arguments)

    monkeypatch.setattr(torch.nn.functional, "binary_cross_entropy_with_logits", interrupted)
    assert stopping.main([str(tmp_path / "b.pt"), *more]) == 75
    assert stopping.main([str(tmp_path / "b.pt"), *more]) == 0
    # What it learns from is collected once.
    assert len(asked) == 12 and len(calls) == 2
    expected = model.load_module(tmp_path / "a.pt")[0].state_dict()
    for name, value in model.load_module(tmp_path / "b.pt")[0].state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)
