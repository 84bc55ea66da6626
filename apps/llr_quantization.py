#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Draw figures 1, 3, 4, 5 and 6 of the LLR quantization papers, and some of our own.

    4   BLER of LDPC (648, 324), 256-QAM, i.i.d. Rayleigh fading
    5   the same over extended typical urban fading, models not trained for it
    6   the same with the polar code (256, 128), successive cancellation list, L = 4
    qam16, qam64, qam256, qam1024   learned models beside scalar levels in mixed radix, of as many
                bits, LDPC, i.i.d. Rayleigh fading
    published   figure 4 of the published autoencoder, trained here
    interference   64-QAM with a known interferer
    rate        divergence of all quantizers against bits a symbol, and the rate-distortion bound

In 4, 5, 6 and published, scalar levels in mixed radix stand beside the others.

Curves are drawn from stored counts; --run adds counts first, and --results results takes those
that come with the project's source. Figures 1 (densities of soft bits at 18 dB) and 3 (the
published latent and its codebook) are made on the spot, and need torch.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from gnuradio.neuralfec import app, models, provenance, simulation
from gnuradio.neuralfec.links.bicm import StorageLink, scheme_name
from gnuradio.neuralfec.quantization import LlrQuantizer, mixed_radix, rate_distortion
from gnuradio.neuralfec.quantization.quantizer import encode
from gnuradio.neuralfec.simulation.options import add_options, simulate
from matplotlib.figure import Figure

OURS = (
    "qam256-15bit",
    "qam256-15bit/fast",
    "qam256-16bit",
    "qam256-16bit/fast",
    "qam256-18bit",
    "qam256-18bit/fast",
)
PAPER = ("qam256-paper-15bit", "qam256-paper-16bit", "qam256-paper-18bit")
SCALAR = ("qam256-scalar-16bit", "qam256-scalar-24bit")


def beside_scalar(
    constellation: str, low: int, high: int, *models: str, code: str = "wifi-648"
) -> StorageLink:
    """Learned models beside scalar levels in mixed radix of as many bits."""
    baseline = [
        f"mixed-radix:{model.rpartition('-')[2].removesuffix('bit')}:{low}:{high}"
        for model in models
    ]
    return StorageLink(
        code=code, constellation=constellation, schemes=("exact", *models, *baseline)
    )


# Scalar levels in mixed radix, of as many bits as ours.
MIXED_RADIX = ("exact", *(f"mixed-radix:{bits}:16:20" for bits in (15, 16, 18)))
QAM256 = (
    "llr-quantization-mixed-radix-qam256",
    beside_scalar("qam256", 16, 20, "qam256-15bit", "qam256-16bit", "qam256-18bit"),
    "18.5:20:0.5",
)
# By figure, the result whose scalar levels in mixed radix are drawn, too.
BESIDE = {
    "4": QAM256,
    "5": (
        "llr-quantization-mixed-radix-etu",
        StorageLink(channel="etu", schemes=MIXED_RADIX),
        "21.5:23.5:0.5",
    ),
    "6": (
        "llr-quantization-mixed-radix-polar",
        StorageLink(code="polar-nr:256,128", decoder="scl:4", schemes=MIXED_RADIX),
        "20:22:0.5",
    ),
    "published": QAM256,
}

# Figure: the name of its result, the link and the SNRs in dB.
CURVES = {
    "4": (
        "llr-quantization-rayleigh-ldpc",
        StorageLink(schemes=("exact", "max-log", *OURS, *SCALAR)),
        "18.5:19:0.5",
    ),
    "5": (
        "llr-quantization-etu-ldpc",
        StorageLink(channel="etu", schemes=("exact", *OURS)),
        "21.5:22:0.5",
    ),
    "6": (
        "llr-quantization-rayleigh-polar",
        StorageLink(code="polar-nr:256,128", decoder="scl:4", schemes=("exact", *OURS)),
        "20:20.5:0.5",
    ),
    "qam16": (
        "llr-quantization-mixed-radix-qam16",
        beside_scalar("qam16", 8, 12, "qam16-11bit"),
        "9.5:10.5:0.5",
    ),
    "qam64": (
        "llr-quantization-mixed-radix-qam64",
        beside_scalar("qam64", 12, 16, "qam64-13bit"),
        "14:15.5:0.5",
    ),
    "qam256": QAM256,
    "qam1024": (
        "llr-quantization-mixed-radix-qam1024",
        beside_scalar("qam1024", 20, 24, "qam1024-17bit", code="nr-ldpc:320,640"),
        "22.5:24:0.5",
    ),
    "published": (
        "llr-quantization-rayleigh-ldpc-published",
        StorageLink(schemes=("exact", "qam256-float", *PAPER)),
        "18.5:19.25:0.25",
    ),
    "interference": (
        "llr-quantization-interference",
        StorageLink(
            constellation="qam64",
            interferer="qam4",
            schemes=("exact", "qam64-interference-float", "qam64-interference-25bit"),
        ),
        "20:22:0.5",
    ),
}


# Figure "rate": Es/N0 in dB that models are of, and the models.
RATE = {
    "qam16": (8, 12, ("qam16-11bit",)),
    "qam64": (12, 16, ("qam64-13bit",)),
    "qam256": (
        16,
        20,
        ("qam256-15bit", "qam256-16bit", "qam256-18bit", *PAPER, *SCALAR),
    ),
    "qam1024": (20, 24, ("qam1024-17bit",)),
}
RATE_RESULT = "llr-quantization-rate.json"
SLOPES = (20, 40, 70, 130)


def rates(symbols: int = 200_000) -> dict[str, Any]:
    """Compute the bound and the divergence of quantizers, by constellation."""
    # Needs torch, which the curves do not.
    import torch
    from gnuradio.neuralfec.quantization.data import LlrSource, divergence

    found: dict[str, Any] = {}
    for constellation, (low, high, names) in RATE.items():
        rails = rate_distortion.rayleigh_rails(constellation, low, high)
        points = [rate_distortion.symbol_bound(rails, s, iterations=40) for s in SLOPES]
        llrs = LlrSource(constellation, (low, high), seed=99).llrs(symbols)
        quantizers: dict[str, Any] = {}
        for name in names:
            quantizers[name] = LlrQuantizer(name)
            if "paper" not in name and "scalar" not in name:
                quantizers[f"{name}/fast"] = LlrQuantizer(name, search=False)
                scalar = f"mixed-radix:{quantizers[name].bits}:{low}:{high}"
                quantizers[scalar] = mixed_radix.from_spec(scalar, constellation)

        def lost(quantizer: Any, llrs: torch.Tensor = llrs) -> float:
            kept = torch.from_numpy(quantizer.reconstruct(llrs.numpy()))
            return float(divergence(llrs, kept).mean())

        found[constellation] = {
            # The gap lies below the tangent: what is told is a bound.
            "bound": [[point.rate - point.gap, point.distortion] for point in points],
            "quantizers": {name: [one.bits, lost(one)] for name, one in quantizers.items()},
        }
    return found


def draw_rates(found: dict[str, Any], path: str) -> None:
    """Figure "rate": divergence against bits a symbol, a panel each constellation."""
    families = {
        "each LLR on its own": ("xC4", lambda name: "scalar" in name),
        "scalar levels in mixed radix": ("vC3", lambda name: name.startswith("mixed-radix")),
        "published autoencoder": ("^C2", lambda name: "paper" in name),
        "ours, network": ("sC1", lambda name: name.endswith("/fast")),
        "ours, search": ("oC0", lambda name: True),
    }
    figure = Figure(figsize=(12, 7.2), layout="constrained")
    panels, handles = figure.subplots(2, 2), {}
    for axes, (constellation, one) in zip(panels.flat, found.items(), strict=True):
        bits, lost = np.array(one["bound"]).T
        label = "rate-distortion bound"
        (handles[label],) = axes.plot(bits, lost, "k--", linewidth=1)
        left = dict(one["quantizers"])
        for label, (marker, belongs) in families.items():
            mine = sorted(left.pop(name) for name in list(left) if belongs(name))
            if mine:
                (handles[label],) = axes.plot(*np.transpose(mine), marker)
        axes.set(
            title=constellation, xlabel="Bits a symbol", ylabel="D (bits a symbol)", yscale="log"
        )
        axes.grid(which="both", alpha=0.3)
    panels[0, 1].legend(
        handles.values(), handles.keys(), loc="center left", bbox_to_anchor=(1.02, 0.5)
    )
    figure.savefig(path, dpi=120)


def densities(path: str) -> None:
    """Figure 1: empirical densities of the first four soft bits."""
    # Needs torch, which the curves do not.
    from gnuradio.neuralfec.quantization.data import LlrSource

    soft_bits = np.tanh(LlrSource("qam256", (18, 18), seed=1).llrs(200_000).numpy() / 2)
    figure = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = figure.subplots(2, 2)
    for bit, axis in enumerate(axes.flat):
        axis.hist(soft_bits[:, bit], bins=200, range=(-1, 1), density=True, log=True)
        axis.set(title=f"Soft bit {bit + 1}", xlabel="tanh(L / 2)", ylabel="Density")
    figure.savefig(path, dpi=150)


def latents(path: str, model: str) -> None:
    """Figure 3: histograms of the published latent and its levels."""
    from gnuradio.neuralfec.quantization.data import LlrSource

    shipped = not model.endswith(".pt")
    file = f"quantization/{model}" if shipped else model
    card, parameters = models.read_card(file), models.parameters(file)
    card.check({"quantizer": "BranchedAutoencoder"})
    latent = encode(parameters, LlrSource("qam256", (16, 19), seed=1).llrs(200_000).numpy())
    split = card.parameters["split"]
    ends = np.cumsum([1 << bits for bits in split])
    figure = Figure(figsize=(9.6, 3.2), layout="constrained")
    for number, axis in enumerate(figure.subplots(1, len(split))):
        axis.hist(latent[:, number], bins=200, density=True)
        for level in np.split(parameters["codebook"], ends[:-1])[number]:
            axis.axvline(level, color="red", linestyle="--", linewidth=0.6)
        axis.set(title=f"z{number + 1}, {split[number]} bits", xlabel="Value")
    figure.savefig(path, dpi=150)


def curves(
    args: argparse.Namespace, result: str, link: StorageLink, snr: str
) -> simulation.Results:
    """Counts as they are stored, with --run after more were added."""
    if not args.run:
        try:
            return simulation.Results.load(result, args.results)
        except FileNotFoundError:
            raise ValueError(
                f"there are no counts {result} in {args.results}: --run makes counts"
            ) from None
    if args.schemes:
        link = replace(link, schemes=tuple(args.schemes.split(",")))
    return simulate(
        args,
        link,
        simulation.parse_snr(args.snr or snr),
        name=result,
        parameters=link.parameters(),
    )


def with_scalar(
    args: argparse.Namespace, figure: str, results: simulation.Results
) -> simulation.Results:
    """Add scalar levels in mixed radix to a figure's results, as far as they are counted."""
    if args.schemes or figure not in BESIDE:
        return results
    try:
        beside = curves(args, *BESIDE[figure])
    except ValueError:
        # Without --run, and none are stored: the figure goes without.
        return results
    drawn = simulation.Results(results.name)
    drawn.rows = results.rows | {
        key: row for key, row in beside.rows.items() if key[0].startswith("mixed-radix:")
    }
    print_losses(beside, args.target)
    return drawn


def rate(args: argparse.Namespace) -> dict[str, Any]:
    """What figure "rate" shows, as it is stored; with --run computed and stored."""
    file = Path(args.results, RATE_RESULT)
    if args.run:
        found = rates()
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(provenance.record() | {"rates": found}, indent=2) + "\n")
    elif not file.exists():
        raise ValueError(f"there is no {file}: --run makes it")
    return json.loads(file.read_text())["rates"]


def print_losses(results: simulation.Results, target: float) -> None:
    for scheme in results.schemes:
        try:
            loss = results.loss(scheme, "exact", target)
        except ValueError as error:
            print(f"  {scheme}: {error}")
            continue
        print(
            f"  {scheme:24} loss at BLER {target:g}: {loss.value:6.3f} dB "
            f"({loss.low:.3f} to {loss.high:.3f})"
        )


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec curves quantization --figure 4 --run --snr 18.5:19:0.5 --blocks 1000 "
        "--schemes exact,qam256-15bit --output figures",
    )
    choices = ["1", "3", "rate", *CURVES]
    made.add_argument("--figure", choices=choices, action="append", help="which one; all if absent")
    made.add_argument("--latent", default="qam256-paper-15bit", help="model of figure 3")
    made.add_argument("--run", action="store_true", help="add counts before drawing")
    made.add_argument("--snr", help='dB, "18:19:0.25"; the published range if absent')
    made.add_argument("--schemes", help="in place of the figure's, comma-separated")
    add_options(made, errors=10**9, blocks=30_000, seed=1)
    made.add_argument("--target", type=float, default=1e-2, help="BLER of the losses printed")
    made.add_argument(
        "--output",
        type=app.OutputFolder,
        default=app.OutputFolder("."),
        help="folder of the figures",
    )
    return made


def run(args: argparse.Namespace) -> None:
    for figure in args.figure or ["1", "3", "rate", *CURVES]:
        name = f"llr-quantization-figure-{figure}.png"
        if figure == "rate":
            found = rate(args)
        if figure in CURVES:
            results = curves(args, *CURVES[figure])
            drawn = with_scalar(args, figure, results)
        with args.output.file(name) as path:
            if figure == "1":
                densities(path)
            elif figure == "3":
                latents(path, args.latent)
            elif figure == "rate":
                draw_rates(found, path)
            else:
                simulation.figure([drawn], path, snr_label="Es/N0 (dB)", names=scheme_name)
        print(Path(args.output, name))
        if figure in CURVES:
            print_losses(results, args.target)


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
