# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of belief-driven codes; ``digital`` and ``analog`` have the formulas."""

import dataclasses
import math
from collections.abc import Sequence

# No log-ratio below minus this is seen by the network.
FLOOR = 16.0
# Inputs of the network beside the log-ratios: rounds left, threshold, peak, SNR.
CONDITIONS = 4
# Rows (snr_db, ((theta, value), ...)); parameters keep them as tuples.
Gains = Sequence[tuple[float, Sequence[tuple[float, float]]]]


@dataclasses.dataclass(frozen=True)
class BeliefParameters:
    """What both ends must agree on.

    message_bits K in groups of group_bits m, at most `rounds` rounds. peak: limit A of |x|.
    snr_db: 1 / sigma^2 of the network's input and of the update. feedback_bits: of the
    quantizer, whose levels are i * feedback_step, |i| < 2^(feedback_bits - 1); the number left
    over tells of a symbol that did not arrive. hidden: widths of the network.
    gains: rows (snr_db, ((theta, g), ...)) from the lowest to the highest SNR that the network
    was trained for; between them g is linear, beyond the thresholds constant.
    double_rounds: rounds at the start in which a group sends two symbols, then one.
    planned_rounds: how many rounds the network plans for, where that is fewer than `rounds`: what
    it has not decided by then goes on as in its last one. 0 where they are the same.
    """

    group_bits: int
    message_bits: int = 48
    rounds: int = 12
    peak: float = 4.0
    snr_db: float = 1.0
    feedback_bits: int = 8
    feedback_step: float = 1 / 16
    hidden: tuple[int, int] = (64, 48)
    gains: Gains = ((1.0, ((10.0, 1.0),)),)
    # Not in the text that a code is known by, where they are 0: `DigitalBeliefCode.identity`.
    double_rounds: int = dataclasses.field(default=0, repr=False)
    planned_rounds: int = dataclasses.field(default=0, repr=False)

    def __post_init__(self):
        object.__setattr__(self, "hidden", tuple(self.hidden))
        rows = ((snr_db, tuple(tuple(pair) for pair in pairs)) for snr_db, pairs in self.gains)
        object.__setattr__(self, "gains", tuple(rows))
        if not 1 <= self.group_bits <= 8 or self.message_bits % self.group_bits:
            raise ValueError(
                "expected groups of 1 to 8 bits that divide the message, got "
                f"{self.message_bits} bits in groups of {self.group_bits}"
            )
        if not 1 <= self.rounds <= 255:
            raise ValueError(f"expected 1 to 255 rounds, got {self.rounds}")
        if not 0 <= self.double_rounds <= self.rounds:
            raise ValueError(
                f"expected 0 to {self.rounds} rounds of two symbols, got {self.double_rounds}"
            )
        if not 0 <= self.planned_rounds <= self.rounds:
            raise ValueError(
                f"expected 0 to {self.rounds} rounds to plan for, got {self.planned_rounds}"
            )
        if not 2 <= self.feedback_bits <= 8:
            raise ValueError(f"expected 2 to 8 feedback bits, got {self.feedback_bits}")
        for name in ("peak", "feedback_step"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"expected a {name} above 0, got {value}")
        if not math.isfinite(self.snr_db):
            raise ValueError(f"expected a finite snr_db, got {self.snr_db}")
        if len(self.hidden) != 2 or min(self.hidden) < 1:
            raise ValueError(f"expected two hidden widths, got {self.hidden}")
        for pairs in (self.gains, *(pairs for _, pairs in self.gains)):
            places = [place for place, _ in pairs]
            if not places or places != sorted(set(places)):
                raise ValueError(f"expected gains of rising SNRs and thresholds, got {self.gains}")

    # What is asked of any code.
    termination = "receiver"
    first_decision = 1

    @property
    def groups(self) -> int:
        """Groups of a block, Q."""
        return self.message_bits // self.group_bits

    @property
    def symbols(self) -> int:
        """Symbols of a group in a round at most."""
        return 2 if self.double_rounds else 1

    @property
    def places(self) -> int:
        """Places for symbols in a round: the first symbols of all groups, then the second."""
        return self.groups * self.symbols

    @property
    def patterns(self) -> int:
        """Classes of a group, M = 2^m."""
        return 1 << self.group_bits

    @property
    def noise_variance(self) -> float:
        """sigma^2 of a real symbol at snr_db."""
        # Rounded, so that two mathematical libraries give both ends the same number.
        return round(10 ** (-self.snr_db / 10), 9)

    @property
    def feedback_levels(self) -> int:
        """Steps from 0 to the largest level."""
        return (1 << (self.feedback_bits - 1)) - 1

    def gain(self, threshold: float) -> float:
        """Return g, which gives unit power over the symbols sent with this threshold."""
        rows = [(snr_db, interpolated(pairs, threshold)) for snr_db, pairs in self.gains]
        return round(interpolated(rows, self.snr_db), 6)

    def at(self, snr_db: float) -> "BeliefParameters":
        """Return the same code for another SNR, or for the nearest that it was trained for."""
        low, high = self.gains[0][0], self.gains[-1][0]
        return dataclasses.replace(self, snr_db=min(max(snr_db, low), high))


def interpolated(pairs: Sequence[tuple[float, float]], place: float) -> float:
    """Interpolate (place, value) pairs in rising order: linear between, constant beyond."""
    low = pairs[0]
    for high in pairs:
        if place <= high[0]:
            span = high[0] - low[0]
            share = (place - low[0]) / span if span and place > low[0] else 1.0
            return low[1] + share * (high[1] - low[1])
        low = high
    return low[1]


@dataclasses.dataclass(frozen=True)
class AnalogParameters(BeliefParameters):
    """What both ends must agree on.

    Those of the belief-driven code, where feedback_step is D and feedback_bits is of the
    numbers i, L = 2^(feedback_bits - 1) - 1. feedback_snr_db: at which the code is meant to be
    used. inflation: rho. number_price: mu. amplitudes: A, by SNR and threshold as gains.
    """

    feedback_bits: int = 3
    feedback_step: float = 1.25
    feedback_snr_db: float = 20.0
    inflation: float = 1.15
    number_price: float = 0.04
    amplitudes: Gains = ((1.0, ((10.0, 1.0),)),)

    def __post_init__(self):
        super().__post_init__()
        if self.double_rounds:
            raise ValueError("a code over analog feedback sends one symbol a group and round")
        rows = ((snr_db, tuple(tuple(pair) for pair in pairs)) for snr_db, pairs in self.amplitudes)
        object.__setattr__(self, "amplitudes", tuple(rows))
        if not math.isfinite(self.feedback_snr_db):
            raise ValueError(f"expected a finite feedback_snr_db, got {self.feedback_snr_db}")
        if not (self.inflation > 0 and self.number_price >= 0):
            raise ValueError(
                "expected an inflation above 0 and a number_price of at least 0, "
                f"got {self.inflation}, {self.number_price}"
            )

    def amplitude(self, threshold: float) -> float:
        """Return A, which gives unit power over the numbers sent back with this threshold."""
        rows = [(snr_db, interpolated(pairs, threshold)) for snr_db, pairs in self.amplitudes]
        return round(interpolated(rows, self.snr_db), 6)
