#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Encode a file of message bits.

The input holds frames of k message bits, a byte 0 or 1 each; the output gets n code bits a frame,
a byte each. With --packed the input is any file: its bits are taken 8 a byte, the most significant
first, and the last frame is filled up with zeros.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import sys

import numpy as np
from gnuradio.neuralfec import app

CHUNK = 1 << 21


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec encode --code wifi-648 message.u8 code.u8",
        "neuralfec encode --code conv:7,5 --frame 100 --packed file.bin code.u8",
    )
    app.add_code(made)
    made.add_argument(
        "--packed", action="store_true", help="the input holds 8 bits a byte, as files do"
    )
    app.add_quiet(made)
    made.add_argument("input", type=app.InputFile, help="uint8 message bits, k a frame")
    made.add_argument("output", type=app.OutputFile, help="uint8 code bits, n a frame")
    return made


def messages(args: argparse.Namespace, k: int):
    """Give messages (F, k), in chunks."""
    if not args.packed:
        for bits in app.read_chunks(args.input, "u1", max(1, CHUNK // k) * k, k):
            if bits.max() > 1:
                raise ValueError(
                    f"{args.input}: expected bits, bytes 0 or 1, got {bits[bits > 1][0]} "
                    "(--packed takes 8 bits from each byte)"
                )
            yield bits.reshape(-1, k)
        return
    rest = np.empty(0, np.uint8)
    for data in app.read_chunks(args.input, "u1", CHUNK // 8):
        bits = np.concatenate([rest, np.unpackbits(data)])
        whole = bits.size // k * k
        rest = bits[whole:]
        if whole:
            yield bits[:whole].reshape(-1, k)
    if rest.size:
        yield np.concatenate([rest, np.zeros(k - rest.size, np.uint8)])[None]


def run(args: argparse.Namespace) -> None:
    code = app.code_of(args)
    count = app.count_items(args.input, "u1", 1 if args.packed else code.k)
    frames = None if count is None else -(-count * (8 if args.packed else 1) // code.k)
    done = 0
    with app.Progress(frames, "frames", args.quiet) as progress, args.output.open() as output:
        for part in messages(args, code.k):
            app.write_all(output, code.encode(part))
            done += len(part)
            progress.update(done)
    if not args.quiet:
        print(f"{done} frames, {done * code.k} message bits, {done * code.n} code bits",
              file=sys.stderr)  # fmt: skip


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
