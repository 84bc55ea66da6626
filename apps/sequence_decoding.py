#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Curves of Viterbi, BCJR and the recurrent decoder: simulate, show, draw.

    apps/sequence_decoding.py simulate awgn          # adds to results/sequence-awgn.csv
    apps/sequence_decoding.py table awgn
    apps/sequence_decoding.py draw --output figures  # all figures from the stored counts

SNR is 1 / sigma^2 of a real symbol of +-1, which is Eb/N0 at rate 1/2.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from gnuradio.neuralfec import _kernels, codes, decoders, simulation
from gnuradio.neuralfec.phy.impulsive import Pulses, StudentT, gaussian_llrs
from gnuradio.neuralfec.sequence.decoder import RnnDecoder

CHANNELS = {"pulses": Pulses(), "student-t": StudentT()}
LENGTHS = (10, 30, 100, 300, 1000, 3000, 10_000, 30_000, 100_000)
OVERLAPS = (4, 6, 8, 12, 16, 24, 32)
WINDOW = 64  # short, for the ends to weigh


@dataclass(frozen=True)
class Experiment:
    """Decoders, each with its view of the received values, on the same noise."""

    code: str
    schemes: tuple[tuple[str, str, str], ...]  # name, receiver, decoder
    snr_db: str = "0:6"
    channel: str = "awgn"
    chunk_bits: int = 200_000
    max_bits: int = 6_000_000

    @property
    def frame(self) -> int:
        return codes.code(self.code).k


PLAIN = tuple((name, "gaussian", name) for name in ("viterbi", "bcjr", "rnn"))


def impulsive(*tuned: str) -> tuple[tuple[str, str, str], ...]:
    return (
        ("viterbi", "gaussian", "viterbi"),
        ("viterbi, right model", "model", "viterbi"),
        ("viterbi, clipped", "clipped", "viterbi"),
        ("viterbi, erasures", "erased", "viterbi"),
        ("viterbi, knows each variance", "genie", "viterbi"),
        ("rnn for AWGN", "gaussian", "rnn"),
        *(("rnn, fine-tuned", "gaussian", f"rnn:{model}") for model in tuned),
    )


def overlapping() -> tuple[tuple[str, str, str], ...]:
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
        impulsive("sequence/conv-7-5-pulses"),
        "0:16",
        "pulses",
    ),
    "student-t": Experiment("conv:7,5:100:zero", impulsive(), "-3:5", "student-t"),
} | {
    f"length-{k}": Experiment(f"conv:7,5:{k}", PLAIN, "0:6" if k in (1000, 10_000) else "0,2,4")
    for k in LENGTHS
    if k != 100
}


class WindowedViterbi:
    """Unterminated frames as a stream does them: windows of WINDOW bits and an overlap."""

    def __init__(self, code: codes.convolutional.ConvolutionalCode, overlap: int) -> None:
        self._arguments = {**code.stream_arguments(), "depth": overlap, "block": WINDOW}
        self._whole = decoders.decoder("viterbi", code)

    def decode(self, llrs: np.ndarray) -> tuple[np.ndarray, dict]:
        # The stream keeps the last bits back for what follows.
        messages, stats = self._whole.decode(llrs)
        for message, frame in zip(messages, llrs, strict=True):
            bits, _ = _kernels.ViterbiStream(**self._arguments).decode(frame)
            message[: len(bits)] = bits
        return messages, stats


def make_decoder(spec: str, code: codes.convolutional.ConvolutionalCode) -> decoders.Decoder:
    kind, _, overlap = spec.partition(", overlap ")
    if overlap == "whole" and kind == "rnn":
        return RnnDecoder(code, window=code.k)
    if overlap in ("", "whole"):
        return decoders.decoder(spec if not overlap else kind, code)
    if kind == "viterbi":
        return WindowedViterbi(code, int(overlap))
    return RnnDecoder(code, window=WINDOW, overlap=int(overlap))


@dataclass
class Link:
    """One chunk of an experiment, see `simulation.run`."""

    experiment: Experiment

    def __post_init__(self) -> None:
        self.code = codes.code(self.experiment.code)
        self.channel = CHANNELS.get(self.experiment.channel)
        self.decoders = {
            spec: make_decoder(spec, self.code)
            for spec in {decoder for _, _, decoder in self.experiment.schemes}
        }

    def __reduce__(self) -> tuple:
        # Kernels do not travel to other processes; they are made again there.
        return Link, (self.experiment,)

    def __call__(self, rng: np.random.Generator, snr_db: float, blocks: int) -> dict:
        messages = rng.integers(0, 2, (blocks, self.code.k), dtype=np.uint8)
        sent = 2 * self.code.encode(messages).astype(np.float32) - 1
        noise_var = 10 ** (-snr_db / 10)
        variances: np.ndarray | float = noise_var
        if self.channel:
            variances = self.channel.variances(rng, sent.shape, noise_var)
        y = sent + np.sqrt(variances) * rng.standard_normal(sent.shape, dtype=np.float32)
        y = y.astype(np.float32)
        views = {
            receiver: self.receive(receiver, y, noise_var, variances)
            for receiver in {receiver for _, receiver, _ in self.experiment.schemes}
        }
        decided = {
            name: self.decoders[decoder].decode(views[receiver])[0]
            for name, receiver, decoder in self.experiment.schemes
        }
        return simulation.count_errors(messages, decided)

    def receive(
        self, receiver: str, y: np.ndarray, noise_var: float, variances: np.ndarray | float
    ) -> np.ndarray:
        """LLRs of a receiver that takes the noise for Gaussian ("gaussian"), and limits or
        erases what then is beyond the signal by two standard deviations ("clipped", "erased");
        that knows the noise's model ("model"), or each symbol's variance ("genie")."""
        if receiver == "model":
            return self.channel.llrs(y, noise_var)
        if receiver == "genie":
            return gaussian_llrs(y, variances)
        limit = 1 + 2 * noise_var**0.5
        if receiver == "clipped":
            y = np.clip(y, -limit, limit)
        elif receiver == "erased":
            y = np.where(np.abs(y) > limit, np.float32(0), y)
        return gaussian_llrs(y, noise_var)


def simulate(name: str, args: argparse.Namespace) -> simulation.Results:
    experiment = EXPERIMENTS[name]
    return simulation.run(
        Link(experiment),
        simulation.parse_snr(args.snr or experiment.snr_db),
        name=f"sequence-{name}",
        target_block_errors=args.errors,
        max_blocks=max(1, round(args.scale * experiment.max_bits / experiment.frame)),
        chunk_blocks=max(1, experiment.chunk_bits // experiment.frame),
        workers=args.workers,
        directory=args.results,
        parameters={
            "code": experiment.code,
            "channel": repr(CHANNELS.get(experiment.channel, "awgn")),
            "schemes": [list(scheme) for scheme in experiment.schemes],
        },
    )


def stored(name: str, args: argparse.Namespace) -> simulation.Results | None:
    try:
        return simulation.Results.load(f"sequence-{name}", args.results)
    except FileNotFoundError:
        return None


def draw(args: argparse.Namespace) -> None:
    from gnuradio.neuralfec.simulation.figure import draw as draw_rates
    from matplotlib.figure import Figure

    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    label = "1 / sigma² of a real symbol (dB)"
    for name, experiment in EXPERIMENTS.items():
        if name.startswith("length-") or not (results := stored(name, args)):
            continue
        figure = Figure(figsize=(10, 4.5), layout="constrained")
        for axes, metric in zip(figure.subplots(1, 2), ("ber", "bler"), strict=True):
            draw_rates(axes, [results], metric=metric)
            axes.set_xlabel(label)
        figure.suptitle(f"{experiment.code}, {experiment.channel}")
        figure.savefig(folder / f"sequence-{name}.png", dpi=150)
    lengths = {
        k: results
        for k in LENGTHS
        if (results := stored("awgn" if k == 100 else f"length-{k}", args))
    }
    if not lengths:
        return
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots()
    for scheme, style in (("viterbi", "--"), ("bcjr", ":"), ("rnn", "-")):
        axes.set_prop_cycle(None)
        for snr in (0, 2, 4):
            points = [(k, results.rate(snr, scheme, "ber")) for k, results in lengths.items()]
            lower = [rate.value - rate.low for _, rate in points]
            upper = [rate.high - rate.value for _, rate in points]
            axes.errorbar(
                [k for k, _ in points],
                [rate.value for _, rate in points],
                yerr=(lower, upper),
                linestyle=style,
                marker=".",
                capsize=2,
                label=f"{scheme}, {snr} dB",
            )
    axes.set(xscale="log", yscale="log", xlabel="message bits of a frame", ylabel="Bit error rate")
    axes.grid(True, which="both", alpha=0.3)
    axes.legend(ncols=3, fontsize="small")
    figure.savefig(folder / "sequence-length.png", dpi=150)


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


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("action", choices=("simulate", "table", "draw"))
    parser.add_argument("experiment", nargs="*", help=f"of {', '.join(EXPERIMENTS)}; default all")
    parser.add_argument("--snr", help="in dB: 0:6, 2,4; default: the experiment's")
    parser.add_argument("--errors", type=int, default=4000, help="block errors that end a point")
    parser.add_argument("--scale", type=float, default=1, help="times the most bits of a point")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--results", default="results", help="folder of the counts")
    parser.add_argument("--output", default="figures", help="folder of the figures")
    args = parser.parse_args(argv)
    unknown = set(args.experiment) - EXPERIMENTS.keys()
    if unknown:
        parser.error(f"expected experiments of {', '.join(EXPERIMENTS)}, got {unknown.pop()!r}")
    names = args.experiment or list(EXPERIMENTS)
    try:
        if args.action == "draw":
            draw(args)
        for name in names if args.action != "draw" else ():
            results = simulate(name, args) if args.action == "simulate" else stored(name, args)
            if results:
                print(name)
                ratios(results)
    except ValueError as error:
        print(f"sequence_decoding: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
