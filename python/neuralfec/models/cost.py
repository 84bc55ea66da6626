# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model costs to run, from its card and the sizes of its parameters."""

import os
from collections.abc import Mapping
from itertools import pairwise
from math import prod
from typing import Any, NamedTuple

from numpy.typing import NDArray

from . import files
from .card import Card


class Cost(NamedTuple):
    """Hold how many multiply-adds the matrices of a model take, and for what."""

    multiply_adds: float
    unit: str

    def __str__(self) -> str:
        return f"{self.multiply_adds:.0f} multiply-adds {self.unit}"


def cost(model: str | os.PathLike) -> Cost:
    """Count the products of a model with its weights.

    Products with each other of what is computed, as in attention, are counted, activations, sums
    and tables are not. Of a code with feedback both ends are counted, for a block that takes all
    its rounds.

    model : path or name of a shipped model; ValueError for one of an unknown kind
    """
    card, parameters = files.read_card(model), files.parameters(model)
    kinds = (
        ("belief_code", _belief),
        ("tracked_code", _belief),
        ("code", _deepvlf),
        ("quantizer", _quantizer),
        ("generators", _sequence),
        ("recurrent", _recurrent),
        ("cancellation_network", _cancellation),
    )
    for key, count in kinds:
        if key in card.parameters:
            return count(card, parameters)
    raise ValueError(f"{card.name}: nothing is known of what a model of its kind costs")


def _weights(parameters: Mapping[str, NDArray], start: str = "") -> int:
    """Weights of the layers whose names begin so."""
    return sum(
        array.size
        for name, array in parameters.items()
        if name.startswith(start) and "weight" in name and array.ndim > 1
    )


def _belief(card: Card, parameters: Mapping[str, NDArray]) -> Cost:
    p: dict[str, Any] = card.parameters.get("belief_code") or card.parameters["tracked_code"]
    groups = p["message_bits"] // p["group_bits"]
    every = 2 * groups * p["rounds"] * _weights(parameters)
    return Cost(every, f"a block of {p['rounds']} rounds, both ends")


def _deepvlf(card: Card, parameters: Mapping[str, NDArray]) -> Cost:
    p = card.parameters["code"]
    groups, rounds, total = p["groups"], p["rounds"], 0
    for end in ("transmitter", "receiver"):
        shape = p[end]
        total += rounds * groups * _weights(parameters, f"{end}.")
        # Scores and sums of attention.
        total += rounds * shape["layers"] * 2 * groups**2 * shape["width"]
        if shape["deep_after"] is not None:
            # The third layer of the extractor is left out at first.
            total -= shape["deep_after"] * groups * _weights(parameters, f"{end}.extract3")
    total += rounds * groups * _weights(parameters, "termination.")
    return Cost(total, f"a block of {rounds} rounds, both ends")


def _quantizer(card: Card, parameters: Mapping[str, NDArray]) -> Cost:
    # Layers of both rails have their weights once.
    rails = 2 if card.parameters["quantizer"] == "GainCellQuantizer" else 1
    there, back = rails * _weights(parameters, "encoder."), _weights(parameters, "decoders.")
    return Cost((there + back) / card.parameters["bits_per_symbol"], "an LLR, there and back")


def _sequence(card: Card, parameters: Mapping[str, NDArray]) -> Cost:
    return Cost(_weights(parameters), "a message bit")


def _recurrent(card: Card, parameters: Mapping[str, NDArray]) -> Cost:
    steps = card.parameters["recurrent"]["steps"]
    # The first cell sees the same input at all steps, and no cell a state at the first.
    once = _weights(parameters, "cells.weight_ih_l0") + _weights(parameters, "output")
    hidden = _weights(parameters, "cells.weight_hh")
    above = _weights(parameters, "cells.weight_ih") - _weights(parameters, "cells.weight_ih_l0")
    return Cost(once + (steps - 1) * hidden + steps * above, "a word")


def _cancellation(card: Card, parameters: Mapping[str, NDArray]) -> Cost:
    assert card.code is not None
    p, n = card.parameters["cancellation_network"], card.code.n
    features, leaf = p["features"], parameters["_transform"].shape[0]
    width = 1 + features

    def layers(*sizes: int) -> int:
        whole = [-(-size // 4) * 4 for size in sizes]
        return sum(prod(pair) for pair in pairwise(whole))

    node = sum(
        layers(8 + positions * features, p["hidden"], outputs)
        for positions, outputs in ((3, width), (3, width), (4, 2 * width))
    )
    levels = (n // leaf).bit_length() - 1
    # Subcodes with a message bit, each a network of its own.
    used = len(set((parameters["unfrozen"] // leaf).tolist()))
    each = layers(leaf * (2 + 2 * features), p["leaf_hidden"], leaf * (1 + width))
    return Cost(p["passes"] * (levels * n // 2 * node + used * each), "a word")
