# SPDX-License-Identifier: GPL-3.0-or-later
"""Belief-driven codes as model files: network, what both ends must agree on, gains."""

import dataclasses
import math
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ... import models
from ..setting import Setting
from .analog import AnalogBeliefCode
from .confirmation import Confirmation
from .digital import DigitalBeliefCode
from .parameters import CONDITIONS, AnalogParameters, BeliefParameters

if TYPE_CHECKING:
    from .network import BeliefNetwork

SYSTEM = "feedback"
# Where a card keeps what both ends must agree on, by kind of code.
KINDS: dict[str, type[BeliefParameters]] = {
    "belief_code": BeliefParameters,
    "tracked_code": AnalogParameters,
}


@dataclasses.dataclass(frozen=True)
class Confirmed:
    """A choice of threshold and confirmation for an error target, as a card keeps it.

    error_target : block error rate, undetected; threshold : theta of the groups; snr_db : of
    the channel that it was chosen for
    """

    error_target: float
    threshold: float
    snr_db: float
    confirmation: Confirmation

    def to_card(self) -> dict[str, Any]:
        """Return what a card keeps."""
        return {
            "error_target": self.error_target,
            "threshold": self.threshold,
            "snr_db": self.snr_db,
            **dataclasses.asdict(self.confirmation),
        }

    @classmethod
    def from_card(cls, row: Mapping[str, Any]) -> "Confirmed":
        """Read what `to_card` gave."""
        rest = dict(row)
        target, threshold, snr_db = map(rest.pop, ("error_target", "threshold", "snr_db"))
        return cls(target, threshold, snr_db, Confirmation(**rest))


def save(
    file: str | os.PathLike,
    network: "BeliefNetwork",
    p: BeliefParameters,
    *,
    name: str,
    threshold: float,
    training: models.Training,
    measured: dict,
    confirmations: Sequence[Confirmed] = (),
) -> None:
    """Write a code; threshold : the one to use where none is asked for."""
    kind = "tracked_code" if isinstance(p, AnalogParameters) else "belief_code"
    back = (
        f"analog feedback at {p.feedback_snr_db:g} dB"
        if isinstance(p, AnalogParameters)
        else f"digital feedback of {p.feedback_bits} bits a symbol"
    )
    card = models.Card(
        system=SYSTEM,
        name=name,
        methods={
            "forward": models.Method(
                {
                    "log_ratios": (None, p.patterns),
                    "conditions": (None, CONDITIONS),
                    "gain": (),
                },
                {"candidates": (None, p.symbols * p.patterns)},
            )
        },
        normalisation="symbols by the gain of the threshold, real SNR 1/sigma^2",
        operating_point=f"{p.snr_db:g} dB forward SNR (1/sigma^2, real), {back}",
        training=training,
        measured=measured,
        parameters={
            kind: dataclasses.asdict(p),
            "threshold": threshold,
            "confirmations": [row.to_card() for row in confirmations],
        },
    )
    models.save(file, network, card)


def kind_of(card: models.Card) -> str | None:
    """Return the kind of belief-driven code that a card describes, a key of KINDS."""
    return next((kind for kind in KINDS if kind in card.parameters), None)


def parameters(file: str | os.PathLike) -> tuple[BeliefParameters, models.Card]:
    """Read what both ends must agree on, and the card. Errors as ``models.load``."""
    card = models.read_card(file)
    card.check({"system": SYSTEM})
    kind = kind_of(card)
    if kind is None:
        raise ValueError(f"{file}: {card.name} is a feedback model, but no belief-driven code")
    try:
        return KINDS[kind](**card.parameters[kind]), card
    except TypeError as error:
        raise ValueError(f"{file}: {error}") from error


def load_network(
    file: str | os.PathLike,
) -> tuple["BeliefNetwork", BeliefParameters, models.Card]:
    """Read the network in torch, parameters and card of a model file."""
    from .network import BeliefNetwork

    p, card = parameters(file)
    network = BeliefNetwork(p.patterns, p.hidden, p.symbols)
    try:
        network.load_state_dict(models.state_dict(file))
    except RuntimeError as error:
        raise ValueError(f"{file}: {' '.join(str(error).split())}") from error
    return network.eval(), p, card


def confirmed(card: models.Card, error_target: float, snr_db: float) -> Confirmed:
    """Return the threshold and confirmation that a model's card has for an error target.

    error_target : undetected block error rate; the next lower one that the card has is taken,
    at the SNR nearest to snr_db. ValueError where it has none.
    """
    rows = [Confirmed.from_card(row) for row in card.parameters.get("confirmations", ())]
    known = sorted({row.error_target for row in rows}, reverse=True)
    rows = [row for row in rows if row.error_target <= error_target * (1 + 1e-9)]
    if not rows:
        raise ValueError(
            f"{card.name} has no confirmation for a block error rate of {error_target:g}; it has "
            + (", ".join(f"{target:g}" for target in known) or "none")
        )
    return min(rows, key=lambda row: (-row.error_target, abs(row.snr_db - snr_db)))


def make(
    p: BeliefParameters,
    state: Mapping[str, NDArray],
    threshold: float,
    confirmation: Confirmation | None = None,
) -> tuple[DigitalBeliefCode, Setting]:
    """Return the code of parameters and a network's state, and the setting that it is made for."""
    kind: type[DigitalBeliefCode] = DigitalBeliefCode
    back = None
    if isinstance(p, AnalogParameters):
        kind, back = AnalogBeliefCode, p.feedback_snr_db
    code = kind(p, state, threshold, confirmation)
    return code, Setting(p.snr_db, back, threshold=code.threshold)


def load(
    file: str | os.PathLike,
    threshold: float | None = None,
    snr_db: float | None = None,
    confirmation: Confirmation | None = None,
    error_target: float | None = None,
    copies: int = 1,
) -> tuple[DigitalBeliefCode, Setting, models.Card]:
    """Read a code ready for use, the setting that it was made for, and its card, without torch.

    Parameters
    ----------
    file : path, or name of a shipped model
    threshold : theta in nats; None for the card's
    snr_db : of the channel, see ``BeliefParameters.at``; None for the card's
    confirmation : how blocks are confirmed
    error_target : undetected block error rate, for which the card has threshold and
        confirmation, or names the models that were trained for confirmed blocks: pairs of an
        SNR and a name, of which the nearest SNR is taken
    copies : how often a symbol is sent before something comes back: to the code it is one symbol
        over a channel that is as many times better, and it has as many times fewer rounds

    Raises
    ------
    ValueError : for a file of something else, a threshold out of its range, an error target
        that the card has no confirmation for, or one given beside a threshold
    """
    p, card = parameters(file)
    nominal = p.snr_db if snr_db is None else snr_db
    if copies != 1:
        if not 1 <= copies <= p.rounds:
            raise ValueError(f"expected 1 to {p.rounds} copies of a symbol, got {copies}")
        snr_db = better = nominal + 10 * math.log10(copies)
    if error_target is not None:
        if threshold is not None or confirmation is not None:
            raise ValueError("expected an error target, or a threshold and confirmation, not both")
        if others := card.parameters.get("confirmed_by"):
            here = p.snr_db if snr_db is None else snr_db
            # The first of two that are equally near.
            file = min(others, key=lambda row: abs(row[0] - here))[1]
            p, card = parameters(file)
        row = confirmed(card, error_target, p.snr_db if snr_db is None else snr_db)
        threshold, confirmation = row.threshold, row.confirmation
    if threshold is None:
        threshold = card.parameters["threshold"]
    if snr_db is not None:
        p = p.at(snr_db)
    if copies != 1:
        rounds = p.rounds // copies
        double = min(p.double_rounds, rounds)
        p = dataclasses.replace(p, snr_db=better, rounds=rounds, double_rounds=double)
    state = models.parameters(file)
    sizes = {"layer1.weight": (p.hidden[0], p.patterns - 1 + CONDITIONS)}
    for name, shape in sizes.items():
        if state[name].shape != shape:
            raise ValueError(f"{file}: expected {name} of shape {shape}, got {state[name].shape}")
    if snr_db is not None and not math.isfinite(snr_db):
        raise ValueError(f"expected a finite snr_db, got {snr_db}")
    code, setting = make(p, state, threshold, confirmation)
    return code, setting.with_(snr_db=nominal), card
