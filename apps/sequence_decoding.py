#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Count error rates of Viterbi, BCJR and the recurrent decoder, show and draw them.

`simulate` adds to the stored counts sequence-EXPERIMENT, `table` shows what is stored, `draw` makes
the figures. --results results takes the counts that come with the project's source. SNR is
1 / sigma^2 of a real symbol of +-1, which is Eb/N0 at rate 1/2.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

from gnuradio.neuralfec import app, codes, simulation
from gnuradio.neuralfec.links import convolutional_figures as figures
from gnuradio.neuralfec.links.convolutional import CHANNELS, ReceiverLink, Scheme
from gnuradio.neuralfec.simulation.options import add_figures, add_options, simulate
from matplotlib.figure import Figure

LENGTHS = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
OVERLAPS = (4, 6, 8, 12, 16, 24, 32)


@dataclass(frozen=True)
class Experiment:
    """Decoders, each with its view of the received values, on the same noise."""

    code: str
    schemes: tuple[Scheme, ...]
    snr_db: str = "0:6"
    channel: str = "awgn"
    chunk_bits: int = 200_000
    max_bits: int = 6_000_000

    @property
    def frame(self) -> int:
        return codes.code(self.code).k


PLAIN = tuple((name, "gaussian", name) for name in ("viterbi", "bcjr", "rnn"))


def impulsive(best: str, *tuned: str) -> tuple[Scheme, ...]:
    return (
        ("viterbi", "gaussian", "viterbi"),
        ("viterbi, right model", "model", "viterbi"),
        ("viterbi, clipped", "clipped", "viterbi"),
        ("viterbi, erasures", "erased", "viterbi"),
        ("viterbi, knows each variance", "genie", "viterbi"),
        ("bcjr, best receiver", "best", best),
        ("rnn for AWGN", "gaussian", "rnn"),
        *(("rnn, fine-tuned", "gaussian", f"rnn:{model}") for model in tuned),
    )


def overlapping() -> tuple[Scheme, ...]:
    return tuple(
        (f"{kind}, overlap {overlap}", "gaussian", f"{kind}, overlap {overlap}")
        for kind in ("viterbi", "rnn")
        for overlap in ("whole", *OVERLAPS)
    )


EXPERIMENTS = {
    "awgn": Experiment("conv:7,5:100", PLAIN),
    "awgn-zero": Experiment("conv:7,5:100:zero", PLAIN),
    "awgn-tail-biting": Experiment("conv:7,5:100:tail-biting", PLAIN),
    "recursive": Experiment("conv:7,5/7:100", PLAIN),
    "recursive-zero": Experiment("conv:7,5/7:100:zero", PLAIN),
    "overlap": Experiment("conv:7,5:20000", overlapping(), "0,2,4", max_bits=2_000_000),
    "pulses": Experiment(
        "conv:7,5:100:zero",
        (
            *impulsive("sign", "sequence/conv-7-5-pulses"),
            ("bcjr-burst, learns the noise", "gaussian", "bcjr-burst"),
        ),
        "0:16",
        "pulses",
    ),
    # The fast ones alone, counted longer.
    "bursts": Experiment(
        "conv:7,5:100:zero",
        (
            ("viterbi", "gaussian", "viterbi"),
            ("viterbi, right model", "model", "viterbi"),
            ("bcjr-burst", "gaussian", "bcjr-burst"),
            ("bcjr-burst, 3 states", "gaussian", "bcjr-burst:3"),
            ("bcjr-burst, frame by frame", "gaussian", "bcjr-burst, frame by frame"),
        ),
        "4:8",
        "pulses",
        max_bits=2_000_000,
    ),
    "student-t": Experiment("conv:7,5:100:zero", impulsive("bcjr"), "-3:5", "student-t"),
} | {
    f"length-{k}": Experiment(f"conv:7,5:{k}", PLAIN, "0:6" if k in (1000, 10_000) else "0,2,4")
    for k in LENGTHS
    if k != 100
}


def count(name: str, args: argparse.Namespace) -> simulation.Results:
    experiment = EXPERIMENTS[name]
    return simulate(
        args,
        ReceiverLink(experiment.code, experiment.channel, experiment.schemes),
        simulation.parse_snr(args.snr or experiment.snr_db),
        name=f"sequence-{name}",
        blocks=args.blocks or max(1, experiment.max_bits // experiment.frame),
        chunk_blocks=max(1, experiment.chunk_bits // experiment.frame),
        parameters={
            "code": experiment.code,
            "channel": repr(CHANNELS[experiment.channel] or "awgn"),
            "schemes": [list(scheme) for scheme in experiment.schemes],
        },
    )


def stored(name: str, args: argparse.Namespace) -> simulation.Results | None:
    try:
        return simulation.Results.load(f"sequence-{name}", args.results)
    except FileNotFoundError:
        return None


def draw(names: list[str], args: argparse.Namespace) -> None:
    """Draw the figures of the experiments that are stored."""
    found = {name: results for name in names if (results := stored(name, args))}
    if not found:
        raise ValueError(
            f"there are no counts of {app.shortened(names, 3)} in {args.results}: simulate first"
        )
    for name, results in found.items():
        if name == "overlap":
            save(figures.overlaps(results, OVERLAPS), args.output, "sequence-overlap.png")
        elif not name.startswith("length-"):
            title = f"{EXPERIMENTS[name].code}, {EXPERIMENTS[name].channel}"
            save(figures.rates(results, title), args.output, f"sequence-{name}.png")
    lengths = {
        k: found[name] for k in LENGTHS if (name := "awgn" if k == 100 else f"length-{k}") in found
    }
    if any(name.startswith("length-") for name in found):
        save(figures.lengths(lengths), args.output, "sequence-length.png")
    speed = Path(args.results) / "sequence-speed.json"
    if speed.exists() and not args.experiment:
        measured = json.loads(speed.read_text())
        save(figures.speed(measured), args.output, "sequence-speed.png")
        save(figures.latency(measured), args.output, "sequence-latency.png")


def save(figure: Figure, folder: app.OutputFolder, name: str) -> None:
    with folder.file(name) as path:
        figure.savefig(path, dpi=100)
    print(Path(folder, name))


def ratios(results: simulation.Results) -> None:
    """BER and BLER of each scheme over the first one's."""
    first, *others = results.schemes
    for snr in results.snr_db(first):
        for scheme in others:
            words = []
            for metric in ("ber", "bler"):
                mine, reference = (results.rate(snr, s, metric).value for s in (scheme, first))
                ratio = f"{mine / reference:.3f}" if reference else "-"
                words.append(f"{metric.upper()} {mine:.3g}, of {first}'s {ratio}")
            print(f"{snr:6g} dB  {scheme:30} {';  '.join(words)}")


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec curves sequence simulate awgn --snr 2,4 --errors 100 --blocks 1000",
        "neuralfec curves sequence table awgn",
        "neuralfec curves sequence draw awgn --output figures",
    )
    made.add_argument(
        "action", choices=("simulate", "table", "draw"), help="add counts, show them, draw them"
    )
    made.add_argument(
        "experiment", nargs="*", metavar="EXPERIMENT", help=f"all, or of {', '.join(EXPERIMENTS)}"
    )
    made.add_argument("--snr", help="in dB: 0:6, 2,4; the experiment's if absent")
    add_options(made, errors=4000, blocks=None)
    add_figures(made)
    return made


def run(args: argparse.Namespace) -> None:
    for name in args.experiment:
        if name not in EXPERIMENTS:
            raise ValueError(f"expected experiments of {', '.join(EXPERIMENTS)}, got {name!r}")
    names = args.experiment or list(EXPERIMENTS)
    if args.action == "draw":
        draw(names, args)
        return
    found = False
    for name in names:
        results = count(name, args) if args.action == "simulate" else stored(name, args)
        if results:
            found = True
            print(name)
            ratios(results)
    if not found:
        raise ValueError(
            f"there are no counts of {app.shortened(names, 3)} in {args.results}: simulate first"
        )


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
