#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hybrid ARQ over 256-QAM: throughput against SNR, and what the soft buffer takes.

A frame that is not decoded stays in the soft buffer, and its next transmission is added to it
(chase combining). The buffer holds float32 LLRs, 3 bits an LLR for maximum mutual
information, or all LLRs of a symbol in 15, 16 or 18 bits: learned, or scalar levels in mixed
radix.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import sys

import numpy as np
from gnuradio.neuralfec import app, codes, decoders, simulation
from gnuradio.neuralfec.links.bicm import HybridArqLink, scheme_name
from gnuradio.neuralfec.models import read_card
from gnuradio.neuralfec.simulation.options import add_options, simulate
from matplotlib.figure import Figure

SCHEMES = (
    "exact",
    "qam256-scalar-24bit",
    "qam256-18bit",
    "qam256-16bit",
    "qam256-15bit",
    "mixed-radix:18:16:20",
    "mixed-radix:15:16:20",
)
RESULT = "llr-quantization-harq"


def buffer_bits(scheme: str, llrs: int) -> int:
    """Bits of a stored frame."""
    if scheme == "exact":
        return 32 * llrs
    if scheme.startswith("mixed-radix:"):
        # 256-QAM: all LLRs of a symbol in one index.
        return int(scheme.split(":")[1]) * llrs // 8
    parameters = read_card(f"quantization/{scheme.partition('/')[0]}").parameters
    return parameters["bits"] * llrs // parameters["bits_per_symbol"]


def draw(curves: dict[str, list[tuple[float, float]]], llrs: int, path: str) -> None:
    """Throughput against SNR, and what a soft buffer of some size loses where it loses most."""
    figure = Figure(figsize=(12, 4.2), layout="constrained")
    against_snr, against_memory = figure.subplots(1, 2)
    floats = np.array(curves["exact"])[:, 1]
    for scheme, points in curves.items():
        snr, throughput = np.array(points).T
        against_snr.plot(snr, throughput, marker="o", markersize=3)
        kept = (throughput / np.maximum(floats, 1e-9))[floats > 0]
        bits = buffer_bits(scheme, llrs)
        loss = 100 * (1 - kept.min(initial=1))
        against_memory.plot(bits, loss, "o", label=scheme_name(scheme))
    against_snr.set(xlabel="Es/N0 of a transmission (dB)", ylabel="Throughput (bit/symbol)")
    against_memory.set(
        xlabel="Soft buffer (bits a frame)",
        ylabel="Largest loss of throughput (%)",
        xscale="log",
    )
    for axes in (against_snr, against_memory):
        axes.grid(which="both", alpha=0.3)
    against_memory.legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    figure.savefig(path, dpi=100)


def parser() -> app.Parser:
    made = app.parser(
        __doc__, "neuralfec curves harq --snr 16:18:1 --blocks 200 --picture harq.png"
    )
    made.add_argument(
        "--snr",
        default="12:20:1",
        help="Es/N0 in dB of each transmission: a list or range",
    )
    made.add_argument("--code", default="wifi-648", help=", ".join(codes.specs()))
    made.add_argument("--decoder", default="bp:50", help=", ".join(decoders.specs()))
    made.add_argument(
        "--channel", default="rayleigh", choices=["awgn", "rayleigh", "etu"], help="fading"
    )
    made.add_argument("--transmissions", type=int, default=4, help="of a frame at most")
    add_options(made, errors=10**9, blocks=2000, seed=1)
    made.add_argument("--picture", type=app.OutputFile, help="PNG, PDF or SVG to draw")
    return made


def run(args: argparse.Namespace) -> None:
    if args.transmissions < 1:
        raise ValueError(f"expected at least 1 transmission, got {args.transmissions}")
    if args.picture:
        app.check_picture(args.picture)
    code = codes.code(args.code)
    if code.n % 8:
        raise ValueError(f"expected codewords of whole 256-QAM symbols, got n = {code.n}")
    link = HybridArqLink(
        code=args.code,
        decoder=args.decoder,
        channel=args.channel,
        schemes=SCHEMES,
        transmissions=args.transmissions,
    )
    results = simulate(
        args, link, simulation.parse_snr(args.snr), name=RESULT, parameters=link.parameters()
    )
    symbols = code.n // 8
    print(
        f"{'Es/N0 dB':>8}  {'storage':22}{'bits a frame':>13}{'sent a frame':>13}{'bit/symbol':>11}"
    )
    curves: dict[str, list[tuple[float, float]]] = {}
    for snr in results.snr_db(SCHEMES[0]):
        for scheme in SCHEMES:
            counts = results.counts(snr, scheme)
            good = counts["blocks"] - counts["block_errors"]
            throughput = good * code.k / (counts["transmissions"] * symbols)
            curves.setdefault(scheme, []).append((snr, throughput))
            print(
                f"{snr:8.2f}  {scheme:22}{buffer_bits(scheme, code.n):13}"
                f"{counts['transmissions'] / counts['blocks']:13.3f}{throughput:11.3f}"
            )
    if args.picture:
        draw(curves, code.n, args.picture.path)


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
