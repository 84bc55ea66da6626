# SPDX-License-Identifier: GPL-3.0-or-later
"""What a transmitter with a learned rule to stop remembers, and how it decides.

``stopping`` tells the rule and trains its network.
"""

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

# Rounds looked back on, this one included, and numbers a group and round.
ROUNDS, NUMBERS = 3, 2
INPUTS = ROUNDS * NUMBERS + 1


class Witness:
    """Remember the beliefs that came back, a row a block."""

    def __init__(self, capacity: int, groups: int):
        self.history = np.zeros((capacity, groups, ROUNDS * NUMBERS), np.float32)

    def start(self, slots: np.ndarray) -> None:
        """Forget blocks."""
        self.history[slots] = 0

    def observe(
        self, slots: np.ndarray, beliefs: np.ndarray, labels: np.ndarray, rounds: np.ndarray
    ) -> np.ndarray:
        """Turn beliefs (n, Q, 2^m) of the rounds just sent, (n,), into inputs (n, Q, 7)."""
        true = np.take_along_axis(beliefs, labels[:, :, None], 2)
        others = beliefs.copy()
        np.put_along_axis(others, labels[:, :, None], -np.inf, 2)
        seen = np.concatenate((true, others.max(2, keepdims=True)), 2)
        history = np.concatenate((seen, self.history[slots][:, :, :-NUMBERS]), 2)
        self.history[slots] = history
        clock = np.broadcast_to((rounds / 10).astype(np.float32)[:, None, None], (*labels.shape, 1))
        return np.concatenate((history, clock), 2)


def log_probability(state: Mapping[str, NDArray[np.float32]], inputs: NDArray) -> NDArray:
    """Return the log-probability, (n,) float64, that all decisions of each block are right.

    state : parameters of a `network.StoppingNetwork` by name
    inputs : (n, Q, 7) float32, see `Witness.observe`
    """
    h = inputs.reshape(-1, INPUTS)
    for layer in ("layer1", "layer2"):
        h = np.maximum(h @ state[f"{layer}.weight"].T + state[f"{layer}.bias"], 0)
    odds = (h @ state["layer3.weight"].T + state["layer3.bias"])[:, 0].astype(np.float64)
    return -np.logaddexp(0, -odds).reshape(inputs.shape[:2]).sum(1)
