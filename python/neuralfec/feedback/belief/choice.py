# SPDX-License-Identifier: GPL-3.0-or-later
"""Chooses threshold and confirmation of a belief-driven code for an error target.

By calculation: the posterior tells, of each accepted block, how likely it is wrong, so that some
ten thousand simulated blocks measure error rates that no count of so few could see.
"""

import dataclasses
import math
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from .. import evaluation
from .confirmation import Confirmation
from .model import Confirmed, make
from .parameters import BeliefParameters

# Of erasures, what is wished for at most.
ERASURES = 3e-3
THRESHOLDS = (4.8, 5.1, 5.4, 5.7, 6.0, 6.5, 7.0)


def choose(
    p: BeliefParameters,
    state: Mapping[str, NDArray],
    error_target: float,
    *,
    blocks: int = 100_000,
    thresholds: Iterable[float] = THRESHOLDS,
    base: Confirmation | None = None,
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

    Raises
    ------
    ValueError : for a target that is not above 0 and below 0.1, or where no threshold keeps
        erasures below 3e-3
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
        good = result["erasure_rate"] <= ERASURES
        if good and (best is None or result["rate"] > best[1]["rate"]):
            best = Confirmed(error_target, code.threshold, p.snr_db, found), result
    if best is None:
        raise ValueError(
            f"no threshold of {', '.join(map(str, thresholds))} keeps erasures below {ERASURES}"
        )
    return best
