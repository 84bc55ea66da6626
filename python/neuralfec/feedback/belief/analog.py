# SPDX-License-Identifier: GPL-3.0-or-later
"""Both ends of the belief-driven code over analog feedback: numpy in, numpy out.

They do what those of ``codec`` do. The tracked belief runs in the kernel of the belief-driven
code at both ends; the posterior is the receiver's alone. See ``tracked`` for the formulas.
"""

import numpy as np
import torch

from ..deepvlf import code as codec
from ..evaluation import Setting
from .digital import BeliefCode, BeliefDecoder, BeliefEncoder, End
from .network import BeliefNetwork
from .tracked import TrackedParameters, choose


class TrackedCode(BeliefCode):
    """Ready for use with one threshold. amplitude: A. The rest as ``BeliefCode``."""

    parameters: TrackedParameters

    def __init__(self, parameters: TrackedParameters, network: BeliefNetwork, threshold: float):
        super().__init__(parameters, network, threshold)
        self.payload_bytes = 0
        self.amplitude = np.float32(parameters.amplitude(self.threshold))
        # The kernel's number for i = 0.
        self.center = 1 << (parameters.feedback_bits - 1)

    def check(self, setting: Setting) -> None:
        """ValueError for a setting that this code does not serve."""
        self.check_threshold(setting.threshold)
        if setting.termination != "receiver":
            raise ValueError(
                "a belief-driven code is stopped by its receiver, "
                f"got termination {setting.termination!r}"
            )

    def posterior_counts(self, encoder: "TrackedEncoder", decoder: "TrackedDecoder") -> dict:
        """undecided_blocks of ``BeliefCode.posterior_counts``. The posterior supposes that each
        number arrives, so that its error probability is too low an estimate."""
        return {"undecided_blocks": int((~decoder.decoded).any(1).sum())}

    def encoder(self, capacity: int) -> "TrackedEncoder":
        return TrackedEncoder(self, capacity)

    def decoder(self, capacity: int) -> "TrackedDecoder":
        return TrackedDecoder(self, capacity)


class TrackedEnd(End):
    """What both ends are."""

    def _update(self, slots: np.ndarray, levels: np.ndarray) -> None:
        # The kernel decides by the tracked belief, of which the receiver may know better.
        decoded = self.decoded[slots]
        super()._update(slots, levels)
        self.decoded[slots] = decoded


class TrackedEncoder(TrackedEnd, BeliefEncoder):
    """The transmitter. numbers: (capacity, Q) int8, i of the last round as it was heard."""

    code: TrackedCode

    def __init__(self, code: TrackedCode, capacity: int):
        super().__init__(code, capacity)
        self.numbers = np.zeros(self.decoded.shape, np.int8)

    def observe(self, slots: np.ndarray, feedback: np.ndarray, decoded: np.ndarray) -> None:
        """Takes what came back of the last round, (n, Q) float32, and the groups decoded
        after it, (n, Q) bool, of which nothing came. NaN tells nothing."""
        code = self.code
        self.decoded[slots] |= decoded
        heard = feedback / code.amplitude
        limit = code.parameters.feedback_levels
        known = ~np.isnan(heard)
        numbers = np.clip(np.rint(np.where(known, heard, 0)), -limit, limit).astype(np.int8)
        self.numbers[slots] = np.where(self.decoded[slots], self.numbers[slots], numbers)
        self._update(slots, np.where(known, code.center + numbers, 0).astype(np.uint8))


class TrackedDecoder(TrackedEnd, BeliefDecoder):
    """The receiver. posterior: (capacity, Q, M) float32 log-ratios to the likeliest class, by
    class. numbers: (capacity, Q) int8, i of the last round. odds: of the posterior."""

    code: TrackedCode

    def __init__(self, code: TrackedCode, capacity: int):
        super().__init__(code, capacity)
        shape = (*self.decoded.shape, code.parameters.patterns)
        self.posterior = np.zeros(shape, np.float32)
        self.numbers = np.zeros(self.decoded.shape, np.int8)

    def start(self, slots: np.ndarray) -> None:
        super().start(slots)
        self.posterior[slots] = 0

    def decode(
        self, slots: np.ndarray, received: np.ndarray, threshold: float | None = None
    ) -> np.ndarray:
        """As ``BeliefDecoder.decode``."""
        code, p = self.code, self.code.parameters
        if threshold is not None:
            code.check_threshold(threshold)
        self._propose(slots)
        block, group = np.nonzero(~self.decoded[slots])
        active = slots[block], group
        classes = self.table.classes[active]
        x, tracked = self.table.candidates[active], self.table.log_ratios[active]
        y = received[block, group][:, None]
        told = (y - x / 2) * x / np.float32(p.noise_variance)
        posterior = np.take_along_axis(self.posterior[active], classes, 1)
        posterior += np.where(np.isnan(told), np.float32(0), told)
        posterior -= posterior.max(1, keepdims=True)
        variance = torch.full((len(y), 1), p.update_variance)
        numbers = choose(
            torch.from_numpy(posterior), torch.from_numpy(tracked), torch.from_numpy(x), variance, p
        )
        self.numbers[active] = numbers[:, 0].numpy().astype(np.int8)
        self._update(slots, (code.center + self.numbers[slots]).astype(np.uint8))
        by_class = np.empty_like(posterior)
        np.put_along_axis(by_class, classes, posterior, 1)
        self.posterior[active] = by_class
        log_odds = codec.log_odds(posterior)
        self.odds[active] = np.exp(-log_odds)
        self.decoded[active] = log_odds > code.threshold
        return self.decoded[slots]

    def feedback(self, slots: np.ndarray, received: np.ndarray) -> np.ndarray:
        """A i of the last round, (n, Q) float32; 0 for groups that are decided."""
        numbers = np.where(self.decoded[slots], 0, self.numbers[slots])
        return numbers * self.code.amplitude

    def decisions(self, slots: np.ndarray) -> np.ndarray:
        """The likeliest pattern of each group, (n, Q)."""
        return self.posterior[slots].argmax(2)
