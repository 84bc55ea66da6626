# SPDX-License-Identifier: GPL-3.0-or-later
import importlib.util
import json
import sys
from pathlib import Path

import pytest

APPS = Path(__file__).parents[2] / "apps"


@pytest.fixture
def evaluate(monkeypatch):
    monkeypatch.syspath_prepend(APPS)
    spec = importlib.util.spec_from_file_location("belief_evaluate", APPS / "belief_evaluate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield lambda *arguments: module.main([str(argument) for argument in arguments])
    sys.modules.pop("deepvlf_evaluate", None)


def test_figures_of_a_shipped_code(tmp_path, evaluate, capsys):
    out = tmp_path / "out.json"
    model = "feedback/belief-4bit-1dB"
    assert evaluate("--model", model, "--blocks", 300, "--threshold", 9, "--json", out) == 0
    assert "by the posterior" in capsys.readouterr().out
    record = json.loads(out.read_text())
    assert record["blocks"] == 300
    assert record["setting"]["threshold"] == 9
    assert record["feedback_bits"] == 8 * record["symbols"]
    assert record["rate"] == pytest.approx(300 * 48 / record["symbols"])


@pytest.mark.parametrize(
    "arguments, reason",
    [(["--model", "feedback/none"], "feedback/none"), (["--threshold", "-1"], "threshold")],
)
def test_refusals(evaluate, capsys, arguments, reason):
    assert evaluate("--model", "feedback/belief-4bit-1dB", *arguments) == 1
    assert reason in capsys.readouterr().err
