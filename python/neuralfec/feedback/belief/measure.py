# SPDX-License-Identifier: GPL-3.0-or-later
"""Finds the gains of a trained network, measures the code, and writes its model file."""

import dataclasses
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ... import models
from .. import evaluation
from . import model
from .choice import choose
from .network import BeliefNetwork
from .parameters import AnalogParameters, BeliefParameters

MEASURED_THRESHOLDS = {
    "digital": (5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0, 15.0, 16.0),
    "analog": (5.0, 6.0, 7.0, 8.0, 9.0, 10.0),
}


def state_of(network: BeliefNetwork) -> dict[str, NDArray]:
    """Return the parameters of a network by name."""
    return {name: tensor.detach().numpy() for name, tensor in network.state_dict().items()}


def measure(
    network: BeliefNetwork, p: BeliefParameters, threshold: float, blocks: int, seed: int
) -> dict:
    """Return ``evaluation.evaluate`` of a network over the channels that its code is made for."""
    code, setting = model.make(p, state_of(network), threshold)
    return evaluation.evaluate(code, setting, blocks, np.random.default_rng(seed), apart=False)


def unit_powers(
    network: BeliefNetwork, p: BeliefParameters, snr_db: float, blocks: int
) -> list[tuple[float, float, float]]:
    """Return (theta, g, A) with power 1 over the symbols sent and over those sent back."""
    analog = isinstance(p, AnalogParameters)
    found = []
    gain = amplitude = 1.0
    for threshold in MEASURED_THRESHOLDS["analog" if analog else "digital"]:
        for _ in range(2):
            there = dataclasses.replace(p, snr_db=snr_db, gains=[(snr_db, [(threshold, gain)])])
            if isinstance(there, AnalogParameters):
                amplitudes = [(snr_db, [(threshold, amplitude)])]
                there = dataclasses.replace(there, amplitudes=amplitudes)
            result = measure(network, there, threshold, blocks, seed=11)
            gain /= math.sqrt(result["mean_power"])
            if analog:
                amplitude /= math.sqrt(result["feedback_power"])
        found.append((threshold, round(gain, 5), round(amplitude, 5)))
    return found


def with_gains(
    network: BeliefNetwork, p: BeliefParameters, snrs: Sequence[float], blocks: int
) -> BeliefParameters:
    """Return the parameters with the gains, and amplitudes, that make unit power."""
    rows = [(snr_db, unit_powers(network, p, snr_db, blocks)) for snr_db in snrs]
    p = dataclasses.replace(p, gains=[(snr, [(t, g) for t, g, _ in row]) for snr, row in rows])
    if isinstance(p, AnalogParameters):
        amplitudes = [(snr, [(t, a) for t, _, a in row]) for snr, row in rows]
        p = dataclasses.replace(p, amplitudes=amplitudes)
    return p


def finish(
    file: str | os.PathLike,
    network: BeliefNetwork,
    p: BeliefParameters,
    snrs: Sequence[float],
    groups: int,
    training: models.Training,
    error_targets: Sequence[float] = (),
) -> None:
    """Find the gains at some SNRs, measure the code, and write the model file.

    error_targets : undetected block error rates for which a confirmation is chosen, at each SNR
    """
    analog = isinstance(p, AnalogParameters)
    blocks = -(-groups // p.groups)
    p = with_gains(network, p, snrs, blocks)
    names = ["blocks", "block_errors", "rate", "mean_power", "undecided_blocks"]
    names += ["feedback_power"] if analog else ["block_error_rate_by_posterior"]
    measured: dict = {"at_threshold": {}}
    for threshold in MEASURED_THRESHOLDS["analog" if analog else "digital"]:
        result = measure(network, p, threshold, blocks, seed=12)
        row = {name: result[name] for name in names}
        measured["at_threshold"][f"{threshold:g}"] = row
        print(f"threshold {threshold:g} gain {p.gain(threshold):.4f} {row}", flush=True)
    confirmations = []
    for snr_db in snrs if error_targets else ():
        for target in error_targets:
            at_snr = dataclasses.replace(p, snr_db=snr_db)
            try:
                chosen, result = choose(at_snr, state_of(network), target, blocks=4 * blocks)
            except ValueError as error:
                # A training must not be lost for a target that its network cannot serve.
                print(f"error target {target:g} at {snr_db:g} dB: {error}", flush=True)
                continue
            confirmations.append(chosen)
            shown = {name: result[name] for name in (*names, "erasure_rate")}
            measured.setdefault("confirmed", []).append(
                {"error_target": target, "snr_db": snr_db, **shown}
            )
            print(f"error target {target:g} at {snr_db:g} dB: {chosen} {shown}", flush=True)
    model.save(
        file,
        network,
        p,
        name=Path(file).stem,
        threshold=8.0 if analog else 12.0,
        training=training,
        measured=measured,
        confirmations=confirmations,
    )
