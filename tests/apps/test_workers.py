# SPDX-License-Identifier: GPL-3.0-or-later
"""Curves counted by several processes: the counts are those of one, whoever counts them."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from gnuradio.neuralfec import command

APPS = Path(__file__).parents[2] / "apps"
# A short run of each program with curves, of at least two chunks.
RUNS = {
    "bicm": "--snr 17,18 --errors 100000 --blocks 1010",
    "burst": "--snr 9 --errors 100000 --blocks 1010 --symbols 54 --taps 1",
    # The network is left out by far, and no other decoder is.
    "decoders": "simulate conv-7-5 --errors 100000 --blocks 1010 --slowest 20000",
    "feedback": "measure a --scheme b --model feedback/belief-4bit-1dB --log-odds 5 --blocks 512 "
    "--batch 128",
    "harq": "--snr 17 --blocks 1010 --transmissions 1",
    "quantization": "--figure 4 --run --snr 18.5 --blocks 1010 --schemes exact,max-log",
    "sequence": "simulate length-1000 --snr 2 --errors 100000 --blocks 400",
    "syndrome": "--code polar-nr:16,8 --eb-n0 3,4 --decoders 'osd:1 sc' --errors 100000 "
    "--blocks 1010",
}


def count(name, folder, *more):
    file = command.programs()[f"curves {name}"].name
    words = [*shlex.split(RUNS[name]), "--results", str(folder / "results"), "--quiet", *more]
    folder.mkdir()
    done = subprocess.run(
        [sys.executable, str(APPS / file), *words],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    (counts,) = (folder / "results").glob("*.csv")
    return counts.read_text()


@pytest.fixture(scope="module")
def cluster():
    """A scheduler and two worker processes on this machine, by its address."""
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
    ) as local:
        yield local.scheduler_address


def test_every_program_with_curves_is_here():
    curves = {name.split()[1] for name in command.programs() if name.startswith("curves ")}
    assert curves == RUNS.keys()


@pytest.mark.parametrize("name", sorted(RUNS))
def test_counts_of_a_cluster(name, cluster, tmp_path):
    if name in ("quantization", "syndrome"):
        pytest.importorskip("torch")
    alone = count(name, tmp_path / "alone")
    assert count(name, tmp_path / "cluster", "--cluster", cluster) == alone


def test_counts_of_two_processes(tmp_path):
    assert count("bicm", tmp_path / "two", "--workers", "2") == count("bicm", tmp_path / "one")
