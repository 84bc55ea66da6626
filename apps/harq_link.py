#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Hybrid ARQ over 256-QAM: throughput against SNR, and what the soft buffer takes.

A frame that is not decoded stays in the soft buffer, and its next transmission is added to it
(chase combining). The buffer holds float32 LLRs, 3 bits an LLR for maximum mutual
information, or all LLRs of a symbol in 15, 16 or 18 bits.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from gnuradio.neuralfec import simulation
from gnuradio.neuralfec.codes import code
from gnuradio.neuralfec.models import read_card
from gnuradio.neuralfec.quantization.link import HybridArqLink
from matplotlib.figure import Figure

SCHEMES = ("exact", "qam256-scalar-24bit", "qam256-18bit", "qam256-16bit", "qam256-15bit")
RESULT = "llr-quantization-harq"


def buffer_bits(scheme: str, llrs: int) -> int:
    """Bits of a stored frame."""
    if scheme == "exact":
        return 32 * llrs
    parameters = read_card(f"quantization/{scheme.partition('/')[0]}").parameters
    return parameters["bits"] * llrs // parameters["bits_per_symbol"]


def draw(curves: dict[str, list[tuple[float, float]]], llrs: int, path: Path) -> None:
    """Throughput against SNR, and what a soft buffer of some size loses where it loses most."""
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    against_snr, against_memory = figure.subplots(1, 2)
    floats = np.array(curves["exact"])[:, 1]
    for scheme, points in curves.items():
        snr, throughput = np.array(points).T
        against_snr.plot(snr, throughput, marker="o", markersize=3, label=scheme)
        kept = (throughput / np.maximum(floats, 1e-9))[floats > 0]
        bits = buffer_bits(scheme, llrs)
        against_memory.plot(bits, 100 * (1 - kept.min(initial=1)), "o")
        against_memory.annotate(
            scheme, (bits, 100 * (1 - kept.min(initial=1))), (4, 4), textcoords="offset points"
        )
    against_snr.set(xlabel="Es/N0 of a transmission (dB)", ylabel="Throughput (bit/symbol)")
    against_memory.set(
        xlabel="Soft buffer (bits a frame)",
        ylabel="Largest loss of throughput (%)",
        xscale="log",
    )
    for axes in (against_snr, against_memory):
        axes.grid(which="both", alpha=0.3)
    against_snr.legend()
    figure.savefig(path, dpi=100)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--snr", default="12:20:1", help="Es/N0 in dB of each transmission")
    parser.add_argument("--blocks", type=int, default=2000, help="frames a point")
    parser.add_argument("--code", default="wifi-648")
    parser.add_argument("--decoder", default="bp:50")
    parser.add_argument("--channel", default="rayleigh", choices=["awgn", "rayleigh", "etu"])
    parser.add_argument("--transmissions", type=int, default=4, help="of a frame at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--results", default="results", help="folder of the counts")
    parser.add_argument("--plot", type=Path, help="picture to write")
    args = parser.parse_args()
    try:
        if args.transmissions < 1:
            raise ValueError(f"expected at least 1 transmission, got {args.transmissions}")
        link = HybridArqLink(
            code=args.code,
            decoder=args.decoder,
            channel=args.channel,
            schemes=SCHEMES,
            transmissions=args.transmissions,
        )
        results = simulation.run(
            link,
            simulation.parse_snr(args.snr),
            name=RESULT,
            target_block_errors=10**9,
            max_blocks=args.blocks,
            seed=args.seed,
            workers=args.workers,
            directory=args.results,
            parameters=link.parameters(),
        )
    except ValueError as error:
        print(f"harq_link: {error}", file=sys.stderr)
        return 1
    of_code = code(args.code)
    symbols = of_code.n // 8
    print(
        f"{'Es/N0 dB':>8}  {'storage':22}{'bits a frame':>13}{'sent a frame':>13}{'bit/symbol':>11}"
    )
    curves: dict[str, list[tuple[float, float]]] = {}
    for snr in results.snr_db(SCHEMES[0]):
        for scheme in SCHEMES:
            counts = results.counts(snr, scheme)
            good = counts["blocks"] - counts["block_errors"]
            throughput = good * of_code.k / (counts["transmissions"] * symbols)
            curves.setdefault(scheme, []).append((snr, throughput))
            print(
                f"{snr:8.2f}  {scheme:22}{buffer_bits(scheme, of_code.n):13}"
                f"{counts['transmissions'] / counts['blocks']:13.3f}{throughput:11.3f}"
            )
    if args.plot:
        draw(curves, of_code.n, args.plot)
    return 0


if __name__ == "__main__":
    sys.exit(main())
