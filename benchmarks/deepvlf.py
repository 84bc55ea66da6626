#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speed of a feedback code on one core, beside a plain torch loop of the same networks.

The plain loop is what a training script evaluates with: torch modules, inputs put together
anew each round, every block carried to the last round. Ours: the fused kernel, state kept
in place, finished blocks dropped. Both run in this process, alternating, on the same
number of blocks; CPU time, of which other programs take little; the medians count.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/deepvlf.py
"""

import argparse
import platform
import statistics
import time

import numpy as np
import torch
from gnuradio.neuralfec import _kernels, provenance
from gnuradio.neuralfec.feedback import evaluation
from gnuradio.neuralfec.feedback.deepvlf import model
from gnuradio.neuralfec.feedback.deepvlf.network import FeedbackCode
from gnuradio.neuralfec.feedback.deepvlf.rollout import Point, rollout
from gnuradio.neuralfec.feedback.setting import Setting


@torch.inference_mode()
def plain_loop(
    module: FeedbackCode, setting: Setting, blocks: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """All blocks through all rounds. Returns the patterns sent and those decided."""
    p = module.code
    q, m, last = p.groups, p.group_bits, p.rounds
    labels = torch.randint(0, p.patterns, (blocks, q))
    if p.message_input == "signs":
        message = 2.0 * (labels[:, :, None] >> torch.arange(m) & 1) - 1
    else:
        message = torch.nn.functional.one_hot(labels, p.patterns).float()
    sent, seen = torch.zeros(blocks, q, last - 1), torch.zeros(blocks, q, last - 1)
    received = torch.zeros(blocks, q, last)
    belief = torch.full((blocks, q, p.patterns), 1 / p.patterns)
    done = torch.zeros(blocks, q, dtype=torch.bool)
    frozen_in = frozen_out = None
    for i in range(last):
        vector = torch.cat((message, sent, seen), 2)
        if frozen_in is not None:
            vector = torch.where(done[:, :, None], frozen_in, vector)
        frozen_in = vector
        o = module.transmitter(vector, i)[:, :, 0]
        x = (o - module.mean[i]) / (module.deviation[i] + 1e-8) * module.weight
        y = x + setting.noise_deviation * torch.randn(blocks, q)
        received[:, :, i] = y
        vector = torch.cat((received, belief), 2) if p.belief_input else received
        if frozen_out is not None:
            vector = torch.where(done[:, :, None], frozen_out, vector)
        frozen_out = vector.clone()
        new = torch.softmax(module.receiver(vector, i), 2)
        belief = torch.where(done[:, :, None], belief, new)
        if setting.decides_at_receiver and i + 1 >= p.first_decision:
            done = done | (belief.amax(2) > setting.gamma)
        if setting.asks_transmitter:
            right = (belief.argmax(2) == labels) & (belief.amax(2) > setting.transmitter_threshold)
            done = done | right.all(1, keepdim=True)
        if i + 1 < last:
            sent[:, :, i] = x
            seen[:, :, i] = y - x if p.feedback_input == "noise" else y / module.received_deviation
    return labels, belief.argmax(2)


def seconds(function, repeats: int) -> float:
    """CPU time of a call."""
    start = time.process_time()
    for _ in range(repeats):
        function()
    return (time.process_time() - start) / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--model",
        default="feedback/deepvlf-t-1dB",
        help="model file, or name of a shipped one (%(default)s)",
    )
    parser.add_argument("--blocks", type=int, default=2048)
    parser.add_argument("--step-blocks", type=int, default=128, help="of a training step (128)")
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    module, card = model.load_module(arguments.model)
    code, setting, _ = model.load(arguments.model)
    rng = np.random.default_rng(0)
    plain_errors = plain_blocks = 0

    def plain() -> None:
        nonlocal plain_errors, plain_blocks
        sent, decided = plain_loop(module, setting, arguments.blocks)
        plain_errors += int((sent != decided).any(1).sum())
        plain_blocks += arguments.blocks

    counts: list[dict] = []
    one = np.array([0])
    encoder, decoder = code.encoder(1), code.decoder(1)
    message = rng.integers(0, 2, (1, code.parameters.message_bits), np.uint8)
    none = np.zeros((1, code.parameters.groups), bool)

    def ours_one_block() -> None:
        encoder.start(one, message)
        decoder.start(one)
        for _ in range(code.parameters.rounds):
            x = encoder.encode(one)
            decoder.decode(one, x, None)
            encoder.observe(one, decoder.feedback(one, x), none)

    def step(kernel: bool) -> None:
        """Forward and gradient of a step of the trainer, all rounds."""
        point = Point(
            setting.snr_db,
            setting.feedback_snr_db,
            setting.termination,
            setting.threshold or 0.0,
            module.code.rounds,
        )
        module.zero_grad()
        generator = torch.Generator().manual_seed(0)
        rollout(module, point, 1.5, arguments.step_blocks, generator, kernel).loss.backward()

    names = ("plain", "ours", "plain 1", "ours 1", "plain step", "ours step")
    times: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(arguments.runs):
        times["plain"].append(seconds(plain, 1) / arguments.blocks)
        times["ours"].append(
            seconds(
                lambda: counts.append(evaluation.simulate(code, setting, arguments.blocks, rng)), 1
            )
            / arguments.blocks
        )
        rounds = code.parameters.rounds
        times["plain 1"].append(seconds(lambda: plain_loop(module, setting, 1), 3) / rounds)
        times["ours 1"].append(seconds(ours_one_block, 10) / rounds)
        for name, kernel in (("plain step", False), ("ours step", True)):
            times[name].append(seconds(lambda kernel=kernel: step(kernel), 1))
    median = {name: statistics.median(values) for name, values in times.items()}
    blocks = sum(count["blocks"] for count in counts)
    print(f"{card.name}: {setting.termination} termination, {setting}")
    print(
        f"{provenance.cpu()}, 1 thread, CPU time, {_kernels.simd_target()}; "
        f"torch {torch.__version__}, "
        f"numpy {np.__version__}, python {platform.python_version()}; "
        f"median of {arguments.runs} runs of {arguments.blocks} blocks"
    )
    print(f"{'':34}{'plain torch':>14}{'ours':>14}{'ratio':>8}")
    print(
        f"{'blocks/s in batch':34}{1 / median['plain']:14.0f}{1 / median['ours']:14.0f}"
        f"{median['plain'] / median['ours']:8.2f}"
    )
    print(
        f"{'one block, ms a round, both ends':34}{1e3 * median['plain 1']:14.3f}"
        f"{1e3 * median['ours 1']:14.3f}{median['plain 1'] / median['ours 1']:8.2f}"
    )
    print(
        f"{'blocks/s through a training step':34}"
        f"{arguments.step_blocks / median['plain step']:14.0f}"
        f"{arguments.step_blocks / median['ours step']:14.0f}"
        f"{median['plain step'] / median['ours step']:8.2f}"
    )
    print(
        f"{'block errors':34}{plain_errors:>7} of {plain_blocks}"
        f"{sum(count['block_errors'] for count in counts):>6} of {blocks}"
    )


if __name__ == "__main__":
    main()
