# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains the estimators of syndrome-based decoding.

    python -m gnuradio.neuralfec.syndrome.training mine.pt --code polar-nr:64,32 \\
        --network cancellation --mix qam16:3.5:6.5,psk8:3:5.5 --teacher osd:2

A cancellation network on the CPU trains by the C++ kernel's gradient, everything else by
torch's, on the device that is asked for. The GRU and the transformer learn the code in its
systematic form (`form.systematic_form`), which has the same codewords; the paper's sizes on a GPU:

    python -m gnuradio.neuralfec.syndrome.training gru.pt --code polar-nr:64,32 --network gru \\
        --options '{"layers": 2, "steps": 5, "width": 576}' --mix qam16:5:7 --start 9 \\
        --teacher osd:2 --batch 4096 --steps 400000 --device cuda

AdamW, gradients clipped to norm 1; the square matrices of a GRU take Muon's step. The model
file holds the exponential moving average of the parameters.
"""

import argparse
import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .. import codes, models
from ..decoders.ordered_statistics import osd
from ..training import Run, averaged, parser, start_from
from ..training import main as run_trainer
from ..training.muon import StackedMuon
from .data import BicmChain, Teacher
from .form import systematic_form
from .loss import gradient_of
from .network import CancellationNetwork, RecurrentEstimator, TransformerEstimator

NETWORKS: dict[str, Any] = {
    "cancellation": CancellationNetwork,
    "gru": RecurrentEstimator,
    "transformer": TransformerEstimator,
}
SIZES = {"cancellation": {"features": 7, "hidden": 32, "leaf_hidden": 64, "passes": 2}}


def parse_mix(text: str) -> list[tuple[str, float, float]]:
    """Parse "qam16:3.5:6.5,psk8:3:5.5" to constellations with their range of Eb/N0 in dB.

    ValueError for anything else.
    """
    mix = []
    for part in text.split(","):
        words = part.split(":")
        try:
            name, low, high = words[0], float(words[1]), float(words[2])
        except (IndexError, ValueError):
            raise ValueError(f"expected CONSTELLATION:FROM:TO in dB, got {part!r}") from None
        mix.append((name, low, high))
    return mix


def hold_and_fall(done: float, step: int) -> float:
    """Return the learning rate's factor when a part of all steps, 0 .. 1, is done.

    It rises over 200 steps, holds for 40 % of all and falls in a line to a hundredth.
    """
    fall = 1.0 if done < 0.4 else max(0.01, (1 - done) / 0.6)
    return min(1.0, (step + 1) / 200) * fall


def warm_up_stable_decay(done: float, step: int) -> float:
    """Return the learning rate's factor: 2 % of all steps up, constant, the last quarter down.

    The way down is 1 - sqrt(x), x from 0 to 1, and the constant part may be of any length
    (Haegele et al. 2024, arXiv 2405.18392).
    """
    fall = 1.0 if done < 0.75 else 1 - math.sqrt((done - 0.75) / 0.25)
    return min(1.0, done / 0.02) * fall


def optimizers_of(
    network: nn.Module, rate: float, precision: torch.dtype = torch.float32
) -> dict[str, torch.optim.Optimizer]:
    """Return the optimizers that train a network, by name; precision is that of Muon's products."""
    if not isinstance(network, RecurrentEstimator):
        adamw = torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=1e-4)
        return {"optimizer": adamw}
    gates = network.gates()
    # `in` would compare tensors.
    rest = [p for p in network.parameters() if all(p is not gate for gate in gates)]
    return {
        "optimizer": torch.optim.AdamW(rest, lr=rate, weight_decay=1e-3),
        # Ten times AdamW's rate: 3e-3 and 3e-2 were the best of those tried.
        "muon": StackedMuon(gates, lr=10 * rate, precision=precision),
    }


def train(options: argparse.Namespace) -> None:
    """Run or go on with the training that the options ask for, and write its model file."""
    torch.manual_seed(options.seed)
    spec, mix = codes.code(options.code), parse_mix(options.mix)
    kind = NETWORKS[options.network]
    code = systematic_form(spec) if kind.systematic else spec
    network = kind(code, **(SIZES.get(options.network, {}) | options.options))
    if options.init:
        expect = {"system": "syndrome", "code": models.CodeIdentity.of(spec)}
        start_from(network, options.init, expect)
    network.to(options.device)
    chains = [
        BicmChain(code, name, device=options.device, seed=options.seed + i)
        for i, (name, _, _) in enumerate(mix)
    ]
    run = Run.of(options, generators={str(i): chain.generator for i, chain in enumerate(chains)})
    teacher = None
    if options.teacher:
        name, _, order = options.teacher.partition(":")
        if name != "osd":
            raise ValueError(f"expected --teacher osd:ORDER, got {options.teacher!r}")
        teacher = Teacher(code, osd(order, code))
    precision = getattr(torch, options.precision)
    optimizers = optimizers_of(network, options.rate, precision)
    schedule = warm_up_stable_decay if kind.systematic else hold_and_fall
    full = {name: optimizer.param_groups[0]["lr"] for name, optimizer in optimizers.items()}
    average, gradient = averaged(network), gradient_of(network, precision)
    parts = {"network": network, "average": average, **optimizers}
    for step in run.steps(options.steps, parts):
        done = step / options.steps
        for name, optimizer in optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = full[name] * schedule(done, step)
        chain, (_, low, high) = chains[step % len(mix)], mix[step % len(mix)]
        # Few flips first: the start's distance to the mix is gone after 2 % of the steps.
        ahead = 0.0 if options.start is None else max(0.0, options.start - low)
        ahead *= max(0.0, 1 - done / 0.02)
        low, high = low + ahead, high + ahead
        eb_n0 = low + (high - low) * torch.rand(
            options.batch, generator=chain.generator, device=chain.device
        )
        words = chain(eb_n0, options.batch)
        loss = gradient(words if teacher is None else teacher(words))
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        for optimizer in optimizers.values():
            optimizer.step()
        average.update_parameters(network)
        run.report(loss=loss)
    export(
        average.module,
        spec,
        options.output,
        parameters={"samples": run.taken * options.batch},
        operating_point=f"Eb/N0 in dB: {options.mix}",
        training=run.record(),
    )


def export(
    network: nn.Module, code: Any, file: Path, *, parameters: dict[str, Any], **card: Any
) -> None:
    """Write a network as a model file.

    Parameters
    ----------
    code : what it decodes; not its systematic form
    parameters : of the card, beside the network's own
    card : further fields of the card (operating_point, training, ...)
    """
    network = network.to("cpu").eval()
    checks = code.parity_check.shape[0]
    parameters = parameters | {"parameters": sum(p.numel() for p in network.parameters())}
    if network.systematic:
        checks = code.n - code.k
        parameters["form"] = "systematic"
    if isinstance(network, CancellationNetwork):
        parameters["cancellation_network"] = network.sizes
    if isinstance(network, RecurrentEstimator):
        parameters["recurrent"] = {"steps": network.steps}
    methods = {
        "forward": models.Method(
            {"reliabilities": (None, code.n), "syndrome": (None, checks)},
            {"message": (None, code.k), "codeword": (None, code.n)},
        )
    }
    about = models.Card(
        system="syndrome",
        name=file.stem,
        methods=methods,
        code=models.CodeIdentity.of(code),
        parameters=parameters,
        **card,
    )
    models.save(file, network, about)


def main(argv: Sequence[str] | None = None) -> int:
    """Train from a command line; returns the exit status of `training.main`."""
    made = parser(__doc__, steps=20_000, batch=128, rate=3e-3)
    made.add_argument("--code", required=True, help=f"code to decode: {', '.join(codes.specs())}")
    made.add_argument("--network", choices=NETWORKS, default="cancellation")
    made.add_argument(
        "--options",
        type=json.loads,
        default={},
        help='sizes of the network as JSON: {"layers": 2, "width": 576}',
    )
    made.add_argument(
        "--mix",
        default="qam16:3.5:6.5,psk8:3:5.5",
        help="constellations, each with a range of Eb/N0 in dB (default %(default)s)",
    )
    made.add_argument(
        "--start",
        type=float,
        metavar="DB",
        help="lowest Eb/N0 at the first step, from where it falls to the mix (default: the mix's)",
    )
    made.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the matrix products: bfloat16 takes a third of the time on a GPU and on a CPU "
        "with AVX512_BF16 or AMX, and much more than float32 on others (default float32)",
    )
    made.add_argument(
        "--teacher",
        metavar="osd:ORDER",
        help="learn the word that ordered statistics of this order find where it is nearer",
    )
    return run_trainer(train, made, argv)


if __name__ == "__main__":
    sys.exit(main())
