#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a file over a bit-interleaved coded modulation link in a GNU Radio flow graph.

The file is cut into numbered frames with CRC-32; each becomes a codeword, is interleaved, mapped to
symbols, sent over a simulated channel, demapped with channel knowledge, deinterleaved and decoded.
Frames whose CRC fails are left out of the output and listed by number; what passed is right.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import math
import os
import sys

import numpy as np
from gnuradio import blocks, gr, neuralfec
from gnuradio.neuralfec import app, codes, decoders, provenance, python_block, telemetry
from gnuradio.neuralfec.framing import ranges
from gnuradio.neuralfec.phy.constellation import NAMES, constellation
from gnuradio.neuralfec.simulation import Results, parse_snr, table
from gnuradio.neuralfec.simulation.figure import draw
from rich.console import Console

PICTURE_SYMBOLS = 4000
BATCH = 256
# Of a frame: its header, one byte of data and the CRC.
MIN_BITS = 88


class Link(gr.top_block):
    """One file, one SNR. Blocks are kept as attributes: GNU Radio does not hold Python ones."""

    def __init__(self, args: argparse.Namespace, snr_db: float, output: str):
        super().__init__("BICM link")
        code = codes.code(args.code)
        modulation = constellation(args.constellation)
        noise_var = 10 ** (-snr_db / 10)
        bits_per_symbol = modulation.bits_per_symbol
        order = neuralfec._kernels.random_permutation(code.n, args.seed)
        # A frame's number, data and CRC take some codewords of a short code.
        parts = -(-MIN_BITS // code.k)
        self.source = neuralfec.frame_source(
            args.input,
            parts * code.k,
            bits_per_symbol // math.gcd(parts * code.n, bits_per_symbol),
        )
        self.codewords = self.source.frames * parts
        self.encoder = neuralfec.frame_encoder(args.code)
        self.interleaver = neuralfec.interleaver(1, order)
        self.to_bits = blocks.vector_to_stream(1, code.n)
        self.mapper = neuralfec.mapper(args.constellation)
        self.channel = neuralfec.channel(args.channel, noise_var, seed=args.seed)
        self.demapper = neuralfec.soft_demapper(
            args.constellation, noise_var, method=args.method, csi=True
        )
        self.to_codewords = blocks.stream_to_vector(4, code.n)
        self.deinterleaver = neuralfec.interleaver(4, order, deinterleave=True)
        self.decoder = neuralfec.frame_decoder(args.code, args.decoder)
        self.sink = neuralfec.frame_sink(output, parts * code.k)
        self.errors = neuralfec.error_counter(code.k)

        messages: tuple = (self.source,)
        decided: tuple = (self.decoder,)
        if parts > 1:
            self.split = blocks.vector_to_stream(code.k, parts)
            self.join = blocks.stream_to_vector(code.k, parts)
            messages, decided = (self.source, self.split), (self.decoder, self.join)
        samples = self.mapper
        if args.realtime:
            self.throttle = blocks.throttle(gr.sizeof_gr_complex, args.rate)
            self.connect(self.mapper, self.throttle)
            samples = self.throttle
        self.connect(*messages, self.encoder, self.interleaver, self.to_bits, self.mapper)
        self.connect(samples, self.channel)
        self.connect((self.channel, 0), (self.demapper, 0))
        self.connect((self.channel, 1), (self.demapper, 1))
        self.connect(self.demapper, self.to_codewords, self.deinterleaver, *decided, self.sink)
        self.connect(messages[-1], (self.errors, 0))
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
            BATCH, self.source, self.encoder, self.interleaver, self.to_codewords,
            self.deinterleaver, self.decoder,
        )  # fmt: skip


def send(args: argparse.Namespace, snr_db: float, output: str) -> dict:
    """Send the file once; what there is to know afterwards. Ctrl-C ends it early."""
    link = Link(args, snr_db, output)
    counts = link.errors.counts

    def state() -> tuple[float, str]:
        return counts["blocks"], (
            f"{snr_db:g} dB: {counts['blocks']} of {link.codewords} codewords, "
            f"BER {link.errors.bit_error_rate():.3g}, BLER {link.errors.block_error_rate():.3g}, "
            f"{counts['blocks'] / progress.seconds:.0f} codewords/s"
        )

    progress = app.Progress(link.codewords, "codewords", args.quiet)
    interrupted = False
    with (
        telemetry.told(args.stats, lambda: telemetry.of_blocks(link)),
        app.watched(progress, state),
    ):
        try:
            python_block.run(link, *link.python_blocks)
        except KeyboardInterrupt:
            interrupted = True
    return {
        "snr_db": snr_db,
        "seconds": progress.seconds,
        "frames": link.source.frames,
        "lost_frames": link.sink.lost_frames(link.source.frames),
        "interrupted": interrupted,
        "counts": dict(counts),
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
    # A row a bit: histograms over each other would hide each other.
    edges = np.linspace(-40, 40, 81)
    counts = [
        np.histogram(bit.clip(-40, 40), edges)[0] for bit in llrs.reshape(-1, bits_per_symbol).T
    ]
    image = middle.pcolormesh(edges, np.arange(bits_per_symbol + 1) - 0.5, counts, norm="log")
    drawn.colorbar(image, ax=middle, label="count")
    middle.set(
        title="log-likelihood ratios",
        xlabel="LLR = log P(1)/P(0)",
        ylabel="bit of the symbol",
        yticks=range(bits_per_symbol),
    )
    middle.invert_yaxis()
    draw(right, [results])
    right.set(title=f"{args.code}, {args.decoder}", xlabel="Es/N0 (dB)")
    drawn.savefig(path, dpi=100)


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec link file.bin copy.bin --constellation qam64 --snr 18,20",
        "neuralfec link file.bin copy.bin --snr 16:22:2 --picture link.png --json link.json",
    )
    made.add_argument("input", type=app.InputFile, help="file to send")
    made.add_argument(
        "output", type=app.OutputFile, help="file to write, of the last SNR where there are several"
    )
    made.add_argument("--snr", default="20", help='Es/N0 in dB: "18.5", "18,19" or "16:20:0.5"')
    made.add_argument("--constellation", default="qam256", help=", ".join([*NAMES, "file:PATH"]))
    made.add_argument(
        "--channel", default="rayleigh", choices=["awgn", "rayleigh", "etu"], help="fading"
    )
    made.add_argument("--code", default="wifi-648", help=", ".join(codes.specs()))
    made.add_argument("--decoder", default="bp:50", help=", ".join(decoders.specs()))
    made.add_argument(
        "--method", default="exact", choices=["exact", "max-log"], help="how LLRs are computed"
    )
    made.add_argument("--seed", type=int, default=1, help="of channel and interleaver")
    made.add_argument("--picture", type=app.OutputFile, help="write a picture (PNG, PDF or SVG)")
    made.add_argument("--json", type=app.OutputFile, help="write counts, lost frames and speeds")
    made.add_argument("--realtime", action="store_true", help="send at --rate")
    made.add_argument("--rate", type=float, default=1e5, help="symbols/s of --realtime")
    telemetry.add_option(made)
    app.add_quiet(made)
    return made


def run(args: argparse.Namespace) -> int:
    # Buffer sizes are of no interest to the one who sends a file.
    gr.logging().set_default_level(gr.log_levels.warn)
    snrs = [float(snr) for snr in parse_snr(args.snr)]
    if args.realtime and not 0 < args.rate < math.inf:
        raise ValueError(f"--rate must be more than 0 symbols/s, got {args.rate}")
    if args.picture:
        app.check_picture(args.picture)
    results = Results(f"{args.constellation} {args.channel}")
    points: list[dict] = []
    for place, snr_db in enumerate(snrs):
        last = place == len(snrs) - 1
        points.append(send(args, snr_db, args.output.path if last else os.devnull))
        results.rows["", snr_db, args.seed] = points[-1]["counts"]
        if points[-1]["interrupted"]:
            break
    stopped = points[-1]["interrupted"]
    if points[-1]["counts"].get("blocks"):
        report(args, results, points, stopped)
    if stopped:
        raise app.Interrupted(f"{len(points) - 1} of {len(snrs)} SNRs are done")
    return app.INCOMPLETE if points[-1]["lost_frames"] else app.OK


def report(args: argparse.Namespace, results: Results, points: list[dict], stopped: bool) -> None:
    """Print the table, and write the picture and the JSON."""
    out = Console()
    out.print(table(results))
    for point in points:
        lost = sum(last - first + 1 for first, last in point["lost_frames"])
        speed = point["counts"]["blocks"] / point["seconds"]
        out.print(
            f"{point['snr_db']:g} dB: {point['frames']} frames, {lost} lost, "
            f"{speed:.0f} codewords/s",
            highlight=False,
        )
    if not stopped:
        left_out = [ranges([span]) for span in points[-1]["lost_frames"]]
        out.print(
            f"{args.output}: "
            + (f"without frames {app.shortened(left_out)}" if left_out else "complete"),
            highlight=False,
        )
    if args.picture:
        picture(args.picture.path, results, points[-1], args)
    if args.json:
        told = [{k: v for k, v in point.items() if k != "picture"} for point in points]
        args.json.write_json(provenance.record() | {"parameters": vars(args), "points": told})


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
