# SPDX-License-Identifier: GPL-3.0-or-later
"""The trainer: its targets against the BCJR kernel, and that it learns, resumes and exports."""

import itertools
import signal

import numpy as np
import pytest
import torch
from gnuradio.neuralfec import codes, models
from gnuradio.neuralfec.decoders import convolutional
from gnuradio.neuralfec.phy.impulsive import Pulses
from gnuradio.neuralfec.sequence import decoder, training
from gnuradio.neuralfec.sequence.trellis import Trellis


@pytest.mark.parametrize("spec", ["7,5", "7,5/7", "13,15,17/13"])
def test_targets_are_the_posteriors_of_the_kernel(spec):
    """From an unknown into an unknown state: the kernel starts in state 0, so it is led into
    all states by erased steps first."""
    code = codes.code(f"conv:{spec}:48")
    trellis = Trellis(code.generators, code.feedback)
    rng = np.random.default_rng(1)
    llrs = 2 * rng.standard_normal((20, 48, len(code.generators)), dtype=np.float32)
    llrs[:, : trellis.memory] = 0
    expected, _ = convolutional.BcjrDecoder(code).posteriors(llrs.reshape(20, -1))
    found = trellis.posterior(torch.from_numpy(llrs[:, trellis.memory :])).numpy()
    np.testing.assert_allclose(found, expected[:, trellis.memory :], atol=2e-3)


def test_targets_in_pulses_are_exact():
    """Against the sum over all messages, start states and pulses of four steps."""
    pulses = Pulses(fraction=0.2, length=2, power=4.0)
    rng = np.random.default_rng(1)
    y = 2 * rng.standard_normal((5, 4, 2), dtype=np.float32)
    noise_var = np.float32(0.5)
    trellis = Trellis([0o7, 0o5], 0o7)
    # Register bits w_-2 .. w_3; pulses may begin one symbol before the first.
    w = np.array(list(itertools.product((0, 1), repeat=6)))
    coded = np.stack([w[:, 2:] ^ w[:, 1:-1] ^ w[:, :-2], w[:, 2:] ^ w[:, :-2]], axis=2)
    began = np.array(list(itertools.product((False, True), repeat=9)))
    start = 1 - (1 - pulses.fraction) ** 0.5
    weight = np.prod(np.where(began, start, 1 - start), axis=1)
    variance = noise_var + pulses.power * (began[:, 1:] | began[:, :-1])
    known = np.zeros((5, 4, 1), dtype=bool)
    known[:, 3] = True
    joint = np.empty((5, len(w)))
    for frame, i in itertools.product(range(5), range(len(w))):
        noise = (y[frame] - (2.0 * coded[i] - 1)).ravel()[:6]
        density = np.exp(-(noise**2) / (2 * variance[:, :6])) / np.sqrt(variance[:, :6])
        joint[frame, i] = (weight * density.prod(axis=1)).sum() * (not coded[i, 3].any())
    # The first generator is the feedback: its coded bit is the message.
    expected = joint @ coded[:, :, 0] / joint.sum(axis=1, keepdims=True)
    found = trellis.posterior_in_pulses(
        torch.from_numpy(y), torch.full((5, 1, 1), noise_var), torch.from_numpy(known), pulses
    )
    np.testing.assert_allclose(found.numpy(), expected, atol=1e-5)


def test_training_resumes_learns_and_exports(tmp_path, monkeypatch):
    """What is interrupted and resumed ends as what ran through; the file decodes."""

    def train(name):
        arguments = "--batch 1000 --block 40 60 --short 0 --hidden 10 --rate 2e-2 --steps 40"
        return training.main([str(tmp_path / f"{name}.pt"), *arguments.split()])

    monkeypatch.setattr(training, "EVALUATION", {4: 20_000})
    assert train("whole") == 0
    model = tmp_path / "whole.pt"

    make_batch, calls = training.make_batch, []

    def interrupted(*arguments):
        calls.append(arguments)
        if len(calls) == 15:
            signal.raise_signal(signal.SIGINT)
        return make_batch(*arguments)

    monkeypatch.setattr(training, "make_batch", interrupted)
    assert train("pieces") == 75
    assert len(calls) == 15
    assert train("pieces") == 0
    whole = models.state_dict(model)
    for name, tensor in models.state_dict(tmp_path / "pieces.pt").items():
        torch.testing.assert_close(tensor, whole[name])

    code = codes.code("conv:7,5:100")
    messages = np.random.default_rng(1).integers(0, 2, (50, 100), dtype=np.uint8)
    llrs = 2 * code.encode(messages).astype(np.float32) - 1
    decided, _ = decoder.RnnDecoder(code, str(model)).decode(llrs)
    assert np.mean(decided != messages) < 0.1
    assert set(models.read_card(model).measured) == {
        "BER over that of BCJR",
        "BLER over that of BCJR",
    }
