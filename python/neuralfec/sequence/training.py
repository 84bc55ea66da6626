# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains the recurrent decoder: ``python -m neuralfec.sequence.training --code 7,5``.

The data are made as they are needed, and the targets are not the sent bits but their posterior
probabilities, computed by the BCJR algorithm from the same received values, over pulses on the
joint trellis of the code and of the pulses. Both have the same
optimum, E[u | y], but the posterior's gradient has far less variance. The posterior is moreover a
deterministic function of the received values, so they may be drawn from any distribution that
covers the interesting cases: at high SNR, where a sent frame is hardly ever ambiguous, noise is
added along low-weight codewords until it is.

``--targets bits --snr 0 0 --ambiguous 0`` is the paper's own training. At the end, or with
``--export`` from any checkpoint, the network becomes a model file. Ctrl-C (SIGINT) ends training
after the step it is in, with checkpoint and model file; the same command goes on from there.
"""

import argparse
import json
import math
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn

from .. import models, provenance
from ..phy.impulsive import Pulses, StudentT
from .decoder import PAD_STEPS, PAD_VALUE
from .network import RecurrentNetwork

# Message bits by SNR in dB over which a model's error rates are measured.
EVALUATION = {0: 100_000, 2: 200_000, 4: 600_000}

CHANNELS = {"awgn": None, "pulses": Pulses(), "student-t": StudentT()}


class Trellis:
    """The shift register w behind a rate 1/n code: c_j = g_j * w, u = feedback * w (modulo 2).

    Feedforward codes have feedback 1, so u = w. A recursive code with generators g_j and feedback
    g_0 has the same codewords with other messages: c_j = (g_j / g_0) u.

    generators, feedback: octal as integers, the newest bit most significant.
    """

    def __init__(self, generators: list[int], feedback: int | None):
        self.length = max(g.bit_length() for g in generators)
        self.memory = self.length - 1
        self.generators = torch.tensor([self._taps(g) for g in generators])
        one = 1 << self.memory
        self.feedback = torch.tensor([self._taps(one if feedback is None else feedback)])
        states = 1 << self.memory
        # Edge e = (w_t, w_t-1, ..., w_t-m) leads from its low m bits to its high m bits.
        register = torch.arange(2 * states)
        self.source = register % states
        self.target = register // 2
        bits = (register[:, None] >> torch.arange(self.memory, -1, -1)) & 1
        self.outputs = bits @ self.generators.T % 2
        self.message = (bits @ self.feedback.T % 2)[:, 0]

    def _taps(self, generator: int) -> list[int]:
        return [(generator >> i) & 1 for i in range(self.memory, -1, -1)]

    def convolve(self, w: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
        """w (F, m + T) bits, the first m of them history; taps (n, m + 1) -> (F, T, n)."""
        windows = w.unfold(1, self.length, 1).flip(2)
        return windows.float() @ taps.T.float() % 2

    def posterior_in_pulses(
        self, y: torch.Tensor, noise_var: torch.Tensor, known: torch.Tensor, pulses: Pulses
    ) -> torch.Tensor:
        """Posteriors P(u = 1 | y), (F, T), by BCJR on the states of the code and of the pulses.

        y (F, T, n) received, noise_var (F, 1, 1); known (F, T, 1) marks steps of zeros that
        nothing was received for. In the linear domain: alpha and beta are normalised.
        """
        chain, stationary = map(torch.from_numpy, pulses.chain())
        hidden, (frames, steps, outputs) = len(stationary), y.shape
        # P(y_j, r' | r, c_j) for c_j = 0 and 1, (F, T, n, 2, r, r'), relative to the largest.
        variance = noise_var + pulses.power * (torch.arange(hidden) > 0)
        distance = (y[..., None] - torch.tensor([-1.0, 1.0]))[..., None]
        density = (
            -(distance**2) / (2 * variance[:, :, None, None]) - variance.log()[:, :, None, None] / 2
        )
        density = (density - density.amax((3, 4), keepdim=True)).exp()
        clean = torch.tensor([1.0, 0.0])[:, None].expand(2, hidden)
        density = torch.where(known[..., None, None], clean, density)
        bits = chain * density[..., None, :]
        patterns = torch.arange(2**outputs)
        weight = bits[:, :, 0, patterns % 2]
        for j in range(1, outputs):
            weight = weight @ bits[:, :, j, (patterns >> j) % 2]

        states = 1 << self.memory
        pattern = (self.outputs << torch.arange(outputs)).sum(1)
        into, outof = (
            torch.argsort(self.target, stable=True),
            torch.argsort(self.source, stable=True),
        )
        alpha = torch.empty(steps + 1, frames, states, 1, hidden)
        beta = torch.empty(steps + 1, frames, states, hidden, 1)
        alpha[0], beta[steps] = stationary, 1.0
        joint = torch.empty(steps, frames, 2 * states)
        for t in range(steps):
            a = alpha[t][:, self.source] @ weight[:, t, pattern]
            a = a[:, into].view(frames, states, 2, 1, hidden).sum(2)
            alpha[t + 1] = a / a.sum((1, 2, 3), keepdim=True)
        for t in reversed(range(steps)):
            b = weight[:, t, pattern] @ beta[t + 1][:, self.target]
            joint[t] = (alpha[t][:, self.source] @ b)[:, :, 0, 0]
            b = b[:, outof].view(frames, states, 2, hidden, 1).sum(2)
            beta[t] = b / b.sum((1, 2, 3), keepdim=True)
        one = joint[:, :, self.message == 1].sum(2)
        return (one / joint.sum(2)).T

    def posterior(self, llrs: torch.Tensor) -> torch.Tensor:
        """BCJR (log-MAP) from unknown to unknown state: (F, T, n) -> LLRs of the message (F, T)."""
        frames, steps, _ = llrs.shape
        states = 1 << self.memory
        branch = (llrs @ (self.outputs.T - 0.5)).permute(1, 2, 0).contiguous()
        into = torch.argsort(self.target, stable=True)  # two edges into each state, in turn
        outof = torch.argsort(self.source, stable=True)
        alpha = torch.zeros(steps, states, frames)
        beta = torch.zeros(steps, states, frames)
        for t in range(1, steps):
            m = (alpha[t - 1, self.source[into]] + branch[t - 1, into]).view(states, 2, frames)
            a = torch.logaddexp(m[:, 0], m[:, 1])
            torch.sub(a, a[0], out=alpha[t])
            r = steps - t
            m = (beta[r, self.target[outof]] + branch[r, outof]).view(states, 2, frames)
            b = torch.logaddexp(m[:, 0], m[:, 1])
            torch.sub(b, b[0], out=beta[r - 1])
        joint = alpha[:, self.source] + branch + beta[:, self.target]
        one = self.message == 1
        return (torch.logsumexp(joint[:, one], 1) - torch.logsumexp(joint[:, ~one], 1)).T


def make_batch(
    trellis: Trellis, bits: int, steps: int, arguments: argparse.Namespace, rng: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """One batch -> network input (F, T, n), targets (F, T) in 0 .. 1, sent bits (F, T)."""
    frames = max(1, bits // steps)
    memory = trellis.memory
    w = torch.randint(0, 2, (frames, memory + steps), generator=rng)
    # A quarter of the frames each: (un)known state at the start, (un)known at the end.
    known = torch.rand(2, frames, generator=rng) < 0.5
    w[:, : memory + PAD_STEPS] *= ~known[0, :, None]
    w[:, -memory - PAD_STEPS :] *= ~known[1, :, None]
    c = trellis.convolve(w, trellis.generators)
    u = trellis.convolve(w, trellis.feedback)[:, :, 0]

    low, high = arguments.snr
    snr = low + (high - low) * torch.rand(frames, 1, 1, generator=rng)
    sigma = 10 ** (-snr / 20)
    x = 2 * c - 1
    # Sparse short inputs make low-weight codewords; along them the sent signal is taken away.
    density = arguments.ambiguous * (snr[:, :, 0] - 1).clamp(0, 5) / 5
    start = torch.rand(frames, memory + steps, generator=rng) < density
    more = torch.rand(2, frames, memory + steps, generator=rng) < 0.4
    event = start | (start.roll(1, 1) & more[0]) | (start.roll(2, 1) & more[1])
    event[:, : memory + PAD_STEPS] &= ~known[0, :, None]
    event[:, -memory - PAD_STEPS :] &= ~known[1, :, None]
    x = x * (1 - trellis.convolve(event, trellis.generators))

    channel = CHANNELS[arguments.channel]
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
    if arguments.targets == "bits":
        return inputs, u, u
    if isinstance(channel, Pulses):
        return inputs, trellis.posterior_in_pulses(y, sigma**2, clean, channel), u
    # Student's t has no memory: these LLRs tell all that a received value does.
    llrs = torch.from_numpy(channel.llrs(y, sigma**2)) if channel else 2 * y / variance
    return inputs, torch.sigmoid(trellis.posterior(torch.where(clean, -40.0, llrs))), u


def evaluate(network: nn.Module, trellis: Trellis, channel: str) -> dict[str, dict[str, float]]:
    """Bit and block error rates over those of BCJR, with the channel's right model, on the same
    frames of 100 bits, by SNR."""
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


def export(
    file: Path, network: nn.Module, arguments: argparse.Namespace, step: int, measured: dict
) -> None:
    """The model file that the decoders read."""
    generators, feedback = parse_code(arguments.code)
    low, high = arguments.snr
    card = models.Card(
        system="sequence",
        name=file.stem,
        methods={
            "forward": models.Method({"x": (None, None, len(generators))}, {"logits": (None, None)})
        },
        normalisation="mean |x| = 1 over what was received; known states as PAD_STEPS steps",
        operating_point=f"1/sigma^2 from {low:g} to {high:g} dB a real symbol, {arguments.channel}",
        training=models.Training(
            command=provenance.command(),
            commit=provenance.commit(),
            seed=arguments.seed,
            steps=step,
            device="cpu, 1 thread",
        ),
        measured=measured,
        parameters={
            "generators": generators,
            "feedback": feedback or 0,
            "hidden": arguments.hidden,
            "pad_steps": PAD_STEPS,
            "pad_value": PAD_VALUE,
        },
    )
    models.save(file, network, card)


def parse_code(text: str) -> tuple[list[int], int | None]:
    """``7,5`` or ``7,5/7``: octal generators and feedback."""
    generators, _, feedback = text.partition("/")
    return [int(g, 8) for g in generators.split(",")], int(feedback, 8) if feedback else None


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--code", default="7,5", help="octal generators[/feedback]: 7,5 or 7,5/7")
    parser.add_argument("--steps", type=int, default=6000)
    parser.add_argument("--batch", type=int, default=25_000, help="message bits in a batch")
    parser.add_argument("--block", type=int, nargs=2, default=(100, 200), help="block lengths")
    parser.add_argument("--short", type=float, default=0.1, help="part of batches of 16 to 60 bits")
    parser.add_argument("--snr", type=float, nargs=2, default=(-0.5, 6.5), help="1/sigma^2 in dB")
    parser.add_argument(
        "--ambiguous", type=float, default=0.04, help="ambiguous events a bit at 6 dB"
    )
    parser.add_argument("--channel", choices=CHANNELS, default="awgn")
    parser.add_argument("--targets", choices=("posterior", "bits"), default="posterior")
    parser.add_argument("--rate", type=float, default=5e-3, help="highest learning rate")
    parser.add_argument("--hidden", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--init", help="model to start from: a shipped name or a file")
    parser.add_argument("--checkpoint", type=Path, required=True, help="written, and resumed from")
    parser.add_argument("--minutes", type=float, default=3, help="between checkpoints")
    parser.add_argument("--export", type=Path, help="model file to write at the end")
    arguments = parser.parse_args(argv)

    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(arguments.seed)
    trellis = Trellis(*parse_code(arguments.code))
    network = RecurrentNetwork(len(trellis.generators), arguments.hidden)
    optimizer = torch.optim.Adam(network.parameters(), lr=arguments.rate)
    warmup = max(1, arguments.steps // 50)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer,
        lambda step: min(
            (step + 1) / warmup,
            max(0.0, arguments.steps - step) / max(1, arguments.steps - warmup),
        ),
    )
    step, seconds = 0, 0.0
    if arguments.checkpoint.exists():
        state = torch.load(arguments.checkpoint, weights_only=True)
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        step, seconds = state["step"], state["seconds"]
    elif arguments.init:
        network.load_state_dict(models.state_dict(arguments.init))

    def save() -> None:
        state = {
            "network": network.state_dict(),
            "optimizer": optimizer.state_dict(),
            "schedule": schedule.state_dict(),
            "step": step,
            "seconds": seconds,
            "arguments": json.dumps(vars(arguments), default=str),
        }
        temporary = arguments.checkpoint.with_suffix(".partial")
        torch.save(state, temporary)
        os.replace(temporary, arguments.checkpoint)

    stop = threading.Event()
    before = signal.signal(signal.SIGINT, lambda *_: stop.set())
    rng = torch.Generator()
    excess, saved = math.nan, time.monotonic()
    while step < arguments.steps and not stop.is_set():
        began = time.monotonic()
        # Every step has its own seed: a resumed run sees what the uninterrupted one would.
        rng.manual_seed((arguments.seed << 32) + step)
        low, high = arguments.block
        if torch.rand((), generator=rng) < arguments.short:
            low, high = 16, 60
        length = int(torch.randint(low, high + 1, (), generator=rng))
        inputs, targets, _ = make_batch(
            trellis, arguments.batch, length + PAD_STEPS, arguments, rng
        )
        loss = nn.functional.binary_cross_entropy_with_logits(network(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        step += 1
        # The targets' entropy is the loss of the perfect decoder.
        entropy = nn.functional.binary_cross_entropy(targets, targets)
        now = loss.item() - entropy.item()
        excess = now if math.isnan(excess) else 0.98 * excess + 0.02 * now
        seconds += time.monotonic() - began
        if step % 50 == 0:
            print(f"step {step} loss - entropy {excess:.6f} {seconds:.0f} s", flush=True)
        if time.monotonic() - saved > 60 * arguments.minutes:
            save()
            saved = time.monotonic()
    signal.signal(signal.SIGINT, before)
    save()
    if arguments.export:
        measured = evaluate(network, trellis, arguments.channel)
        print(measured, flush=True)
        export(arguments.export, network, arguments, step, measured)


if __name__ == "__main__":
    main()
