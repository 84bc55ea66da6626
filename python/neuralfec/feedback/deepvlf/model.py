# SPDX-License-Identifier: GPL-3.0-or-later
"""DeepVLF codes as model files: weights, parameters, power statistics, operating point."""

import os
from typing import TYPE_CHECKING

from ... import models
from ..setting import Setting
from .code import DeepvlfCode, Engine
from .parameters import CodeParameters

if TYPE_CHECKING:
    from .network import FeedbackCode

KIND = "code"


def save(
    file: str | os.PathLike,
    module: "FeedbackCode",
    setting: Setting,
    *,
    name: str,
    statistics_blocks: int,
    statistics_over: str,
    training: models.Training,
    measured: dict,
) -> None:
    """Write a code with the setting that it was made for.

    statistics_blocks, statistics_over: how many blocks the power normalisation in `module`
    was estimated from, and over which symbols.
    """
    p = module.code
    card = models.Card(
        system="feedback",
        name=name,
        methods={
            "forward": models.Method(
                {
                    "transmitter_inputs": (None, p.groups, p.transmitter.inputs),
                    "receiver_inputs": (None, p.groups, p.receiver.inputs),
                    "round": (),
                },
                {"symbols": (None, p.groups, 1), "logits": (None, p.groups, p.patterns)},
            )
        },
        normalisation="symbols by the statistics of each round and group, real SNR 1/sigma^2",
        operating_point=str(setting),
        training=training,
        measured=measured,
        parameters={
            "code": p.to_card(),
            "setting": setting.to_card(),
            "power_normalisation": {
                "blocks": statistics_blocks,
                "over": statistics_over,
                "mean": module.mean.tolist(),
                "deviation": module.deviation.tolist(),
                "weight": module.weight.tolist(),
            },
        },
    )
    models.save(file, module, card)


def read_parameters(file: str | os.PathLike) -> tuple[CodeParameters, models.Card]:
    """Read what a model file says of its code, and its card. Errors as ``models.read_card``."""
    card = models.read_card(file)
    card.check({"system": "feedback"})
    if KIND not in card.parameters:
        raise ValueError(f"{file}: a feedback model that says nothing of its code")
    return CodeParameters.from_card(card.parameters[KIND]), card


def load_module(file: str | os.PathLike) -> tuple["FeedbackCode", models.Card]:
    """Read the torch module of a model file, to train on from, and its card.

    Errors as ``models.load``.
    """
    from .network import FeedbackCode

    p, card = read_parameters(file)
    module = FeedbackCode(p)
    try:
        module.load_state_dict(models.state_dict(file))
    except RuntimeError as error:
        raise ValueError(f"{file}: {' '.join(str(error).split())}") from error
    return module.eval(), card


def load(
    file: str | os.PathLike,
    threshold: float | None = None,
    snr_db: float | None = None,
    engine: Engine | None = None,
) -> tuple[DeepvlfCode, Setting, models.Card]:
    """Read a code ready for use, the setting that it was made for, and its card, without torch.

    threshold : log-odds of the receiver, snr_db : of the forward channel, in place of the
    card's. engine : what runs the networks. Errors as ``models.load``.
    """
    p, card = read_parameters(file)
    setting = Setting.from_card(card.parameters["setting"])
    setting = setting.with_(threshold=threshold, snr_db=snr_db)
    return DeepvlfCode(p, models.parameters(file), engine), setting, card
