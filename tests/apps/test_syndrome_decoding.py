# SPDX-License-Identifier: GPL-3.0-or-later
import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gnuradio.neuralfec import codes, models
from gnuradio.neuralfec.syndrome.data import BicmChain

APPS = Path(__file__).parents[2] / "apps"


def app(name, *arguments):
    command = [sys.executable, str(APPS / name), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_counts_table_and_figure(tmp_path):
    figure = tmp_path / "curves.png"
    arguments = [
        *("--code", "polar-nr:16,8", "--constellation", "psk8", "--eb-n0", "2,4"),
        *("--decoders", "osd:2 sc", "--ml-bound", "--errors", 20, "--blocks", 2000),
        *("--results", tmp_path, "--picture", figure),
    ]
    done = app("syndrome_decoding.py", *arguments)
    assert done.returncode == 0, done.stderr
    assert figure.stat().st_size > 1000
    (file,) = tmp_path.glob("*.csv")
    with file.open() as lines:
        rows = {
            (row["scheme"], float(row["snr_db"])): row
            for row in csv.DictReader(line for line in lines if not line.startswith("#"))
        }
    assert {scheme for scheme, _ in rows} == {"osd:2", "sc", "ml-bound"}
    for snr in (2.0, 4.0):
        errors = [int(rows[s, snr]["block_errors"]) for s in ("ml-bound", "osd:2", "sc")]
        assert errors == sorted(errors) and errors[2] >= 20
    assert "words/s" in done.stdout
    failed = app("syndrome_decoding.py", "--decoders", "osd:9", "--results", tmp_path)
    assert failed.returncode == 2 and "osd" in failed.stderr


@pytest.mark.parametrize("spec", ["polar-nr:64,32", "polar-rptu:128,64"])
def test_shipped_models_decode_files(spec, tmp_path):
    """Each code's shipped model against successive cancellation and OSD, by apps/decode.py."""
    name = f"syndrome/{spec.replace(':', '-').replace(',', '-')}"
    card = models.read_card(name)
    assert card.parameters["samples"] > 0 and card.measured
    code = codes.code(spec)
    constellation, eb_n0_db = ("qam16", 5.0) if code.n == 64 else ("psk2", 2.0)
    batch = BicmChain(code, constellation, seed=1)(eb_n0_db, 3000)
    sent = batch.messages.numpy().astype(np.uint8)
    batch.llrs.numpy().astype("<f4").tofile(tmp_path / "in.f32")
    errors = {}
    nearly_best = "osd:2" if code.n == 64 else "osd:3"
    with_network = "syndrome-osd:1" if code.n == 64 else "syndrome-osd:3"
    for decoder in ("sc", "scl:8", "osd:1", nearly_best, "syndrome", with_network):
        out = tmp_path / "out.u8"
        done = app(
            *("decode.py", "--quiet", "--code", spec, "--decoder", decoder),
            *(tmp_path / "in.f32", out),
        )
        assert done.returncode == 0, done.stderr
        decided = np.fromfile(out, dtype=np.uint8).reshape(-1, code.k)
        errors[decoder] = np.count_nonzero((decided != sent).any(axis=1))
    assert errors["syndrome"] < errors["sc"]
    assert errors[with_network] < errors["osd:1"]
    # Within 0.1 dB, which is a tenth of the errors.
    assert errors[with_network] <= 1.1 * errors[nearly_best]
