# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains feedback codes: DeepVLF-R, -T, hybrid, and the fixed-length GBAF as a baseline.

    neuralfec train feedback.deepvlf r.pt --scheme R --snr 3

Two phases as in Sec. V-A: first forward SNRs and thresholds are drawn at random and the
rounds allowed grow, then the code is tuned to its operating point. What differs from the
published recipe: the power is normalised over the symbols that are sent, groups and blocks
that are finished leave the batch, the transmitter sees the noise (what came back minus what
it sent), and cross-entropy is taken of logits. With --imitation the transmitter learns posterior
matching first, see `matching`.

What is kept is a running average of the weights (Polyak and Juditsky, 1992). OUTPUT with the
suffix .csv gets what it does at its operating point on the way: step, minutes, and counts over
fresh blocks. The model file is written at the end, with statistics of the power normalisation
over fresh blocks and what it measured.
"""

import argparse
import copy
import csv
import dataclasses
import math
import sys

import numpy as np
import torch
from torch import nn

from ... import models
from ...training import Run, averaged, parser, start_from
from ...training import main as run_main
from .. import evaluation
from ..setting import CHANNELS, Setting, log_odds, published_threshold
from . import model
from .code import DeepvlfCode
from .network import FeedbackCode
from .parameters import CodeParameters, design
from .power import estimate_statistics
from .rollout import Point, rollout

# theta of Sec. III-C3; 10^0.25 for T is the paper's (Table I). Its 10 for R gives the rounds
# in which groups should end no gradient until the later ones are learned.
LATE_WEIGHT = {"R": 1.5, "hybrid": 1.5, "T": 10**0.25, "GBAF": 1.0}


def parameters(options: argparse.Namespace) -> CodeParameters:
    """Return the code that the options ask for."""
    bits = options.bits // options.groups
    # Sec. III-C3 with mu = 3; the threshold guards what comes early.
    shannon = math.floor(2 * bits / math.log2(1 + 10 ** (options.snr / 10)))
    rounds = options.rounds or {"R": 10, "hybrid": 10, "T": 20, "GBAF": 9}[options.scheme]
    first = options.first_decision or min(max(3, shannon), rounds)
    gain = 1 / math.sqrt(1 + 10 ** (-options.snr / 10))
    code = design(
        "R" if options.scheme == "hybrid" else options.scheme,
        message_bits=options.bits,
        groups=options.groups,
        rounds=rounds,
        first_decision=1 if options.scheme == "T" else first,
        peak=options.peak,
        feedback_gain=gain,
    )
    if options.init is None:
        return code
    # The networks of T are a good beginning for R and hybrid, too.
    begun, _ = model.read_parameters(options.init)
    return dataclasses.replace(
        code,
        transmitter=begun.transmitter,
        receiver=begun.receiver,
        belief_input=begun.belief_input,
    )


def setting(options: argparse.Namespace) -> Setting:
    """Return the operating point that the options ask for."""
    termination = {"R": "receiver", "T": "transmitter", "GBAF": "none"}.get(
        options.scheme, options.scheme
    )
    return Setting(
        snr_db=options.snr,
        feedback_snr_db=options.feedback_snr,
        termination=termination,
        threshold=log_odds(options.threshold) if termination in ("receiver", "hybrid") else None,
        transmitter_threshold=published_threshold(termination, options.feedback_snr),
        channel=options.channel,
    )


def draw_point(
    options: argparse.Namespace, step: int, target: Setting, rounds: int, rng: np.random.Generator
) -> tuple[Point, float]:
    """Draw the operating point of the next step, and say what share of its phase is done."""
    first = round(options.steps * options.pretraining)
    horizon, snr, gamma = rounds, target.snr_db, target.gamma or 0.99
    if step < first:
        progress = step / first
        easier = 3 * (1 - progress)
        snr += rng.uniform(easier / 2, easier + 1)
        gamma = 1 - 10 ** rng.uniform(math.log10(1 - gamma), -1)
        shortest = min(rounds, 5)
        if options.scheme != "GBAF":
            horizon = shortest + round((rounds - shortest) * min(1, 2 * progress))
    else:
        progress = (step - first) / max(1, options.steps - first)
    point = Point(
        snr,
        target.feedback_snr_db,
        target.termination,
        log_odds(gamma),
        horizon,
        target.channel,
        imitation=options.imitation * max(0.0, 1 - progress) if step < first else 0.0,
    )
    return point, progress


def train(options: argparse.Namespace) -> None:
    """Train the code that the options ask for, and write its model file."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    if options.imitation and (options.imitation < 0 or options.scheme == "GBAF"):
        # Its receiver learns after the last round alone, so that no belief is there to match.
        raise ValueError(
            "expected --imitation of at least 0, and none for GBAF, "
            f"got {options.imitation} for {options.scheme}"
        )
    module = FeedbackCode(parameters(options)).to(options.device)
    if options.init:
        start_from(module, options.init, {"system": "feedback"})
    average = averaged(module, 0.998)
    average.eval()
    target = setting(options)
    optimizer = torch.optim.AdamW(module.parameters(), lr=options.rate, weight_decay=1e-3)
    rng = torch.Generator(options.device).manual_seed(options.seed)
    run = Run.of(options, generators={"rollout": rng})
    module.train()
    parts = {"module": module, "average": average, "optimizer": optimizer}
    first = round(options.steps * options.pretraining)
    precision = getattr(torch, options.precision)
    late_weight = LATE_WEIGHT[options.scheme]
    kernel = options.engine == "kernel"
    if kernel and (options.device != "cpu" or precision != torch.float32):
        raise ValueError("--engine kernel is for float32 on a CPU")
    for step in run.steps(options.steps, parts):
        draw = np.random.default_rng([options.seed, step])
        point, progress = draw_point(options, step, target, module.code.rounds, draw)
        rate = options.rate if step < first else options.rate / 4
        rate *= 0.02 + 0.49 * (1 + math.cos(math.pi * progress))
        # The first steps of a fresh transformer are fragile.
        rate *= min(1, (step + 1) / 50)
        for group in optimizer.param_groups:
            group["lr"] = rate
        with torch.autocast(options.device, precision, enabled=precision != torch.float32):
            figures = rollout(module, point, late_weight, options.batch, rng, kernel)
        optimizer.zero_grad(set_to_none=True)
        figures.loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(module)
        run.report(
            loss=float(figures.loss.detach()),
            block_error_rate=figures.block_errors / figures.blocks,
            rounds=figures.symbols / figures.blocks / module.code.groups,
            power=figures.energy / figures.symbols,
        )
        if (step + 1) % options.measure == 0:
            note_progress(average.module, step + 1, run.seconds, target, options)
    export(average.module, target, run.record(), options)


def measured(
    module: FeedbackCode, target: Setting, blocks: tuple[int, int], rng: np.random.Generator
) -> dict:
    """Set the statistics of a module over the first number of blocks, measure over the second."""
    code = DeepvlfCode.of(module)
    estimate_statistics(code, target, blocks[0], rng, sent_only=True)
    module.set_statistics(code.statistics())
    return evaluation.evaluate(code, target, blocks[1], rng)


def note_progress(
    module: FeedbackCode, step: int, seconds: float, target: Setting, options: argparse.Namespace
) -> None:
    """Add a line on what the module does at the operating point, power normalised."""
    file = options.output.with_suffix(".csv")
    rng = np.random.default_rng([options.seed, step])
    blocks = options.progress_blocks
    found = measured(copy.deepcopy(module).cpu(), target, (blocks, blocks), rng)
    names = (
        "blocks", "block_errors", "erasures", "symbols", "block_error_rate", "rate", "mean_power"
    )  # fmt: skip
    row = {"step": step, "minutes": round(seconds / 60, 2)} | {name: found[name] for name in names}
    new = step == options.measure or not file.exists()
    with file.open("w" if new else "a", newline="") as out:
        writer = csv.DictWriter(out, row, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def export(
    module: FeedbackCode, target: Setting, record: models.Training, options: argparse.Namespace
) -> None:
    """Set the statistics, measure, and write the model file.

    record : what its card says of the training. options : output, seed and those of
    `add_measuring`.
    """
    module = module.cpu().eval()
    rng = np.random.default_rng(options.seed)
    blocks = options.statistics_blocks, options.evaluation_blocks
    found = measured(module, target, blocks, rng)
    model.save(
        options.output,
        module,
        target,
        name=options.output.stem,
        statistics_blocks=options.statistics_blocks,
        statistics_over="symbols sent",
        training=record,
        measured=found,
    )
    low, high = found["block_error_rate_interval"]
    print(
        f"{options.output}: BLER {found['block_error_rate']:.2e} [{low:.1e}, {high:.1e}], "
        f"{found['average_rounds']:.3f} rounds, rate {found['rate']:.4f}, "
        f"power {found['mean_power']:.3f}, capacity {found['capacity']:.4f}"
    )


def add_measuring(made: argparse.ArgumentParser) -> None:
    """Add the options of `export` to a trainer's parser."""
    made.add_argument("--statistics-blocks", type=int, default=32768, help="(default 32768)")
    made.add_argument("--evaluation-blocks", type=int, default=32768, help="(default 32768)")


def options_of_training() -> argparse.ArgumentParser:
    """Make the parser of this trainer's command line."""
    made = parser(
        __doc__, steps=3000, batch=256, rate=2e-3, prog="neuralfec train feedback.deepvlf"
    )
    made.add_argument(
        "--scheme", choices=["R", "T", "hybrid", "GBAF"], default="R", help="(default R)"
    )
    made.add_argument("--snr", type=float, required=True, help="forward SNR in dB, 1/sigma^2")
    made.add_argument("--feedback-snr", type=float, help="in dB (default: feedback without noise)")
    made.add_argument(
        "--threshold",
        type=float,
        default=0.9999,
        help="probability gamma above which groups are decided (default %(default)s)",
    )
    made.add_argument("--channel", choices=CHANNELS, default="awgn", help="(default awgn)")
    made.add_argument("--bits", type=int, default=48, help="bits K of a block (default 48)")
    made.add_argument("--groups", type=int, default=16, help="groups Q (default 16)")
    made.add_argument(
        "--rounds", type=int, help="rounds at most (default R, hybrid 10, T 20, GBAF 9)"
    )
    made.add_argument(
        "--first-decision", type=int, help="round tau^+ (default: Sec. III-C3 with mu = 3)"
    )
    made.add_argument("--peak", type=float, default=4.0, help="limit of |x| (default 4)")
    made.add_argument(
        "--pretraining", type=float, default=0.6, help="share of the first phase (default 0.6)"
    )
    made.add_argument(
        "--imitation",
        type=float,
        default=0.0,
        help="weight, at the start of the first phase, of the distance from what posterior "
        "matching would send; it falls to 0 at the end of the phase (default 0)",
    )
    made.add_argument(
        "--precision",
        choices=("float32", "bfloat16"),
        default="float32",
        help="of the matrix products (default float32)",
    )
    made.add_argument(
        "--engine",
        choices=("kernel", "torch"),
        default="torch",
        help="what runs the networks: torch, or the compiled kernel on a CPU (default torch)",
    )
    made.add_argument("--threads", type=int, default=1, help="of torch (default 1)")
    made.add_argument(
        "--measure", type=int, default=250, help="steps from one line of the .csv to the next"
    )
    made.add_argument("--progress-blocks", type=int, default=8192, help="blocks of such a line")
    add_measuring(made)
    return made


def main(argv: list[str] | None = None) -> int:
    """Train by a command line; return the exit status, see ``training.main``."""
    return run_main(train, options_of_training(), argv)


if __name__ == "__main__":
    sys.exit(main())
