import csv
import importlib.util
import json
import math
import sys
from pathlib import Path

import pytest
import torch
from feedback import published
from gnuradio.neuralfec.feedback import files, points

APPS = Path(__file__).parents[2] / "apps"


@pytest.fixture
def run(capsys):
    """Runs an app's main in this process, where torch is loaded already."""

    def run(app, *arguments):
        spec = importlib.util.spec_from_file_location(app, APPS / f"{app}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        status = module.main([str(argument) for argument in arguments])
        return status, capsys.readouterr()

    return run


@pytest.mark.parametrize("kind", ["R", "T"])
def test_import_and_evaluate(tmp_path, run, kind):
    checkpoint, model, out = tmp_path / "c.ckpt", tmp_path / "m.pt", tmp_path / "out.json"
    torch.save(published.checkpoint(kind, groups=4, rounds=6, width=16), checkpoint)
    groups = ["--groups", 4] if kind == "R" else []
    status, said = run("import_deepvlf", checkpoint, "--snr", 1, "--blocks", 256, *groups, model)
    assert status == 0, said.err
    assert f"DeepVLF-{kind}: K 12, Q 4, m 3, tau_max 6" in said.out

    code, setting, card = files.load(model)
    assert setting.snr_db == 1
    statistics = card.parameters["power_normalisation"]
    assert statistics["blocks"] == 256
    assert statistics["mean"] == code.mean.tolist() and code.mean.shape == (6, 4)
    assert len(card.measured["checkpoint_sha256"]) == 64

    status, said = run(
        "feedback_evaluate", "--model", model, "--snr", 3, "--blocks", 300, "--json", out,
        "--feedback-snr", 20,
    )  # fmt: skip
    assert status == 0, said.err
    result = json.loads(out.read_text())
    assert result["setting"]["snr_db"] == 3 and result["setting"]["feedback_snr_db"] == 20
    assert result["blocks"] == 300
    for name in ("block_error_rate", "average_rounds", "rate", "mean_power"):
        low, high = result[f"{name}_interval"]
        assert low <= result[name] <= high
    assert {"rate_with_stop_flag", "capacity", "made_by"} <= result.keys()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--termination", "receiver", "--threshold", "1.5"], "probability"),
        (["--blocks", "0"], "at least 1 block"),
        (["--termination", "none"], "serves"),
    ],
)
def test_evaluate_says_what_is_wrong(tmp_path, run, arguments, reason):
    checkpoint, model = tmp_path / "c", tmp_path / "m.pt"
    torch.save(published.checkpoint("R", groups=4, rounds=6, width=16), checkpoint)
    run("import_deepvlf", checkpoint, "--snr", 1, "--blocks", 64, "--groups", 4, model)
    status, said = run("feedback_evaluate", "--model", model, *arguments)
    assert status == 2 and reason in said.err


def test_evaluate_a_belief_driven_code(tmp_path, run):
    out = tmp_path / "out.json"
    model = ["--model", "feedback/belief-4bit-1dB"]
    status, said = run(
        "feedback_evaluate", *model, "--blocks", 300, "--log-odds", 9, "--json", out
    )  # fmt: skip
    assert status == 0, said.err
    assert "by the posterior" in said.out and "8 a symbol" in said.out
    record = json.loads(out.read_text())
    assert record["setting"]["threshold"] == 9
    assert record["gamma"] == pytest.approx(1 - 1 / (1 + math.exp(9)))
    assert record["feedback_bits"] == 8 * record["symbols"]
    assert record["rate"] == pytest.approx(300 * 48 / record["symbols"])
    status, said = run("feedback_evaluate", *model, "--feedback-snr", 20)
    assert status == 2 and "digital feedback" in said.err


def test_evaluate_a_code_with_analog_feedback(run):
    status, said = run(
        "feedback_evaluate", "--model", "feedback/belief-4bit-1dB-feedback-20dB", "--snr", 1,
        "--error-target", 1e-5, "--blocks", 300,
    )  # fmt: skip
    assert status == 0, said.err
    assert "analog symbols a symbol" in said.out and "erased" in said.out


def test_import_refuses_what_is_no_checkpoint(tmp_path, run):
    (tmp_path / "c").write_bytes(b"nothing")
    status, said = run("import_deepvlf", tmp_path / "c", "--snr", 1, tmp_path / "m.pt")
    assert status == 2 and "no checkpoint" in said.err
    assert not (tmp_path / "m.pt").exists()


def test_curves_are_drawn_from_stored_counts(tmp_path, run, monkeypatch):
    monkeypatch.chdir(tmp_path)
    checkpoint = tmp_path / "c"
    torch.save(published.checkpoint("R", groups=4, rounds=6, width=16), checkpoint)
    run("import_deepvlf", checkpoint, "--snr", 1, "--blocks", 64, "--groups", 4, "m.pt")
    folder = ["--results", "results"]
    ours = ["--scheme", "belief", "--model", "feedback/belief-4bit-1dB", "--blocks", 200]
    theirs = ["--scheme", "R", "--model", "m.pt", "--blocks", 200]
    confirmed = ["--scheme", "C", "--model", "feedback/belief-4bit-1dB", "--blocks", 200]
    for arguments in (
        ["measure", "a", *ours, "--log-odds", 6, 9],
        ["measure", "b", *theirs, "--threshold", 0.9, 0.99],
        ["measure", "b", *theirs, "--feedback-snr", 20, "--threshold", 0.9],
        ["measure", "b", *theirs, "--channel", "tdl-c", "--snr", 3, "--threshold", 0.9],
        ["measure", "c", *confirmed, "--snr", 1, 3, "--error-target", 1e-5],
        ["measure", "d", *ours, "--log-odds", 6, "--feedback-every", 1, 3],
        ["symbols", "symbols", *ours],
    ):
        status, said = run("feedback_curves", *arguments, *folder)
        assert status == 0, said.err
    status, said = run("feedback_curves", "measure", "a", *ours, "--log-odds", 9, *folder)
    assert status == 2 and "another seed" in said.err
    each, third = points.load("results/feedback-d.csv")
    assert third.scheme == "belief, feedback every 3 symbols"
    assert third.counts["rounds"] <= 4 * 200 < each.counts["rounds"]
    assert third.counts["symbols"] % 3 == 0
    assert third.counts["feedback_bits"] == 8 * third.counts["symbols"] // 3
    status, said = run("feedback_curves", "measure", "b", *theirs, "--feedback-every", 2, *folder)
    assert status == 2 and "several copies" in said.err
    status, said = run("feedback_curves", "draw", *folder)
    assert status == 0, said.err
    drawn = {file.name for file in (tmp_path / "figures").iterdir()}
    assert drawn == {f"feedback-figure-{number}.png" for number in (4, 5, 6, 7, 8, "snr")}

    with open("results/feedback-symbols.csv") as file:
        rows = list(csv.DictReader(file))
    first = [row for row in rows if row["round"] == "1"]
    assert sum(int(row["count"]) for row in first) == 200
    # No pattern's first symbol depends on anything but the pattern.
    assert len(first) == len({row["pattern"] for row in first}) == 16


def test_nothing_to_draw(tmp_path, run):
    status, said = run("feedback_curves", "draw", "--results", tmp_path)
    assert status == 2 and "no counts" in said.err


def test_a_program_says_how_to_get_sionna(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "sionna.phy", None)
    monkeypatch.setitem(sys.modules, "sionna", None)
    code = ["--model", "feedback/belief-4bit-1dB", "--snr", 5, "--blocks", 4]
    status, said = run("feedback_evaluate", *code, "--channel", "cdl-c")
    assert status == 2 and "make sionna" in said.err and said.err.count("\n") == 1, said.err
