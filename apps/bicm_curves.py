#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count error rates of the bit-interleaved coded link, with exact and max-log demapping.

Runs the chain of bicm_link without GNU Radio: random messages, a code, a random interleaver, M-QAM
or another constellation, a simulated channel with channel knowledge. Both ways of demapping see the
same noise. Counts are stored by name and add up from run to run; the picture is drawn from them.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import sys

from gnuradio.neuralfec import app, codes, decoders
from gnuradio.neuralfec.links.bicm import StorageLink
from gnuradio.neuralfec.phy.constellation import NAMES
from gnuradio.neuralfec.simulation import figure, parse_snr, table
from gnuradio.neuralfec.simulation.options import add_options, result_name, simulate
from rich.console import Console


def parser() -> app.Parser:
    made = app.parser(
        __doc__, "neuralfec curves bicm --snr 18:19:0.5 --errors 100 --picture bicm.png"
    )
    made.add_argument("--snr", default="17:19.5:0.5", help="Es/N0 in dB: a list or FROM:TO[:STEP]")
    made.add_argument("--constellation", default="qam256", help=", ".join([*NAMES, "file:PATH"]))
    made.add_argument(
        "--channel", default="rayleigh", choices=["awgn", "rayleigh", "etu"], help="fading"
    )
    made.add_argument("--code", default="wifi-648", help=", ".join(codes.specs()))
    made.add_argument("--decoder", default="bp:50", help=", ".join(decoders.specs()))
    add_options(made, errors=300, blocks=200_000)
    made.add_argument("--name", help="of the counts; made from the options if absent")
    made.add_argument("--picture", type=app.OutputFile, help="PNG, PDF or SVG to draw")
    return made


def run(args: argparse.Namespace) -> None:
    if args.picture:
        app.check_picture(args.picture)
    setting = {
        "code": args.code,
        "decoder": args.decoder,
        "constellation": args.constellation,
        "channel": args.channel,
    }
    results = simulate(
        args,
        StorageLink(**setting, schemes=("exact", "max-log")),
        parse_snr(args.snr),
        name=args.name or result_name("bicm", *setting.values()),
        parameters=setting,
    )
    console = Console()
    console.print(table(results))
    try:
        loss = results.loss("max-log", "exact", 1e-2)
        console.print(
            f"max-log loses {loss.value:.3f} dB at BLER 1e-2 "
            f"(95 %: {loss.low:.3f} to {loss.high:.3f})",
            highlight=False,
        )
    except ValueError as error:
        console.print(f"loss of max-log at BLER 1e-2: {error}", highlight=False)
    if args.picture:
        title = f"{args.code}, {args.decoder}, {args.constellation}, {args.channel}"
        figure([results], args.picture.path, title=title, snr_label="Es/N0 (dB)")


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
