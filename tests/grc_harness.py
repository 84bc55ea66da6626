# SPDX-License-Identifier: GPL-3.0-or-later
"""Compiles graphs with the installed grcc and runs what comes out, without a display."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import yaml

BIN = Path(sys.prefix) / "bin"
# Where a graph does not say so itself, something in it has gone wrong.
# Not GNU Radio's complaint about its file of FFT plans, which another program is writing just now.
_TROUBLE = re.compile(r"Traceback|(?<!import_wisdom ):error:|terminate called|Exception")


def compile_graph(graph, folder):
    """The Python file of a .grc file. AssertionError with grcc's words where it has none."""
    run = subprocess.run(
        [BIN / "grcc", "-o", folder, graph], capture_output=True, text=True, timeout=120
    )
    content = yaml.safe_load(Path(graph).read_text())
    program = Path(folder) / f"{content['options']['parameters']['id']}.py"
    assert run.returncode == 0 and program.exists(), run.stdout + run.stderr
    # grcc leaves out a block that it does not know, without a word.
    text = program.read_text()
    left_out = [
        block["name"]
        for block in content["blocks"]
        if block["id"] != "import" and not re.search(rf"\b{block['name']}\b", text)
    ]
    assert not left_out, f"not in the compiled graph: {left_out}"
    return program


PICTURES = Path(__file__).parents[1] / "build" / "pictures"


def picture(name):
    """Where a picture is kept as a product of the build."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    return PICTURES / name


def drive_window(program, image, changes=None, seconds=180):
    """Run a graph with a window without a display, move its variables, and return what it says.

    changes: values by variable, set when the first results are there; after them the error rates
    must come to zero. The result has the readings before and after, and the size of the window.
    AssertionError with its words where it does not end well.
    """
    driver = Path(__file__).parent / "grc" / "drive_window.py"
    run = subprocess.run(
        [sys.executable, driver, program, image, json.dumps(changes or {}), str(seconds)],
        capture_output=True,
        text=True,
        cwd=Path(program).parent,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen", "OMP_NUM_THREADS": "1"},
        timeout=3 * seconds,
    )
    text = run.stdout + run.stderr
    assert run.returncode == 0, f"exit status {run.returncode}\n{text}"
    assert not _TROUBLE.search(text), text
    (line,) = [line for line in run.stdout.splitlines() if line.startswith("RESULT ")]
    return json.loads(line.removeprefix("RESULT "))


def run_program(program, seconds, how=signal.SIGTERM):
    """Run it until it ends, or stop it after some seconds by a signal.

    AssertionError with its words where it does not end well.
    """
    process = subprocess.Popen(
        [sys.executable, program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=program.parent,
        env=os.environ | {"QT_QPA_PLATFORM": "offscreen"},
    )
    try:
        # The open pipe keeps a graph running that waits for Enter.
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(how)
        text = process.communicate(timeout=60)[0]
    finally:
        process.kill()
    assert process.returncode == 0, f"exit status {process.returncode}\n{text}"
    assert not _TROUBLE.search(text), text
    return text
