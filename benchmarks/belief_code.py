#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speed of the belief-driven code on one core, both ends together, beside DeepVLF.

Blocks of 48 bits through transmitter, simulated channel and receiver in this process,
alternating runs; the medians count. DeepVLF's networks have the published sizes: those of
--deepvlf, or fresh ones, whose groups all go to the last of 10 rounds.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/belief_code.py
"""

import argparse
import platform
import statistics
import time

import numpy as np
import torch
from gnuradio.neuralfec import _kernels, provenance
from gnuradio.neuralfec.feedback import evaluation, files
from gnuradio.neuralfec.feedback.belief import model
from gnuradio.neuralfec.feedback.deepvlf.code import DeepvlfCode
from gnuradio.neuralfec.feedback.deepvlf.network import FeedbackCode
from gnuradio.neuralfec.feedback.deepvlf.parameters import design
from gnuradio.neuralfec.feedback.setting import Setting, log_odds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", default="feedback/belief-4bit-1dB")
    parser.add_argument("--deepvlf", help="model file to compare with")
    parser.add_argument("--error-target", type=float, help="confirm blocks for this error rate")
    parser.add_argument("--blocks", type=int, default=1024, help="in a batch")
    parser.add_argument("--runs", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    code, own, card = model.load(arguments.model, error_target=arguments.error_target)
    p = code.parameters
    if arguments.deepvlf:
        other, setting, other_card = files.load(arguments.deepvlf)
        other_name = other_card.name
    else:
        torch.manual_seed(0)
        other = DeepvlfCode.of(FeedbackCode(design("R")))
        setting = Setting(1.0, termination="receiver", threshold=log_odds(0.9999))
        other_name = "fresh networks"
    rng = np.random.default_rng(0)
    runs = {
        "belief": lambda: evaluation.simulate(code, own, arguments.blocks, rng),
        "deepvlf": lambda: evaluation.simulate(other, setting, 512, rng),
    }
    blocks = {"belief": arguments.blocks, "deepvlf": 512}
    times: dict[str, list[float]] = {name: [] for name in runs}
    symbols = 0
    for _ in range(arguments.runs):
        for name, run in runs.items():
            start = time.process_time()
            counts = run()
            times[name].append((time.process_time() - start) / blocks[name])
            if name == "belief":
                symbols += counts["symbols"]
    median = {name: statistics.median(values) for name, values in times.items()}
    symbols_a_block = symbols / (arguments.runs * arguments.blocks)
    one = (p.patterns + 3) * p.hidden[0] + p.hidden[0] * p.hidden[1] + p.hidden[1] * p.patterns
    print(
        f"{provenance.cpu()}, 1 thread (its processor time), {_kernels.simd_target()}; "
        f"torch {torch.__version__}, numpy {np.__version__}, python {platform.python_version()}; "
        f"median of {arguments.runs} runs"
    )
    print(f"{'':40}{'blocks/s':>10}")
    print(
        f"{card.name + ', threshold ' + format(code.threshold, 'g'):40}{1 / median['belief']:10.0f}"
    )
    print(f"{'DeepVLF, fused kernel, ' + other_name:40}{1 / median['deepvlf']:10.0f}")
    print(f"{'ratio':40}{median['deepvlf'] / median['belief']:10.1f}")
    print(
        f"belief: {symbols_a_block:.1f} symbols a block, "
        f"{2e-6 * symbols_a_block * one:.2f} million multiply-adds at both ends"
    )


if __name__ == "__main__":
    main()
