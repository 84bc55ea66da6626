# SPDX-License-Identifier: GPL-3.0-or-later
"""Trains feedback codes: DeepVLF-R, -T, hybrid, and the fixed-length GBAF as a baseline.

    python -m neuralfec.feedback.deepvlf.training --scheme R --snr 3 --out r.pt

Two phases as in Sec. V-A: first forward SNRs and thresholds are drawn at random and the
rounds allowed grow, then the code is tuned to its operating point. What differs from the
published recipe: the power is normalised over the symbols that are sent, groups and blocks
that are finished leave the batch, the transmitter sees the noise (what came back minus what
it sent), and cross-entropy is taken of logits.

A run that is interrupted goes on from its checkpoint (`<out>.training`) when it is started
again with the same options. What is kept is a running average of the weights (Polyak and
Juditsky, 1992). `<out>.csv` gets what it does at its operating point on the way: step,
minutes, and counts over fresh blocks. The model file is written at the end, with statistics
of the power normalisation over fresh blocks and what it measured.
"""

import argparse
import copy
import csv
import dataclasses
import math
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from ... import models, provenance
from .. import evaluation, fading, files
from .code import Code
from .network import CodeParameters, FeedbackCode, design


@dataclasses.dataclass(frozen=True)
class Point:
    """Where a batch is trained. threshold: gamma. horizon: rounds allowed."""

    snr_db: float
    feedback_snr_db: float | None
    termination: str
    threshold: float
    horizon: int
    channel: str = "awgn"


@dataclasses.dataclass
class Figures:
    """Of one batch: loss with gradient, and sums over its blocks."""

    loss: Tensor | float
    symbols: int
    energy: float
    block_errors: int
    blocks: int


# theta of Sec. III-C3; 10^0.25 for T is the paper's (Table I). Its 10 for R gives the rounds
# in which groups should end no gradient until the later ones are learned.
LATE_WEIGHT = {"R": 3.0, "hybrid": 3.0, "T": 10**0.25, "GBAF": 1.0}


def standardised(o: Tensor, sent: Tensor) -> Tensor:
    """Outputs (blocks, Q) to mean 0 and power 1 over the symbols sent, position by position.

    Positions with few symbols left take the statistics of all positions together.
    """
    mask = sent.to(o.dtype)
    count = mask.sum(0)

    def moments(total: Tensor, square: Tensor, number: Tensor) -> tuple[Tensor, Tensor]:
        mean = total / number.clamp(min=1)
        return mean, (square / number.clamp(min=1) - mean**2).clamp(min=1e-6).sqrt()

    total, square = (o * mask).sum(0), (o**2 * mask).sum(0)
    mean, deviation = moments(total, square, count)
    all_mean, all_deviation = moments(total.sum(), square.sum(), count.sum())
    few = count < 32
    mean = torch.where(few, all_mean, mean)
    deviation = torch.where(few, all_deviation, deviation)
    return (o - mean) / deviation


def rollout(
    module: FeedbackCode, point: Point, late_weight: float, blocks: int, rng: torch.Generator
) -> Figures:
    """One batch from first to last round, differentiable.

    late_weight: theta of Sec. III-C3, by which the loss of a round weighs more than that of
    the round before. rng: on the module's device.
    """
    p = module.code
    device = module.mean.device
    q, m = p.groups, p.group_bits
    labels = torch.randint(0, p.patterns, (blocks, q), generator=rng, device=device)
    bits = labels[:, :, None] >> torch.arange(m, device=device) & 1
    message = (
        2.0 * bits - 1
        if p.message_input == "signs"
        else nn.functional.one_hot(labels, p.patterns).float()
    )
    sigma = 10 ** (-point.snr_db / 20)
    back_sigma = (
        0.0
        if point.feedback_snr_db is None
        else 10 ** (-point.feedback_snr_db / 20) / p.feedback_gain
    )
    limit = math.log(point.threshold / (1 - point.threshold))
    scale = torch.full((blocks, p.rounds, q), sigma, device=device)
    if point.channel == "tdl-c":
        seed = int(torch.randint(1 << 31, (), generator=rng, device=device))
        gains = fading.gains(np.random.default_rng(seed), blocks, p.rounds, q)
        scale /= torch.from_numpy(gains).to(device)

    def noise(like: Tensor) -> Tensor:
        return torch.randn(like.shape, generator=rng, device=device)

    def padded(history: list[Tensor], size: int) -> Tensor:
        if not history:
            return message.new_zeros(len(message), q, size)
        return nn.functional.pad(torch.stack(history, 2), (0, size - len(history)))

    sent: list[Tensor] = []
    seen: list[Tensor] = []
    received: list[Tensor] = []
    belief = message.new_full((blocks, q, p.patterns), 1 / p.patterns)
    decided = torch.zeros_like(labels)
    done = torch.zeros_like(labels, dtype=torch.bool)
    vector = view = message.new_zeros(0)
    loss = message.new_zeros(())
    symbols, energy, errors = 0, 0.0, 0
    for i in range(point.horizon):
        new = torch.cat((message, padded(sent, p.rounds - 1), padded(seen, p.rounds - 1)), 2)
        vector = new if i == 0 else torch.where(done[:, :, None], vector, new)
        x = standardised(module.transmitter(vector, i)[:, :, 0], ~done)
        if p.peak is not None:
            x = x.clamp(-p.peak, p.peak)
        x = x.masked_fill(done, 0)
        symbols += int((~done).sum())
        energy += float(x.detach().square().sum())
        w = noise(x) * scale[:, i]
        y = (x + w).masked_fill(done, 0)
        received.append(y)
        new = padded(received, p.rounds)
        if p.belief_input:
            new = torch.cat((new, belief), 2)
        view = new if i == 0 else torch.where(done[:, :, None], view, new)
        logits = module.receiver(view, i)
        active = ~done
        decided = torch.where(active, logits.detach().argmax(2), decided)
        belief = torch.where(active[:, :, None], torch.softmax(logits, 2), belief)
        if i + 1 >= min(p.first_decision, point.horizon):
            wrong = nn.functional.cross_entropy(logits[active], labels[active], reduction="sum")
            loss = loss + late_weight ** (i + 1 - point.horizon) * wrong / (blocks * q)
            if point.termination in ("receiver", "hybrid"):
                with torch.no_grad():
                    best = logits.max(2)
                    rest = logits.scatter(2, best.indices[:, :, None], -math.inf).logsumexp(2)
                    done = done | (active & (best.values - rest > limit))
        if point.termination in ("transmitter", "hybrid"):
            done = done | (decided == labels).all(1, keepdim=True)
        sent.append(x)
        seen.append(w + back_sigma * noise(x))
        if len(sent) == p.rounds:
            sent, seen = sent[:-1], seen[:-1]
        stay = ~done.all(1)
        if i + 1 == point.horizon:
            stay = torch.zeros_like(stay)
        if not stay.all():
            errors += int((decided != labels)[~stay].any(1).sum())
            labels, message, belief, decided, done, vector, view, scale = (
                t[stay] for t in (labels, message, belief, decided, done, vector, view, scale)
            )
            sent, seen, received = ([t[stay] for t in h] for h in (sent, seen, received))
            if len(labels) == 0:
                break
    weights = sum(
        late_weight ** (r - point.horizon)
        for r in range(min(p.first_decision, point.horizon), point.horizon + 1)
    )
    return Figures(loss / weights, symbols, energy, errors, blocks)


def parameters(options: argparse.Namespace) -> CodeParameters:
    """The code that the options ask for."""
    bits = options.bits // options.groups
    # Sec. III-C3 with mu = 3; the threshold guards what comes early.
    shannon = math.floor(2 * bits / math.log2(1 + 10 ** (options.snr / 10)))
    rounds = options.rounds or {"R": 10, "hybrid": 10, "T": 20, "GBAF": 9}[options.scheme]
    first = options.first_decision or min(max(3, shannon), rounds)
    gain = 1 / math.sqrt(1 + 10 ** (-options.snr / 10))
    return design(
        "R" if options.scheme == "hybrid" else options.scheme,
        message_bits=options.bits,
        groups=options.groups,
        rounds=rounds,
        first_decision=1 if options.scheme == "T" else first,
        peak=options.peak,
        feedback_gain=gain,
    )


def setting(options: argparse.Namespace) -> evaluation.Setting:
    """The operating point that the options ask for."""
    termination = {"R": "receiver", "T": "transmitter", "GBAF": "none"}.get(
        options.scheme, options.scheme
    )
    return evaluation.Setting(
        snr_db=options.snr,
        feedback_snr_db=options.feedback_snr,
        termination=termination,
        threshold=options.threshold if termination in ("receiver", "hybrid") else None,
        transmitter_threshold=evaluation.published_threshold(termination, options.feedback_snr),
        channel=options.channel,
    )


def draw_point(
    options: argparse.Namespace, target: evaluation.Setting, rounds: int, rng: np.random.Generator
) -> tuple[Point, float]:
    """Operating point of the next step, and the share of its phase that is done."""
    step, first = options.step, round(options.steps * options.pretraining)
    horizon, snr, threshold = rounds, target.snr_db, target.threshold or 0.99
    if step < first:
        progress = step / first
        easier = 3 * (1 - progress)
        snr += rng.uniform(easier / 2, easier + 1)
        threshold = 1 - 10 ** rng.uniform(math.log10(1 - threshold), -1)
        shortest = min(rounds, 5)
        if options.scheme != "GBAF":
            horizon = shortest + round((rounds - shortest) * min(1, 2 * progress))
    else:
        progress = (step - first) / max(1, options.steps - first)
    point = Point(
        snr, target.feedback_snr_db, target.termination, threshold, horizon, target.channel
    )
    return point, progress


def train(options: argparse.Namespace) -> FeedbackCode:
    """Runs or goes on with a training until its end, or the end of `minutes`.

    Returns the average of the module, its statistics not yet set; options.step tells how far
    it came, options.spent in how many seconds.
    """
    torch.manual_seed(options.seed)
    module = FeedbackCode(parameters(options)).to(options.device)
    average = copy.deepcopy(module).eval()
    target = setting(options)
    optimizer = torch.optim.AdamW(module.parameters(), lr=options.lr, weight_decay=1e-3)
    rng = torch.Generator(options.device).manual_seed(options.seed)
    checkpoint = options.out.with_name(f"{options.out.name}.training")
    identity = {
        key: str(getattr(options, key))
        for key in (
            "scheme", "snr", "feedback_snr", "threshold", "channel", "bits", "groups", "rounds",
            "first_decision", "peak", "batch", "steps", "pretraining", "lr", "seed",
        )
    }  # fmt: skip
    options.step, spent = 0, 0.0
    progress_file = options.out.with_suffix(".csv")
    if checkpoint.exists():
        saved = torch.load(checkpoint, map_location=options.device, weights_only=True)
        if saved["options"] != identity:
            raise ValueError(f"{checkpoint} is of a training with other options; remove it")
        module.load_state_dict(saved["module"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        rng.set_state(saved["rng"].cpu())
        options.step, spent = saved["step"], saved["seconds"]
        print(f"goes on from step {options.step}, {spent:.0f} s", flush=True)
    # A core's own time where it does the work: a shared machine says little by the clock.
    clock = time.process_time if options.device == "cpu" else time.monotonic
    started, start = time.monotonic(), clock() - spent

    def save() -> None:
        content = {
            "options": identity,
            "module": module.state_dict(),
            "average": average.state_dict(),
            "optimizer": optimizer.state_dict(),
            "rng": rng.get_state(),
            "step": options.step,
            "seconds": clock() - start,
        }
        part = checkpoint.with_name(f"{checkpoint.name}.part")
        torch.save(content, part)
        part.replace(checkpoint)

    module.train()
    since: list[Figures] = []
    while options.step < options.steps and not options.finish:
        draw = np.random.default_rng([options.seed, options.step])
        point, progress = draw_point(options, target, module.code.rounds, draw)
        first = options.step < round(options.steps * options.pretraining)
        peak_rate = options.lr if first else options.lr / 4
        rate = peak_rate * (0.02 + 0.49 * (1 + math.cos(math.pi * progress)))
        # The first steps of a fresh transformer are fragile.
        rate *= min(1, (options.step + 1) / 50)
        for group in optimizer.param_groups:
            group["lr"] = rate
        figures = rollout(module, point, LATE_WEIGHT[options.scheme], options.batch, rng)
        optimizer.zero_grad(set_to_none=True)
        figures.loss.backward()
        nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimizer.step()
        keep = min(0.998, options.step / (options.step + 10))
        with torch.no_grad():
            for ours, theirs in zip(average.parameters(), module.parameters(), strict=True):
                ours.lerp_(theirs, 1 - keep)
        options.step += 1
        figures.loss = float(figures.loss.detach())
        since.append(figures)
        if options.step % options.report == 0 or options.step == options.steps:
            report(options.step, point, since, module, clock() - start)
            since = []
            save()
        options.spent = clock() - start
        if options.step % options.measure == 0:
            note_progress(progress_file, average, options)
        if options.minutes and time.monotonic() - started > 60 * options.minutes:
            save()
            break
    options.spent = clock() - start
    return average


def note_progress(file: Path, module: FeedbackCode, options: argparse.Namespace) -> None:
    """Adds a line on what the module does at the operating point, power normalised."""
    target = setting(options)
    rng = np.random.default_rng([options.seed, options.step])
    code = Code(copy.deepcopy(module).cpu(), files.default_engine())
    blocks = options.progress_blocks
    evaluation.estimate_statistics(code, target, blocks, rng, sent_only=True)
    measured = evaluation.evaluate(code, target, blocks, rng)
    names = ("blocks", "block_errors", "symbols", "block_error_rate", "rate", "mean_power")
    row = {"step": options.step, "minutes": round(options.spent / 60, 2)}
    row |= {name: measured[name] for name in names}
    new = options.step == options.measure or not file.exists()
    with file.open("w" if new else "a", newline="") as out:
        writer = csv.DictWriter(out, row, lineterminator="\n")
        if new:
            writer.writeheader()
        writer.writerow(row)


def report(
    step: int, point: Point, since: list[Figures], module: FeedbackCode, seconds: float
) -> None:
    symbols = sum(f.symbols for f in since)
    blocks = sum(f.blocks for f in since)
    print(
        f"step {step:6d}  {seconds:7.0f} s  SNR {point.snr_db:5.2f} dB  "
        f"rounds <= {point.horizon:2d}  loss {np.mean([f.loss for f in since]):9.3e}  "
        f"BLER {sum(f.block_errors for f in since) / blocks:8.2e}  "
        f"rounds {symbols / blocks / module.code.groups:6.3f}  "
        f"power {sum(f.energy for f in since) / symbols:5.3f}",
        flush=True,
    )


def export(module: FeedbackCode, options: argparse.Namespace) -> dict:
    """Sets the statistics, measures, writes the model file; returns what was measured."""
    target = setting(options)
    module = module.cpu().eval()
    rng = np.random.default_rng(options.seed)
    code = Code(module, files.default_engine())
    evaluation.estimate_statistics(code, target, options.statistics_blocks, rng, sent_only=True)
    code.store_statistics(module)
    measured = evaluation.evaluate(code, target, options.evaluation_blocks, rng)
    files.save(
        options.out,
        module,
        target,
        name=options.out.stem,
        statistics_blocks=options.statistics_blocks,
        statistics_over="symbols sent",
        training=models.Training(
            command=provenance.command(),
            commit=provenance.commit(),
            seed=options.seed,
            steps=options.step,
            device=f"{options.device}, {options.spent / 60:.0f} minutes",
        ),
        measured=measured,
    )
    return measured


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--scheme", choices=["R", "T", "hybrid", "GBAF"], default="R")
    parser.add_argument("--snr", type=float, required=True, help="forward SNR in dB, 1/sigma^2")
    parser.add_argument("--feedback-snr", type=float, help="in dB; noiseless if absent")
    parser.add_argument("--threshold", type=float, default=0.9999, help="gamma (%(default)s)")
    parser.add_argument("--channel", choices=evaluation.CHANNELS, default="awgn")
    parser.add_argument("--out", type=Path, required=True, help="model file to write, *.pt")
    parser.add_argument("--bits", type=int, default=48, help="K (%(default)s)")
    parser.add_argument("--groups", type=int, default=16, help="Q (%(default)s)")
    parser.add_argument("--rounds", type=int, help="tau_max (R, hybrid 10, T 20, GBAF 9)")
    parser.add_argument("--first-decision", type=int, help="tau^+ (Sec. III-C3 with mu = 3)")
    parser.add_argument("--peak", type=float, default=4.0, help="limit of |x| (%(default)s)")
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument(
        "--pretraining", type=float, default=0.6, help="share of phase I (%(default)s)"
    )
    parser.add_argument("--lr", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--device", default="cpu", help="cpu or cuda")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--minutes", type=float, help="stop after these; start again to go on")
    parser.add_argument(
        "--finish", action="store_true", help="write the model as far as its training has come"
    )
    parser.add_argument("--report", type=int, default=50, help="steps from one line to the next")
    parser.add_argument(
        "--measure", type=int, default=250, help="steps from one line of <out>.csv to the next"
    )
    parser.add_argument("--progress-blocks", type=int, default=8192, help="of such a line")
    parser.add_argument("--statistics-blocks", type=int, default=32768)
    parser.add_argument("--evaluation-blocks", type=int, default=32768)
    return parser


def main(argv: list[str] | None = None) -> int:
    options = parser().parse_args(argv)
    torch.set_num_threads(options.threads)
    try:
        module = train(options)
        if options.step < options.steps and not options.finish:
            print(f"stopped after step {options.step} of {options.steps}; start again to go on")
            return 0
        measured = export(module, options)
    except (ValueError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    low, high = measured["block_error_rate_interval"]
    print(
        f"{options.out}: BLER {measured['block_error_rate']:.2e} [{low:.1e}, {high:.1e}], "
        f"{measured['average_rounds']:.3f} rounds, rate {measured['rate']:.4f}, "
        f"power {measured['mean_power']:.3f}, capacity {measured['capacity']:.4f}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
