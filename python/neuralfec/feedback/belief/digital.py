# SPDX-License-Identifier: GPL-3.0-or-later
"""Both ends of the belief-driven code as batch state machines: numpy in, numpy out.

They do what those of ``codec`` do, so that ``session`` carries either. Both ends run one
kernel on the same levels, and the transmitter knows by itself which groups the receiver has
decided: the mask that a session sends back tells it nothing new.
"""

import math
import zlib
from typing import Any

import numpy as np
import torch

from ..deepvlf.code import Code
from ..evaluation import Setting
from .network import BeliefNetwork, BeliefParameters


def log_odds(gamma: float) -> float:
    """theta of a threshold given as a probability, rounded so that both ends find the same.

    ValueError for what is no probability above 1/2.
    """
    if not 0.5 < gamma < 1:
        raise ValueError(f"expected a threshold above 0.5 and below 1, got {gamma}")
    return round(math.log(gamma / (1 - gamma)), 6)


class BeliefCode:
    """A belief-driven code ready for use with one threshold.

    threshold: theta, the log-odds above which a group is decided; gamma: the same as a
    probability. identity: 16 bits that differ from those of another code. payload_bytes: of
    digital feedback a block and round.
    ValueError for a threshold out of (0, 36), above which gamma would be 1.
    """

    def __init__(self, parameters: BeliefParameters, network: BeliefNetwork, threshold: float):
        from ... import _kernels

        p = parameters
        if not 0 < threshold < 36:
            raise ValueError(f"expected a threshold above 0 and below 36, got {threshold}")
        self.parameters, self.threshold = p, round(threshold, 6)
        self.gamma = 1 / (1 + math.exp(-threshold))
        self.gain = p.gain(self.threshold)
        self.payload_bytes = p.groups
        state = network.state_dict()
        # Powers of two: exact.
        state["layer1.weight"] = state["layer1.weight"] * state["scale"]
        layers = ("layer1", "layer2", "layer3")
        leaves = [state[f"{layer}.{leaf}"] for layer in layers for leaf in ("weight", "bias")]
        weights = torch.cat([leaf.flatten() for leaf in leaves]).numpy()
        agreed = weights.tobytes() + repr((p, self.threshold)).encode()
        self.identity = zlib.crc32(agreed) & 0xFFFF
        self.kernel = _kernels.belief_code(
            group_bits=p.group_bits,
            hidden1=p.hidden[0],
            hidden2=p.hidden[1],
            noise_variance=p.update_variance,
            peak=p.peak,
            snr_db=p.snr_db,
            feedback_bits=p.feedback_bits,
            feedback_step=p.feedback_step,
            parameters=weights,
        )

    # One numbering of patterns for all codes.
    labels = Code.labels
    bits = Code.bits

    def check_threshold(self, gamma: float) -> None:
        """ValueError for another threshold than the code's, which both ends share."""
        if abs(log_odds(gamma) - self.threshold) > 1e-5:
            raise ValueError(
                f"expected the threshold that the code was loaded with, {self.gamma}, got {gamma}"
            )

    def check(self, setting: Setting) -> None:
        """ValueError for a setting that this code does not serve."""
        self.check_threshold(setting.threshold)
        if setting.termination != "receiver" or setting.feedback_snr_db is not None:
            raise ValueError(
                "a belief-driven code is stopped by its receiver and has digital feedback, "
                f"got termination {setting.termination!r}, "
                f"feedback SNR {setting.feedback_snr_db} dB"
            )

    def posterior_counts(self, encoder: "BeliefEncoder", decoder: "BeliefDecoder") -> dict:
        """Counts of blocks that are through their rounds at both ends.

        error_estimate: sum over the blocks of 1 - prod p_max, the probability of a wrong block
        given all that the receiver saw. The belief is the exact posterior but for the size of
        the quantizer's bins, so its mean estimates the block error rate where errors are too
        rare to count. estimate_squared: of its squares.
        undecided_blocks: blocks with a group that the last round left below the threshold; they
        are decided for the likeliest class, and are in block_errors where that is wrong.
        RuntimeError if the ends' beliefs differ.
        """
        if not np.array_equal(encoder.odds, decoder.odds):
            raise RuntimeError("the ends' beliefs differ: the kernel broke its promise")
        estimate = -np.expm1(-np.log1p(decoder.odds.astype(np.float64)).sum(1))
        return {
            "error_estimate": float(estimate.sum()),
            "estimate_squared": float((estimate**2).sum()),
            "undecided_blocks": int((~decoder.decoded).any(1).sum()),
        }

    def encoder(self, capacity: int) -> "BeliefEncoder":
        return BeliefEncoder(self, capacity)

    def decoder(self, capacity: int) -> "BeliefDecoder":
        return BeliefDecoder(self, capacity)

    def table(self, capacity: int) -> Any:
        """Beliefs of `capacity` blocks."""
        from ... import _kernels

        p = self.parameters
        return _kernels.belief_table(p.patterns, p.groups, capacity)


class End:
    """What both ends are: beliefs, and the clock.

    rounds: (capacity,) rounds taken so far. decoded: (capacity, Q) bool, groups whose
    log-odds have exceeded the threshold. odds: (capacity, Q) float32 (1 - p_max) / p_max
    after the last update.
    """

    def __init__(self, code: BeliefCode, capacity: int):
        self.code = code
        self.table = code.table(capacity)
        self.rounds = np.zeros(capacity, np.int64)
        self.decoded, self.odds = self.table.decided, self.table.odds

    def _begin(self, slots: np.ndarray) -> None:
        self.rounds[slots] = 0
        self.code.kernel.start(self.table, slots)

    def _propose(self, slots: np.ndarray) -> None:
        """Candidates of the next round for the groups not decided."""
        limit = self.code.parameters.rounds
        left = limit - self.rounds[slots]
        if left.size and left.min() < 1:
            raise ValueError(f"expected blocks of fewer than {limit} rounds, got one of as many")
        code = self.code
        code.kernel.propose(self.table, slots, left.astype(np.uint8), code.threshold, code.gain)
        self.rounds[slots] += 1

    def _update(self, slots: np.ndarray, levels: np.ndarray) -> None:
        """levels: (n, Q) uint8, of groups not decided."""
        self.code.kernel.update(self.table, slots, levels, self.code.threshold)


class BeliefEncoder(End):
    """The transmitter. symbols: (capacity, Q) float32 of the last round."""

    def __init__(self, code: BeliefCode, capacity: int):
        super().__init__(code, capacity)
        self.symbols = np.zeros(self.decoded.shape, np.float32)
        self.labels = np.zeros(self.decoded.shape, np.uint8)

    def start(self, slots: np.ndarray, messages: np.ndarray) -> None:
        """messages: (n, K) uint8 bits."""
        self.labels[slots] = self.code.labels(messages)
        self._begin(slots)

    def encode(self, slots: np.ndarray) -> np.ndarray:
        """Symbols x of the next round, (n, Q) float32; 0 for groups that are decided."""
        self._propose(slots)
        x = self.code.kernel.symbols(self.table, slots, self.labels[slots])
        self.symbols[slots] = x
        return x

    def observe(
        self, slots: np.ndarray, feedback: np.ndarray, decoded: np.ndarray | None = None
    ) -> None:
        """Takes what came back of the last round, (n, Q) uint8 levels.

        decoded is what the receiver says and the beliefs say as well; it is not looked at.
        """
        self._update(slots, feedback)


class BeliefDecoder(End):
    """The receiver."""

    def start(self, slots: np.ndarray) -> None:
        self._begin(slots)

    def decode(
        self, slots: np.ndarray, received: np.ndarray, threshold: float | None = None
    ) -> np.ndarray:
        """Takes the received symbols y of one round, (n, Q) float32, read where a symbol was
        sent; NaN for one that did not arrive. Returns decoded, (n, Q) bool.

        threshold: gamma. ValueError for another than the code's, which both ends share.
        """
        if threshold is not None:
            self.code.check_threshold(threshold)
        self._propose(slots)
        self._update(slots, self.feedback(slots, received))
        return self.decoded[slots]

    def feedback(self, slots: np.ndarray, received: np.ndarray) -> np.ndarray:
        """Levels that go back for y, (n, Q) uint8. Those of groups decided are not read."""
        return self.code.kernel.quantize(received)

    def decisions(self, slots: np.ndarray) -> np.ndarray:
        """The likeliest pattern of each group, (n, Q)."""
        return self.table.decisions(slots)
