# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains the estimators of syndrome-based decoding.

    python -m gnuradio.neuralfec.syndrome.training mine.pt --code polar-nr:64,32 \\
        --network cancellation --mix qam16:3.5:6.5,psk8:3:5.5 --teacher osd:2

A cancellation network on the CPU trains by the C++ kernel's gradient, everything else by
torch's, on the device that is asked for. The learning rate rises over the first 200 steps,
holds for 40 % of all steps and falls to a hundredth of it; AdamW, gradients clipped to norm 1.
The model file holds the exponential moving average of the parameters.
"""

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import codes, models
from ..codes import LinearCode
from ..decoders.ordered_statistics import osd
from ..training import Run, averaged, parser, start_from
from ..training import main as run_trainer
from .data import Batch, BicmChain
from .network import CancellationNetwork, RecurrentEstimator, TransformerEstimator

NETWORKS = {
    "cancellation": CancellationNetwork,
    "gru": RecurrentEstimator,
    "transformer": TransformerEstimator,
}
SIZES = {"cancellation": {"features": 7, "hidden": 32, "leaf_hidden": 64, "passes": 2}}
CODEWORD_WEIGHT = 0.3
EARLY_WEIGHT = 0.5


def loss_of(network: nn.Module, batch: Batch) -> torch.Tensor:
    """Compute the binary cross-entropy of the message's flips plus 0.3 times the codeword's.

    A cancellation network's passes before the last count half. Returns a scalar tensor.
    """
    if isinstance(network, CancellationNetwork):
        passes = network.after_each_pass(batch.reliabilities, batch.syndrome)
        estimates = list(zip(*passes, strict=True))
    else:
        estimates = [network(batch.reliabilities, batch.syndrome)]
    entropy = nn.functional.binary_cross_entropy_with_logits
    total = torch.zeros((), device=batch.flips.device)
    for i, (message, codeword) in enumerate(estimates):
        weight = 1.0 if i == len(estimates) - 1 else EARLY_WEIGHT
        of_message = entropy(message, batch.message_flips)
        total = total + weight * (of_message + CODEWORD_WEIGHT * entropy(codeword, batch.flips))
    return total


def gradient_of(network: nn.Module) -> Callable[[Batch], float]:
    """Make what computes `loss_of` a batch and leaves its gradient in the parameters.

    It is the C++ kernel for a cancellation network on the CPU, and torch for everything else
    and in a source tree where nothing is built.
    """
    if isinstance(network, CancellationNetwork) and network.weights.device.type == "cpu":
        with contextlib.suppress(ImportError):
            return _kernel_gradient(network)

    def by_torch(batch: Batch) -> float:
        loss = loss_of(network, batch)
        network.zero_grad(set_to_none=True)
        loss.backward()
        return loss.item()

    return by_torch


def _kernel_gradient(network: CancellationNetwork) -> Callable[[Batch], float]:
    from .. import _kernels

    kernel = _kernels.CancellationNetwork(
        network.n,
        network.unfrozen.tolist(),
        network.features,
        network.hidden,
        network.leaf_hidden,
    )
    frozen, unfrozen = network.frozen.numpy(), network.unfrozen.numpy()

    def gradient(batch: Batch) -> float:
        u = np.zeros(batch.flips.shape, dtype=np.uint8)
        u[:, frozen] = batch.syndrome.numpy()
        u[:, unfrozen] = batch.message_flips.numpy()
        loss, found = kernel.gradient(
            network.weights.detach().numpy(),
            batch.reliabilities.numpy(),
            u,
            batch.flips.numpy().astype(np.uint8),
            network.passes,
            CODEWORD_WEIGHT,
            EARLY_WEIGHT,
        )
        network.weights.grad = torch.from_numpy(found)
        return loss

    return gradient


class Teacher:
    """Puts the words that a decoder finds in the place of those sent, where they are nearer.

    There even maximum likelihood fails, and the sent word is noise in the gradient.

    Parameters
    ----------
    code : what is sent
    decoder : has `decode`, as every decoder of `decoders.decoder`
    """

    def __init__(self, code: LinearCode, decoder: Any) -> None:
        from .. import _kernels

        self._decoder = decoder
        self._encode = _kernels.Gf2Map(code.generator)
        self._messages = _kernels.Gf2Map(code.pseudo_inverse)

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with the nearer words."""
        llrs = batch.llrs.cpu().numpy()
        messages, _ = self._decoder.decode(llrs)
        hard = (llrs > 0).astype(np.uint8)

        def tensor(bits: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(bits).to(batch.flips)

        flips = tensor(hard ^ self._encode.apply(messages))
        nearer = ((flips - batch.flips) * batch.reliabilities).sum(1, keepdim=True) < 0
        return replace(
            batch,
            flips=torch.where(nearer, flips, batch.flips),
            message_flips=torch.where(
                nearer, tensor(self._messages.apply(hard) ^ messages), batch.message_flips
            ),
            messages=torch.where(nearer, tensor(messages), batch.messages),
        )


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


def rate_at(done: float, step: int) -> float:
    """Return the learning rate's factor at a part of all steps, 0 .. 1, that are done."""
    decay = 1.0 if done < 0.4 else max(0.01, (1 - done) / 0.6)
    return min(1.0, (step + 1) / 200) * decay


def train(options: argparse.Namespace) -> None:
    """Run or go on with the training that the options ask for, and write its model file."""
    torch.manual_seed(options.seed)
    code, mix = codes.code(options.code), parse_mix(options.mix)
    sizes = SIZES.get(options.network, {}) | options.options
    network = NETWORKS[options.network](code, **sizes)
    if options.init:
        expect = {"system": "syndrome", "code": models.CodeIdentity.of(code)}
        start_from(network, options.init, expect)
    network.to(options.device)
    chains = [
        BicmChain(code, name, device=options.device, seed=options.seed + i)
        for i, (name, _, _) in enumerate(mix)
    ]
    run = Run.of(options, generators={str(i): chain.generator for i, chain in enumerate(chains)})
    teacher = None
    if options.teacher:
        kind, _, order = options.teacher.partition(":")
        if kind != "osd":
            raise ValueError(f"expected --teacher osd:ORDER, got {options.teacher!r}")
        teacher = Teacher(code, osd(order, code))
    optimizer = torch.optim.AdamW(network.parameters(), lr=options.rate, weight_decay=1e-4)
    average, gradient = averaged(network), gradient_of(network)
    parts = {"network": network, "average": average, "optimizer": optimizer}
    for step in run.steps(options.steps, parts):
        for group in optimizer.param_groups:
            group["lr"] = options.rate * rate_at(step / options.steps, step)
        chain, (_, low, high) = (of[step % len(mix)] for of in (chains, mix))
        eb_n0 = low + (high - low) * torch.rand(
            options.batch, generator=chain.generator, device=chain.device
        )
        words = chain(eb_n0, options.batch)
        loss = gradient(words if teacher is None else teacher(words))
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(network)
        run.report(loss=loss)
    export(
        average.module,
        code,
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
    code : what it decodes
    parameters : of the card, beside the network's own
    card : further fields of the card (operating_point, training, ...)
    """
    network = network.to("cpu").eval()
    checks = code.parity_check.shape[0]
    parameters = parameters | {"parameters": sum(p.numel() for p in network.parameters())}
    if isinstance(network, CancellationNetwork):
        parameters["cancellation_network"] = network.sizes
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
        help='sizes of the network as JSON: {"layers": 2, "scale": 6}',
    )
    made.add_argument(
        "--mix",
        default="qam16:3.5:6.5,psk8:3:5.5",
        help="constellations, each with a range of Eb/N0 in dB (default %(default)s)",
    )
    made.add_argument(
        "--teacher", metavar="osd:ORDER", help="decoder to learn the nearer words from"
    )
    return run_trainer(train, made, argv)


if __name__ == "__main__":
    sys.exit(main())
