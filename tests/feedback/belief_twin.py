# SPDX-License-Identifier: GPL-3.0-or-later
"""The belief-driven code in plain NumPy, double precision, one group at a time."""

import numpy as np


class Group:
    """One group's belief by class, unsorted; the formulas of feedback.belief as they stand."""

    def __init__(self, p, state, threshold, gain):
        self.p, self.state, self.threshold, self.gain = p, state, threshold, gain
        self.log_belief = np.zeros(p.patterns)
        self.order = np.arange(p.patterns)
        self.candidates = np.zeros((p.symbols, p.patterns))

    def _layer(self, name, x):
        return self.state[f"{name}.weight"] @ x + self.state[f"{name}.bias"]

    def propose(self, left):
        ratios = (self.log_belief - self.log_belief.max())[self.order]
        inputs = np.concatenate(
            [
                np.maximum(ratios[1:], -16) / 8,
                [left / 8, self.threshold / 8, self.p.peak / 4, self.p.snr_db / 4],
            ]
        )
        hidden = np.maximum(self._layer("layer1", inputs), 0)
        hidden = np.maximum(self._layer("layer2", hidden), 0)
        belief = np.exp(ratios) / np.exp(ratios).sum()
        for number, points in enumerate(np.split(self._layer("layer3", hidden), self.p.symbols)):
            x = np.clip(self.gain * (points - belief @ points), -self.p.peak, self.p.peak)
            self.candidates[number, self.order] = x

    def update(self, *received):
        """Take the symbols that were sent in a round, the first one or both."""
        for y, x in zip(received, self.candidates, strict=False):
            self.log_belief += -((y - x) ** 2) / (2 * self.p.noise_variance)
        # Equal beliefs keep their order.
        kept = self.order[np.argsort(-self.log_belief[self.order], kind="stable")]
        self.order = kept
        ratios = self.log_belief - self.log_belief.max()
        return np.exp(ratios[self.order[1:]]).sum()
