# SPDX-License-Identifier: GPL-3.0-or-later
"""Figures of convolutional codes' decoders, from stored counts and measured speeds."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from ..simulation import Results
from ..simulation.figure import draw
from .convolutional import WINDOW


def rates(results: Results, title: str) -> Figure:
    """Draw BER and BLER against SNR; of viterbi, bcjr and rnn alone their ratios, too."""
    metrics = ("ber", "bler")
    plain = results.schemes == ["viterbi", "bcjr", "rnn"]
    figure = Figure(figsize=(13 if plain else 12, 4.5), layout="constrained")
    panels = figure.subplots(1, 3 if plain else 2)
    for axes, metric in zip(panels, metrics, strict=False):
        draw(axes, [results], metric=metric)
    if plain:
        snr = results.snr_db("viterbi")
        for metric, style in zip(metrics, ("-", "--"), strict=True):
            reference = [results.rate(point, "viterbi", metric).value for point in snr]
            for scheme, color in (("bcjr", "tab:orange"), ("rnn", "tab:green")):
                found = [results.rate(point, scheme, metric).value for point in snr]
                panels[2].plot(
                    snr,
                    np.divide(found, reference),
                    style,
                    color=color,
                    marker=".",
                    label=f"{scheme}, {metric.upper()}",
                )
        panels[2].set_ylabel("over Viterbi's")
        panels[2].grid(True, alpha=0.3)
        panels[2].legend()
    else:
        # Beside the panels: in them it would hide curves.
        panels[0].get_legend().remove()
        panels[1].legend(loc="center left", bbox_to_anchor=(1.02, 0.5))
    for axes in panels:
        axes.set_xlabel("1 / sigma² of a real symbol (dB)")
    figure.suptitle(title)
    return figure


def lengths(by_length: dict[int, Results]) -> Figure:
    """Draw BER and BLER against the frame's length in message bits."""
    figure = Figure(figsize=(10, 4.5), layout="constrained")
    for axes, metric in zip(figure.subplots(1, 2), ("ber", "bler"), strict=True):
        for scheme, style in (("viterbi", "--"), ("bcjr", ":"), ("rnn", "-")):
            axes.set_prop_cycle(None)
            for snr in (0, 2, 4):
                found = [results.rate(snr, scheme, metric) for results in by_length.values()]
                axes.errorbar(
                    list(by_length),
                    [rate.value for rate in found],
                    yerr=(
                        [rate.value - rate.low for rate in found],
                        [rate.high - rate.value for rate in found],
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


def overlaps(results: Results, steps: Sequence[int]) -> Figure:
    """Draw the BER of windows over that with the longest overlap, against the overlap."""
    figure = Figure(figsize=(6.4, 4.5), layout="constrained")
    axes = figure.subplots()
    for kind, style in (("viterbi", "--"), ("rnn", "-")):
        axes.set_prop_cycle(None)
        for snr in results.snr_db(f"{kind}, overlap whole"):
            longest = results.rate(snr, f"{kind}, overlap {steps[-1]}", "ber").value
            excess = [
                results.rate(snr, f"{kind}, overlap {overlap}", "ber").value / longest - 1
                for overlap in steps[:-1]
            ]
            axes.plot(
                steps[:-1],
                np.multiply(excess, 100),
                style,
                marker=".",
                label=f"{kind}, {snr:g} dB",
            )
    axes.set(
        xlabel=f"overlap on each side of windows of {WINDOW} bits (steps)",
        ylabel=f"BER over that with {steps[-1]} steps, less 1 (%)",
    )
    axes.set_yscale("symlog", linthresh=1)
    axes.grid(True, alpha=0.3)
    axes.legend()
    return figure


def operations(states: int, outputs: int = 2) -> dict[str, float]:
    """Count arithmetic operations a message bit, by decoder.

    Viterbi adds on 2 edges a state and compares; BCJR does so forwards and backwards, and again
    over all edges for the output; both sum the LLRs of 2^n outputs. The network takes a
    multiplication for each weight, and as many additions.
    """
    branch = 2**outputs
    hidden = 50
    layers = 2 * 3 * hidden * (outputs + hidden) + 2 * 3 * hidden * (2 * hidden + hidden)
    return {
        "viterbi": branch + 3 * states,
        "bcjr": branch + 2 * 3 * states + 4 * states + 2 * (states - 1),
        "rnn": layers + 2 * hidden,
    }


def speed(measured: dict) -> Figure:
    """Draw operations and speed of the decoders side by side.

    measured : what benchmarks/viterbi.py writes
    """
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


def latency(measured: dict) -> Figure:
    """Draw the speed of streams against their latency."""
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
