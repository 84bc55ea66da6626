#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Quantize a file of LLRs: what a quantizer stores, and what comes back out of storage.

LLRs are float32, K to a symbol, in the order of qam<M>: the bits of the I rail, most significant
first, then those of the Q rail; LLR = log P(b=1) - log P(b=0).

    quantize_llrs.py --model qam256-15bit in.f32 out.f32
    quantize_llrs.py --model qam256-15bit --packed stored.bin in.f32 out.f32
    quantize_llrs.py --model qam256-15bit --unpack stored.bin out.f32
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from gnuradio.neuralfec.quantization import LlrQuantizer, names

# Symbols of one piece: 8 of them fill whole bytes, whatever the model.
PIECE = 1 << 18


def quantize(model: LlrQuantizer, llrs: np.ndarray, out: Path, packed: Path | None) -> None:
    step = PIECE * model.bits_per_symbol
    stored = []
    with out.open("wb") as file:
        for start in range(0, llrs.size, step):
            piece = llrs[start : start + step]
            if not model.bits:
                file.write(model.reconstruct(piece).tobytes())
                continue
            indices = model.quantize(piece)
            file.write(model.dequantize(indices).tobytes())
            if packed:
                stored.append(model.pack(indices).tobytes())
    if packed:
        packed.write_bytes(b"".join(stored))


def unpack(model: LlrQuantizer, packed: np.ndarray, out: Path, symbols: int | None) -> None:
    if symbols is None:
        symbols = packed.size * 8 // model.bits
    size = -(-symbols * model.bits // 8)
    if size != packed.size:
        raise ValueError(
            f"expected {size} bytes for {symbols} symbols of {model.bits} bits, got {packed.size}"
        )
    with out.open("wb") as file:
        for start in range(0, symbols, PIECE):
            count = min(PIECE, symbols - start)
            first = start * model.bits // 8
            piece = packed[first : first + -(-count * model.bits // 8)]
            file.write(model.dequantize(model.unpack(piece, count)).tobytes())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help=f"{', '.join(names())} or a file *.pt")
    parser.add_argument("--packed", type=Path, metavar="FILE", help="write the stored bits there")
    parser.add_argument("--unpack", action="store_true", help="the input is such a file")
    parser.add_argument("--symbols", type=int, help="how many it holds, where N_b is below 8")
    parser.add_argument(
        "--fast", action="store_true", help="the network's codeword, not the nearest one"
    )
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    args = parser.parse_args()
    try:
        model = LlrQuantizer(args.model, search=not args.fast)
        if (args.packed or args.unpack) and not model.bits:
            raise ValueError(f"model {args.model} does not quantize, it has no bits to store")
        if args.unpack:
            unpack(model, np.fromfile(args.input, np.uint8), args.output, args.symbols)
            return 0
        size = args.input.stat().st_size
        if size % (4 * model.bits_per_symbol):
            raise ValueError(
                f"{args.input}: expected float32 LLRs, {model.bits_per_symbol} a symbol, got "
                f"{size} bytes"
            )
        quantize(model, np.fromfile(args.input, np.float32), args.output, args.packed)
    except (OSError, ValueError) as error:
        print(f"quantize_llrs: {error}", file=sys.stderr)
        return 1
    if model.counts["not_finite"]:
        print(f"{model.counts['not_finite']} NaN or infinite LLRs count as 0", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
