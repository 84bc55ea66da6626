# SPDX-License-Identifier: GPL-3.0-or-later
"""Each trainer takes the common options and ends as all do."""

import importlib

import pytest

pytest.importorskip("torch")
from gnuradio.neuralfec import training
from gnuradio.neuralfec.apps import train

# By a trainer's system: what it does not do without.
NEEDED = {
    "feedback.belief": [],
    "feedback.deepvlf": ["--snr", "3"],
    "feedback.deepvlf.stopping": ["--init", "feedback/deepvlf-t-1dB"],
    "quantization": [],
    "sequence": ["--code", "conv:7,5"],
    "syndrome": ["--code", "polar-nr:16,8"],
}
COMMON = {
    word
    for action in training.parser("", steps=1, batch=1, rate=1.0)._actions
    for word in action.option_strings
}


def main_of(name):
    return importlib.import_module(train.systems()[name]).main


def test_the_table_has_every_trainer():
    assert set(NEEDED) == set(train.systems())


@pytest.mark.parametrize("name", NEEDED)
def test_takes_the_common_options(name, capsys):
    with pytest.raises(SystemExit) as end:
        main_of(name)(["--help"])
    assert end.value.code == 0
    words = {word.rstrip(",") for word in capsys.readouterr().out.split()}
    assert words >= COMMON


@pytest.mark.parametrize("name", NEEDED)
@pytest.mark.parametrize(
    "more, reason",
    [
        (["--batch", "0"], "expected --batch above 0"),
        (["--finish"], "no training to finish"),
        (["--init", "no-such-model"], "no-such-model"),
    ],
)
def test_tells_in_a_line_what_is_wrong(name, more, reason, tmp_path, capsys):
    assert main_of(name)([str(tmp_path / "qam256-15bit.pt"), *NEEDED[name], *more]) == 2
    error = capsys.readouterr().err
    assert reason in error and error.count("\n") == 1, error
    assert list(tmp_path.iterdir()) == []
    import torch

    # It leaves the process as it was: the smallest numbers are still there.
    assert float(torch.tensor(1e-40) * 1) > 0
