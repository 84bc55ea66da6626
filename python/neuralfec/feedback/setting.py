# SPDX-License-Identifier: GPL-3.0-or-later
"""What both ends of a feedback code are told of their operating point."""

import dataclasses
import math
from typing import Any

from . import fading

TERMINATIONS = ("receiver", "transmitter", "hybrid", "none")
CHANNELS = ("awgn", *fading.CHANNELS)


def log_odds(probability: float) -> float:
    """Return log(p / (1 - p)) of a probability, to 6 decimals, so that both ends find the same.

    ValueError for what is not above 0 and below 1.
    """
    if not 0 < probability < 1:
        raise ValueError(f"expected a probability above 0 and below 1, got {probability}")
    return round(math.log(probability / (1 - probability)), 6)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Hold one operating point.

    Parameters
    ----------
    snr_db : forward SNR, 1 / sigma^2 of a real symbol, in dB
    feedback_snr_db : SNR of analog feedback in dB; None for feedback without noise
    termination : who ends a block: "receiver" group by group (DeepVLF-R, belief codes),
        "transmitter" block by block (DeepVLF-T), "hybrid" (both, Sec. IV-C2 of the paper) or
        "none" (fixed length)
    threshold : theta, the log-odds log(p / (1 - p)) of its likeliest pattern above which the
        receiver decides a group; None where the receiver does not decide
    transmitter_threshold : belief above which a transmitter that is asked stops a block
        (Definition 8 of the DeepVLF paper), in [0, 1)
    channel : "awgn", or one of `fading.CHANNELS`, which the receiver knows and equalises and
        where a block that is not decided is declared lost
    """

    snr_db: float
    feedback_snr_db: float | None = None
    termination: str = "receiver"
    threshold: float | None = None
    transmitter_threshold: float | None = None
    channel: str = "awgn"

    def __post_init__(self) -> None:
        if self.termination not in TERMINATIONS:
            raise ValueError(f"expected a termination of {TERMINATIONS}, got {self.termination!r}")
        if self.channel not in CHANNELS:
            raise ValueError(f"expected a channel of {CHANNELS}, got {self.channel!r}")
        if self.decides_at_receiver and not (
            self.threshold is not None and math.isfinite(self.threshold)
        ):
            raise ValueError(
                f"termination {self.termination!r} expects a threshold (finite log-odds), "
                f"got {self.threshold}"
            )
        if self.asks_transmitter and not (
            self.transmitter_threshold is not None and 0 <= self.transmitter_threshold < 1
        ):
            raise ValueError(
                f"termination {self.termination!r} expects a transmitter threshold in [0, 1), "
                f"got {self.transmitter_threshold}"
            )
        for name in ("snr_db", "feedback_snr_db"):
            value = getattr(self, name)
            if value is not None and not math.isfinite(value):
                raise ValueError(f"expected a finite {name}, got {value}")

    @property
    def gamma(self) -> float | None:
        """The threshold as a probability, to be printed."""
        return None if self.threshold is None else 1 / (1 + math.exp(-self.threshold))

    @property
    def decides_at_receiver(self) -> bool:
        """Whether the receiver decides groups."""
        return self.termination in ("receiver", "hybrid")

    @property
    def asks_transmitter(self) -> bool:
        """Whether the transmitter is asked to stop blocks."""
        return self.termination in ("transmitter", "hybrid")

    @property
    def fades(self) -> bool:
        """Whether symbols have gains, which the receiver knows.

        There a block that the last round leaves undecided is lost, and not guessed.
        """
        return self.channel in fading.CHANNELS

    @property
    def noise_deviation(self) -> float:
        """Standard deviation of the forward noise of a real symbol."""
        return 10 ** (-self.snr_db / 20)

    @property
    def feedback_deviation(self) -> float:
        """Standard deviation of the noise of an analog feedback symbol."""
        return 0.0 if self.feedback_snr_db is None else 10 ** (-self.feedback_snr_db / 20)

    def with_(self, **changes: Any) -> "Setting":
        """Return the setting with what is given, and not None, in place of its own.

        An infinite feedback SNR means feedback without noise. A new termination or feedback
        SNR takes the published transmitter threshold with it, unless one is given.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        if given.get("feedback_snr_db") == math.inf:
            given["feedback_snr_db"] = None
        moved = any(
            given.get(name, getattr(self, name)) != getattr(self, name)
            for name in ("termination", "feedback_snr_db")
        )
        if moved and "transmitter_threshold" not in given:
            there = {**dataclasses.asdict(self), **given}
            given["transmitter_threshold"] = published_threshold(
                there["termination"], there["feedback_snr_db"]
            )
        return dataclasses.replace(self, **given)

    def to_card(self) -> dict[str, Any]:
        """Return what a model's card keeps."""
        card = dataclasses.asdict(self)
        card["log_odds"] = card.pop("threshold")
        return card

    @classmethod
    def from_card(cls, card: dict[str, Any]) -> "Setting":
        """Read what `to_card` gave. Older cards have gamma, as `threshold`."""
        card = dict(card)
        gamma = card.pop("threshold", None)
        theta = card.pop("log_odds", None if gamma is None else log_odds(gamma))
        return cls(threshold=theta, **card)

    def __str__(self) -> str:
        back = (
            "noiseless feedback"
            if self.feedback_snr_db is None
            else f"{self.feedback_snr_db:g} dB feedback SNR"
        )
        channel = "" if self.channel == "awgn" else f"{self.channel} fading, "
        text = f"{channel}{self.snr_db:g} dB forward SNR (1/sigma^2, real), {back}"
        if self.decides_at_receiver:
            text += f", threshold {self.threshold:g} nats (gamma {self.gamma:.9g})"
        if self.asks_transmitter:
            text += f", transmitter threshold {self.transmitter_threshold:g}"
        return text


def published_threshold(termination: str, feedback_snr_db: float | None) -> float | None:
    """Return the paper's transmitter threshold: 0 without noise, else 0.7 (T), 0.9 (hybrid)."""
    if termination == "hybrid":
        return 0.9
    if termination == "transmitter":
        return 0.0 if feedback_snr_db is None else 0.7
    return None
