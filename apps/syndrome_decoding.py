#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count error rates of decoders on one and the same bit-interleaved channel.

Random interleaver per frame, Gray mapping, Gaussian noise, exact LLRs; Eb/N0 in dB of the
message's bits. All decoders see the same LLRs. What each loses to the first one is printed in dB
where the points span it. Counts are stored by name and add up from run to run.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import contextlib
import itertools
import sys

from gnuradio.neuralfec import app, codes, decoders, simulation
from gnuradio.neuralfec.links.bicm import DecoderLink
from gnuradio.neuralfec.phy.constellation import NAMES
from gnuradio.neuralfec.simulation.options import add_options, result_name, simulate


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec curves syndrome --eb-n0 4,5 --decoders 'osd:2 sc syndrome' --errors 50",
    )
    made.add_argument("--code", default="polar-nr:64,32", help=", ".join(codes.specs()))
    made.add_argument("--constellation", default="qam16", help=", ".join([*NAMES, "file:PATH"]))
    made.add_argument("--eb-n0", default="3:7", help="FROM:TO[:STEP] or a list, in dB")
    made.add_argument(
        "--decoders",
        default="osd:2 osd:1 sc scl:8 syndrome syndrome-osd:1",
        help="specs, blank-separated: " + ", ".join(decoders.specs()),
    )
    made.add_argument(
        "--ml-bound",
        action="store_true",
        help="also bound maximum likelihood's errors, by the first decoder",
    )
    add_options(made, errors=100, blocks=20_000)
    made.add_argument("--name", help="of the counts; made from the options if absent")
    made.add_argument(
        "--picture",
        type=app.OutputFile,
        help="PNG, PDF or SVG of both error rates, with the finite-length limit",
    )
    return made


def run(args: argparse.Namespace) -> None:
    if args.picture:
        app.check_picture(args.picture)
    specs = args.decoders.split()
    if not specs:
        raise ValueError(f"--decoders: expected some of {', '.join(decoders.specs())}, got none")
    link = DecoderLink(args.code, args.constellation, specs, args.ml_bound)
    bound = ["ml-bound"] * args.ml_bound
    results = simulate(
        args,
        link,
        simulation.parse_snr(args.eb_n0),
        name=args.name or result_name("syndrome", args.code, args.constellation, *specs, *bound),
        parameters={
            "code": args.code,
            "constellation": args.constellation,
            "decoders": specs,
            "ml_bound": args.ml_bound,
            "snr": "Eb/N0",
        },
    )
    for scheme in results.schemes:
        for snr in results.snr_db(scheme):
            bler, ber = results.rate(snr, scheme, "bler"), results.rate(snr, scheme, "ber")
            interval = f"[{bler[1]:.2e}, {bler[2]:.2e}]"
            print(f"{scheme:16} {snr:5.2f} dB  FER {bler[0]:.3e} {interval}  BER {ber[0]:.3e}")
    reference = specs[0]
    for metric, target in itertools.product(("ber", "bler"), (1e-2, 1e-3)):
        for scheme in results.schemes:
            with contextlib.suppress(ValueError):  # Not measured down to there.
                loss = results.loss(scheme, reference, target, metric)
                if scheme != reference:
                    interval = f"[{loss.low:.2f}, {loss.high:.2f}]"
                    name = {"ber": "BER", "bler": "FER"}[metric]
                    print(
                        f"{scheme:16} {loss.value:5.2f} dB {interval} to {reference}, "
                        f"{name} {target:g}"
                    )
    if link.frames:
        for spec, seconds in link.seconds.items():
            print(f"{spec:16} {link.frames / max(seconds, 1e-9):10.0f} words/s, one thread")
    if args.picture:
        title = f"{args.code}, {args.constellation}"
        simulation.figure(
            [results],
            args.picture.path,
            metrics=("ber", "bler"),
            title=title,
            snr_label="Eb/N0 (dB)",
            limit=link.limit,
        )


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
