#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turns a published DeepVLF checkpoint into a model file.

The file is read without running anything in it. What kind of code it holds follows from
its contents; the statistics of its power normalisation, which it lacks, are estimated at
the SNR given.
"""

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
from gnuradio.neuralfec import models, provenance
from gnuradio.neuralfec.feedback import evaluation, files
from gnuradio.neuralfec.feedback.deepvlf import checkpoints as importer
from gnuradio.neuralfec.feedback.deepvlf import code as codec


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("out", type=Path, help="model file to write, *.pt")
    parser.add_argument("--snr", type=float, required=True, help="forward SNR in dB it is for")
    parser.add_argument(
        "--feedback-snr", type=float, help="feedback SNR in dB; noiseless if absent"
    )
    parser.add_argument(
        "--threshold", type=float, default=0.9999, help="gamma of an R code (default: %(default)s)"
    )
    parser.add_argument("--groups", type=int, help="Q, which R files do not tell (default: 16)")
    parser.add_argument(
        "--blocks",
        type=int,
        default=32768,
        help="for the statistics; fewer than the default make the code longer",
    )
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args(argv)
    try:
        module = importer.import_checkpoint(
            arguments.checkpoint, arguments.snr, arguments.threshold, arguments.groups
        )
        setting, measured = prepare(module, arguments)
        files.save(
            arguments.out,
            module,
            setting,
            name=arguments.out.stem,
            statistics_blocks=arguments.blocks,
            statistics_over="all groups, decoded ones too",
            training=models.Training(
                command=f"imported: {provenance.command()}", commit=provenance.commit()
            ),
            measured=measured,
        )
    except (ValueError, OSError) as error:
        print(f"import_deepvlf: {error}", file=sys.stderr)
        return 1
    p = module.code
    kind = {"receiver": "R", "transmitter": "T"}[p.termination]
    print(
        f"DeepVLF-{kind}: K {p.message_bits}, Q {p.groups}, m {p.group_bits}, "
        f"tau_max {p.rounds}, tau+ {p.first_decision}; {files.describe(setting)}"
    )
    print(
        f"measured: {measured['average_rounds']:.3f} rounds, power {measured['mean_power']:.3f} "
        f"(real SNR {measured['real_snr_db']:.2f} dB), rate {measured['rate']:.4f}, "
        f"{measured['block_errors']} of {measured['blocks']} blocks wrong"
    )
    print(f"written: {arguments.out}")
    return 0


def prepare(module, arguments: argparse.Namespace) -> tuple[evaluation.Setting, dict]:
    """Estimates the statistics, writes them into the module, and measures the code."""
    receiver = module.code.termination == "receiver"
    setting = evaluation.Setting(
        snr_db=arguments.snr,
        feedback_snr_db=arguments.feedback_snr,
        termination=module.code.termination,
        threshold=arguments.threshold if receiver else None,
        transmitter_threshold=evaluation.published_threshold(
            module.code.termination, arguments.feedback_snr
        ),
    )
    rng = np.random.default_rng(arguments.seed)
    code = codec.Code(module, files.default_engine())
    evaluation.estimate_statistics(code, setting, arguments.blocks, rng, sent_only=False)
    code.store_statistics(module)
    measured = evaluation.evaluate(code, setting, min(arguments.blocks, 8192), rng)
    digest = hashlib.sha256(arguments.checkpoint.read_bytes()).hexdigest()
    return setting, {**measured, "checkpoint_sha256": digest}


if __name__ == "__main__":
    sys.exit(main())
