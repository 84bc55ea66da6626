# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains the recurrent decoder of a convolutional code.

    python -m gnuradio.neuralfec.sequence.training mine.pt --code conv:7,5 --steps 3600

The data are made as they are needed, and the targets are not the sent bits but their posterior
probabilities, computed by the BCJR algorithm from the same received values, over pulses on the
joint trellis of the code and of the pulses. Both have the same optimum, E[u | y], but the
posterior's gradient has far less variance. The posterior is moreover a deterministic function
of the received values, so they may be drawn from any distribution that covers the interesting
cases: at high SNR, where a sent frame is hardly ever ambiguous, noise is added along
low-weight codewords until it is. `--targets bits --snr 0 0 --ambiguous 0` is the paper's own
training.

The learning rate rises over the first 2 % of the steps and falls to 0 along a line; Adam,
gradients clipped to norm 1. At the end error rates are measured beside those of BCJR.
"""

import argparse
import sys
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from .. import codes, models
from ..codes.convolutional import ConvolutionalCode
from ..phy.impulsive import Pulses, StudentT
from ..training import Run, parser, start_from
from ..training import main as run_trainer
from .decoder import PAD_STEPS, PAD_VALUE
from .network import RecurrentNetwork
from .trellis import Trellis, denormals_flushed

# Message bits by SNR in dB over which a model's error rates are measured.
EVALUATION = {0: 100_000, 2: 200_000, 4: 600_000}

CHANNELS = {"awgn": None, "pulses": Pulses(), "student-t": StudentT()}


def make_batch(
    trellis: Trellis, bits: int, steps: int, options: argparse.Namespace, rng: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Draw frames of so many steps, and message bits in all.

    options : snr, ambiguous, targets and channel, as on the command line

    Returns the network's input float32 (F, T, n), targets (F, T) in 0 .. 1, and the bits sent
    (F, T).
    """
    frames = max(1, bits // steps)
    memory = trellis.memory
    w = torch.randint(0, 2, (frames, memory + steps), generator=rng)
    # A quarter of the frames each: (un)known state at the start, (un)known at the end.
    known = torch.rand(2, frames, generator=rng) < 0.5
    w[:, : memory + PAD_STEPS] *= ~known[0, :, None]
    w[:, -memory - PAD_STEPS :] *= ~known[1, :, None]
    c = trellis.convolve(w, trellis.generators)
    u = trellis.convolve(w, trellis.feedback)[:, :, 0]

    low, high = options.snr
    snr = low + (high - low) * torch.rand(frames, 1, 1, generator=rng)
    sigma = 10 ** (-snr / 20)
    x = 2 * c - 1
    # Sparse short inputs make low-weight codewords; along them the sent signal is taken away.
    density = options.ambiguous * (snr[:, :, 0] - 1).clamp(0, 5) / 5
    start = torch.rand(frames, memory + steps, generator=rng) < density
    more = torch.rand(2, frames, memory + steps, generator=rng) < 0.4
    event = start | (start.roll(1, 1) & more[0]) | (start.roll(2, 1) & more[1])
    event[:, : memory + PAD_STEPS] &= ~known[0, :, None]
    event[:, -memory - PAD_STEPS :] &= ~known[1, :, None]
    x = x * (1 - trellis.convolve(event, trellis.generators))

    channel = CHANNELS[options.channel]
    variance = (sigma**2).expand_as(x)
    if channel:
        numpy_rng = np.random.default_rng(int(torch.randint(2**62, (), generator=rng)))
        drawn = channel.variances(numpy_rng, (frames, x[0].numel()), variance.flatten(1).numpy())
        variance = torch.from_numpy(drawn).reshape(x.shape)
    y = x + variance.sqrt() * torch.randn(x.shape, generator=rng)
    clean = torch.zeros(frames, steps, 1, dtype=torch.bool)
    clean[:, :PAD_STEPS] |= known[0, :, None, None]
    clean[:, -PAD_STEPS:] |= known[1, :, None, None]
    received = (~clean).float()
    mean = (y.abs() * received).sum((1, 2)) / (received.sum((1, 2)) * y.shape[2])
    inputs = torch.where(clean, PAD_VALUE, y / mean[:, None, None])
    if options.targets == "bits":
        return inputs, u, u
    if isinstance(channel, Pulses):
        return inputs, trellis.posterior_in_pulses(y, sigma**2, clean, channel), u
    # Student's t has no memory: these LLRs tell all that a received value does.
    llrs = torch.from_numpy(channel.llrs(y, sigma**2)) if channel else 2 * y / variance
    return inputs, torch.sigmoid(trellis.posterior(torch.where(clean, -40.0, llrs))), u


def evaluate(network: nn.Module, trellis: Trellis, channel: str) -> dict[str, dict[str, float]]:
    """Measure bit and block error rates over those of BCJR, by SNR, on frames of 100 bits.

    BCJR has the channel's right model and the same frames.
    """
    ratios: dict[str, dict[str, float]] = {"BER": {}, "BLER": {}}
    network.eval()
    for snr, bits in EVALUATION.items():
        rng = torch.Generator().manual_seed(1)
        test = argparse.Namespace(
            snr=(snr, snr), ambiguous=0.0, targets="posterior", channel=channel
        )
        errors, reference = torch.zeros(2), torch.zeros(2)
        for _ in range(-(-bits // 100_000)):
            inputs, targets, u = make_batch(trellis, min(bits, 100_000), 100, test, rng)
            with torch.inference_mode():
                logits = network(inputs)
            for total, one in ((errors, logits > 0), (reference, targets > 0.5)):
                wrong = one != (u > 0.5)
                total += torch.stack([wrong.sum(), wrong.any(1).sum()])
        for metric, ratio in zip(ratios, (errors / reference).tolist(), strict=True):
            ratios[metric][f"{snr} dB"] = round(ratio, 3)
    network.train()
    return {f"{metric} over that of BCJR": values for metric, values in ratios.items()}


def rate_at(step: int, steps: int) -> float:
    """Return the learning rate's factor at a step."""
    warmup = max(1, steps // 50)
    return min((step + 1) / warmup, max(0.0, steps - step) / max(1, steps - warmup))


@denormals_flushed()
def train(options: argparse.Namespace) -> None:
    """Run or go on with the training that the options ask for, and write its model file."""
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    code = codes.code(options.code)
    if not isinstance(code, ConvolutionalCode) or code.puncture:
        raise ValueError(f"expected an unpunctured convolutional code, got {options.code}")
    trellis = Trellis(code.generators, code.feedback)
    network = RecurrentNetwork(len(code.generators), options.hidden)
    if options.init:
        start_from(network, options.init, {"system": "sequence"})
    network.to(options.device)
    run = Run.of(options)
    optimizer = torch.optim.Adam(network.parameters(), lr=options.rate)
    rng = torch.Generator()
    for step in run.steps(options.steps, {"network": network, "optimizer": optimizer}):
        for group in optimizer.param_groups:
            group["lr"] = options.rate * rate_at(step, options.steps)
        # Every step has its own seed: a resumed run sees what the uninterrupted one would.
        rng.manual_seed((options.seed << 32) + step)
        low, high = options.block
        if torch.rand((), generator=rng) < options.short:
            low, high = 16, 60
        length = int(torch.randint(low, high + 1, (), generator=rng))
        batch = make_batch(trellis, options.batch, length + PAD_STEPS, options, rng)
        inputs, targets = (tensor.to(options.device) for tensor in batch[:2])
        loss = nn.functional.binary_cross_entropy_with_logits(network(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        # The targets' entropy is the loss of the perfect decoder.
        entropy = nn.functional.binary_cross_entropy(targets, targets)
        run.report(excess=loss.item() - entropy.item())
    measured = evaluate(network.cpu(), trellis, options.channel)
    print(measured, flush=True)
    models.save(options.output, network, card(code, options, run.record(), measured))


def card(
    code: ConvolutionalCode, options: argparse.Namespace, record: models.Training, measured: dict
) -> models.Card:
    """Write the card of a model as the options ask for it."""
    low, high = options.snr
    inputs: dict[str, models.Shape] = {"x": (None, None, len(code.generators))}
    return models.Card(
        system="sequence",
        name=options.output.stem,
        methods={"forward": models.Method(inputs, {"logits": (None, None)})},
        normalisation="mean |x| = 1 over what was received; known states as PAD_STEPS steps",
        operating_point=f"1/sigma^2 from {low:g} to {high:g} dB a real symbol, {options.channel}",
        training=record,
        measured=measured,
        parameters={
            "generators": code.generators,
            "feedback": code.feedback or 0,
            "hidden": options.hidden,
            "pad_steps": PAD_STEPS,
            "pad_value": PAD_VALUE,
        },
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Train from a command line; returns the exit status of `training.main`."""
    made = parser(__doc__, steps=6000, batch=25_000, rate=5e-3)
    made.add_argument("--code", default="conv:7,5", help="code to decode (default %(default)s)")
    made.add_argument(
        "--block",
        type=int,
        nargs=2,
        default=(100, 200),
        metavar=("FROM", "TO"),
        help="message bits of a frame (default 100 200); --batch counts those of all frames",
    )
    made.add_argument(
        "--short",
        type=float,
        default=0.1,
        help="part of the steps whose frames have 16 to 60 bits (default %(default)s)",
    )
    made.add_argument(
        "--snr",
        type=float,
        nargs=2,
        default=(-0.5, 6.5),
        metavar=("FROM", "TO"),
        help="1/sigma^2 of a real symbol in dB (default -0.5 6.5)",
    )
    made.add_argument(
        "--ambiguous",
        type=float,
        default=0.04,
        help="events a bit at 6 dB that make a frame ambiguous (default %(default)s)",
    )
    made.add_argument("--channel", choices=CHANNELS, default="awgn")
    made.add_argument("--targets", choices=("posterior", "bits"), default="posterior")
    made.add_argument(
        "--hidden", type=int, default=50, help="units a direction (default %(default)s)"
    )
    return run_trainer(train, made, argv)


if __name__ == "__main__":
    sys.exit(main())
