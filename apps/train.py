#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Train a model: neuralfec train SYSTEM ...

SYSTEM's own options are told by `neuralfec train SYSTEM --help`; the same trainer runs as
`python -m gnuradio.neuralfec.SYSTEM.training`. All trainers take OUTPUT, --minutes, --steps, --seed
and --device, stop by Ctrl-C after the step they are in, and go on by the same command. Training
needs torch.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import importlib
import sys
from pathlib import Path

from gnuradio import neuralfec
from gnuradio.neuralfec import app


def systems() -> dict[str, str]:
    """Modules of the trainers by their systems' names."""
    root = Path(neuralfec.__file__).parent
    files = [*root.glob("*/**/training.py"), *root.glob("*/**/stopping.py")]
    names = sorted(".".join(file.relative_to(root).with_suffix("").parts) for file in files)
    return {name.removesuffix(".training"): f"{neuralfec.__name__}.{name}" for name in names}


def parser() -> app.Parser:
    made = app.parser(
        __doc__, "neuralfec train syndrome mine.pt --code polar-nr:64,32 --steps 20 --batch 16"
    )
    made.add_argument("system", choices=systems(), metavar="SYSTEM", help=", ".join(systems()))
    made.add_argument("rest", nargs=argparse.REMAINDER, metavar="...", help="the trainer's options")
    return made


def run(args: argparse.Namespace) -> int:
    trainer = importlib.import_module(systems()[args.system])
    # What the trainer's messages and the model's card call it.
    program = Path(sys.argv[0]).name
    sys.argv = [f"{program} {args.system}", *args.rest]
    return trainer.main(args.rest)


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
