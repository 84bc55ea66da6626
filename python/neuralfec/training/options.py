# SPDX-License-Identifier: GPL-3.0-or-later
"""The options that all trainers have, and how a trainer ends."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

STOPPED = 75
"""Exit status of a training that stopped before its last step (EX_TEMPFAIL of sysexits.h)."""

# What a run may be started again with differently.
_OF_THE_CALL = {"output", "checkpoint", "minutes", "finish", "device", "engine"}


class Stopped(Exception):
    """Says that a training stopped before its last step; the same command goes on."""


def parser(
    description: str, *, steps: int | None, batch: int | None, rate: float | None, **more: Any
) -> argparse.ArgumentParser:
    """Make a parser with the options that all trainers have.

    Parameters
    ----------
    description : what is trained; a whole docstring is shown as it is
    steps, batch, rate : defaults; None where the trainer finds its own
    more : further arguments of `argparse.ArgumentParser`
    """
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, **more
    )

    def default(value: Any) -> str:
        return "the default depends on what is trained" if value is None else "default %(default)s"

    made.add_argument("output", type=Path, metavar="OUTPUT", help="model file to write, *.pt")
    made.add_argument(
        "--checkpoint",
        type=Path,
        help="file to save the training in and to go on from (default OUTPUT.checkpoint)",
    )
    made.add_argument(
        "--minutes",
        type=float,
        help="stop after this wall-clock time; the same command goes on (default: no limit)",
    )
    made.add_argument(
        "--finish",
        action="store_true",
        help="write the model as far as its training has come, without a further step",
    )
    made.add_argument(
        "--steps", type=int, default=steps, help=f"length of the training ({default(steps)})"
    )
    made.add_argument("--batch", type=int, default=batch, help=f"size of a step ({default(batch)})")
    made.add_argument(
        "--rate", type=float, default=rate, help=f"highest learning rate ({default(rate)})"
    )
    made.add_argument("--seed", type=int, default=1, help="of all random numbers (default 1)")
    made.add_argument("--device", default="cpu", help="cpu or cuda (default cpu)")
    made.add_argument(
        "--init", metavar="MODEL", help="model whose parameters to start from: a file or a name"
    )
    return made


def identity(options: argparse.Namespace) -> dict[str, str]:
    """Return the options that make a training what it is, as text."""
    return {name: str(v) for name, v in vars(options).items() if name not in _OF_THE_CALL}


def check(options: argparse.Namespace) -> None:
    """Raise ValueError where the common options ask for the impossible."""
    import torch

    for name in ("steps", "batch", "rate"):
        value = getattr(options, name)
        if value is not None and value <= 0:
            raise ValueError(f"expected --{name} above 0, got {value}")
    if options.minutes is not None and options.minutes < 0:
        raise ValueError(f"expected --minutes of at least 0, got {options.minutes}")
    try:
        torch.zeros(0, device=options.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(f"--device {options.device}: {reason}") from error
    if options.output.suffix != ".pt":
        raise ValueError(f"expected a model file *.pt to write, got {options.output}")
    for file in (options.output, options.checkpoint):
        folder = file.absolute().parent
        if not folder.is_dir():
            raise ValueError(f"{file}: there is no folder {folder} to write it to")


def main(
    train: Callable[[argparse.Namespace], None],
    options: argparse.ArgumentParser,
    argv: Sequence[str] | None = None,
) -> int:
    """Parse a command line, train, and return the exit status.

    Returns
    -------
    0 when the model is written; 75 when the training stopped before its end, to go on with the
    same command; 130 for a second Ctrl-C; 2 for what a user can mend, told in one line.
    """
    parsed = options.parse_args(argv)
    if parsed.checkpoint is None:
        parsed.checkpoint = parsed.output.with_name(f"{parsed.output.name}.checkpoint")
    try:
        check(parsed)
        train(parsed)
    except Stopped as stop:
        print(f"stopped: {stop}; the same command goes on, --finish writes the model as it is")
        return STOPPED
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from the last checkpoint", file=sys.stderr)
        return 130
    except (ValueError, OSError) as error:
        print(f"{options.prog}: error: {error}", file=sys.stderr)
        return 2
    return 0
