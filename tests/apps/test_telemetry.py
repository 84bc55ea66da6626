# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts of the blocks of a program with a flow graph, told while it runs."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

APPS = Path(__file__).parents[2] / "apps"
WITH_A_GRAPH = sorted(
    path.stem
    for path in APPS.glob("[!_]*.py")
    if any(word in path.read_text() for word in ("gr.top_block", ".top_block(", "receive(radio"))
)
# What runs for some seconds, by program, and a count that must be in it at the end.
RUNS = {
    "bicm_link": (
        ["file", "out", "--snr", "30", "--realtime", "--rate", "10000"],
        ("decoder", "frames"),
    ),
    "feedback_radio": (
        [
            *("--front-end", "loop:told,snr=25", "--other", "loop:told,snr=6"),
            *("--blocks", "60", "--file", "file", "--out", "out", "--rate", "3e5"),
        ],
        ("responder", "blocks"),
    ),
    "feedback_link": (["--file", "file", "--out", "out"], ("receiver", "delivered")),
    "radio_link": (
        ["--front-end", "loop:told,snr=25", "--file", "file", "--out", "out", "--rate", "1e5"],
        ("receiver", "written"),
    ),
    "radio_replay": (
        ["--recording", "file:file", "--front-end", "loop:told", "--times", "300", "--rate", "1e5"],
        ("recording", "items"),
    ),
    "radio_record": (
        [
            "--front-end",
            "loop:told",
            "--recording",
            "file:o.c64",
            "--seconds",
            "2",
            "--rate",
            "1e5",
        ],
        ("recording", "samples"),
    ),
    "radio_doctor": (
        ["--front-end", "loop:told", "--seconds", "2", "--rate", "1e5"],
        ("samples", "seen"),
    ),
}


def command(name, folder, *more):
    (folder / "file").write_bytes(bytes(range(256)) * 10)
    return [sys.executable, str(APPS / f"{name}.py"), *RUNS[name][0], *more]


def test_every_program_with_a_flow_graph_is_here():
    assert set(WITH_A_GRAPH) == RUNS.keys()


@pytest.mark.parametrize("name", WITH_A_GRAPH)
def test_lines_of_json(name, tmp_path):
    words = command(name, tmp_path, "--stats", "json")
    done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path, timeout=120)
    assert done.returncode == 0, done.stderr
    # Lines of JSON and nothing else.
    records = [json.loads(line) for line in done.stdout.splitlines()]
    seconds = [record["seconds"] for record in records]
    assert seconds == sorted(seconds)
    block, count = RUNS[name][1]
    counts = [record["blocks"][block].get(count, 0) for record in records]
    assert counts == sorted(counts) and counts[-1] > 10
    if "--out" in words or "out" in words:
        assert (tmp_path / "out").read_bytes() == (tmp_path / "file").read_bytes()


@pytest.mark.parametrize("name", WITH_A_GRAPH)
def test_page(name, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = command(name, tmp_path, "--stats", f"http:{port}")
    process = subprocess.Popen(words, cwd=tmp_path, stdout=subprocess.DEVNULL)
    block, _ = RUNS[name][1]
    found = {"blocks": {}}
    # The first answers may be of a program that has not made all its blocks.
    while block not in found["blocks"] and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats.json") as answer:
                found = json.load(answer)
            if block not in found["blocks"]:
                continue
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/") as answer:
                assert block in answer.read().decode()
            with pytest.raises(urllib.error.HTTPError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/etc/passwd")
        except urllib.error.URLError:
            time.sleep(0.02)
    assert process.wait(timeout=120) == 0
    assert block in found["blocks"]


def test_port_taken_and_words_that_are_none(tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        for where, reason in (
            (f"http:{taken.getsockname()[1]}", "in use"),
            ("http:0", "expected json or http:PORT"),
            ("xml", "expected json or http:PORT"),
        ):
            words = command("bicm_link", tmp_path, "--stats", where)
            done = subprocess.run(words, capture_output=True, text=True, cwd=tmp_path)
            assert done.returncode == 2 and reason in done.stderr, done.stderr
            assert done.stderr.count("\n") == 1
            assert not (tmp_path / "out").exists()
