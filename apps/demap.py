#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn received symbols into log-likelihood ratios, file to file.

Raw little-endian files: complex symbols y = h x + n in, float32 LLRs log P(b=1) - log P(b=0) out,
K = log2(M) a symbol, most significant bit first. Symbols have unit power, Es = 1; the noise
variance is that of the complex noise, both rails together.

Where the symbols do not look like what was told (power, rotation, carrier offset, noise), hints
on stderr say so, and which option mends it.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import sys

import numpy as np
from gnuradio.neuralfec import app, diagnosis
from gnuradio.neuralfec.phy.constellation import NAMES, constellation
from gnuradio.neuralfec.phy.demapping import METHODS, demap

CHUNK = 1 << 16
# Type of a sample: NumPy's type of a file's item, items of a sample, zero and full scale.
DTYPES = {
    "c64": ("<c8", 1, 0.0, 1.0),
    "c128": ("<c16", 1, 0.0, 1.0),
    "i16": ("<i2", 2, 0.0, 32768.0),
    "i8": ("i1", 2, 0.0, 128.0),
    "u8": ("u1", 2, 127.5, 127.5),
}


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec demap --constellation qam256 --noise-var 0.01 --csi h.c64 y.c64 llrs.f32",
    )
    made.add_argument("--constellation", required=True, help=", ".join([*NAMES, "file:PATH"]))
    made.add_argument("--noise-var", required=True, type=float, help="noise variance N0, above 0")
    made.add_argument(
        "--csi",
        type=app.InputFile,
        metavar="FILE",
        help="complex64 channel gain h of each symbol; h = 1 without it",
    )
    made.add_argument("--method", choices=METHODS, default="exact", help="how LLRs are computed")
    made.add_argument(
        "--dtype",
        choices=DTYPES,
        default="c64",
        help="type of the samples: complex64, complex128, or pairs I, Q of int16 (full scale "
        "32768), int8 (128) or uint8 (zero is 127.5)",
    )
    made.add_argument(
        "--scale",
        default="1",
        help='number to multiply the samples with, or "auto": mean power 1 + N0 in the first '
        f"{CHUNK} samples",
    )
    made.add_argument("--rotate", type=float, default=0.0, help="degrees to turn the samples by")
    made.add_argument(
        "--cfo",
        type=float,
        default=0.0,
        help="carrier frequency offset to take out, in cycles a symbol",
    )
    made.add_argument("--conjugate", action="store_true", help="the spectrum is inverted")
    app.add_quiet(made)
    made.add_argument("input", type=app.InputFile, help="received symbols")
    made.add_argument("output", type=app.OutputFile, help="float32 LLRs")
    return made


def read_symbols(args: argparse.Namespace):
    """Give the samples of a file as complex64, in chunks, as they are demapped."""
    dtype, items, zero, full = DTYPES[args.dtype]
    factor = None if args.scale == "auto" else float(args.scale) / full
    place = 0
    for raw in app.read_chunks(args.input, dtype, CHUNK * items, items):
        if items == 2:
            pairs = (raw.astype(np.float32) - np.float32(zero)).reshape(-1, 2)
            y = pairs[:, 0] + 1j * pairs[:, 1]
        else:
            y = raw
        if args.conjugate:
            y = y.conj()
        if factor is None:
            power = np.mean(np.abs(y[np.isfinite(y)]) ** 2, dtype=float)
            factor = ((1 + args.noise_var) / power) ** 0.5 if power > 0 else 1.0
        if args.cfo or args.rotate:
            turns = args.rotate / 360 - args.cfo * (place + np.arange(y.size))
            y = y * np.exp(2j * np.pi * (turns % 1))
        yield (y if factor == 1 else y * factor).astype(np.complex64)
        place += y.size


def run(args: argparse.Namespace) -> None:
    modulation = constellation(args.constellation)
    if not 0 < args.noise_var < float("inf"):
        raise ValueError(f"--noise-var: expected a finite number > 0, got {args.noise_var}")
    if args.scale != "auto":
        try:
            usable = 0 < abs(float(args.scale)) < float("inf")
        except ValueError:
            usable = False
        if not usable:
            raise ValueError(
                f'--scale: expected a number other than 0, or "auto", got {args.scale}'
            )
    dtype, items, *_ = DTYPES[args.dtype]
    values = app.count_items(args.input, dtype, items)
    symbols = None if values is None else values // items
    gains = None
    if args.csi is not None:
        told = app.count_items(args.csi, "<c8")
        if None not in (told, symbols) and told != symbols:
            raise ValueError(
                f"{args.csi}: expected as many gains as {args.input} has symbols ({symbols}), "
                f"got {told}"
            )
        gains = Gains(args.csi)
    stats: dict[str, int] = {}
    done = 0
    hints: list[str] = []
    with app.Progress(symbols, "symbols", args.quiet) as progress, args.output.open() as output:
        for y in read_symbols(args):
            h = gains.take(y.size) if gains else None
            llrs = demap(y, modulation, args.noise_var, h, args.method, stats=stats)
            app.write_all(output, llrs.astype("<f4", copy=False))
            if not done:
                hints = diagnosis.of_symbols(y, modulation, args.noise_var, h)
            done += y.size
            progress.update(done)
    if gains:
        gains.end(done)
    if not args.quiet:
        rate = done / progress.seconds / 1e6
        print(
            f"{done} symbols, {done * modulation.bits_per_symbol} LLRs, "
            f"{stats['bad_symbols']} symbols with NaN or Inf (LLR 0), {rate:.1f} Msymbol/s",
            file=sys.stderr,
        )
        for hint in hints:
            print(f"hint: {hint}", file=sys.stderr)


class Gains:
    """The gains of a file, as many at a time as there are symbols."""

    def __init__(self, path: app.InputFile) -> None:
        self.path = path
        self._chunks = app.read_chunks(path, "<c8", CHUNK)
        self._rest = np.empty(0, np.complex64)

    def take(self, count: int) -> np.ndarray:
        while self._rest.size < count:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise ValueError(
                    f"{self.path}: expected as many gains as there are symbols, got fewer"
                )
            self._rest = np.concatenate([self._rest, chunk])
        taken, self._rest = self._rest[:count], self._rest[count:]
        return taken

    def end(self, symbols: int) -> None:
        if self._rest.size or next(self._chunks, None) is not None:
            raise ValueError(f"{self.path}: expected {symbols} gains, one a symbol, got more")


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
