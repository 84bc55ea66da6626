#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Error rates of decoders on one and the same bit-interleaved channel, as stored counts.

Random interleaver per frame, Gray mapping, Gaussian noise, exact LLRs; Eb/N0 in dB of the
message's bits. All decoders see the same LLRs. What each loses to the first one is printed
in dB where the points span it. Running again adds to the counts; --figure draws what is there.

    apps/syndrome_decoding.py --code polar-nr:64,32 --constellation qam16 --eb-n0 3:7 \\
        --decoders "osd:2 osd:1 sc syndrome syndrome-osd:1" --ml-bound
"""

import argparse
import contextlib
import itertools
import sys
import time
from pathlib import Path

import numpy as np
from gnuradio.neuralfec import codes, decoders, simulation
from gnuradio.neuralfec.decoders import ordered_statistics


class Link:
    """Counts of all decoders. With bound, the first one also bounds maximum likelihood:
    only words that are likelier than the one sent count as errors."""

    def __init__(self, code: str, constellation: str, specs: list[str], bound: bool) -> None:
        self.code = codes.code(code)
        self.constellation = constellation
        self.decoders = {spec: decoders.decoder(spec, self.code) for spec in specs}
        self.bound = bound
        self.seconds = dict.fromkeys(specs, 0.0)
        self.frames = 0

    def __call__(self, rng: np.random.Generator, eb_n0_db: float, blocks: int) -> dict:
        # Needs torch, which figures of stored counts do not.
        from gnuradio.neuralfec.syndrome.data import BicmChain

        chain = BicmChain(self.code, self.constellation, seed=int(rng.integers(2**62)))
        batch = chain(eb_n0_db, blocks)
        sent, llrs = batch.messages.numpy().astype(np.uint8), batch.llrs.numpy()
        decided = {}
        for spec, decoder in self.decoders.items():
            start = time.thread_time()
            decided[spec], _ = decoder.decode(llrs)
            self.seconds[spec] += time.thread_time() - start
        self.frames += blocks
        if self.bound:
            best = next(iter(decided.values()))
            surely = ordered_statistics.surely_wrong(self.code, sent, best, llrs)
            decided["ml-bound"] = np.where(surely[:, None], best, sent)
        return simulation.count_errors(sent, decided)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--code", default="polar-nr:64,32", help=", ".join(codes.specs()))
    parser.add_argument("--constellation", default="qam16")
    parser.add_argument("--eb-n0", default="3:7", help="FROM:TO[:STEP] or a list, in dB")
    parser.add_argument(
        "--decoders",
        default="osd:2 osd:1 sc scl:8 syndrome syndrome-osd:1",
        help="specs, blank-separated: " + ", ".join(decoders.specs()),
    )
    parser.add_argument("--ml-bound", action="store_true", help="by the first decoder")
    parser.add_argument("--errors", type=int, default=100, help="block errors of each wanted")
    parser.add_argument("--max-blocks", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--name", help="of the files in --directory")
    parser.add_argument("--directory", default="results")
    parser.add_argument("--figure", type=Path, help="PNG, PDF or SVG of the bit error rates")
    arguments = parser.parse_args(argv)
    default = f"syndrome-{arguments.code}-{arguments.constellation}"
    name = arguments.name or default.replace(":", "-").replace(",", "-")
    try:
        specs = arguments.decoders.split()
        link = Link(arguments.code, arguments.constellation, specs, arguments.ml_bound)
        results = simulation.run(
            link,
            simulation.parse_snr(arguments.eb_n0),
            name=name,
            target_block_errors=arguments.errors,
            max_blocks=arguments.max_blocks,
            seed=arguments.seed,
            directory=arguments.directory,
            parameters={
                "code": arguments.code,
                "constellation": arguments.constellation,
                "decoders": specs,
                "ml_bound": arguments.ml_bound,
                "snr": "Eb/N0",
            },
        )
    except (ValueError, OSError) as error:
        print(f"syndrome_decoding: {error}", file=sys.stderr)
        return 1
    for scheme in results.schemes:
        for snr in results.snr_db(scheme):
            bler, ber = results.rate(snr, scheme, "bler"), results.rate(snr, scheme, "ber")
            interval = f"[{bler[1]:.2e}, {bler[2]:.2e}]"
            print(f"{scheme:16} {snr:5.2f} dB  FER {bler[0]:.3e} {interval}  BER {ber[0]:.3e}")
    reference = specs[0]
    for metric, target in itertools.product(("ber", "bler"), (1e-2, 1e-3)):
        for scheme in results.schemes:
            with contextlib.suppress(ValueError):  # Not measured down to there.
                loss = results.loss(scheme, reference, target, metric)
                if scheme != reference:
                    interval = f"[{loss.low:.2f}, {loss.high:.2f}]"
                    name = {"ber": "BER", "bler": "FER"}[metric]
                    print(
                        f"{scheme:16} {loss.value:5.2f} dB {interval} to {reference}, "
                        f"{name} {target:g}"
                    )
    if link.frames:
        for spec, seconds in link.seconds.items():
            print(f"{spec:16} {link.frames / max(seconds, 1e-9):10.0f} words/s, one thread")
    if arguments.figure:
        simulation.figure(
            [results],
            arguments.figure,
            metric="ber",
            title=f"{arguments.code}, {arguments.constellation}",
            snr_label="Eb/N0 (dB)",
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
