#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decode a file of soft bits.

The input holds frames of n soft bits, log P(b=1) - log P(b=0), little-endian float32 or what
--dtype, --sign and --scale say; the output gets k message bits a frame, a byte each. The soft
bits of a convolutional code stand step by step, those of the first generator first.

Where no frame of the beginning converges, what could be wrong with the file is tried (sign, type,
scale, first bit, order of bits, rotated symbols), and a hint on stderr says what helps.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import sys
from collections import Counter

import numpy as np
from gnuradio.neuralfec import app, decoders, diagnosis

# A few thousand codewords fill any decoder's batches and take some megabytes.
CHUNK = 1 << 21
DTYPES = {"f32": "<f4", "f64": "<f8", "i8": "i1", "i16": "<i2"}


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec decode --code wifi-648 --decoder bp:50 --json stats.json llrs.f32 bits.u8",
        "neuralfec decode --code conv:7,5 --decoder viterbi --frame 100 --dtype i8 soft.i8 bits.u8",
    )
    app.add_code(made)
    made.add_argument("--decoder", required=True, help=", ".join(decoders.specs()))
    made.add_argument(
        "--dtype",
        choices=DTYPES,
        default="f32",
        help="type of the soft bits: float32, float64, int8 or int16",
    )
    made.add_argument(
        "--sign",
        choices=("one", "zero"),
        default="one",
        help="the bit that a positive soft bit stands for",
    )
    made.add_argument(
        "--scale", type=float, default=1.0, help="number to multiply the soft bits with"
    )
    made.add_argument(
        "--packed", action="store_true", help="write 8 bits a byte, the first one most significant"
    )
    made.add_argument(
        "--json", type=app.OutputFile, metavar="FILE", help="write what happened as JSON"
    )
    app.add_quiet(made)
    made.add_argument("input", type=app.InputFile, help="soft bits, n a frame")
    made.add_argument("output", type=app.OutputFile, help="uint8 message bits, k a frame")
    return made


def run(args: argparse.Namespace) -> int:
    code = app.code_of(args)
    decoder = decoders.decoder(args.decoder, code)
    dtype, n = DTYPES[args.dtype], decoder.n
    if not 0 < abs(args.scale) < float("inf"):
        raise ValueError(f"--scale: expected a finite number other than 0, got {args.scale}")
    values = app.count_items(args.input, dtype, multiple=n)
    frames = None if values is None else values // n
    factor = np.float32(args.scale if args.sign == "one" else -args.scale)

    def soft_bits(raw: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore"):
            values = raw.astype(np.float32, copy=False)
            return (values if factor == 1 else values * factor).reshape(-1, n)

    totals: Counter[str] = Counter()
    begin = None
    rest = np.empty(0, np.uint8)  # bits of a byte that the next frames fill
    progress = app.Progress(frames, "frames", args.quiet)
    try:
        with progress, args.output.open() as output:
            for raw in app.read_chunks(args.input, dtype, max(1, CHUNK // n) * n, n):
                messages, stats = decoder.decode(soft_bits(raw))
                begin = raw[: 16 * n] if begin is None else begin
                totals.update(stats)
                if args.packed:
                    bits = np.concatenate([rest, messages.reshape(-1)])
                    rest = bits[bits.size // 8 * 8 :]
                    messages = np.packbits(bits[: bits.size - rest.size])
                app.write_all(output, messages)
                progress.update(totals["frames"])
            app.write_all(output, np.packbits(rest))
    except KeyboardInterrupt:
        raise app.Interrupted(f"{totals['frames']} frames are decoded") from None
    seconds = progress.seconds
    speed = {"seconds": seconds, "bits_per_second": totals["frames"] * decoder.k / seconds}
    if args.json:
        args.json.write_json({"code": args.code, "decoder": args.decoder} | totals | speed)
    if not args.quiet:
        shares = ", ".join(f"{key} {value}" for key, value in totals.items())
        rate = speed["bits_per_second"] / 1e6
        print(f"{shares}, {seconds:.3g} s, {rate:.3g} Mbit/s", file=sys.stderr)
        for hint in diagnosis.of_soft_bits(begin, args.dtype, soft_bits, code, decoder):
            print(f"hint: {hint}", file=sys.stderr)
    return (
        app.INCOMPLETE if totals.get("converged", totals["frames"]) < totals["frames"] else app.OK
    )


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
