# SPDX-License-Identifier: GPL-3.0-or-later
"""Feedback codes of any kind from model files."""

import os

from .. import models
from .belief import model as belief
from .code import Code
from .deepvlf import model as deepvlf
from .deepvlf.code import Engine
from .setting import Setting


def load(
    file: str | os.PathLike,
    threshold: float | None = None,
    snr_db: float | None = None,
    engine: Engine | None = None,
    error_target: float | None = None,
) -> tuple[Code, Setting, models.Card]:
    """Read a code ready for use, the setting that it was made for, and its card.

    Parameters
    ----------
    file : path, or name of a shipped model
    threshold : log-odds above which the receiver decides a group; None for the card's
    snr_db : 1 / sigma^2 of the forward channel in dB; None for the card's
    engine : what runs the networks of DeepVLF; None for the compiled kernel where there is one
    error_target : undetected block error rate for which a belief-driven code confirms its
        blocks, see `belief.model.confirmed`

    Raises
    ------
    FileNotFoundError, ValueError : as ``models.load``; ValueError for an error target of a
        code that confirms no blocks
    """
    if belief.kind_of(models.read_card(file)):
        return belief.load(file, threshold, snr_db, error_target=error_target)
    if error_target is not None:
        raise ValueError(f"{file}: no code that confirms its blocks for an error target")
    return deepvlf.load(file, threshold, snr_db, engine)
