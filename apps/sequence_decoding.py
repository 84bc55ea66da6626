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

import numpy as np
from gnuradio.neuralfec import _kernels, app, codes, decoders, simulation
from gnuradio.neuralfec.phy.impulsive import Pulses, StudentT, gaussian_llrs
from gnuradio.neuralfec.sequence.decoder import RnnDecoder
from gnuradio.neuralfec.simulation.figure import draw as draw_error_rates
from gnuradio.neuralfec.simulation.options import add_options, simulate
from matplotlib.figure import Figure

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


def impulsive(best: str, *tuned: str) -> tuple[tuple[str, str, str], ...]:
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
        impulsive("sign", "sequence/conv-7-5-pulses"),
        "0:16",
        "pulses",
    ),
    "student-t": Experiment("conv:7,5:100:zero", impulsive("bcjr"), "-3:5", "student-t"),
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


class Sign:
    """Decides from LLRs of the message, as joint_posteriors gives them."""

    def decode(self, llrs: np.ndarray) -> tuple[np.ndarray, dict]:
        return (llrs > 0).astype(np.uint8), {}


def joint_posteriors(
    code: codes.convolutional.ConvolutionalCode, pulses: Pulses, y: np.ndarray, noise_var: float
) -> np.ndarray:
    """What zero-terminated frames (F, n) of real values tell of their message, (F, k): positive
    where a one is the likelier, by BCJR over the states of the code and of the pulses."""
    # Only here is torch needed.
    import torch
    from gnuradio.neuralfec.sequence.trellis import Trellis

    trellis = Trellis([abs(g) for g in code.generators], code.feedback)
    steps, outputs = code.n // len(code.generators), len(code.generators)
    ends = trellis.memory
    padded = np.full((len(y), steps + 2 * ends, outputs), -1, dtype=np.float32)
    padded[:, ends:-ends] = y.reshape(len(y), steps, outputs) * code.signs
    known = torch.zeros(1, steps + 2 * ends, 1, dtype=torch.bool)
    known[:, :ends] = known[:, -ends:] = True
    # Paths that are given up leave denormal numbers behind, which are slow.
    torch.set_flush_denormal(True)
    decided = [
        trellis.posterior_in_pulses(
            torch.from_numpy(part),
            torch.full((len(part), 1, 1), noise_var),
            known.expand(len(part), -1, 1),
            pulses,
        )
        for part in np.array_split(padded, max(1, len(y) // 250))
    ]
    torch.set_flush_denormal(False)
    return torch.cat(decided)[:, ends : ends + code.k].numpy() - 0.5


def make_decoder(spec: str, code: codes.convolutional.ConvolutionalCode) -> decoders.Decoder:
    if spec == "sign":
        return Sign()
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
        that knows the noise's model ("model"), or each symbol's variance ("genie"). The best
        one knows the model, and of pulses that they last."""
        if receiver == "best" and isinstance(self.channel, Pulses):
            return joint_posteriors(self.code, self.channel, y, noise_var)
        if receiver in ("model", "best"):
            return self.channel.llrs(y, noise_var)
        if receiver == "genie":
            return gaussian_llrs(y, variances)
        limit = 1 + 2 * noise_var**0.5
        if receiver == "clipped":
            y = np.clip(y, -limit, limit)
        elif receiver == "erased":
            y = np.where(np.abs(y) > limit, np.float32(0), y)
        return gaussian_llrs(y, noise_var)


def count(name: str, args: argparse.Namespace) -> simulation.Results:
    experiment = EXPERIMENTS[name]
    return simulate(
        args,
        Link(experiment),
        simulation.parse_snr(args.snr or experiment.snr_db),
        name=f"sequence-{name}",
        blocks=args.blocks or max(1, experiment.max_bits // experiment.frame),
        chunk_blocks=max(1, experiment.chunk_bits // experiment.frame),
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


def draw(names: list[str], args: argparse.Namespace) -> None:
    """Draw the figures of the experiments that are stored."""
    found = {name: results for name in names if (results := stored(name, args))}
    if not found:
        raise ValueError(
            f"there are no counts of {app.shortened(names, 3)} in {args.results}: simulate first"
        )
    for name, results in found.items():
        if name == "overlap":
            save(draw_overlap(results), args.output, "sequence-overlap.png")
        elif not name.startswith("length-"):
            save(draw_rates(results, EXPERIMENTS[name]), args.output, f"sequence-{name}.png")
    lengths = {
        k: found[name] for k in LENGTHS if (name := "awgn" if k == 100 else f"length-{k}") in found
    }
    if any(name.startswith("length-") for name in found):
        save(draw_lengths(lengths), args.output, "sequence-length.png")
    speed = Path(args.results) / "sequence-speed.json"
    if speed.exists() and not args.experiment:
        measured = json.loads(speed.read_text())
        save(draw_speed(measured), args.output, "sequence-speed.png")
        save(draw_latency(measured), args.output, "sequence-latency.png")


def save(figure: Figure, folder: app.OutputFolder, name: str) -> None:
    with folder.file(name) as path:
        figure.savefig(path, dpi=100)
    print(Path(folder, name))


def draw_rates(results: simulation.Results, experiment: Experiment) -> Figure:
    """BER and BLER against SNR; where curves lie on each other, their ratios too."""
    metrics = ("ber", "bler")
    plain = experiment.schemes == PLAIN
    figure = Figure(figsize=(13 if plain else 10, 4.5), layout="constrained")
    panels = figure.subplots(1, 3 if plain else 2)
    for axes, metric in zip(panels, metrics, strict=False):
        draw_error_rates(axes, [results], metric=metric)
    if plain:
        snr = results.snr_db("viterbi")
        for metric, style in zip(metrics, ("-", "--"), strict=True):
            reference = [results.rate(point, "viterbi", metric).value for point in snr]
            for scheme, color in (("bcjr", "tab:orange"), ("rnn", "tab:green")):
                rates = [results.rate(point, scheme, metric).value for point in snr]
                panels[2].plot(
                    snr,
                    np.divide(rates, reference),
                    style,
                    color=color,
                    marker=".",
                    label=f"{scheme}, {metric.upper()}",
                )
        panels[2].set_ylabel("over Viterbi's")
        panels[2].grid(True, alpha=0.3)
        panels[2].legend()
    for axes in panels:
        axes.set_xlabel("1 / sigma² of a real symbol (dB)")
    figure.suptitle(f"{experiment.code}, {experiment.channel}")
    return figure


def draw_lengths(lengths: dict[int, simulation.Results]) -> Figure:
    """BER and BLER against the frame's length."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), ("ber", "bler"), strict=True):
        for scheme, style in (("viterbi", "--"), ("bcjr", ":"), ("rnn", "-")):
            axes.set_prop_cycle(None)
            for snr in (0, 2, 4):
                rates = [results.rate(snr, scheme, metric) for results in lengths.values()]
                axes.errorbar(
                    list(lengths),
                    [rate.value for rate in rates],
                    yerr=(
                        [rate.value - rate.low for rate in rates],
                        [rate.high - rate.value for rate in rates],
                    ),
                    linestyle=style,
                    marker=".",
                    capsize=2,
                    label=f"{scheme}, {snr} dB",
                )
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="message bits of a frame",
            ylabel={"ber": "Bit error rate", "bler": "Block error rate"}[metric],
        )
        axes.grid(True, which="both", alpha=0.3)
    axes.legend(ncols=3, fontsize="small")
    figure.suptitle("conv:7,5, unterminated")
    return figure


def draw_overlap(results: simulation.Results) -> Figure:
    """BER of windows over that of whole frames, against the windows' overlap."""
    figure = Figure(figsize=(6.4, 4.5), layout="constrained")
    axes = figure.subplots()
    for kind, style in (("viterbi", "--"), ("rnn", "-")):
        axes.set_prop_cycle(None)
        for snr in results.snr_db(f"{kind}, overlap whole"):
            longest = results.rate(snr, f"{kind}, overlap {OVERLAPS[-1]}", "ber").value
            excess = [
                results.rate(snr, f"{kind}, overlap {overlap}", "ber").value / longest - 1
                for overlap in OVERLAPS[:-1]
            ]
            axes.plot(
                OVERLAPS[:-1],
                np.multiply(excess, 100),
                style,
                marker=".",
                label=f"{kind}, {snr:g} dB",
            )
    axes.set(
        xlabel=f"overlap on each side of windows of {WINDOW} bits (steps)",
        ylabel=f"BER over that with {OVERLAPS[-1]} steps, less 1 (%)",
    )
    axes.set_yscale("symlog", linthresh=1)
    axes.grid(True, alpha=0.3)
    axes.legend()
    return figure


def operations(states: int, outputs: int = 2) -> dict[str, float]:
    """Arithmetic operations a message bit. Viterbi adds on 2 edges a state and compares; BCJR
    does so forwards and backwards, and again over all edges for the output; both sum the LLRs
    of 2^n outputs. The network: a multiplication for each weight (and as many additions)."""
    branch = 2**outputs
    hidden = 50
    layers = 2 * 3 * hidden * (outputs + hidden) + 2 * 3 * hidden * (2 * hidden + hidden)
    return {
        "viterbi": branch + 3 * states,
        "bcjr": branch + 2 * 3 * states + 4 * states + 2 * (states - 1),
        "rnn": layers + 2 * hidden,
    }


def draw_speed(measured: dict) -> Figure:
    """Operations and speed of the decoders side by side."""
    small, large = (measured["bits_per_second"][code] for code in ("7,5", "171,133"))
    bars = [
        (
            "Viterbi (7, 5)",
            operations(4)["viterbi"],
            small["ViterbiDecoder, int16, 256 frames a call"],
        ),
        (
            "Viterbi (171, 133)",
            operations(64)["viterbi"],
            large["ViterbiDecoder, int16, 256 frames a call"],
        ),
        ("BCJR (7, 5), max-log", operations(4)["bcjr"], small["BcjrDecoder, max-log"]),
        ("BCJR (7, 5), log-MAP", operations(4)["bcjr"], small["BcjrDecoder, log-map"]),
        ("RNN (7, 5)", operations(4)["rnn"], small["RnnDecoder, 32 frames a call"]),
    ]
    names, counts, speeds = zip(*bars, strict=True)
    figure = Figure(figsize=(10, 3), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for axes, values, label in (
        (left, counts, "operations a message bit"),
        (right, np.array(speeds) / 1e6, "Mbit/s on one core"),
    ):
        drawn = axes.barh(names, values, color="tab:blue")
        axes.bar_label(drawn, [f"{value:.3g}" for value in values], padding=3)
        axes.set(xscale="log", xlabel=label)
        axes.margins(x=0.2)
        axes.grid(True, axis="x", alpha=0.3)
    left.invert_yaxis()
    figure.suptitle(f"{measured['cpu']}, {measured['simd']}")
    return figure


def draw_latency(measured: dict) -> Figure:
    """Speed of streams against their latency."""
    figure = Figure(figsize=(6.4, 4.5), layout="constrained")
    axes = figure.subplots()
    for name in dict.fromkeys(row["decoder"] for row in measured["windows"]):
        rows = [row for row in measured["windows"] if row["decoder"] == name]
        axes.plot(
            [row["window"] + row["overlap"] for row in rows],
            [row["bits_per_second"] / 1e6 for row in rows],
            marker=".",
            label=name,
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="latency, window + overlap (message bits)",
        ylabel="Mbit/s on one core",
    )
    axes.grid(True, which="both", alpha=0.3)
    axes.legend()
    return figure


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
    made.add_argument(
        "--output",
        type=app.OutputFolder,
        default=app.OutputFolder("figures"),
        help="folder of the figures",
    )
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
