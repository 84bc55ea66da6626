#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Compare all decoders of a code: error rate at one SNR against words per second.

All decoders of one code see the same LLRs. Those that do fewer words per second than --slowest
are left out. Counts and speeds are stored by name; a figure shows both, and which decoders no other
beats in both.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import sys
from pathlib import Path

from gnuradio.neuralfec import app, simulation
from gnuradio.neuralfec.links import decoder_comparison as library
from gnuradio.neuralfec.links.bicm import DecoderLink
from gnuradio.neuralfec.simulation.options import add_figures, add_options, simulate


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec curves decoders simulate conv-7-5 --errors 20 --blocks 2000",
        "neuralfec curves decoders table conv-7-5",
        "neuralfec curves decoders draw conv-7-5 --output figures",
    )
    made.add_argument(
        "action",
        choices=("simulate", "table", "draw"),
        help="count and measure, show or draw what is stored",
    )
    made.add_argument(
        "comparison",
        nargs="*",
        metavar="COMPARISON",
        help=f"all, or of {', '.join(library.COMPARISONS)}",
    )
    made.add_argument(
        "--slowest", type=float, default=300, help="words per second that a decoder must do"
    )
    add_options(made, errors=200, blocks=100_000)
    add_figures(made)
    return made


def count(name: str, args: argparse.Namespace) -> None:
    """Count the errors of a comparison's decoders, and measure their speeds."""
    comparison = library.COMPARISONS[name]
    for code in comparison.codes:
        where = code, comparison.constellation, comparison.eb_n0_db
        first = library.words_per_second(*where, library.takers(code), runs=1, seconds=0.01)
        specs = [spec for spec, speed in first.items() if speed >= args.slowest]
        for spec in first.keys() - specs:
            print(f"{code}: {spec} is left out: {first[spec]:.0f} words/s")
        results = simulate(
            args,
            DecoderLink(code, comparison.constellation, specs),
            [comparison.eb_n0_db],
            name=library.name_of(name, code),
            parameters={
                "code": code,
                "constellation": comparison.constellation,
                "decoders": specs,
                "snr": "Eb/N0",
            },
        )
        results.about["speed"] = library.speed_record(library.words_per_second(*where, specs))
        results.save(args.results)


def stored(name: str, args: argparse.Namespace) -> list[simulation.Results]:
    """Load the counts of a comparison."""
    found = []
    for code in library.COMPARISONS[name].codes:
        try:
            results = simulation.Results.load(library.name_of(name, code), args.results)
        except FileNotFoundError:
            raise ValueError(
                f"there are no counts of {name}, {code}, in {args.results}: simulate first"
            ) from None
        if "speed" not in results.about:
            raise ValueError(f"{name}, {code}: its speeds are not measured: simulate again")
        found.append(results)
    return found


def table(name: str, args: argparse.Namespace) -> None:
    """Print error rates and speeds, the most reliable first; * marks those that none beats."""
    comparison = library.COMPARISONS[name]
    rows = [
        (f"{spec:18} {code}", speed, results.rate(comparison.eb_n0_db, spec))
        for results, code in zip(stored(name, args), comparison.codes, strict=True)
        for spec, speed in results.about["speed"]["words_per_second"].items()
    ]
    front = library.best([(label, speed, rate.value) for label, speed, rate in rows])
    print(f"{comparison.title}, {comparison.constellation}, Eb/N0 {comparison.eb_n0_db:g} dB")
    for i, (label, speed, rate) in sorted(enumerate(rows), key=lambda row: row[1][2].value):
        interval = f"[{rate.low:.2e}, {rate.high:.2e}]"
        mark = "*" if i in front else " "
        print(f"{mark} {label:42} {speed:10.0f} words/s  BLER {rate.value:.2e} {interval}")


def draw(name: str, args: argparse.Namespace) -> None:
    """Draw the figure of a comparison."""
    drawn = library.figure(library.COMPARISONS[name], stored(name, args))
    with args.output.file(f"decoders-{name}.png") as path:
        drawn.savefig(path, dpi=100)
    print(Path(args.output, f"decoders-{name}.png"))


def run(args: argparse.Namespace) -> None:
    for name in args.comparison:
        if name not in library.COMPARISONS:
            raise ValueError(
                f"expected a comparison of {', '.join(library.COMPARISONS)}, got {name!r}"
            )
    for name in args.comparison or library.COMPARISONS:
        {"simulate": count, "table": table, "draw": draw}[args.action](name, args)


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
