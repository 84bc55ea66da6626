#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Map bits to symbols and send them over a simulated channel, file to file.

The input holds K = log2(M) bits a symbol, a byte 0 or 1 each, most significant first; the output
gets complex64 symbols of unit power. With --noise-var the output is y = h x + n, where n has the
variance N0 (both rails together) and h is 1, or the gain of a fading channel, which --csi writes.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import sys

import numpy as np
from gnuradio.neuralfec import app
from gnuradio.neuralfec.phy import channel
from gnuradio.neuralfec.phy.constellation import NAMES, constellation, modulate

CHUNK = 1 << 16


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec map --constellation qam256 --channel rayleigh --noise-var 0.01 --csi h.c64 "
        "code.u8 y.c64",
    )
    made.add_argument("--constellation", required=True, help=", ".join([*NAMES, "file:PATH"]))
    made.add_argument(
        "--noise-var", type=float, default=0.0, help="noise variance N0; 0 for no noise"
    )
    made.add_argument(
        "--channel",
        choices=("awgn", "rayleigh"),
        default="awgn",
        help="Gaussian noise alone, or fading that is independent from symbol to symbol",
    )
    made.add_argument(
        "--csi",
        type=app.OutputFile,
        metavar="FILE",
        help="write the complex64 gain h of each symbol",
    )
    made.add_argument("--seed", type=int, default=1, help="of the channel")
    made.add_argument(
        "--fill", action="store_true", help="fill the last symbol up with zeros where bits lack"
    )
    app.add_quiet(made)
    made.add_argument("input", type=app.InputFile, help="uint8 bits, 0 or 1")
    made.add_argument("output", type=app.OutputFile, help="complex64 symbols")
    return made


def run(args: argparse.Namespace) -> None:
    modulation = constellation(args.constellation)
    if not 0 <= args.noise_var < float("inf"):
        raise ValueError(f"--noise-var: expected a finite number >= 0, got {args.noise_var}")
    if args.channel != "awgn" and not args.noise_var:
        raise ValueError(f"--channel {args.channel}: expected a --noise-var above 0, too")
    if args.seed < 0:
        raise ValueError(f"--seed: expected at least 0, got {args.seed}")
    k = modulation.bits_per_symbol
    multiple = 1 if args.fill else k
    bits = app.count_items(args.input, "u1", multiple)
    rng = np.random.default_rng(args.seed)
    simulate = getattr(channel, args.channel)
    done = 0
    with (
        app.Progress(None if bits is None else bits / k, "symbols", args.quiet) as progress,
        args.output.open() as output,
    ):
        gains = args.csi.open() if args.csi else None
        for part in app.read_chunks(args.input, "u1", CHUNK * k, multiple):
            if part.max() > 1:
                raise ValueError(
                    f"{args.input}: expected bits, bytes 0 or 1, got {part[part > 1][0]}"
                )
            lacking = -part.size % k
            x = modulate(np.concatenate([part, np.zeros(lacking, np.uint8)]), modulation)
            y, h = simulate(rng, x, args.noise_var) if args.noise_var else (x, np.ones(x.shape))
            app.write_all(output, y.astype("<c8"))
            if gains:
                app.write_all(gains, h.astype("<c8"))
            done += x.size
            progress.update(done)
        if gains:
            gains.close()
    if not args.quiet:
        print(f"{done} symbols, {done * k} bits", file=sys.stderr)


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
