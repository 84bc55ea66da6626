#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Symbols to log-likelihood ratios, file to file.

    demap.py --constellation qam256 --noise-var 0.01 --csi h.c64 in.c64 out.f32

Raw little-endian files: complex64 symbols y = h x + n in, float32 LLRs
log P(b=1) - log P(b=0) out, K = log2(M) a symbol, most significant bit first. Es = 1;
the noise variance is that of the complex noise, both rails together.
"""

import argparse
import contextlib
import os
import sys
import time

from gnuradio.neuralfec import files
from gnuradio.neuralfec.phy.constellation import NAMES, constellation
from gnuradio.neuralfec.phy.demapping import METHODS, demap

CHUNK = 1 << 16


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--constellation", required=True, help=", ".join([*NAMES, "file:PATH"]))
    parser.add_argument("--noise-var", required=True, type=float, help="N0 > 0")
    parser.add_argument("--csi", metavar="FILE", help="complex64 gain h of each symbol; else h = 1")
    parser.add_argument("--method", choices=METHODS, default="exact")
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    parser.add_argument("input", help="complex64 symbols")
    parser.add_argument("output", help="float32 LLRs")
    return parser.parse_args()


def run() -> None:
    args = arguments()
    modulation = constellation(args.constellation)
    if not 0 < args.noise_var < float("inf"):
        raise ValueError(f"--noise-var: expected a finite number > 0, got {args.noise_var}")
    symbols = files.count_items(args.input, "<c8")
    if args.csi is not None and (gains := files.count_items(args.csi, "<c8")) != symbols:
        raise ValueError(
            f"{args.csi}: expected as many gains as {args.input} has symbols ({symbols}), "
            f"got {gains}"
        )
    for path in (args.input, args.csi):
        if path and os.path.exists(args.output) and os.path.samefile(path, args.output):
            raise ValueError(f"{args.output}: is an input, too")

    stats: dict[str, int] = {}
    begin = shown = time.monotonic()
    done = 0
    with contextlib.closing(files.open_output(args.output)) as output:
        gains = files.read_chunks(args.csi, "<c8", CHUNK) if args.csi else None
        for y in files.read_chunks(args.input, "<c8", CHUNK):
            h = next(gains) if gains else None
            llrs = demap(y, modulation, args.noise_var, h, args.method, stats=stats)
            output.write(llrs.astype("<f4", copy=False).data)
            done += y.size
            if not args.quiet and sys.stderr.isatty() and time.monotonic() - shown > 0.2:
                shown = time.monotonic()
                print(f"\r{100 * done / symbols:5.1f} %", end="", file=sys.stderr, flush=True)
    if not args.quiet:
        rate = symbols / max(time.monotonic() - begin, 1e-9) / 1e6
        print(
            f"\r{symbols} symbols, {symbols * modulation.bits_per_symbol} LLRs, "
            f"{stats['bad_symbols']} symbols with NaN or Inf (LLR 0), {rate:.1f} Msymbol/s",
            file=sys.stderr,
        )


if __name__ == "__main__":
    files.main(run)
