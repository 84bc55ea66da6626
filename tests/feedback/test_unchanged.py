# SPDX-License-Identifier: GPL-3.0-or-later
"""What the shipped feedback codes send and decide, and ten steps of each trainer, as stored.

Stored before the code was taken apart into rooms. The digital belief codes promise bits, so
theirs are digests of all symbols; of the others, whose networks are summed in an order that
depends on the processor, decisions and sums of the symbols.
"""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from gnuradio.neuralfec.feedback import evaluation, files
from gnuradio.neuralfec.feedback.belief import training as belief
from gnuradio.neuralfec.feedback.deepvlf import training as deepvlf
from gnuradio.neuralfec.feedback.session import (
    Faults,
    Receiver,
    SimulatedLink,
    Transmitter,
    converse,
)

STORED = json.loads(Path(__file__).with_name("unchanged.json").read_text())


def digest(data):
    data = data.encode() if isinstance(data, str) else np.ascontiguousarray(data).tobytes()
    return hashlib.sha256(data).hexdigest()[:16]


def rounds_of(code, setting):
    population = evaluation.Population(code, setting, 64, np.random.default_rng(7))
    symbols, sums = hashlib.sha256(), np.zeros(2)
    while population.active.size:
        x = population.encoder.encode(population.active)
        symbols.update(np.ascontiguousarray(x, np.float32).tobytes())
        sums += np.abs(x).sum(dtype=np.float64), np.square(x, dtype=np.float64).sum()
        population.transmit(x)
    decisions = population.decoder.decisions(np.arange(64))
    return {
        "symbols": symbols.hexdigest()[:16],
        "sums": sums.tolist(),
        "decisions": digest(decisions.astype(np.uint8)),
        "group_rounds": digest(population.symbols.astype(np.uint8)),
        "rounds": int(population.symbols.sum()),
        "block_errors": evaluation.counts(population)["block_errors"],
    }


def session_of(code, setting):
    """Forty messages over links that lose, double, delay and corrupt."""
    faults = Faults(0.05, 0.05, 0.1, 0.05)
    transmitter = Transmitter(code, setting, capacity=16, stream=5)
    receiver = Receiver(code, setting, capacity=32)
    forward = SimulatedLink(1, setting.noise_deviation, faults)
    back = SimulatedLink(2, setting.feedback_deviation, faults)
    shape = (40, code.parameters.message_bits)
    transmitter.submit(np.random.default_rng(3).integers(0, 2, shape, np.uint8))
    now = converse(transmitter, receiver, forward, back)
    outcomes = [
        (o.session, o.delivered, o.reason, o.rounds, o.symbols, o.repeated)
        for o in transmitter.outcomes
    ]
    deliveries = [
        (d.session, d.reason, d.rounds, None if d.bits is None else digest(d.bits))
        for d in receiver.deliveries
    ]
    return {
        "time": round(now, 6),
        "outcomes": digest(repr(outcomes)),
        "deliveries": digest(repr(deliveries)),
        "delivered": sum(outcome.delivered for outcome in transmitter.outcomes),
        "energy": sum(outcome.energy for outcome in transmitter.outcomes),
        "symbols": sum(outcome.symbols for outcome in transmitter.outcomes),
    }


@pytest.mark.parametrize("name", STORED["models"])
def test_shipped_code(name):
    stored = STORED["models"][name]
    code, setting, _ = files.load(name)
    found = [
        setting.snr_db,
        setting.feedback_snr_db,
        setting.termination,
        None if setting.threshold is None else round(setting.threshold, 6),
        setting.transmitter_threshold,
        setting.channel,
    ]
    assert found == stored["setting"]
    if "20dB" not in name:
        assert code.identity == stored["identity"]
    rounds, session = rounds_of(code, setting), session_of(code, setting)
    np.testing.assert_allclose(rounds.pop("sums"), stored["rounds"]["sums"], rtol=1e-4)
    assert session.pop("energy") == pytest.approx(stored["session"]["energy"], rel=1e-4)
    if not code.payload_bytes:
        rounds.pop("symbols")
    assert rounds == {key: stored["rounds"][key] for key in rounds}
    assert session == {key: stored["session"][key] for key in session}


BELIEF = {
    "digital": [],
    "digital range": ["--snr-range", "-1", "5", "--init", "feedback/belief-4bit-1dB"],
    "analog": ["--feedback-snr", "20"],
}


@pytest.mark.parametrize("name", STORED["trainers"])
def test_ten_steps(name, tmp_path, monkeypatch):
    stored, kind = STORED["trainers"][name], name.removeprefix("deepvlf ")
    output = str(tmp_path / "m.pt")
    losses = []
    if kind == name:
        options = belief.options_of_training().parse_args(
            [output, "--steps", "10", "--batch", "128", *BELIEF[name]]
        )
        trainer = belief.BeliefTrainer(belief.parameters(options), options)
        losses = [trainer.step(step)["loss"] for step in range(10)]
        average = trainer.average.module
        np.testing.assert_allclose(trainer.multiplier, stored["multiplier"], rtol=1e-3, atol=1e-6)
    else:
        played, kept = deepvlf.rollout, []
        monkeypatch.setattr(deepvlf, "rollout", lambda *a: kept.append(played(*a)) or kept[-1])
        monkeypatch.setattr(deepvlf, "export", lambda module, *_: kept.append(module))
        sizes = ["--bits", "8", "--groups", "4", "--rounds", "5", "--batch", "32"]
        arguments = [output, "--scheme", kind, "--snr", "3", *sizes, "--steps", "10"]
        assert deepvlf.main([*arguments, "--seed", "2"]) == 0
        *figures, average = kept
        losses = [float(one.loss.detach()) for one in figures]
    np.testing.assert_allclose(losses, stored["losses"], rtol=1e-3)
    total = sum(float(p.detach().double().abs().sum()) for p in average.parameters())
    assert total == pytest.approx(stored["average"], rel=1e-4)
    assert torch.isfinite(torch.tensor(losses)).all()
