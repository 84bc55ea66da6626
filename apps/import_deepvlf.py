#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Turn a published DeepVLF checkpoint into a model file.

The file is read without running anything in it. What kind of code it holds follows from
its contents; the statistics of its power normalisation, which it lacks, are estimated at
the SNR given.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import hashlib
import sys
from pathlib import Path

import numpy as np
from gnuradio.neuralfec import app, models, provenance
from gnuradio.neuralfec.feedback import evaluation
from gnuradio.neuralfec.feedback.deepvlf.code import DeepvlfCode
from gnuradio.neuralfec.feedback.deepvlf.power import estimate_statistics
from gnuradio.neuralfec.feedback.setting import Setting, log_odds, published_threshold


def parser() -> app.Parser:
    made = app.parser(
        __doc__, "neuralfec import-deepvlf published.ckpt mine.pt --snr 1 --blocks 4096"
    )
    made.add_argument("checkpoint", type=app.InputFile, help="published file")
    made.add_argument("output", type=app.OutputFile, help="model file to write, *.pt")
    made.add_argument("--snr", type=float, required=True, help="forward SNR in dB it is for")
    made.add_argument("--feedback-snr", type=float, help="feedback SNR in dB; noiseless if absent")
    made.add_argument("--threshold", type=float, default=0.9999, help="gamma of an R code")
    made.add_argument("--groups", type=int, help="Q, which R files do not tell; 16 if absent")
    made.add_argument(
        "--blocks",
        type=int,
        default=32768,
        help="blocks for the statistics; fewer than the default make the code longer",
    )
    made.add_argument("--seed", type=int, default=1, help="of the statistics' blocks")
    return made


def run(args: argparse.Namespace) -> None:
    # These need torch, which the help does not.
    from gnuradio.neuralfec.feedback.deepvlf import checkpoints, model

    if args.checkpoint.size is None:
        raise ValueError(f"{args.checkpoint}: expected a file that can be read twice, not a pipe")
    module = checkpoints.import_checkpoint(
        Path(args.checkpoint), args.snr, args.threshold, args.groups
    )
    setting, measured = prepare(module, args)
    model.save(
        Path(args.output.path),
        module,
        setting,
        name=Path(args.output).stem,
        statistics_blocks=args.blocks,
        statistics_over="all groups, decoded ones too",
        training=models.Training(
            command=f"imported: {provenance.command()}", commit=provenance.commit()
        ),
        measured=measured,
    )
    p = module.code
    kind = {"receiver": "R", "transmitter": "T"}[p.termination]
    print(
        f"DeepVLF-{kind}: K {p.message_bits}, Q {p.groups}, m {p.group_bits}, "
        f"tau_max {p.rounds}, tau+ {p.first_decision}; {setting}"
    )
    print(
        f"measured: {measured['average_rounds']:.3f} rounds, power {measured['mean_power']:.3f} "
        f"(real SNR {measured['real_snr_db']:.2f} dB), rate {measured['rate']:.4f}, "
        f"{measured['block_errors']} of {measured['blocks']} blocks wrong"
    )


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


def prepare(module, arguments: argparse.Namespace) -> tuple[Setting, dict]:
    """Estimates the statistics, writes them into the module, and measures the code."""
    receiver = module.code.termination == "receiver"
    setting = Setting(
        snr_db=arguments.snr,
        feedback_snr_db=arguments.feedback_snr,
        termination=module.code.termination,
        threshold=log_odds(arguments.threshold) if receiver else None,
        transmitter_threshold=published_threshold(module.code.termination, arguments.feedback_snr),
    )
    rng = np.random.default_rng(arguments.seed)
    code = DeepvlfCode.of(module)
    with app.Progress(code.parameters.rounds, "rounds") as progress:
        estimate_statistics(
            code, setting, arguments.blocks, rng, sent_only=False, after_round=progress.update
        )
    print("The code is measured now.", file=sys.stderr)
    module.set_statistics(code.statistics())
    measured = evaluation.evaluate(code, setting, min(arguments.blocks, 8192), rng)
    digest = hashlib.sha256(Path(arguments.checkpoint).read_bytes()).hexdigest()
    return setting, {**measured, "checkpoint_sha256": digest}


if __name__ == "__main__":
    sys.exit(main())
