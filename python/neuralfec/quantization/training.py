# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains LLR quantizers.

    python -m gnuradio.neuralfec.quantization.training qam256-15bit.pt

The file's name, or --name, says what is trained:

    qam256-15bit                  gain cells and their network (ours), 15 bits a symbol
    qam256-float                  the papers' autoencoder, latent not quantized
    qam256-paper-15bit            the same, latent by k-means; --split tells the bits of each
                                  latent number, --init takes the network of a float model
    qam256-scalar-16bit           each LLR on its own, for maximum mutual information
    qam256-interference-float     the papers' autoencoder with a known QPSK interferer
    qam256-interference-20bit     the same, latent by k-means
"""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import nn

from .. import models
from ..training import Run, default_generator, parser
from ..training import main as run_trainer
from . import autoencoder, codebook, gain_cells, scalar
from .data import LlrSource, divergence
from .network import BranchedAutoencoder, GainCellQuantizer, ScalarQuantizer
from .stages import mean_divergence

# Es / N0 in dB around the waterfall of a rate-1/2 code over Rayleigh fading.
SNR_DB = {4: (4, 8), 16: (8, 12), 64: (12, 16), 256: (16, 20), 1024: (20, 24)}
_INTERFERER = "qam4"
# Known, as strong as the signal and fading like it, it moves the waterfall up by so much.
_INTERFERENCE_DB = 5
_NAME = re.compile(
    r"qam(?P<order>4|16|64|256|1024)-"
    r"((?P<kind>paper|scalar|interference)-)?((?P<bits>\d+)bit|float)"
)


def even_split(bits: int, numbers: int) -> list[int]:
    """Return the bits of each latent number; a spare one goes to the middle, as in the papers."""
    split = [bits // numbers] * numbers
    order = sorted(range(numbers), key=lambda i: abs(i - numbers // 2))
    for i in order[: bits % numbers]:
        split[i] += 1
    return split


def card(
    module: nn.Module, arguments: argparse.Namespace, source: LlrSource, record: models.Training
) -> models.Card:
    """Measure a quantizer on LLRs that it has not seen and write its card."""
    bits_per_symbol = int(math.log2(arguments.order))
    llrs, latent = (None, bits_per_symbol), (None, _latent_size(module, bits_per_symbol))
    check = LlrSource(
        source.spec, source.snr_db, source.interferer, seed=arguments.seed + 1000,
        device=arguments.device,
    )  # fmt: skip
    unseen = check.llrs(200_000)
    figure = "divergence_bits_per_symbol"
    measured = {figure: round(mean_divergence(module, unseen), 5)}
    parameters = {
        "bits_per_symbol": bits_per_symbol,
        "bits": module.bits,
        "constellation": source.spec,
        "quantizer": type(module).__name__,
    }
    if isinstance(module, GainCellQuantizer):
        cell, level = codebook.assign(unseen, module.bits, module.levels, module.table)
        rails = module.table[module.starts[cell][:, None] + level]
        best = divergence(codebook.fold(unseen), rails).sum(1).mean().item()
        measured[f"{figure}_with_search"] = round(best, 5)
    if source.interferer:
        parameters["interferer"] = source.interferer
    if isinstance(module, ScalarQuantizer | BranchedAutoencoder):
        parameters["split"] = module.dimension_bits
    low, high = source.snr_db
    return models.Card(
        system="quantization",
        name=arguments.output.stem,
        methods={
            "forward": models.Method({"llrs": llrs}, {"latent": latent}),
            "decode": models.Method({"latent": latent}, {"llrs": llrs}),
            **(
                {
                    "index": models.Method({"latent": latent}, {"index": (None,)}),
                    "codeword": models.Method({"index": (None,)}, {"latent": latent}),
                }
                if module.bits
                else {}
            ),
        },
        operating_point=f"i.i.d. Rayleigh fading, Es/N0 {low:g} to {high:g} dB, exact LLRs",
        training=record,
        measured=measured,
        parameters=parameters,
    )


def _latent_size(module: nn.Module, bits_per_symbol: int) -> int:
    with torch.no_grad():
        device = next(iter(module.state_dict().values())).device
        return module(torch.zeros(1, bits_per_symbol, device=device)).shape[1]


def train(arguments: argparse.Namespace) -> None:
    """Run or go on with the training that the options ask for, and write its model file."""
    name = _NAME.fullmatch(arguments.name or arguments.output.stem)
    if not name:
        raise ValueError(
            f"expected a name such as qam256-15bit, see --help, got "
            f"{arguments.name or arguments.output.stem!r}"
        )
    device = arguments.device
    arguments.order, arguments.kind = int(name["order"]), name["kind"]
    arguments.bits = int(name["bits"] or 0)
    of_cells = arguments.kind is None and bool(arguments.bits)
    arguments.batch = arguments.batch or (4096 if of_cells else 1024)
    snr_db = arguments.snr_db or SNR_DB[arguments.order]
    if arguments.kind == "interference" and not arguments.snr_db:
        snr_db = tuple(snr + _INTERFERENCE_DB for snr in snr_db)
    source = LlrSource(
        f"qam{arguments.order}",
        snr_db,
        _INTERFERER if arguments.kind == "interference" else None,
        seed=arguments.seed,
        device=device,
    )
    generators = {"torch": default_generator(device), "source": source.generator}
    run = Run.of(arguments, generators=generators)
    numbers = {"scalar": int(math.log2(arguments.order)), "interference": 5}
    split = arguments.split or even_split(arguments.bits, numbers.get(arguments.kind, 3))
    module: nn.Module
    if arguments.kind == "scalar":
        llrs = source.llrs(2_000_000)
        designs = [scalar.design(llrs[:, k], 1 << b) for k, b in enumerate(split)]
        module, steps = ScalarQuantizer(), 0
        module.set_codebook(*map(list, zip(*designs, strict=True)))
    elif of_cells:
        module, steps = gain_cells.train(run, arguments, source)
    else:
        if arguments.init and arguments.bits:
            of_network = models.read_card(arguments.init)
            of_network.check({"system": "quantization", "quantizer": "BranchedAutoencoder"})
            latent = of_network.methods["forward"].outputs["latent"][1] or 0
            module = BranchedAutoencoder(of_network.parameters["bits_per_symbol"], latent)
            module.load_state_dict(models.state_dict(arguments.init))
            module, steps = module.to(device), of_network.training.steps or 0
        else:
            module, steps = autoencoder.train(run, arguments, source)
        if arguments.bits:
            autoencoder.add_k_means(module, source.llrs(1_000_000), split, arguments.seed)
    # With the steps of the model that the training started from.
    record = replace(run.record(), steps=steps)
    about = card(module.to(device), arguments, source, record)
    models.save(arguments.output, module, about)
    print(f"{arguments.output}: {about.measured}")


def _range(text: str) -> tuple[float, float]:
    low, high = (float(part) for part in text.split(":"))
    return low, high


def _numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main(argv: Sequence[str] | None = None) -> int:
    """Train from a command line; returns the exit status of `training.main`."""
    made = parser(__doc__ or "", steps=None, batch=None, rate=3e-3)
    made.add_argument("--name", help="what to train, see above (default: OUTPUT's name)")
    made.add_argument(
        "--snr-db", type=_range, metavar="LOW:HIGH", help="Es/N0 of the data (by the constellation)"
    )
    made.add_argument(
        "--hidden",
        type=_numbers,
        default=[24, 24, 24],
        metavar="N,N,...",
        help="widths of a rail's layers in a gain-cell network (default 24,24,24)",
    )
    made.add_argument(
        "--split", type=_numbers, metavar="N,N,...", help="bits of each latent number"
    )
    return run_trainer(train, made, argv)


if __name__ == "__main__":
    sys.exit(main())
