# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine against a link whose error rate is known in closed form."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from gnuradio.neuralfec.simulation import Results, count_errors, parse_snr, run
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

BITS = 20


def bpsk(rng, snr_db, blocks):
    """Uncoded BPSK: BER Q(sqrt(2 SNR)), independent bits, BLER 1 - (1 - BER)^BITS."""
    sent = rng.integers(0, 2, (blocks, BITS), dtype=np.uint8)
    noise = rng.normal(scale=np.sqrt(0.5 * 10 ** (-snr_db / 10)), size=sent.shape)
    return count_errors(sent, (2.0 * sent - 1 + noise > 0).astype(np.uint8))


def two_schemes(rng, snr_db, blocks):
    """The same noise, the second scheme 1 dB short of power."""
    sent = rng.integers(0, 2, (blocks, BITS), dtype=np.uint8)
    noise = rng.normal(scale=np.sqrt(0.5 * 10 ** (-snr_db / 10)), size=sent.shape)
    decided = {
        scheme: (gain * (2.0 * sent - 1) + noise > 0).astype(np.uint8)
        for scheme, gain in (("full", 1.0), ("short", 10 ** (-1 / 20)))
    }
    return count_errors(sent, decided)


def bler(snr_db):
    return 1 - norm.cdf(np.sqrt(2 * 10 ** (snr_db / 10))) ** BITS


def test_meets_the_closed_form():
    results = run(bpsk, [2, 6], name="t", target_block_errors=400, chunk_blocks=500, directory=None)
    for snr in (2, 6):
        rate, ber = results.rate(snr), results.rate(snr, metric="ber")
        assert rate.low < bler(snr) < rate.high
        assert ber.low < norm.sf(np.sqrt(2 * 10 ** (snr / 10))) < ber.high
        assert results.counts(snr)["block_errors"] >= 400


def test_stops_at_errors_or_blocks():
    settings = {"name": "t", "directory": None, "chunk_blocks": 300}
    results = run(bpsk, [0, 12], target_block_errors=50, max_blocks=1000, **settings)
    assert results.counts(0)["blocks"] == 300
    assert results.counts(12)["blocks"] == 1000


def test_stops_when_every_scheme_has_its_errors():
    results = run(
        two_schemes, [6], name="t", directory=None, target_block_errors=40, chunk_blocks=200
    )
    full, short = results.counts(6, "full"), results.counts(6, "short")
    assert full["blocks"] == short["blocks"]
    assert 40 <= full["block_errors"] < short["block_errors"]
    assert short["block_errors"] >= short["common_block_errors"] > 0
    assert full["common_block_errors"] == full["block_errors"]


def test_counts_do_not_depend_on_workers_or_backend():
    distributed = pytest.importorskip("distributed")
    settings = {"name": "t", "directory": None, "target_block_errors": 60, "chunk_blocks": 100}
    grid = [3, 5, 6]
    alone = run(bpsk, grid, **settings)
    assert run(bpsk, grid, workers=3, **settings).rows == alone.rows
    with (
        distributed.LocalCluster(
            n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
    ):
        for scheduler in (None, cluster.scheduler_address):
            by_dask = run(bpsk, grid, workers=-1, backend="dask", scheduler=scheduler, **settings)
            assert by_dask.rows == alone.rows


def test_resumes_where_it_stopped(tmp_path):
    settings = {"name": "sub/t", "directory": tmp_path, "chunk_blocks": 100, "max_blocks": 10**6}
    run(bpsk, [5], target_block_errors=30, **settings)
    half = Results.load("sub/t", tmp_path).counts(5)
    resumed = run(bpsk, [5, 4], target_block_errors=90, **settings)
    at_once = run(bpsk, [4, 5], target_block_errors=90, **settings | {"directory": None})
    assert half["blocks"] < resumed.counts(5)["blocks"]
    assert resumed.rows == at_once.rows == Results.load("sub/t", tmp_path).rows
    before = (tmp_path / "sub/t.json").read_text()
    assert run(bpsk, [5], target_block_errors=90, **settings).rows == resumed.rows
    assert (tmp_path / "sub/t.json").read_text() == before
    assert sorted(file.name for file in (tmp_path / "sub").iterdir()) == ["t.csv", "t.json"]


def test_tells_how_it_was_made(tmp_path):
    run(bpsk, [3], name="t", directory=tmp_path, seed=7, parameters={"code": "none"})
    about = json.loads((tmp_path / "t.json").read_text())
    assert about["parameters"] == {"code": "none"}
    (made,) = about["runs"]
    assert made["seed"] == 7
    assert made["versions"]["numpy"] == np.__version__
    assert {"command", "commit", "cpu", "date", "max_blocks"} <= made.keys()


def test_refuses_to_add_to_another_experiment(tmp_path):
    settings = {"name": "t", "directory": tmp_path}
    run(bpsk, [3], parameters={"code": "a"}, **settings)
    with pytest.raises(ValueError, match="another experiment"):
        run(bpsk, [3], parameters={"code": "b"}, **settings)
    with pytest.raises(ValueError, match="schemes"):
        run(two_schemes, [3], parameters={"code": "a"}, target_block_errors=5000, **settings)


def test_other_seeds_are_other_noise_and_add_up(tmp_path):
    first = run(bpsk, [5], name="t", directory=tmp_path, target_block_errors=30, seed=1)
    second = run(bpsk, [5], name="t", directory=None, target_block_errors=30, seed=2)
    assert first.rows["", 5.0, 1] != second.rows["", 5.0, 2]
    more = run(bpsk, [5], name="t", directory=tmp_path, target_block_errors=300, seed=2)
    assert more.counts(5)["block_errors"] >= 300
    assert set(more.rows) == {("", 5.0, 1), ("", 5.0, 2)}
    both = more.rows["", 5.0, 1], more.rows["", 5.0, 2]
    assert more.counts(5)["bits"] == sum(counts["bits"] for counts in both)


class Built:
    """What a worker builds for itself stays there and is not sent."""

    def __init__(self):
        self.table = None

    def __getstate__(self):
        return {"table": None}

    def __call__(self, rng, snr_db, blocks):
        fresh = self.table is None
        self.table = self.table or {"built": True}
        return bpsk(rng, snr_db, blocks) | {"built": int(fresh)}


def test_a_worker_keeps_its_link():
    results = run(Built(), [6], name="t", directory=None, workers=2, chunk_blocks=10, max_blocks=80)
    row = results.rows["", 6.0, 0]
    assert 1 <= row["built"] <= 2 < row["chunks"]


@pytest.mark.parametrize(
    "counts",
    [
        None,
        {"blocks": 10},
        {"blocks": 10, "block_errors": 11, "bits": 10, "bit_errors": 0},
        {"blocks": 9, "block_errors": 0, "bits": 10, "bit_errors": 0},
        {"blocks": 10, "block_errors": 0, "bits": 10, "bit_errors": float("nan")},
    ],
)
def test_refuses_counts_that_cannot_be(counts):
    with pytest.raises(ValueError, match="expected"):
        run(lambda rng, snr, blocks: counts, [1], name="t", directory=None, chunk_blocks=10)


@pytest.mark.parametrize(
    "wrong",
    [
        {"target_block_errors": 0},
        {"max_blocks": 0},
        {"chunk_blocks": 0},
        {"workers": 0},
        {"seed": -1},
        {"backend": "threads"},
        {"snr_db": []},
        {"snr_db": [np.nan]},
    ],
)
def test_refuses_bad_settings(wrong):
    with pytest.raises(ValueError, match="expected"):
        run(**{"link": bpsk, "snr_db": [1], "name": "t", "directory": None} | wrong)


def test_an_exception_of_the_link_keeps_what_was_counted(tmp_path):
    def fails_at_five(rng, snr_db, blocks):
        if snr_db == 5:
            raise RuntimeError("no such channel")
        return bpsk(rng, snr_db, blocks)

    with pytest.raises(RuntimeError, match="no such channel"):
        run(fails_at_five, [3, 5], name="t", directory=tmp_path)
    assert Results.load("t", tmp_path).counts(3)["block_errors"] >= 100


@pytest.mark.parametrize("workers", [1, 2])
def test_interrupt_keeps_what_was_counted(tmp_path, workers):
    script = f"""
        import time
        from gnuradio.neuralfec.simulation import run

        def link(rng, snr_db, blocks):
            time.sleep(0.01)
            return {{"blocks": blocks, "block_errors": 0, "bits": blocks, "bit_errors": 0}}

        run(link, [0], name="t", directory={str(tmp_path)!r}, workers={workers},
            chunk_blocks=10, max_blocks=10**9)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(script)],
        stderr=subprocess.PIPE,
        start_new_session=True,
        # A shell's background job starts with the signal ignored, and its children, too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    until = time.monotonic() + 60
    while not (tmp_path / "t.csv").exists() and time.monotonic() < until:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    errors = process.communicate(timeout=30)[1]
    assert process.returncode != 0 and b"KeyboardInterrupt" in errors
    counts = Results.load("t", tmp_path).rows["", 0.0, 0]
    assert counts["blocks"] == 10 * counts["chunks"] > 0


def test_count_errors_by_hand():
    sent = np.array([[0, 1, 1], [1, 0, 0], [0, 0, 0]], np.uint8)
    a = np.array([[0, 1, 0], [0, 1, 1], [0, 0, 0]], np.uint8)
    b = np.array([[0, 1, 1], [1, 0, 1], [1, 0, 0]], np.uint8)
    counts = count_errors(sent, {"a": a, "b": b})
    assert counts["a"] == {
        "blocks": 3,
        "block_errors": 2,
        "bits": 9,
        "bit_errors": 4,
        "bit_errors_squared": 10,
        "common_block_errors": 2,
    }
    assert counts["b"]["block_errors"] == 2
    assert counts["b"]["common_block_errors"] == 1
    with pytest.raises(ValueError, match=r"\(3, 3\) and \(2, 3\)"):
        count_errors(sent, a[:2])


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("18.5", [18.5]),
        ("16,17.5,-3", [16, 17.5, -3]),
        ("-1:1", [-1, 0, 1]),
        ("16:20:0.5", np.linspace(16, 20, 9)),
        ("0:1:0.4", [0, 0.4, 0.8]),
        ("3:3:1", [3]),
    ],
)
def test_parse_snr(text, values):
    np.testing.assert_allclose(parse_snr(text), values, atol=1e-12)


@given(st.integers(-40, 60), st.integers(0, 100), st.sampled_from([0.1, 0.05, 0.3, 0.25]))
def test_parse_snr_keeps_both_ends(start, steps, step):
    values = parse_snr(f"{start}:{start + steps * step}:{step}")
    assert len(values) == steps + 1
    assert values[-1] == pytest.approx(start + steps * step)


@pytest.mark.parametrize(
    "text", ["", "a", "1:", "1:2:0", "2:1", "1:2:-1", "1:2:3:4", "nan", "0:inf", "1,,2", "0:1:1e-9"]
)
def test_parse_snr_says_what_it_wants(text):
    with pytest.raises(ValueError, match="expected an SNR list"):
        parse_snr(text)
