# SPDX-License-Identifier: GPL-3.0-or-later
"""A training that stops and goes on ends as one that ran through."""

import argparse
import signal

import pytest

torch = pytest.importorskip("torch")
from gnuradio.neuralfec import training  # noqa: E402

STEPS = 12


def train(options, on_step=lambda step: None):
    """Two stages of a toy regression, on random data; writes the average as text."""
    torch.manual_seed(options.seed)
    # Making it draws numbers that a resumed run must not miss.
    network = torch.nn.Linear(3, 1)
    generator = torch.Generator().manual_seed(options.seed)
    generators = {"data": generator, "torch": training.default_generator("cpu")}
    run = training.Run.of(options, generators=generators)
    target = run.keep("target", lambda: torch.rand(3, generator=generator))
    average = training.averaged(network, 0.9)
    for stage, rate in (("first", options.rate), ("second", options.rate / 2)):
        optimizer = torch.optim.Adam(network.parameters(), lr=rate)
        parts = {"network": network, "optimizer": optimizer, "average": average}
        for step in run.steps(options.steps, parts, stage):
            on_step((stage, step))
            x = torch.randn(options.batch, 3, generator=generator)
            x += 0.1 * torch.randn_like(x)
            loss = (network(x)[:, 0] - x @ target).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update_parameters(network)
            run.report(loss=loss.item())
    numbers = [p.flatten().tolist() for p in average.module.parameters()]
    options.output.write_text(f"{numbers} {run.record().steps}")


def call(file, *more, on_step=lambda step: None):
    options = training.parser("A toy.", steps=STEPS, batch=8, rate=0.1)
    return training.main(lambda parsed: train(parsed, on_step), options, [str(file), *more])


@pytest.fixture
def whole(tmp_path):
    assert call(tmp_path / "whole.pt") == 0
    return (tmp_path / "whole.pt").read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("at", [("first", 0), ("first", 5), ("first", 11), ("second", 7)])
def test_ends_as_if_it_had_not_been_interrupted(tmp_path, whole, number, at, capsys):
    seen = []

    def interrupt(step):
        seen.append(step)
        if step == at and seen.count(at) == 1:
            signal.raise_signal(number)

    before = signal.getsignal(number)
    file = tmp_path / "pieces.pt"
    assert call(file, on_step=interrupt) == 75
    assert "the same command goes on" in capsys.readouterr().out
    assert not file.exists() and signal.getsignal(number) is before
    assert call(file, on_step=interrupt) == 0
    # The step it was interrupted in was finished: none is taken twice.
    assert len(seen) == 2 * STEPS
    assert file.read_text() == whole
    # Once more: there is nothing to do but to write the file.
    file.unlink()
    assert call(file, on_step=interrupt) == 0
    assert len(seen) == 2 * STEPS and file.read_text() == whole


def test_a_second_interrupt_ends_it_at_once(tmp_path):
    def interrupt(step):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    assert call(tmp_path / "m.pt", on_step=interrupt) == 130
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_minutes_are_those_of_this_call(tmp_path, whole, capsys):
    file = tmp_path / "pieces.pt"
    assert call(file, "--minutes", "0") == 75
    assert "the minutes are over after step 0 of 12" in capsys.readouterr().out
    assert call(file, "--minutes", "10") == 0
    assert file.read_text() == whole


def test_finishes_as_far_as_it_has_come(tmp_path):
    def interrupt(step):
        if step == ("first", 2):
            signal.raise_signal(signal.SIGINT)

    file = tmp_path / "m.pt"
    assert call(file, on_step=interrupt) == 75
    assert call(file, "--finish") == 0
    assert file.read_text().endswith(" 3")


@pytest.mark.parametrize(
    "more, reason",
    [
        (["--batch", "9"], "batch '8', not '9'"),
        (["--rate", "0.2", "--seed", "4"], "rate '0.1', not '0.2'; seed '1', not '4'"),
        (["--init", "x"], "init 'None', not 'x'"),
    ],
)
def test_refuses_to_go_on_with_other_options(tmp_path, capsys, more, reason):
    file = tmp_path / "m.pt"
    assert call(file, "--minutes", "0") == 75
    assert call(file, *more) == 2
    assert reason in capsys.readouterr().err
    # Another place is no other training.
    assert call(tmp_path / "n.pt", "--checkpoint", f"{file}.checkpoint") == 0


@pytest.mark.parametrize(
    "more, reason",
    [
        (["--steps", "0"], "expected --steps above 0, got 0"),
        (["--batch", "-1"], "expected --batch above 0"),
        (["--minutes", "-1"], "expected --minutes"),
        (["--device", "gpu"], "--device gpu"),
        (["--finish"], "no training to finish"),
        (["--checkpoint", "{tmp}/none/c"], "there is no folder"),
        (["--rate", "1e30"], "diverged"),
        (["--checkpoint", "{tmp}/text"], "no checkpoint of a training"),
    ],
)
def test_tells_in_a_line_what_is_wrong(tmp_path, capsys, more, reason):
    (tmp_path / "text").write_text("not a checkpoint")
    more = [word.format(tmp=tmp_path) for word in more]
    assert call(tmp_path / "m.pt", *more) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1
    assert call(tmp_path / "m.onnx") == 2
    assert "a model file *.pt" in capsys.readouterr().err
    assert call(tmp_path / "none" / "m.pt") == 2
    assert "there is no folder" in capsys.readouterr().err


def test_average_forgets_the_first_steps_soon():
    """Against the recursion by hand."""
    network = torch.nn.Linear(1, 1, bias=False)
    average = training.averaged(network, 0.6)
    expected = network.weight.item()
    for step in range(1, 40):
        with torch.no_grad():
            network.weight.fill_(step)
        average.update_parameters(network)
        keep = min(0.6, step / (step + 10))
        expected = keep * expected + (1 - keep) * step
        assert average.module.weight.item() == pytest.approx(expected, rel=1e-5)


def test_a_record_for_the_card(tmp_path):
    options = argparse.Namespace(
        output=tmp_path / "m.pt", checkpoint=tmp_path / "c", minutes=None, finish=False,
        device="cpu", seed=5,
    )  # fmt: skip
    record = training.Run.of(options).record()
    assert (record.seed, record.steps, record.device) == (5, 0, "cpu, 0 minutes")
