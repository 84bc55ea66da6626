#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a file over a bit-interleaved coded modulation link in a GNU Radio flow graph.

The file is cut into numbered frames with CRC-32; each becomes a codeword, is interleaved, mapped to
symbols, sent over a simulated channel, demapped with channel knowledge, deinterleaved and decoded.
Frames whose CRC fails are left out of the output and listed by number; what passed is right.
"""

import argparse
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
from gnuradio import blocks, gr, neuralfec
from gnuradio.neuralfec import provenance, python_block
from gnuradio.neuralfec.codes import code
from gnuradio.neuralfec.link.framing import ranges
from gnuradio.neuralfec.phy.constellation import constellation
from gnuradio.neuralfec.simulation import Results, parse_snr, table
from gnuradio.neuralfec.simulation.figure import draw
from rich.console import Console
from rich.live import Live

PICTURE_SYMBOLS = 4000
BATCH = 256


class Link(gr.top_block):
    """One file, one SNR. Blocks are kept as attributes: GNU Radio does not hold Python ones."""

    def __init__(self, args: argparse.Namespace, snr_db: float, output: str):
        super().__init__("BICM link")
        link_code = code(args.code)
        modulation = constellation(args.constellation)
        noise_var = 10 ** (-snr_db / 10)
        bits_per_symbol = modulation.bits_per_symbol
        order = neuralfec._kernels.random_permutation(link_code.n, args.seed)

        self.source = neuralfec.frame_source(
            args.input, link_code.k, bits_per_symbol // math.gcd(link_code.n, bits_per_symbol)
        )
        self.encoder = neuralfec.frame_encoder(args.code)
        self.interleaver = neuralfec.interleaver(1, order)
        self.to_bits = blocks.vector_to_stream(1, link_code.n)
        self.mapper = neuralfec.mapper(args.constellation)
        self.channel = neuralfec.channel(args.channel, noise_var, seed=args.seed)
        self.demapper = neuralfec.soft_demapper(
            args.constellation, noise_var, method=args.method, csi=True
        )
        self.to_frames = blocks.stream_to_vector(4, link_code.n)
        self.deinterleaver = neuralfec.interleaver(4, order, deinterleave=True)
        self.decoder = neuralfec.frame_decoder(args.code, args.decoder)
        self.sink = neuralfec.frame_sink(output, link_code.k)
        self.errors = neuralfec.error_counter(link_code.k)

        samples = self.mapper
        if args.realtime:
            self.throttle = blocks.throttle(gr.sizeof_gr_complex, args.rate)
            self.connect(self.mapper, self.throttle)
            samples = self.throttle
        self.connect(self.source, self.encoder, self.interleaver, self.to_bits, self.mapper)
        self.connect(samples, self.channel)
        self.connect((self.channel, 0), (self.demapper, 0))
        self.connect((self.channel, 1), (self.demapper, 1))
        self.connect(self.demapper, self.to_frames, self.deinterleaver, self.decoder, self.sink)
        self.connect(self.source, (self.errors, 0))
        self.connect(self.decoder, (self.errors, 1))

        # What the picture shows: the first symbols and their LLRs.
        self.received = neuralfec.snapshot("complex", PICTURE_SYMBOLS)
        self.gains = neuralfec.snapshot("complex", PICTURE_SYMBOLS)
        self.llrs = neuralfec.snapshot("float", PICTURE_SYMBOLS * bits_per_symbol)
        self.connect((self.channel, 0), self.received)
        self.connect((self.channel, 1), self.gains)
        self.connect(self.demapper, self.llrs)

        self.python_blocks = [
            self.source,
            self.encoder,
            self.decoder,
            self.sink,
            self.errors,
            self.received,
            self.gains,
            self.llrs,
        ]
        # Batches of frames for the decoder.
        python_block.set_batch(
            BATCH, self.source, self.encoder, self.interleaver, self.to_frames,
            self.deinterleaver, self.decoder,
        )  # fmt: skip


def figures(link: Link, seconds: float) -> str:
    """One line of live figures."""
    counts = link.errors.counts
    return (
        f"{counts['blocks']} of {link.source.frames} frames, "
        f"BER {link.errors.bit_error_rate():.3g}, BLER {link.errors.block_error_rate():.3g}, "
        f"{counts['blocks'] / seconds:.0f} frames/s"
    )


def send(args: argparse.Namespace, snr_db: float, output: str, console: Console) -> dict:
    """Send the file once; what there is to know afterwards."""
    link = Link(args, snr_db, output)
    start = time.monotonic()
    with Live(
        get_renderable=lambda: f"{snr_db:g} dB: {figures(link, time.monotonic() - start)}",
        console=console,
        refresh_per_second=4,
        transient=True,
    ):
        python_block.run(link, *link.python_blocks)
    seconds = time.monotonic() - start
    lost = link.sink.lost_frames(link.source.frames)
    return {
        "snr_db": snr_db,
        "seconds": seconds,
        "frames": link.source.frames,
        "lost_frames": lost,
        "counts": dict(link.errors.counts),
        "sink": link.sink.stats(),
        "decoder": link.decoder.stats(),
        "picture": [block.data() for block in (link.received, link.gains, link.llrs)],
    }


def picture(path: str, results: Results, point: dict, args: argparse.Namespace) -> None:
    """Constellation, LLR histogram and error rates side by side."""
    from matplotlib.figure import Figure

    received, gains, llrs = point["picture"]
    drawn = Figure(figsize=(15, 4.8), layout="constrained")
    left, middle, right = drawn.subplots(1, 3)
    equalised = received / gains
    reach = 1.5 * np.abs(constellation(args.constellation).points).max()
    left.plot(equalised.real, equalised.imag, ".", markersize=2, alpha=0.5)
    left.set(
        title=f"{args.constellation} at {point['snr_db']:g} dB, {args.channel}: y / h",
        xlabel="in-phase",
        ylabel="quadrature",
        aspect="equal",
        xlim=(-reach, reach),
        ylim=(-reach, reach),
    )
    bits_per_symbol = len(llrs) // len(received)
    for bit, values in enumerate(llrs.reshape(-1, bits_per_symbol).T):
        middle.hist(values.clip(-40, 40), bins=80, histtype="step", label=f"bit {bit}")
    middle.set(title="log-likelihood ratios", xlabel="LLR = log P(1)/P(0)", ylabel="count")
    middle.set_yscale("log")
    middle.legend(ncols=2, fontsize="small")
    draw(right, [results])
    right.set(title=f"{args.code}, {args.decoder}", xlabel="Es/N0 (dB)")
    drawn.savefig(path, dpi=100)


def parse_args(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("input", help="file to send")
    parser.add_argument("output", help="file to write, of the last SNR where there are several")
    parser.add_argument("--snr", default="20", help='Es/N0 in dB: "18.5", "18,19" or "16:20:0.5"')
    parser.add_argument("--constellation", default="qam256", help="qam4 ... qam1024, psk8, ...")
    parser.add_argument("--channel", default="rayleigh", choices=["awgn", "rayleigh", "etu"])
    parser.add_argument("--code", default="wifi-648", help="code spec")
    parser.add_argument("--decoder", default="bp:50", help="decoder spec")
    parser.add_argument("--method", default="exact", choices=["exact", "max-log"])
    parser.add_argument("--seed", type=int, default=1, help="of channel and interleaver")
    parser.add_argument("--picture", help="write a picture (PNG, PDF or SVG)")
    parser.add_argument("--json", help="write counts, lost frames and speeds")
    parser.add_argument("--realtime", action="store_true", help="send at --rate")
    parser.add_argument("--rate", type=float, default=1e5, help="symbols/s of --realtime")
    return parser.parse_args(argv)


def check_writable(path: str | None) -> None:
    """Before minutes of work, not after."""
    if path:
        with open(path, "ab"):
            pass


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    # Buffer sizes are of no interest to the one who sends a file.
    gr.logging().set_default_level(gr.log_levels.warn)
    console = Console(stderr=True)
    out = Console()
    try:
        snrs = parse_snr(args.snr)
        if args.realtime and not args.rate > 0:
            raise ValueError(f"--rate must be more than 0 symbols/s, got {args.rate}")
        if Path(args.input).resolve() == Path(args.output).resolve():
            raise ValueError(f"input and output are the same file: {args.input}")
        for path in (args.output, args.picture, args.json):
            check_writable(path)
        results = Results(f"{args.constellation} {args.channel}")
        points = []
        for snr_db in map(float, snrs):
            last = len(points) == len(snrs) - 1
            point = send(args, snr_db, args.output if last else "/dev/null", console)
            points.append(point)
            results.rows["", snr_db, args.seed] = point["counts"]
    except (ValueError, OSError) as error:
        print(f"bicm_link: {error}", file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(f"bicm_link: {error}", file=sys.stderr)
        return 1

    out.print(table(results))
    for point in points:
        lost = sum(last - first + 1 for first, last in point["lost_frames"])
        speed = point["counts"]["blocks"] / point["seconds"]
        out.print(
            f"{point['snr_db']:g} dB: {point['frames']} frames, {lost} lost, {speed:.0f} frames/s",
            highlight=False,
        )
    left_out = ranges(points[-1]["lost_frames"])
    out.print(
        f"{args.output}: " + (f"without frames {left_out}" if left_out else "complete"),
        highlight=False,
    )
    if args.picture:
        picture(args.picture, results, points[-1], args)
    if args.json:
        for point in points:
            del point["picture"]
        record = provenance.record() | {"parameters": vars(args), "points": points}
        Path(args.json).write_text(json.dumps(record, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
