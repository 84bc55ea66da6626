# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains the estimators; resumes where the checkpoint left off.

    python -m neuralfec.syndrome.training --code polar-nr:64,32 --network cancellation \\
        --mix qam16:3.5:6.5,psk8:3:5.5 --minutes 30 --checkpoint run.npz --model run.pt

A cancellation network on the CPU trains by the C++ kernel's gradient, everything else by
torch's, on the device that is asked for. Interrupted, it writes checkpoint and model, too.
"""

import argparse
import json
import os
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from .. import codes, decoders, models, provenance
from ..codes import LinearCode
from .data import Batch, BicmChain
from .network import CancellationNetwork, RecurrentEstimator, TransformerEstimator

NETWORKS = {
    "cancellation": CancellationNetwork,
    "gru": RecurrentEstimator,
    "transformer": TransformerEstimator,
}
CODEWORD_WEIGHT = 0.3
EARLY_WEIGHT = 0.5
EMA = 0.999


def loss_of(network: nn.Module, batch: Batch) -> torch.Tensor:
    """Binary cross-entropy of the message's flips, and 0.3 times that of the codeword's;
    a cancellation network's passes before the last count half."""
    if isinstance(network, CancellationNetwork):
        estimates = network.after_each_pass(batch.reliabilities, batch.syndrome)
    else:
        estimates = [network(batch.reliabilities, batch.syndrome)]
    entropy = nn.functional.binary_cross_entropy_with_logits
    total = torch.zeros((), device=batch.flips.device)
    for i, (message, codeword) in enumerate(estimates):
        weight = 1.0 if i == len(estimates) - 1 else EARLY_WEIGHT
        of_message = entropy(message, batch.message_flips)
        total = total + weight * (of_message + CODEWORD_WEIGHT * entropy(codeword, batch.flips))
    return total


class _KernelGradient:
    """`loss_of` and its gradient of a cancellation network, by the C++ kernel."""

    def __init__(self, network: CancellationNetwork, options: dict[str, int]) -> None:
        from .. import _kernels

        self._network = network
        self._kernel = _kernels.CancellationNetwork(
            network.n,
            network.unfrozen.tolist(),
            options["features"],
            options["hidden"],
            options["leaf_hidden"],
        )

    def __call__(self, batch: Batch) -> float:
        frozen, unfrozen = self._network.frozen.numpy(), self._network.unfrozen.numpy()
        u = np.zeros(batch.flips.shape, dtype=np.uint8)
        u[:, frozen] = batch.syndrome.numpy()
        u[:, unfrozen] = batch.message_flips.numpy()
        loss, gradient = self._kernel.gradient(
            self._network.weights.detach().numpy(),
            batch.reliabilities.numpy(),
            u,
            batch.flips.numpy().astype(np.uint8),
            self._network.passes,
            CODEWORD_WEIGHT,
            EARLY_WEIGHT,
        )
        self._network.weights.grad = torch.from_numpy(gradient)
        return loss


class _TorchGradient:
    def __init__(self, network: nn.Module) -> None:
        self._network = network

    def __call__(self, batch: Batch) -> float:
        loss = loss_of(self._network, batch)
        self._network.zero_grad(set_to_none=True)
        loss.backward()
        return loss.item()


class Teacher:
    """Puts the words that a decoder finds in the place of those sent, where they are nearer."""

    def __init__(self, code: LinearCode, spec: str) -> None:
        from .. import _kernels

        self._decoder = decoders.decoder(spec, code)
        self._encode = _kernels.Gf2Map(code.generator)
        self._messages = _kernels.Gf2Map(code.pseudo_inverse)

    def __call__(self, batch: Batch) -> Batch:
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
    """ "qam16:3.5:6.5,psk8:3:5.5" to constellations with their range of Eb/N0 in dB."""
    mix = []
    for part in text.split(","):
        words = part.split(":")
        try:
            name, low, high = words[0], float(words[1]), float(words[2])
        except (IndexError, ValueError):
            raise ValueError(f"expected CONSTELLATION:FROM:TO in dB, got {part!r}") from None
        mix.append((name, low, high))
    return mix


def train(
    code: Any,
    network: nn.Module,
    options: dict[str, int],
    mix: Sequence[tuple[str, float, float]],
    *,
    checkpoint: str | os.PathLike,
    seconds: float,
    batch: int = 128,
    rate: float = 3e-3,
    teacher: str | None = None,
    seed: int = 0,
    device: str = "cpu",
    quiet: bool = False,
) -> dict[str, Any]:
    """Trains for ``seconds`` of processor time in all, what an earlier run that left its
    checkpoint has used included; returns what the checkpoint holds.

    The learning rate rises over the first 200 steps, holds for 40 % of the time and falls
    to a hundredth of it. AdamW, gradients clipped to norm 1. The checkpoint's ``ema`` is the
    exponential moving average of the parameters, the one to use.

    teacher : spec of a decoder whose words are learned in place of those sent where they are
        nearer to the LLRs: there even maximum likelihood fails, and the sent word is noise in
        the gradient.
    """
    network.to(device)
    parameters = list(network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=1e-4)
    ema = [p.detach().clone() for p in parameters]
    step, samples, used = 0, 0, 0.0
    checkpoint = Path(checkpoint)
    if checkpoint.exists():
        state = torch.load(checkpoint, map_location=device, weights_only=True)
        if state["options"] != options:
            raise ValueError(f"{checkpoint}: expected options {options}, got {state['options']}")
        with torch.no_grad():
            for p, saved in zip(parameters, state["parameters"], strict=True):
                p.copy_(saved)
        ema = state["ema"]
        optimizer.load_state_dict(state["optimizer"])
        step, samples, used = state["step"], state["samples"], state["seconds"]
    # A resumed run draws other frames.
    chains = [
        BicmChain(code, name, device=device, seed=seed + 1000 * step + i)
        for i, (name, _, _) in enumerate(mix)
    ]
    by_kernel = isinstance(network, CancellationNetwork) and device == "cpu"
    gradient = _KernelGradient(network, options) if by_kernel else _TorchGradient(network)
    taught = None if teacher is None else Teacher(code, teacher)
    start = time.process_time() - used

    def save() -> dict[str, Any]:
        state = {
            "options": options,
            "parameters": [p.detach() for p in parameters],
            "ema": ema,
            "optimizer": optimizer.state_dict(),
            "step": step,
            "samples": samples,
            "seconds": time.process_time() - start,
        }
        part = checkpoint.with_name(f".{checkpoint.name}.part")
        torch.save(state, part)
        os.replace(part, checkpoint)
        return state

    next_report, mean = 0.0, 0.0
    try:
        while (elapsed := time.process_time() - start) < seconds:
            done = elapsed / seconds
            for group in optimizer.param_groups:
                decay = 1.0 if done < 0.4 else max(0.01, (1 - done) / 0.6)
                group["lr"] = rate * min(1.0, (step + 1) / 200) * decay
            i = step % len(mix)
            _, low, high = mix[i]
            eb_n0 = low + (high - low) * torch.rand(
                batch, generator=chains[i].generator, device=chains[i].device
            )
            words = chains[i](eb_n0, batch)
            loss = gradient(words if taught is None else taught(words))
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            step, samples = step + 1, samples + batch
            keep = min(EMA, step / (step + 10))
            with torch.no_grad():
                for average, p in zip(ema, parameters, strict=True):
                    average.lerp_(p, 1 - keep)
            mean += 0.01 * (loss - mean) if mean else loss
            if elapsed >= next_report:
                next_report = elapsed + 30
                save()
                if not quiet:
                    print(f"{elapsed:6.0f} s  step {step}  loss {mean:.4f}", flush=True)
    except KeyboardInterrupt:
        pass
    return save()


def export(
    network: nn.Module, code: Any, state: dict[str, Any], file: str | os.PathLike, **card: Any
) -> None:
    """Writes the averaged parameters of a checkpoint as a model file.

    card: further fields of the card (operating_point, measured, ...).
    """
    network = network.to("cpu").eval()
    with torch.no_grad():
        for p, average in zip(network.parameters(), state["ema"], strict=True):
            p.copy_(average)
    checks = code.parity_check.shape[0]
    parameters: dict[str, Any] = {
        "samples": state["samples"],
        "parameters": sum(p.numel() for p in network.parameters()),
    }
    module: Any = network
    if isinstance(network, CancellationNetwork):
        parameters["cancellation_network"] = dict(state["options"])
        # TorchScript has no recursion; a trace has the tree unrolled.
        example = torch.zeros(2, code.n), torch.zeros(2, checks)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore", DeprecationWarning)
            # What depends on values is the shape of the tree, which is the code's.
            warnings.simplefilter("ignore", torch.jit.TracerWarning)
            module = torch.jit.trace(network, example, check_trace=False)
    models.save(
        file,
        module,
        models.Card(
            system="syndrome",
            name=Path(file).stem,
            methods={
                "forward": models.Method(
                    {"reliabilities": (None, code.n), "syndrome": (None, checks)},
                    {"message": (None, code.k), "codeword": (None, code.n)},
                )
            },
            code=models.CodeIdentity.of(code),
            training=models.Training(
                command=provenance.command(),
                commit=provenance.commit(),
                steps=state["step"],
                device=card.pop("device", "cpu"),
                seed=card.pop("seed", None),
            ),
            parameters=parameters | card.pop("parameters", {}),
            **card,
        ),
    )


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--code", required=True, help="polar-nr:64,32, polar-rptu:128,64, ...")
    parser.add_argument("--network", choices=NETWORKS, default="cancellation")
    parser.add_argument(
        "--options", type=json.loads, default={}, help='of the network: {"layers": 2, "scale": 6}'
    )
    parser.add_argument("--mix", default="qam16:3.5:6.5,psk8:3:5.5", help="Eb/N0 ranges in dB")
    parser.add_argument("--minutes", type=float, default=30, help="of processor time, in all")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--rate", type=float, default=3e-3)
    parser.add_argument("--teacher", help="a decoder (osd:2, ...) to learn nearer words from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--model", help="model file to write at the end")
    arguments = parser.parse_args(argv)
    torch.manual_seed(arguments.seed)
    code = codes.code(arguments.code)
    defaults = {"features": 7, "hidden": 32, "leaf_hidden": 64, "passes": 2}
    options = (defaults if arguments.network == "cancellation" else {}) | arguments.options
    network = NETWORKS[arguments.network](code, **options)
    state = train(
        code,
        network,
        options,
        parse_mix(arguments.mix),
        checkpoint=arguments.checkpoint,
        seconds=60 * arguments.minutes,
        batch=arguments.batch,
        rate=arguments.rate,
        teacher=arguments.teacher,
        seed=arguments.seed,
        device=arguments.device,
    )
    if arguments.model:
        export(
            network,
            code,
            state,
            arguments.model,
            operating_point=f"Eb/N0 in dB: {arguments.mix}",
            device=arguments.device,
            seed=arguments.seed,
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
