#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measure a feedback code: error rate, rounds, rate and the power really sent.

Simulated real AWGN channels in both directions; blocks that are finished leave the batch.
SNRs are 1 / sigma^2 of a real symbol. What the model's card says stands for what is not
given here. Errors are counted; a belief-driven code's are also estimated by the receiver's
own posterior, which reaches rates that counting cannot, and the two must agree where both
exist.

With --error-target a belief-driven code confirms its blocks: threshold and confirmation come from
the model's card. What the receiver then takes for right and is not are errors, what it declares
lost are erasures, and the rate charges those, for they have to be sent again.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import dataclasses
import sys

import numpy as np
from gnuradio.neuralfec import app, provenance
from gnuradio.neuralfec.feedback import evaluation, files
from gnuradio.neuralfec.feedback.setting import CHANNELS, TERMINATIONS, log_odds


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec feedback-evaluate --model feedback/belief-4bit-1dB --blocks 4000 --json a.json",
    )
    made.add_argument("--model", required=True, help="model file, or name of a shipped one")
    made.add_argument("--snr", type=float, help="forward SNR in dB; the card's if absent")
    made.add_argument(
        "--feedback-snr", type=float, help="feedback SNR in dB; inf or absent: noiseless"
    )
    made.add_argument(
        "--termination",
        choices=TERMINATIONS,
        help="who ends a block",
    )
    threshold = made.add_mutually_exclusive_group()
    threshold.add_argument("--threshold", type=float, help="gamma of the receiver")
    threshold.add_argument("--log-odds", type=float, help="the same as log(gamma / (1 - gamma))")
    threshold.add_argument(
        "--error-target", type=float, help="undetected block error rate, by confirmed blocks"
    )
    made.add_argument("--transmitter-threshold", type=float, help="of the transmitter's check")
    made.add_argument(
        "--channel", choices=CHANNELS, help="noise alone or fading; the card's if absent"
    )
    made.add_argument("--blocks", type=int, default=20000, help="how many to send")
    made.add_argument("--batch", type=int, default=2048, help="blocks at once")
    made.add_argument(
        "--apart",
        action="store_true",
        help="run the two ends apart and check that they agree; the counts are the same",
    )
    made.add_argument("--seed", type=int, default=0, help="of messages and noise")
    made.add_argument("--json", type=app.OutputFile, help="write all figures here")
    app.add_quiet(made)
    return made


def run(args: argparse.Namespace) -> None:
    if args.batch < 1:
        raise ValueError(f"--batch: expected at least 1, got {args.batch}")
    theta = args.log_odds if args.threshold is None else log_odds(args.threshold)
    code, made_for, card = files.load(args.model, theta, args.snr, error_target=args.error_target)
    setting = made_for.with_(
        feedback_snr_db=args.feedback_snr,
        termination=args.termination,
        transmitter_threshold=args.transmitter_threshold,
        channel=args.channel,
    )
    code.check(setting)
    confirmation = getattr(code, "confirmation", None)
    rng = np.random.default_rng(args.seed)
    total: dict = {}

    def simulate(size: int) -> dict:
        counts = evaluation.simulate(code, setting, size, rng, apart=args.apart)
        for name, value in counts.items():
            total[name] = total.get(name, 0) + value
        wrong = f"{total['block_errors']} of {total['blocks']} wrong"
        progress.update(total["blocks"], wrong)
        return counts

    interrupted = False
    with app.Progress(args.blocks, "blocks", args.quiet) as progress:
        try:
            evaluation.sum_batches(simulate, args.blocks, args.batch)
        except KeyboardInterrupt:
            interrupted = True
    if total:
        result = evaluation.report(code, setting, total)
        print(f"{card.name}: {setting.termination} termination, {setting}")
        if confirmation is not None:
            print(f"blocks confirmed: {confirmation}")
        for line in lines(result):
            print(line)
        print(f"{result['blocks'] / progress.seconds:.0f} blocks/s")
        if args.json:
            args.json.write_json(
                {
                    "model": card.name,
                    "setting": dataclasses.asdict(setting),
                    "gamma": setting.gamma,
                    "error_target": args.error_target,
                    "confirmation": dataclasses.asdict(confirmation) if confirmation else None,
                    **result,
                    "made_by": provenance.record(),
                }
            )
    if interrupted:
        raise app.Interrupted(f"{total.get('blocks', 0)} of {args.blocks} blocks are counted")


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


def lines(result: dict) -> list[str]:
    """What a report says, a line each."""

    def interval(name: str, form: str) -> str:
        low, high = result[f"{name}_interval"]
        return f"{result[name]:{form}} [{low:{form}}, {high:{form}}]"

    text = [
        f"blocks               {result['blocks']}, {result['block_errors']} wrong (undetected), "
        f"{result['erasures']} erased",
        f"block error rate     {interval('block_error_rate', '.3e')}",
        f"erasure rate         {interval('erasure_rate', '.3e')}, declared by the receiver",
        f"average rounds       {interval('average_rounds', '.4f')} of a group, "
        f"{result['average_block_rounds']:.3f} of a block",
        f"rate                 {interval('rate', '.4f')} bit/symbol, "
        f"{result['rate_with_stop_flag']:.4f} with the stop flag",
        f"mean power           {interval('mean_power', '.4f')} of the symbols sent, "
        f"real SNR {result['real_snr_db']:.2f} dB",
        f"capacity             {result['capacity']:.4f} bit/symbol at the nominal SNR, "
        f"{result['capacity_at_real_snr']:.4f} at the real one",
    ]
    if "block_error_rate_by_posterior" in result:
        text += [
            f"by the posterior     {interval('block_error_rate_by_posterior', '.3e')} "
            "block error rate, estimated, not counted",
            f"undecided            {result['undecided_blocks']} blocks had a group below the "
            "threshold after the last round",
        ]
    if "feedback_bits" in result:
        text += [
            f"return link          {result['feedback_bits'] / result['bits']:.2f} bits a message "
            f"bit, {result['feedback_bits'] / result['symbols']:g} a symbol",
        ]
    elif result["feedback_symbols"]:
        text += [
            f"return link          {result['feedback_symbols'] / result['symbols']:.3f} analog "
            f"symbols a symbol, mean power {result['feedback_power']:.4f}",
        ]
    return text


if __name__ == "__main__":
    sys.exit(main())
