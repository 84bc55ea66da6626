#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Measures a belief-driven feedback code: error rate, rounds, rate and the power really sent.

Simulated real AWGN forward channel, SNR 1 / sigma^2 of a real symbol; digital feedback.
Errors are counted, and estimated by the receiver's own posterior, which reaches rates that
counting cannot; the two must agree where both exist. The JSON has the keys of
deepvlf_evaluate, and those of the estimate.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
from deepvlf_evaluate import lines
from gnuradio.neuralfec import provenance
from gnuradio.neuralfec.feedback import belief_evaluation, belief_files


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="model file, or name of a shipped one")
    parser.add_argument("--snr", type=float, help="of the channel, in dB; the code's own")
    parser.add_argument(
        "--threshold", type=float, help="log-odds above which a group is decided; the model's own"
    )
    parser.add_argument("--blocks", type=int, default=20000)
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write all figures here")
    arguments = parser.parse_args(argv)
    try:
        code, card = belief_files.load(arguments.model, arguments.threshold)
        snr_db = code.parameters.snr_db if arguments.snr is None else arguments.snr
        start = time.monotonic()
        result = belief_evaluation.evaluate(
            code,
            snr_db,
            arguments.blocks,
            np.random.default_rng(arguments.seed),
            arguments.batch,
        )
    except (ValueError, OSError) as error:
        print(f"belief_evaluate: {error}", file=sys.stderr)
        return 1
    print(f"{card.name}: {card.operating_point}, threshold {code.threshold:g}")
    for line in lines(result):
        print(line)
    low, high = result["block_error_rate_by_posterior_interval"]
    print(
        f"by the posterior     {result['block_error_rate_by_posterior']:.3e} "
        f"[{low:.3e}, {high:.3e}] block error rate, estimated, not counted"
    )
    print(
        f"undecided            {result['undecided_blocks']} blocks had a group below the "
        "threshold after the last round"
    )
    print(
        f"return link          {result['feedback_bits'] / result['bits']:.2f} bits a message bit, "
        f"{code.parameters.feedback_bits} a symbol"
    )
    print(f"{result['blocks'] / (time.monotonic() - start):.0f} blocks/s")
    if arguments.json:
        record = {
            "model": card.name,
            "setting": {"snr_db": snr_db, "threshold": code.threshold, "gain": code.gain},
            **result,
            "made_by": provenance.record(),
        }
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
