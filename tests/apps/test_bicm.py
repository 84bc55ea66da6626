# SPDX-License-Identifier: GPL-3.0-or-later
"""The link app and its curves, as a user runs them."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

APPS = Path(__file__).parents[2] / "apps"


def app(name, *arguments, cwd):
    return subprocess.run(
        [sys.executable, APPS / f"{name}.py", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        timeout=120,
    )


@pytest.fixture
def data(tmp_path):
    content = bytes(i * i % 251 for i in range(9001))
    (tmp_path / "in").write_bytes(content)
    return content


def test_a_file_through_a_clear_channel(tmp_path, data):
    run = app(
        "bicm_link", "in", "out", "--snr", "40", "--picture", "link.png", "--json", "link.json",
        cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "out: complete" in run.stdout and "301 frames, 0 lost" in run.stdout
    assert (tmp_path / "out").read_bytes() == data
    assert (tmp_path / "link.png").stat().st_size > 10_000
    record = json.loads((tmp_path / "link.json").read_text())
    (point,) = record["points"]
    assert point["counts"]["blocks"] == 301 and point["counts"]["block_errors"] == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("--constellation", "qam1024", "--channel", "awgn"),
        ("--constellation", "psk8", "--channel", "etu", "--method", "max-log"),
        ("--constellation", "qam16", "--decoder", "min-sum:20", "--realtime", "--rate", "1e6"),
    ],
)
def test_other_settings(tmp_path, data, arguments):
    run = app("bicm_link", "in", "out", "--snr", "45", *arguments, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "out").read_bytes() == data


def test_what_arrives_is_right_and_what_is_lost_is_named(tmp_path, data):
    run = app("bicm_link", "in", "out", "--snr", "30,17.5", "--json", "link.json", cwd=tmp_path)
    assert run.returncode == 1, run.stderr
    clear, noisy = json.loads((tmp_path / "link.json").read_text())["points"]
    assert clear["lost_frames"] == []
    lost = {n for first, last in noisy["lost_frames"] for n in range(first, last + 1)}
    assert 0 < len(lost) < 301
    # The output is that of the last SNR: every frame but those named.
    frames = [data[i : i + 30] for i in range(0, len(data), 30)]
    kept = b"".join(frame for n, frame in enumerate(frames) if n not in lost)
    assert (tmp_path / "out").read_bytes() == kept
    assert f"{len(lost)} lost" in run.stdout and "out: without frames " in run.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("none", "out"), "none: no such file"),
        (("empty", "out"), "is empty"),
        (("in", "in"), "in: is an input, too"),
        (("in", "no/folder/out"), "No such file or directory"),
        (("in", "out", "--snr", "20:16:1"), "expected an SNR list"),
        (("in", "out", "--snr", "loud"), "expected an SNR list"),
        (("in", "out", "--code", "wifi-649"), "expected a code of"),
        (("in", "out", "--decoder", "bp:0"), "bp"),
        (("in", "out", "--constellation", "qam32"), "expected a constellation of"),
        (("in", "out", "--realtime", "--rate", "0"), "--rate must be more than 0"),
        (("in", "out", "--picture", "no/folder/x.png"), "No such file or directory"),
    ],
)
def test_bad_arguments(tmp_path, data, arguments, message):
    (tmp_path / "empty").touch()
    run = app("bicm_link", *arguments, cwd=tmp_path)
    assert run.returncode == 2
    assert message in run.stderr
    assert len(run.stderr.splitlines()) == 1, run.stderr


def test_curves_add_up_and_are_drawn(tmp_path):
    settings = "--results results --errors 20 --name small --constellation qam16".split()
    settings += "--channel awgn --snr 5".split()
    run = app("bicm_curves", *settings, "--picture", "small.png", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "small.png").stat().st_size > 5_000
    first = (tmp_path / "results" / "small.csv").read_text()
    # Nothing to do: the errors are there.
    assert app("bicm_curves", *settings, cwd=tmp_path).returncode == 0
    assert (tmp_path / "results" / "small.csv").read_text() == first
    run = app("bicm_curves", *settings, "--decoder", "bp:5", cwd=tmp_path)
    assert run.returncode == 2 and "another experiment" in run.stderr
    run = app("bicm_curves", "--constellation", "qam1024", cwd=tmp_path)
    assert run.returncode == 2 and "whole symbols of 10 bits" in run.stderr
