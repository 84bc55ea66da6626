#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decode a file of LLRs.

The input holds frames of n float32 LLRs, log P(b=1) - log P(b=0), little-endian; the output
gets k message bits a frame, a byte each.

    apps/decode.py --code wifi-648 --decoder bp:50 --json stats.json in.f32 out.u8
    apps/decode.py --code conv:7,5 --decoder viterbi --frame 100 in.f32 out.u8

The LLRs of a convolutional code stand step by step, those of the first generator first.
"""

import argparse
import contextlib
import json
import os
import sys
import time
from collections import Counter

from gnuradio.neuralfec import codes, decoders, files

# A few thousand codewords fill any decoder's batches and take some megabytes.
CHUNK = 1 << 21


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--code", required=True, help=", ".join(codes.specs()))
    parser.add_argument("--decoder", required=True, help=", ".join(decoders.specs()))
    parser.add_argument(
        "--frame", type=int, metavar="K", help="message bits of a frame (convolutional codes)"
    )
    parser.add_argument(
        "--termination",
        choices=("none", "zero", "tail-biting"),
        help="how frames of a convolutional code end; none where neither this nor the code says",
    )
    parser.add_argument("--json", metavar="FILE", help="write what happened as JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress, no summary")
    parser.add_argument("input", help="float32 LLRs, n a frame")
    parser.add_argument("output", help="uint8 message bits, k a frame")
    return parser.parse_args()


def run() -> None:
    args = arguments()
    code = codes.code(args.code)
    if args.frame is not None or args.termination is not None:
        if not hasattr(code, "with_frame"):
            raise ValueError(f"--frame and --termination: expected a conv: code, got {args.code}")
        code = code.with_frame(
            code.k if args.frame is None else args.frame, args.termination or code.termination
        )
    decoder = decoders.decoder(args.decoder, code)
    frames = files.count_items(args.input, "<f4", multiple=decoder.n) // decoder.n
    if os.path.exists(args.output) and os.path.samefile(args.input, args.output):
        raise ValueError(f"{args.output}: is the input, too")

    totals: Counter[str] = Counter()
    begin = shown = time.monotonic()
    with contextlib.ExitStack() as outputs:
        output = outputs.enter_context(files.open_output(args.output))
        report_file = args.json and outputs.enter_context(files.open_output(args.json))
        for llrs in files.read_chunks(args.input, "<f4", max(1, CHUNK // decoder.n) * decoder.n):
            messages, stats = decoder.decode(llrs.reshape(-1, decoder.n))
            output.write(messages.data)
            totals.update(stats)
            if not args.quiet and sys.stderr.isatty() and time.monotonic() - shown > 0.2:
                shown = time.monotonic()
                done = 100 * totals["frames"] / frames
                print(f"\r{done:5.1f} %", end="", file=sys.stderr, flush=True)
        seconds = max(time.monotonic() - begin, 1e-9)
        speed = {"seconds": seconds, "bits_per_second": frames * decoder.k / seconds}
        if report_file:
            report = {"code": args.code, "decoder": args.decoder} | totals | speed
            report_file.write(json.dumps(report, indent=2).encode() + b"\n")
    if not args.quiet:
        shares = ", ".join(f"{key} {value}" for key, value in totals.items())
        rate = speed["bits_per_second"] / 1e6
        print(f"\r{shares}, {seconds:.3g} s, {rate:.3g} Mbit/s", file=sys.stderr)


if __name__ == "__main__":
    files.main(run)
