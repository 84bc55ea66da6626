#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures a feedback code: error rate, rounds, rate and the power really sent.

Simulated real AWGN channels in both directions; blocks that are finished leave the batch.
SNRs are 1 / sigma^2 of a real symbol. What the model's card says stands for what is not
given here. Errors are counted; a belief-driven code's are also estimated by the receiver's
own posterior, which reaches rates that counting cannot, and the two must agree where both
exist.
"""

import argparse
import dataclasses
import json
import math
import sys
import time
from pathlib import Path

import numpy as np
from gnuradio.neuralfec import provenance
from gnuradio.neuralfec.feedback import evaluation, files


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="model file, or name of a shipped one")
    parser.add_argument("--snr", type=float, help="forward SNR in dB")
    parser.add_argument(
        "--feedback-snr", type=float, help="feedback SNR in dB; inf or absent: noiseless"
    )
    parser.add_argument("--termination", choices=evaluation.TERMINATIONS)
    threshold = parser.add_mutually_exclusive_group()
    threshold.add_argument("--threshold", type=float, help="gamma of the receiver")
    threshold.add_argument("--log-odds", type=float, help="the same as log(gamma / (1 - gamma))")
    parser.add_argument("--transmitter-threshold", type=float, help="of the transmitter's check")
    parser.add_argument("--channel", choices=evaluation.CHANNELS)
    parser.add_argument("--blocks", type=int, default=20000)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write all figures here")
    arguments = parser.parse_args(argv)
    if arguments.log_odds is not None:
        arguments.threshold = 1 / (1 + math.exp(-arguments.log_odds))
    try:
        code, made_for, card = files.load(
            arguments.model, threshold=arguments.threshold, snr_db=arguments.snr
        )
        setting = evaluation.override(
            made_for,
            feedback_snr_db=arguments.feedback_snr,
            termination=arguments.termination,
            threshold=arguments.threshold,
            transmitter_threshold=arguments.transmitter_threshold,
            channel=arguments.channel,
        )
        start = time.monotonic()
        result = evaluation.evaluate(
            code,
            setting,
            arguments.blocks,
            np.random.default_rng(arguments.seed),
            arguments.batch,
        )
    except (ValueError, OSError) as error:
        print(f"feedback_evaluate: {error}", file=sys.stderr)
        return 1
    print(f"{card.name}: {setting.termination} termination, {files.describe(setting)}")
    for line in lines(result):
        print(line)
    print(f"{result['blocks'] / (time.monotonic() - start):.0f} blocks/s")
    if arguments.json:
        record = {
            "model": card.name,
            "setting": dataclasses.asdict(setting),
            **result,
            "made_by": provenance.record(),
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    return 0


def lines(result: dict) -> list[str]:
    """What a report says, a line each."""

    def interval(name: str, form: str) -> str:
        low, high = result[f"{name}_interval"]
        return f"{result[name]:{form}} [{low:{form}}, {high:{form}}]"

    text = [
        f"blocks               {result['blocks']}, {result['block_errors']} wrong",
        f"block error rate     {interval('block_error_rate', '.3e')}",
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
            f"return link          {result['feedback_bits'] / result['bits']:.2f} bits a message "
            f"bit, {result['feedback_bits'] / result['symbols']:g} a symbol",
        ]
    return text


if __name__ == "__main__":
    sys.exit(main())
