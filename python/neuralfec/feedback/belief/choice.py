# SPDX-License-Identifier: GPL-3.0-or-later
"""Chooses threshold and confirmation of a belief-driven code for an error target.

By calculation: the posterior tells, of each accepted block, how likely it is wrong, so that some
ten thousand simulated blocks measure error rates that no count of so few could see.

    python -m gnuradio.neuralfec.feedback.belief.choice feedback/belief-4bit-1dB-confirmed \\
        more.pt --error-target 1e-5 --snr 3 5

writes a model with what it finds in its card, beside what was there for other SNRs and targets.
"""

import argparse
import dataclasses
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ... import models
from .. import evaluation
from .confirmation import Confirmation
from .model import Confirmed, load_network, make
from .parameters import BeliefParameters

# Of erasures, what is wished for at most.
ERASURES = 3e-3
THRESHOLDS = (3.2, 3.6, 4.0, 4.4, 4.8, 5.1, 5.4, 5.7, 6.0, 6.5, 7.0)
# What a card keeps of a measurement.
MEASURED = (
    "blocks",
    "block_errors",
    "erasures",
    "erasure_rate",
    "rate",
    "mean_power",
    "undecided_blocks",
    "block_error_rate_by_posterior",
)


def choose(
    p: BeliefParameters,
    state: Mapping[str, NDArray],
    error_target: float,
    *,
    blocks: int = 100_000,
    thresholds: Iterable[float] = THRESHOLDS,
    base: Confirmation | None = None,
    erasures: float = ERASURES,
    seed: int = 1,
) -> tuple[Confirmed, dict]:
    """Return the choice of the highest rate at unit power, and what it measured.

    Parameters
    ----------
    p, state : the code's parameters and its network's
    error_target : undetected block error rate
    blocks : simulated for each candidate, three times
    thresholds : theta of the groups to try
    base : the confirmation whose acceptance and gain are found; the rest stays
    erasures : what share of the blocks may be erased at most

    Raises
    ------
    ValueError : for a target that is not above 0 and below 0.1, or where no threshold keeps
        erasures below what was asked for
    """
    if not 0 < error_target < 0.1:
        raise ValueError(f"expected an error target above 0 and below 0.1, got {error_target}")
    best = None
    for theta in thresholds:
        accept = -math.log(error_target) - 2.6
        found = dataclasses.replace(
            base or Confirmation(accept), accept=accept, gain=1.0, feedback_gain=1.0
        )
        for number in range(3):
            code, setting = make(p, state, theta, found)
            rng = np.random.default_rng([seed, number])
            result = evaluation.evaluate(code, setting, blocks, rng, apart=False)
            if number == 2:
                break
            estimate = result["block_error_rate_by_posterior"]
            accept = found.accept + math.log(max(estimate, 1e-15) / (0.9 * error_target))
            gain = found.gain / math.sqrt(result["mean_power"])
            found = dataclasses.replace(found, accept=round(accept, 3), gain=round(gain, 5))
            if result["feedback_power"]:
                back = found.feedback_gain / math.sqrt(result["feedback_power"])
                found = dataclasses.replace(found, feedback_gain=round(back, 5))
        good = result["erasure_rate"] <= erasures
        if good and (best is None or result["rate"] > best[1]["rate"]):
            best = Confirmed(error_target, code.threshold, p.snr_db, found), result
    if best is None:
        raise ValueError(
            f"no threshold of {', '.join(map(str, thresholds))} keeps erasures below {erasures}"
        )
    return best


def with_choices(
    card: models.Card, choices: Sequence[tuple[Confirmed, Mapping[str, float]]]
) -> models.Card:
    """Return a card with choices in place of those that it has for the same SNRs and targets."""
    place = ("error_target", "snr_db")
    told = [row.to_card() for row, _ in choices]
    found = [
        {name: row[name] for name in place}
        | {name: result[name] for name in MEASURED if name in result}
        for row, (_, result) in zip(told, choices, strict=True)
    ]
    fresh = {tuple(row[name] for name in place) for row in told}

    def other(rows: Iterable[dict]) -> list[dict]:
        return [row for row in rows if tuple(row[name] for name in place) not in fresh]

    known = other(card.parameters.get("confirmations", ()))
    measured = other(card.measured.get("confirmed", ()))
    return dataclasses.replace(
        card,
        parameters=card.parameters | {"confirmations": [*known, *told]},
        measured=card.measured | {"confirmed": [*measured, *found]},
    )


def confirm(options: argparse.Namespace) -> None:
    """Choose what the options ask for, and write the model."""
    network, p, card = load_network(options.model)
    state = models.parameters(options.model)
    base = Confirmation(9.0, early=options.early, repeats=tuple(options.repeats))
    choices = []
    for snr_db in options.snr or [p.snr_db]:
        there = p.at(snr_db)
        if there.snr_db != snr_db:
            raise ValueError(f"{card.name} was not trained for {snr_db:g} dB, but {there.snr_db:g}")
        for target in options.error_target:
            row, result = choose(
                there,
                state,
                target,
                blocks=options.blocks,
                thresholds=options.thresholds,
                base=base,
                erasures=options.erasures,
                seed=options.seed,
            )
            choices.append((row, result))
            capacity = evaluation.capacity(snr_db)
            print(
                f"{snr_db:g} dB, {target:g}: threshold {row.threshold:g}, "
                f"{row.confirmation}: rate {result['rate']:.4f}, "
                f"{result['rate'] / capacity:.4f} of capacity, power {result['mean_power']:.4f}, "
                f"{result['block_error_rate_by_posterior']:.2e} wrong by the posterior, "
                f"{result['erasure_rate']:.2e} erased",
                flush=True,
            )
    card = dataclasses.replace(card, name=Path(options.output).stem)
    models.save(options.output, network, with_choices(card, choices))


def main(argv: Sequence[str] | None = None) -> int:
    """Choose by a command line; return the exit status, 2 for what a user can mend."""
    made = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    made.add_argument("model", help="file, or name of a shipped model, of a belief-driven code")
    made.add_argument("output", type=Path, help="model file to write, *.pt")
    made.add_argument("--error-target", type=float, nargs="+", default=[1e-5], help="(1e-5)")
    made.add_argument("--snr", type=float, nargs="+", help="in dB; default: that of the card")
    made.add_argument("--blocks", type=int, default=60_000, help="of each trial (60000)")
    made.add_argument("--thresholds", type=float, nargs="+", default=THRESHOLDS, help="to try")
    made.add_argument("--erasures", type=float, default=ERASURES, help="at most (3e-3)")
    plain = Confirmation(9.0)
    told = "see `Confirmation`"
    made.add_argument("--early", type=int, default=plain.early, help=told)
    made.add_argument("--repeats", type=int, nargs="*", default=plain.repeats, help=told)
    made.add_argument("--seed", type=int, default=1, help="of messages and noise")
    options = made.parse_args(argv)
    try:
        confirm(options)
    except (ValueError, OSError) as error:
        print(f"{made.prog}: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
