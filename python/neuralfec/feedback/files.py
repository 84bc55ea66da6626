# SPDX-License-Identifier: GPL-3.0-or-later
"""Feedback codes as model files: weights, parameters, power statistics, operating point."""

import dataclasses
import os
from collections.abc import Callable

from .. import models
from .belief import model as belief_files
from .belief.digital import BeliefCode, log_odds
from .deepvlf.code import Code, Network, kernel_network, torch_network
from .deepvlf.network import CodeParameters, FeedbackCode, GroupTransformer
from .evaluation import Setting

SYSTEM = "feedback"


def save(
    file: str | os.PathLike,
    module: FeedbackCode,
    setting: Setting,
    *,
    name: str,
    statistics_blocks: int,
    statistics_over: str,
    training: models.Training,
    measured: dict,
) -> None:
    """Writes a code with the setting that it was made for.

    statistics_blocks, statistics_over: how many blocks the power normalisation in `module`
    was estimated from, and over which symbols.
    """
    p = module.code
    card = models.Card(
        system=SYSTEM,
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
        operating_point=describe(setting),
        training=training,
        measured=measured,
        parameters={
            "code": p.to_card(),
            "setting": dataclasses.asdict(setting),
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


def describe(setting: Setting) -> str:
    """The setting in words."""
    back = (
        "noiseless feedback"
        if setting.feedback_snr_db is None
        else f"{setting.feedback_snr_db:g} dB feedback SNR"
    )
    channel = "" if setting.channel == "awgn" else f"{setting.channel} fading, "
    text = f"{channel}{setting.snr_db:g} dB forward SNR (1/sigma^2, real), {back}"
    if setting.decides_at_receiver:
        text += f", gamma {setting.threshold:.9g}"
    if setting.asks_transmitter:
        text += f", transmitter threshold {setting.transmitter_threshold:g}"
    return text


def load_module(file: str | os.PathLike) -> tuple[FeedbackCode, models.Card]:
    """The torch module of a model file, to train on from, and its card.

    Errors as ``models.load``.
    """
    card = models.read_card(file)
    card.check({"system": SYSTEM})
    if "code" not in card.parameters:
        raise ValueError(f"{file}: a feedback model that says nothing of its code")
    module = FeedbackCode(CodeParameters.from_card(card.parameters["code"]))
    try:
        module.load_state_dict(models.state_dict(file))
    except RuntimeError as error:
        raise ValueError(f"{file}: {' '.join(str(error).split())}") from error
    return module.eval(), card


def load(
    file: str | os.PathLike,
    engine: Callable[[GroupTransformer], Network] | None = None,
    threshold: float | None = None,
    snr_db: float | None = None,
) -> tuple[Code | BeliefCode, Setting, models.Card]:
    """A code of either kind ready for use, the setting that it was made for, and its card.

    engine: what runs the networks of DeepVLF; the compiled kernel where there is one.
    threshold: gamma of the receiver, snr_db: of the forward channel, in place of the card's.
    """
    if belief_files.kind_of(models.read_card(file)) is not None:
        theta = None if threshold is None else log_odds(threshold)
        code, card = belief_files.load(file, theta, snr_db)
        p = code.parameters
        # Only the code over analog feedback has one.
        back = getattr(p, "feedback_snr_db", None)
        return (
            code,
            Setting(p.snr_db if snr_db is None else snr_db, back, threshold=code.gamma),
            card,
        )
    module, card = load_module(file)
    setting = Setting(**card.parameters["setting"])
    if threshold is not None:
        setting = dataclasses.replace(setting, threshold=threshold)
    if snr_db is not None:
        setting = dataclasses.replace(setting, snr_db=snr_db)
    return Code(module, engine or default_engine()), setting, card


def default_engine() -> Callable[[GroupTransformer], Network]:
    try:
        from .. import _kernels  # noqa: F401
    except ImportError:
        return torch_network
    return kernel_network
