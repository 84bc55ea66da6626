# SPDX-License-Identifier: GPL-3.0-or-later
"""What models there are, and what a card says, for people."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from typing import Any

from . import files
from .card import Card
from .cost import cost


def list(system: str | None = None) -> dict[str, Card]:
    """Return the cards of the shipped models by their names, "quantization/qam256-15bit".

    system : only those of one system; ValueError where it has none
    """
    found = {name: files.read_card(name) for name in files.shipped()}
    systems = sorted({card.system for card in found.values()})
    if system is not None and system not in systems:
        raise ValueError(f"expected a system of {', '.join(systems)}, got {system!r}")
    return {name: card for name, card in found.items() if system in (None, card.system)}


def show(model: str | os.PathLike) -> str:
    """Return what the card of a model says, as text of one line for each entry.

    model : shipped name or file; errors as `read_card`
    """
    card = files.read_card(model)
    lines = []
    for field in dataclasses.fields(card):
        value = getattr(card, field.name)
        if field.name == "methods":
            value = {
                name: f"{_shapes(method.inputs)} -> {_shapes(method.outputs)}"
                for name, method in value.items()
            }
        elif dataclasses.is_dataclass(value) and not isinstance(value, type):
            value = dataclasses.asdict(value)
        lines += _lines(field.name.replace("_", " "), value, "")
    numbers = sum(array.size for array in files.parameters(model).values())
    lines.append(f"numbers: {numbers} in parameters and buffers")
    with contextlib.suppress(ValueError):
        # Of somebody's own network nothing is known.
        lines.append(f"cost: {cost(model)}")
    return "\n".join(lines)


def _lines(name: str, value: Any, indent: str) -> Any:
    if isinstance(value, dict) and value:
        inner = [line for key in value for line in _lines(key, value[key], indent + "  ")]
        return [f"{indent}{name}:", *inner]
    return [f"{indent}{name}: {value}"] if value not in (None, "", {}) else []


def _shapes(tensors: dict[str, tuple[int | None, ...]]) -> str:
    return ", ".join(
        f"{name} ({', '.join('any' if size is None else str(size) for size in shape)})"
        for name, shape in tensors.items()
    )
