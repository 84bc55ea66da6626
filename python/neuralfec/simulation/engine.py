# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs a link over a grid of SNRs until its error rates are known."""

import math
import pickle
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from .. import provenance
from .results import REQUIRED, Results, check_counts, snr_key
from .table import live_table

Counts = Mapping[str, float]
Link = Callable[[np.random.Generator, float, int], Counts | Mapping[str, Counts]]

_MOST_POINTS = 10_000


def parse_snr(text: str) -> np.ndarray:
    """Parse SNRs in dB: "18.5", "16,17.5,19", "16:20" (step 1) or "16:20:0.5".

    Both ends of a range belong to it. Returns float64 (n,). ValueError for anything else.
    """
    expected = f'expected an SNR list such as "18.5", "16,17.5" or "16:20:0.5" in dB, got {text!r}'
    try:
        if ":" in text:
            start, stop, *rest = (float(part) for part in text.split(":"))
            (step,) = rest or (1.0,)
        else:
            values = np.array([float(part) for part in text.split(",")])
            start, stop, step = values.min(), values.max(), 1.0
    except ValueError:
        raise ValueError(expected) from None
    if not all(map(math.isfinite, (start, stop, step))):
        raise ValueError(f"{expected}: not finite")
    if ":" not in text:
        return values
    if step <= 0 or stop < start:
        raise ValueError(f"{expected}: START:STOP:STEP needs START <= STOP and STEP > 0")
    steps = (stop - start) / step
    if steps >= _MOST_POINTS:
        raise ValueError(f"{expected}: more than {_MOST_POINTS} points")
    # A last point that only rounding puts beyond the stop is still meant.
    return start + step * np.arange(math.floor(steps + 1e-9) + 1)


def count_errors(
    sent: np.ndarray, decided: np.ndarray | Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Count the errors of one chunk, as a link returns them.

    Parameters
    ----------
    sent : bits uint8 (blocks, k)
    decided : bits of that shape, or such arrays by scheme, all from the same noise

    Returns
    -------
    `blocks`, `block_errors`, `bits`, `bit_errors`, and `bit_errors_squared`, the sum over blocks of
    the squared number of wrong bits, which makes the BER's interval right for bursts; or such dicts
    by scheme, each with `common_block_errors`, the blocks that it and the first scheme both got
    wrong.

    Raises
    ------
    ValueError : for another shape
    """
    if isinstance(decided, Mapping):
        counts, first = {}, None
        for scheme, bits in decided.items():
            counts[scheme], bad = _count(sent, bits)
            first = bad if first is None else first
            counts[scheme]["common_block_errors"] = int(np.count_nonzero(bad & first))
        return counts
    return _count(sent, decided)[0]


def _count(sent: np.ndarray, decided: np.ndarray) -> tuple[dict[str, int], np.ndarray]:
    if sent.ndim != 2 or decided.shape != sent.shape:
        raise ValueError(
            f"expected bits sent and decided of one shape (blocks, k), "
            f"got {sent.shape} and {decided.shape}"
        )
    wrong = np.count_nonzero(sent != decided, axis=1)
    bad = wrong > 0
    return {
        "blocks": len(sent),
        "block_errors": int(np.count_nonzero(bad)),
        "bits": sent.size,
        "bit_errors": int(wrong.sum()),
        "bit_errors_squared": int((wrong**2).sum()),
    }, bad


@dataclass(frozen=True)
class _Task:
    """One chunk: the smallest piece of a simulation, with a generator of its own."""

    seed: int
    snr_db: float
    chunk: int
    blocks: int

    def run(self, link: Link) -> dict[str, dict[str, float]]:
        # The SNR's own number, not its place in the grid: a finer grid keeps old chunks.
        key = (round(self.snr_db * 1e6) % 2**64, self.chunk)
        rng = np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=key))
        counts: Any = link(rng, self.snr_db, self.blocks)
        if not isinstance(counts, Mapping) or not counts:
            raise ValueError(f"expected the link to return a dict of counts, got {counts!r}")
        if not all(isinstance(value, Mapping) for value in counts.values()):
            counts = {"": counts}
        checked = {}
        for scheme, values in counts.items():
            checked[scheme] = check_counts(values, f"counts of the link, scheme {scheme!r}")
            if values["blocks"] != self.blocks:
                raise ValueError(
                    f"expected the link to count {self.blocks} blocks, got {values['blocks']}"
                )
        return checked


@dataclass
class _Point:
    """One SNR of the grid: when it is done and what to simulate next."""

    results: Results
    snr_db: float
    seed: int
    target_block_errors: int
    max_blocks: int
    chunk_blocks: int

    def __post_init__(self) -> None:
        rows = [(key, row) for key, row in self.results.rows.items() if key[1] == self.snr_db]
        self.chunks = max((row["chunks"] for key, row in rows if key[2] == self.seed), default=0)
        self.status = "waiting"
        self._count()

    def _count(self) -> None:
        totals = [
            self.results.counts(self.snr_db, scheme)
            for scheme in self.results.schemes
            if any(key[:2] == (scheme, self.snr_db) for key in self.results.rows)
        ]
        self.blocks = min((total["blocks"] for total in totals), default=0)
        self.block_errors = min((total["block_errors"] for total in totals), default=0)
        if self.block_errors >= self.target_block_errors:
            self.status = "done"
        elif self.blocks >= self.max_blocks:
            self.status = "limit"

    @property
    def finished(self) -> bool:
        return self.status in ("done", "limit")

    @property
    def missing_blocks(self) -> float:
        """Blocks that this point is expected to need still."""
        if self.finished:
            return 0
        most = self.max_blocks - self.blocks
        if not self.block_errors:
            return most
        missing = self.target_block_errors - self.block_errors
        return min(most, missing * self.blocks / self.block_errors)

    def tasks(self) -> Iterator[_Task]:
        """The chunks that this point is expected to need, in order."""
        blocks = self.blocks
        missing: float = self.target_block_errors - self.block_errors
        chunk = self.chunks
        while not self.finished and blocks < self.max_blocks and missing > 0:
            size = min(self.chunk_blocks, self.max_blocks - blocks)
            yield _Task(self.seed, self.snr_db, int(chunk), int(size))
            chunk += 1
            blocks += size
            # An unseen point is tried with one chunk first; one without errors needs many.
            missing -= size * self.block_errors / self.blocks if self.blocks else missing

    def add(self, counts: dict[str, dict[str, float]]) -> None:
        """Add a chunk; one beyond the stop is left out, so that what counts does not depend
        on how many were running."""
        if self.finished:
            return
        rows = self.results.rows
        known = {scheme for scheme, snr, seed in rows if (snr, seed) == (self.snr_db, self.seed)}
        if known and known != counts.keys():
            raise ValueError(
                f"{self.results.name}: expected counts of the schemes {sorted(known)} as before, "
                f"got {sorted(counts)}"
            )
        self.chunks += 1
        self.status = "running"
        for scheme, values in counts.items():
            row = rows.setdefault((scheme, self.snr_db, self.seed), dict.fromkeys(REQUIRED, 0))
            for key, value in values.items():
                row[key] = row.get(key, 0) + value
            row["chunks"] = self.chunks
        self._count()


_worker = threading.local()


def _run_pickled(link: bytes, task: _Task) -> dict[str, dict[str, float]]:
    """A worker unpickles a link once, so what the link builds on first use is kept."""
    if getattr(_worker, "pickled", None) != link:
        _worker.link, _worker.pickled = pickle.loads(link), link
    return task.run(_worker.link)


@contextmanager
def _executor(
    link: Link, workers: int, backend: str, scheduler: str | None
) -> Iterator[tuple[int, Callable[[Sequence[_Task]], Sequence[dict]]]]:
    """How many chunks run at once, and a function that runs some."""
    if workers == 1 and backend == "loky":
        yield 1, lambda tasks: [task.run(link) for task in tasks]
        return
    import joblib

    try:
        from joblib.externals import cloudpickle
    except ImportError:  # Newer ones do not bring their own.
        import cloudpickle

    pickled = cloudpickle.dumps(link)
    options = {}
    if backend == "dask":
        # Without the import joblib does not know of the backend.
        import distributed  # noqa: F401

        options["scheduler_host"] = scheduler
    with (
        joblib.parallel_backend(backend, n_jobs=workers, **options),
        joblib.Parallel() as parallel,
    ):
        run_pickled = joblib.delayed(_run_pickled)
        yield (
            joblib.effective_n_jobs(workers),
            lambda tasks: parallel(run_pickled(pickled, task) for task in tasks),
        )


def run(
    link: Link,
    snr_db: Sequence[float] | np.ndarray,
    *,
    name: str,
    target_block_errors: int = 100,
    max_blocks: int = 100_000,
    chunk_blocks: int = 1000,
    seed: int = 0,
    workers: int = 1,
    backend: str = "loky",
    scheduler: str | None = None,
    directory: str | None = "results",
    parameters: Mapping[str, Any] | None = None,
    quiet: bool | None = None,
) -> Results:
    """Simulate a link at each SNR until its error rates are known, and store the counts.

    A point ends when every scheme has `target_block_errors` block errors or `max_blocks` blocks.
    The counts are added to what `<directory>/<name>.csv` holds already.

    link: called as link(rng, snr_db, blocks) with a numpy Generator; returns `blocks`,
        `block_errors`, `bits`, `bit_errors` and whatever else is to be summed, as a dict; or
        such dicts by scheme name, for schemes that decode the same noise. `count_errors`
        makes them. It must simulate the `blocks` that it was asked for. With several workers
        it is pickled (cloudpickle), unpickled once in each and kept there.
    snr_db: what the link takes as SNR, in dB.
    target_block_errors, max_blocks: where a point stops; errors and blocks of earlier runs count.
    chunk_blocks: blocks of one call; counts are saved after each round of calls.
    seed: chunk i of an SNR has its own generator, spawned from the seed by the SNR and i, and
        chunks count in order: the counts do not depend on the number of workers, and no later
        run with this file repeats them. Another seed adds independent counts.
    workers: processes on this machine; -1 for one a core. With backend "dask", tasks on the
        cluster of the scheduler at this address ("tcp://host:8786"; None: the current
        `distributed.Client`), -1 for as many as it has threads.
    directory: None keeps the counts in memory.
    parameters: JSON-able, what the experiment is (code, constellation, decoder, ...).
    quiet: no live table. By default there is one on a terminal.

    An interrupt (Ctrl-C) or an exception of the link leaves the saved counts.
    ValueError for bad numbers, for parameters other than those of the file, and for counts
    that cannot be.
    """
    for key, value in {
        "target_block_errors": target_block_errors,
        "max_blocks": max_blocks,
        "chunk_blocks": chunk_blocks,
    }.items():
        if value < 1:
            raise ValueError(f"expected {key} of at least 1, got {value}")
    if workers == 0 or workers < -1:
        raise ValueError(f"expected workers of at least 1, or -1 for one a core, got {workers}")
    if seed < 0:
        raise ValueError(f"expected a seed of at least 0, got {seed}")
    if backend not in ("loky", "dask"):
        raise ValueError(f"expected backend 'loky' or 'dask', got {backend!r}")
    grid = np.atleast_1d(np.asarray(snr_db, dtype=float))
    if grid.ndim != 1 or not grid.size or not np.isfinite(grid).all():
        raise ValueError(f"expected a list of finite SNRs, got {snr_db!r}")

    results = Results(name)
    if directory is not None and Results.files(name, directory)[0].exists():
        results = Results.load(name, directory)
    parameters = dict(parameters or {})
    if results.rows and results.about.get("parameters", {}) != parameters:
        theirs = results.about.get("parameters", {})
        other = [
            f"{key} {theirs.get(key)!r}, not {parameters.get(key)!r}"
            for key in dict.fromkeys([*theirs, *parameters])
            if theirs.get(key) != parameters.get(key)
        ]
        raise ValueError(
            f"{name} holds counts of another experiment, with {'; '.join(other)}: "
            "choose another name or another folder, or remove the files"
        )
    snrs = [snr_key(snr) for snr in grid]
    settings = {
        "seed": seed,
        "target_block_errors": target_block_errors,
        "max_blocks": max_blocks,
        "chunk_blocks": chunk_blocks,
        "snr_db": snrs,
    }
    points = [
        _Point(results, snr, seed, target_block_errors, max_blocks, chunk_blocks)
        for snr in dict.fromkeys(snrs)
    ]
    if all(point.finished for point in points):
        return results
    this_run = provenance.record() | settings
    results.about = {
        "name": name,
        "parameters": parameters,
        "runs": [*results.about.get("runs", []), this_run],
    }
    with (
        _executor(link, workers, backend, scheduler) as (width, run_tasks),
        live_table(results, points, quiet) as update,
    ):
        while tasks := _next_tasks(points, width):
            of_snr = {point.snr_db: point for point in points}
            for task in tasks:
                of_snr[task.snr_db].status = "running"
            update()
            for task, counts in zip(tasks, run_tasks(tasks), strict=True):
                of_snr[task.snr_db].add(counts)
            if directory is not None:
                results.save(directory)
            update()
    return results


def _next_tasks(points: Sequence[_Point], width: int) -> list[_Task]:
    """Chunks for one round: of the first unfinished point as many as it needs, then the next."""
    tasks: list[_Task] = []
    for point in points:
        for task in point.tasks():
            if len(tasks) == width:
                return tasks
            tasks.append(task)
    return tasks
