#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantize a file of LLRs: what a quantizer stores, and what comes back out of storage.

LLRs are float32, K to a symbol, in the order of qam<M>: the bits of the I rail, most significant
first, then those of the Q rail; LLR = log P(b=1) - log P(b=0).
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import sys

import numpy as np
from gnuradio.neuralfec import app
from gnuradio.neuralfec.quantization import LlrQuantizer, names

# Symbols of one piece: 8 of them fill whole bytes, whatever the model.
PIECE = 1 << 16


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec quantize --model qam256-15bit llrs.f32 out.f32",
        "neuralfec quantize --model qam256-15bit --packed stored.bin llrs.f32 out.f32",
        "neuralfec quantize --model qam256-15bit --unpack stored.bin out.f32",
    )
    made.add_argument("--model", required=True, help=f"{', '.join(names())} or a file *.pt")
    made.add_argument(
        "--packed", type=app.OutputFile, metavar="FILE", help="write the stored bits there"
    )
    made.add_argument("--unpack", action="store_true", help="the input is such a file")
    made.add_argument(
        "--symbols", type=int, help="how many --unpack's input holds, where N_b is below 8"
    )
    made.add_argument(
        "--fast", action="store_true", help="take the network's codeword, not the nearest one"
    )
    app.add_quiet(made)
    made.add_argument("input", type=app.InputFile, help="float32 LLRs, or stored bits")
    made.add_argument("output", type=app.OutputFile, help="float32 LLRs out of storage")
    return made


def quantize(args: argparse.Namespace, model: LlrQuantizer) -> int:
    k = model.bits_per_symbol
    values = app.count_items(args.input, "<f4", k)
    rest = np.empty((0, k), np.float32)
    done = 0
    with (
        app.Progress(values and values // k, "symbols", args.quiet) as progress,
        args.output.open() as output,
    ):
        stored = args.packed.open() if args.packed else None
        for llrs in app.read_chunks(args.input, "<f4", PIECE * k, k):
            symbols = np.concatenate([rest, llrs.reshape(-1, k)])
            # A pipe gives what it has; 8 symbols fill whole bytes.
            whole = len(symbols) // 8 * 8
            rest = symbols[whole:]
            for part in (symbols[:whole],) if whole else ():
                put(model, part, output, stored)
            done += len(llrs) // k
            progress.update(done)
        if len(rest):
            put(model, rest, output, stored)
        if stored:
            stored.close()
    return done


def put(model: LlrQuantizer, llrs: np.ndarray, output, stored) -> None:
    if not model.bits:
        app.write_all(output, model.reconstruct(llrs).astype("<f4", copy=False))
        return
    indices = model.quantize(llrs)
    app.write_all(output, model.dequantize(indices).astype("<f4", copy=False))
    if stored:
        app.write_all(stored, model.pack(indices))


def unpack(args: argparse.Namespace, model: LlrQuantizer) -> int:
    packed = np.frombuffer(args.input.read_bytes(), np.uint8)
    if not packed.size:
        raise ValueError(f"{args.input}: the file is empty")
    symbols = packed.size * 8 // model.bits if args.symbols is None else args.symbols
    size = -(-symbols * model.bits // 8)
    if size != packed.size:
        raise ValueError(
            f"expected {size} bytes for {symbols} symbols of {model.bits} bits, got {packed.size}"
        )
    with (
        app.Progress(symbols, "symbols", args.quiet) as progress,
        args.output.open() as output,
    ):
        for start in range(0, symbols, PIECE):
            count = min(PIECE, symbols - start)
            first = start * model.bits // 8
            piece = packed[first : first + -(-count * model.bits // 8)]
            llrs = model.dequantize(model.unpack(piece, count))
            app.write_all(output, llrs.astype("<f4", copy=False))
            progress.update(start + count)
    return symbols


def run(args: argparse.Namespace) -> None:
    model = LlrQuantizer(args.model, search=not args.fast)
    if (args.packed or args.unpack) and not model.bits:
        raise ValueError(f"model {args.model} does not quantize, it has no bits to store")
    if args.packed and args.unpack:
        raise ValueError("--packed and --unpack: expected one of them")
    done = unpack(args, model) if args.unpack else quantize(args, model)
    if not args.quiet:
        stored = f"{model.bits} bits a symbol" if model.bits else "not quantized"
        print(
            f"{done} symbols, {stored}, {model.counts['bad_samples']} NaN count as 0",
            file=sys.stderr,
        )


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
