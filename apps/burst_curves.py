#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count what bursts of samples cost: bursts that are not found, and codewords that are wrong.

Each burst goes through a channel of its own: Rayleigh taps of unit energy, carrier within +-10
subcarrier spacings, clock within +-40 ppm, phase noise of -43 dB, an IQ image of -30 dB and DC of
-20 dB. "found" counts bursts that are not found or whose header is wrong, "whole" those refused
as torn without being so, "torn" those that lost samples and are delivered nevertheless; "genie" and
"burst" count codewords, with all known and as received, "second" those of a second pass with the
right codewords as pilots; "false" counts millions of samples of noise, tones, DC and foreign OFDM
in which a burst is delivered. Counts add up from run to run.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import sys

from gnuradio.neuralfec import app, codes, decoders
from gnuradio.neuralfec.links.burst import BurstLink, NothingLink
from gnuradio.neuralfec.phy.burst import PRESETS
from gnuradio.neuralfec.phy.constellation import NAMES
from gnuradio.neuralfec.simulation import figure, parse_snr, table
from gnuradio.neuralfec.simulation.options import add_options, result_name, simulate
from rich.console import Console


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec curves burst --count found --symbols 10 --snr 0 --blocks 40",
        "neuralfec curves burst --snr 9 --errors 20 --blocks 200 --picture burst.png",
    )
    made.add_argument(
        "--count",
        default="errors",
        choices=["errors", "found", "torn", "false"],
        help="what is counted",
    )
    made.add_argument("--snr", default="7:9:0.5", help="Es/N0 in dB: a list or FROM:TO[:STEP]")
    made.add_argument("--format", default="burst-128", choices=list(PRESETS), help="of the bursts")
    made.add_argument("--symbols", type=int, default=100, help="payload symbols a burst")
    made.add_argument("--taps", type=int, default=10, help="of the channel, 1 for a flat one")
    made.add_argument(
        "--fading", action="store_true", help="the taps' energy is 1 in the mean only, not a burst"
    )
    made.add_argument("--constellation", default="qam16", help=", ".join([*NAMES, "file:PATH"]))
    made.add_argument("--code", default="wifi-648", help=", ".join(codes.specs()))
    made.add_argument("--decoder", default="bp:50", help=", ".join(decoders.specs()))
    add_options(made, errors=300, blocks=100_000)
    made.add_argument("--name", help="of the counts; made from the options if absent")
    made.add_argument("--picture", type=app.OutputFile, help="PNG, PDF or SVG to draw")
    return made


def run(args: argparse.Namespace) -> None:
    if args.picture:
        app.check_picture(args.picture)
    setting = {
        name: getattr(args, name)
        for name in ("format", "symbols", "constellation", "code", "decoder", "taps")
    }
    if args.fading:
        setting["fading"] = True
    if args.count == "false":
        setting = {"format": args.format}
        link: BurstLink | NothingLink = NothingLink(**setting)
    else:
        schemes = {
            "found": ("found", "whole"),
            "torn": ("torn",),
            "errors": ("genie", "burst", "second"),
        }
        link = BurstLink(schemes=schemes[args.count], **setting)
    results = simulate(
        args,
        link,
        parse_snr(args.snr),
        name=args.name or result_name(f"burst-{args.count}", *map(str, setting.values())),
        parameters=setting | {"count": args.count},
    )
    console = Console()
    console.print(table(results))
    if args.count == "errors":
        for scheme, name in (("burst", "bursts lose"), ("second", "with a second pass")):
            try:
                loss = results.loss(scheme, "genie", 1e-2)
                text = f"{loss.value:.3f} dB (95 %: {loss.low:.3f} to {loss.high:.3f})"
            except ValueError as error:
                text = str(error)
            console.print(f"{name}, at BLER 1e-2: {text}", highlight=False)
    if args.picture:
        title = f"{args.format}, {args.symbols} symbols, {args.code}, {args.constellation}"
        figure([results], args.picture.path, title=title, snr_label="Es/N0 (dB)")


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
