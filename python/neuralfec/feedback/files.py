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
    copies: int = 1,
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
    copies : how often a belief-driven code sends a symbol before something comes back

    Raises
    ------
    FileNotFoundError, ValueError : as ``models.load``; ValueError for an error target of a
        code that confirms no blocks, or copies of one that sends none
    """
    if belief.kind_of(models.read_card(file)):
        return belief.load(file, threshold, snr_db, error_target=error_target, copies=copies)
    if copies != 1:
        raise ValueError(f"{file}: no code that may hear back after several copies of a symbol")
    if error_target is not None:
        raise ValueError(f"{file}: no code that confirms its blocks for an error target")
    return deepvlf.load(file, threshold, snr_db, engine)
