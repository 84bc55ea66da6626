#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure speeds on this machine, beside other programs where there are any.

Each benchmark prints a table; without names all run, which takes a quarter of an hour.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import os
import subprocess
import sys
from pathlib import Path

from gnuradio import neuralfec
from gnuradio.neuralfec import app

FOLDER = Path(neuralfec.__file__).parent / "benchmarks"


def benchmarks() -> dict[str, Path]:
    return {path.stem: path for path in sorted(FOLDER.glob("[!_]*.py"))}


def parser() -> app.Parser:
    made = app.parser(__doc__, "neuralfec bench --list")
    made.add_argument("name", nargs="*", help=f"of {', '.join(benchmarks())}")
    made.add_argument("--list", action="store_true", help="only name the benchmarks")
    return made


def run(args: argparse.Namespace) -> int:
    found = benchmarks()
    for name in args.name:
        if name not in found:
            raise ValueError(f"expected benchmarks of {', '.join(found)}, got {name!r}")
    if args.list:
        print("\n".join(found))
        return 0
    for name in args.name or found:
        print(f"== {name}", flush=True)
        # One thread, so that ratios compare algorithms and not machines.
        ran = subprocess.run(
            [sys.executable, str(found[name])], env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        if ran.returncode:
            raise RuntimeError(f"benchmark {name} ended with status {ran.returncode}")
    return 0


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
