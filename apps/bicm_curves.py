#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Error rates of the bit-interleaved coded link, exact and max-log demapping on the same noise.

Runs the chain of apps/bicm_link.py without GNU Radio: random messages, a code, a random
interleaver, M-QAM or another constellation, a simulated channel with channel knowledge. Counts go
to results/<name>.csv and add up from run to run; the figure is drawn from them.
"""

import argparse
import sys

import numpy as np
from gnuradio.neuralfec import _kernels
from gnuradio.neuralfec.codes import code
from gnuradio.neuralfec.decoders import decoder
from gnuradio.neuralfec.phy import channel
from gnuradio.neuralfec.phy.constellation import constellation, modulate
from gnuradio.neuralfec.phy.demapping import demap
from gnuradio.neuralfec.simulation import count_errors, figure, parse_snr, run, table
from rich.console import Console

METHODS = ("exact", "max-log")


class Link:
    """One chunk of frames on the same noise, demapped by each method. Picklable by its specs."""

    def __init__(self, code_spec: str, decoder_spec: str, modulation: str, fading: str):
        self.specs = (code_spec, decoder_spec, modulation, fading)
        self.code = code(code_spec)
        self.decoder = decoder(decoder_spec, self.code)
        self.modulation = constellation(modulation)
        self.channel = getattr(channel, fading)
        if self.code.n % self.modulation.bits_per_symbol:
            raise ValueError(
                f"{self.code.n} code bits are not whole symbols of "
                f"{self.modulation.bits_per_symbol} bits: choose another constellation"
            )
        self.order = _kernels.random_permutation(self.code.n, 1)

    def __reduce__(self):
        return Link, self.specs

    def __call__(self, rng: np.random.Generator, snr_db: float, blocks: int) -> dict:
        noise_var = 10 ** (-snr_db / 10)
        messages = rng.integers(0, 2, (blocks, self.code.k), np.uint8)
        sent = self.code.encode(messages)[:, self.order]
        received, gains = self.channel(rng, modulate(sent, self.modulation), noise_var)
        decided = {}
        for method in METHODS:
            demapped = demap(received.ravel(), self.modulation, noise_var, gains.ravel(), method)
            llrs = np.empty((blocks, self.code.n), np.float32)
            llrs[:, self.order] = demapped.reshape(blocks, -1)
            decided[method] = self.decoder.decode(llrs)[0]
        return count_errors(messages, decided)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--snr", default="17:19.5:0.5", help="Es/N0 in dB")
    parser.add_argument("--constellation", default="qam256")
    parser.add_argument("--channel", default="rayleigh", choices=["awgn", "rayleigh", "etu"])
    parser.add_argument("--code", default="wifi-648")
    parser.add_argument("--decoder", default="bp:50")
    parser.add_argument("--errors", type=int, default=300, help="block errors a point")
    parser.add_argument("--blocks", type=int, default=200_000, help="most blocks a point")
    parser.add_argument("--workers", type=int, default=1, help="processes; -1: one a core")
    parser.add_argument("--name", help="of the results, default from the settings")
    parser.add_argument("--picture", help="PNG, PDF or SVG to draw")
    args = parser.parse_args(argv)
    try:
        link = Link(args.code, args.decoder, args.constellation, args.channel)
        name = args.name or f"bicm-{args.constellation}-{args.channel}"
        results = run(
            link,
            parse_snr(args.snr),
            name=name,
            target_block_errors=args.errors,
            max_blocks=args.blocks,
            workers=args.workers,
            parameters={
                "code": args.code,
                "decoder": args.decoder,
                "constellation": args.constellation,
                "channel": args.channel,
            },
        )
    except (ValueError, OSError) as error:
        print(f"bicm_curves: {error}", file=sys.stderr)
        return 2
    console = Console()
    console.print(table(results))
    try:
        loss = results.loss("max-log", "exact", 1e-2)
        console.print(
            f"max-log loses {loss.value:.3f} dB at BLER 1e-2 "
            f"(95 %: {loss.low:.3f} to {loss.high:.3f})",
            highlight=False,
        )
    except ValueError as error:
        console.print(f"loss of max-log at BLER 1e-2: {error}", highlight=False)
    if args.picture:
        figure(
            [results],
            args.picture,
            title=f"{args.code}, {args.decoder}, {args.constellation}, {args.channel}",
            snr_label="Es/N0 (dB)",
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
