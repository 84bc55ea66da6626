# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the commands that README and the pages show, as they stand, with no environment active.

The folder is like a fresh clone. What would take long gets an option more that shortens it; what
needs a screen, root or the network is checked for being there.
"""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMANDS = re.compile(
    r"^(\.venv/bin/|apps/|neuralfec |python|/usr/bin/|make |cmake |sudo |docker |conda |head |cmp |"
    r"SOAPY_SDR_PLUGIN_PATH=)"
)
# By the command's beginning: options that make it short, all told by its --help.
SHORTER = {
    "train": ["--minutes", "0.02"],
    "train feedback.deepvlf.stopping": [
        *("--steps", "3", "--blocks", "256"),
        *("--statistics-blocks", "256", "--evaluation-blocks", "256"),
    ],
    "feedback-link": ["--bytes", "600"],
    "feedback-evaluate": ["--blocks", "300"],
    "curves feedback measure": ["--blocks", "300", "--statistics-blocks", "300"],
    "import-deepvlf": ["--blocks", "256"],
    "curves decoders simulate": ["--errors", "2", "--blocks", "100", "--slowest", "30000"],
    "curves bicm": ["--errors", "5", "--blocks", "1000"],
    "curves quantization": ["--blocks", "40"],
}


def commands(page):
    """Commands of the page's literal blocks, each as one line."""
    text = page.read_text().replace("\\\n", " ")
    fenced = re.sub(r"(?ms)^```python\n.*?^```", "", text)
    found = []
    for line in fenced.splitlines():
        line = line.removeprefix("    ").split("  #")[0].strip()
        if COMMANDS.match(line) and not line.startswith(("python/", "apps/  ")):
            found.append(" ".join(line.split()))
    return found


def test_pages_show_commands():
    shown = [command for page in PAGES for command in commands(page)]
    assert len(shown) > 40
    # Nothing that works only where somebody has set something up.
    for command in shown:
        assert not command.startswith(("neuralfec ", "python ", "apps/")), command


@pytest.fixture
def clone(tmp_path):
    folder = tmp_path / "clone"
    folder.mkdir()
    for entry in ROOT.iterdir():
        if entry.name not in ("build", "results", ".git"):
            (folder / entry.name).symlink_to(entry)
    shutil.copytree(ROOT / "results", folder / "results")
    # Soft bits of whole frames, terminated (204) or not (200).
    rng = np.random.default_rng(1)
    rng.normal(size=204 * 200).astype("<f4").tofile(folder / "in.f32")
    # Half a second of samples.
    rng.normal(scale=0.1, size=1_000_000).astype("<f4").tofile(folder / "in.c64")
    return folder


def run(words, folder, background):
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(folder.parent),
        "OMP_NUM_THREADS": "1",
        "QT_QPA_PLATFORM": "offscreen",
    }
    process = subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True,
    )  # fmt: skip
    if background:
        return process
    said = process.communicate(timeout=300)[0]
    # 1: frames that noise has spoilt; 75: a training that goes on by the same command.
    assert process.returncode in (0, 1, 75) and "Traceback" not in said, f"{words}\n{said}"
    return None


@pytest.mark.parametrize("page", [str(page.relative_to(ROOT)) for page in PAGES if commands(page)])
def test_commands_of_a_page_run(page, clone):
    background = []
    for command in commands(ROOT / page):
        words = shlex.split(command)
        program = " ".join(words[1:])
        if words[0] == "make":
            # The targets are there; the suite that runs this is one of them.
            done = subprocess.run(["make", "-n", *words[1:]], cwd=ROOT, capture_output=True)
            assert done.returncode == 0, command
        elif words[0] in ("cmake", "sudo", "docker", "conda"):
            continue  # scripts/bare_machine.sh does these on a machine of its own.
        elif words[0] == ".venv/bin/gnuradio-companion":
            assert os.access(clone / words[0], os.X_OK) and (clone / words[1]).is_file()
        elif "SoapySDRUtil" in words and not shutil.which("SoapySDRUtil"):
            continue
        elif words[-1].endswith(".onnx") and not importlib.util.find_spec("onnx"):
            with pytest.raises(AssertionError, match="onnx"):
                run(words, clone, False)
        else:
            if "import-deepvlf" in words:
                torch = pytest.importorskip("torch")
                from feedback import published

                torch.save(
                    published.checkpoint("R", groups=4, rounds=6, width=16),
                    clone / "published.ckpt",
                )
                words += ["--groups", "4"]
            in_background = words[-1] == "&"
            words = words[:-1] if in_background else words
            if words[0] == "head" or "=" in words[0]:
                words = ["sh", "-c", command]
            elif words[0].endswith("neuralfec"):
                fitting = [start for start in SHORTER if program.startswith(f"{start} ")]
                if fitting and "--file" not in words:
                    words += SHORTER[max(fitting, key=len)]
            started = run(words, clone, in_background)
            if started:
                background.append(started)
    for process in background:
        said = process.communicate(timeout=120)[0]
        assert process.returncode == 0, said
