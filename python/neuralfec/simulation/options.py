# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that all programs with curves have, and how they count.

A user's counts go to a folder of the user's own, never among those that come with the project:
these are read and added to only where `--results results` asks for it.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..app import Interrupted, OutputFolder, add_quiet
from .engine import Link, run
from .results import Results


def default_folder() -> Path:
    """Return the folder of a user's counts: $XDG_DATA_HOME/neuralfec/results."""
    base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(base, "neuralfec", "results")


def result_name(*parts: str) -> str:
    """Return the name of a result whose parts, specs for instance, tell it from others."""
    return re.sub(r"[^\w.]+", "-", "-".join(parts)).strip("-")


def add_options(
    made: argparse.ArgumentParser, *, errors: int, blocks: int | None, seed: int = 0
) -> None:
    """Add --errors, --blocks, --seed, --workers, --cluster, --results and --quiet.

    errors, blocks, seed : their defaults
    """
    made.add_argument("--errors", type=int, default=errors, help="block errors that end a point")
    more = "" if blocks else "; the experiment's if absent"
    made.add_argument("--blocks", type=int, default=blocks, help=f"most blocks of a point{more}")
    made.add_argument("--seed", type=int, default=seed, help="another seed adds independent counts")
    add_workers(made)
    add_results(made)
    add_quiet(made)


def add_workers(made: argparse.ArgumentParser) -> None:
    """Add --workers and --cluster."""
    made.add_argument(
        "--workers", type=int, default=1, help="processes on this machine; -1 for one a core"
    )
    made.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="count on the Dask cluster of this scheduler, such as tcp://host:8786; "
        "the counts are the same as without it",
    )


def add_results(made: argparse.ArgumentParser) -> None:
    """Add --results."""
    made.add_argument(
        "--results",
        type=OutputFolder,
        default=OutputFolder(default_folder()),
        help="folder of the counts; those of the project are in results of its source",
    )


def add_figures(made: argparse.ArgumentParser) -> None:
    """Add --output, the folder of a program's figures."""
    made.add_argument(
        "--output",
        type=OutputFolder,
        default=OutputFolder("figures"),
        help="folder of the figures",
    )


def simulate(
    args: argparse.Namespace,
    link: Link,
    snr_db: Sequence[float] | np.ndarray,
    *,
    name: str,
    parameters: Mapping[str, Any],
    blocks: int | None = None,
    chunk_blocks: int = 1000,
    store: bool = True,
) -> Results:
    """Count as the options say; see `run` for the arguments.

    blocks : in place of --blocks, for programs with another unit; store : False for programs that
        store counts of their own. Ctrl-C raises `Interrupted` with where the counts are.
    """
    file = Results.files(name, args.results)[0]
    workers = args.workers
    if args.cluster is not None and workers == 1:
        workers = -1
    try:
        return run(
            link,
            snr_db,
            name=name,
            target_block_errors=args.errors,
            max_blocks=args.blocks if blocks is None else blocks,
            chunk_blocks=chunk_blocks,
            seed=args.seed,
            workers=workers,
            backend="loky" if args.cluster is None else "dask",
            scheduler=args.cluster,
            directory=args.results if store else None,
            parameters=parameters,
            quiet=True if args.quiet else None,
        )
    except KeyboardInterrupt:
        if not store:
            raise Interrupted(f"the points that are told are in {args.results}") from None
        where = f"the counts so far are in {file}, " if file.exists() else ""
        raise Interrupted(f"{where}the same command goes on") from None
