# SPDX-License-Identifier: GPL-3.0-or-later
"""Belief-driven codes as model files: network, what both ends must agree on, gains."""

import dataclasses
import os

from ... import models
from .analog import TrackedCode
from .digital import BeliefCode
from .network import CONDITIONS, BeliefNetwork, BeliefParameters
from .tracked import TrackedParameters

SYSTEM = "feedback"
# Where a card keeps what both ends must agree on, by kind of code.
KINDS = {
    "belief_code": (BeliefParameters, BeliefCode),
    "tracked_code": (TrackedParameters, TrackedCode),
}


def save(
    file: str | os.PathLike,
    network: BeliefNetwork,
    p: BeliefParameters,
    *,
    name: str,
    threshold: float,
    training: models.Training,
    measured: dict,
) -> None:
    """Writes a code; threshold: the one to use where none is asked for."""
    tracked = isinstance(p, TrackedParameters)
    back = (
        f"analog feedback at {p.feedback_snr_db:g} dB"
        if tracked
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
                {"candidates": (None, p.patterns)},
            )
        },
        normalisation="symbols by the gain of the threshold, real SNR 1/sigma^2",
        operating_point=f"{p.snr_db:g} dB forward SNR (1/sigma^2, real), {back}",
        training=training,
        measured=measured,
        parameters={
            "tracked_code" if tracked else "belief_code": dataclasses.asdict(p),
            "threshold": threshold,
        },
    )
    models.save(file, network, card)


def kind_of(card: models.Card) -> str | None:
    """The kind of belief-driven code that a card describes, a key of KINDS."""
    return next((kind for kind in KINDS if kind in card.parameters), None)


def load_network(
    file: str | os.PathLike,
) -> tuple[BeliefNetwork, BeliefParameters, models.Card]:
    """Network, parameters and card of a model file. Errors as ``models.load``."""
    card = models.read_card(file)
    card.check({"system": SYSTEM})
    kind = kind_of(card)
    if kind is None:
        raise ValueError(f"{file}: {card.name} is a feedback model, but no belief-driven code")
    try:
        p = KINDS[kind][0](**card.parameters[kind])
        network = BeliefNetwork(p.patterns, p.hidden)
        network.load_state_dict(models.state_dict(file))
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"{file}: {' '.join(str(error).split())}") from error
    return network.eval(), p, card


def load(
    file: str | os.PathLike, threshold: float | None = None, snr_db: float | None = None
) -> tuple[BeliefCode, models.Card]:
    """A code ready for use and its card.

    threshold: theta; snr_db: of the channel, see ``BeliefParameters.at``; the card's where None.
    """
    network, p, card = load_network(file)
    if threshold is None:
        threshold = card.parameters["threshold"]
    if snr_db is not None:
        p = p.at(snr_db)
    return KINDS[kind_of(card)][1](p, network, threshold), card
