# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes, each by a short spec: ``code("wifi-648")``, ``code("alist:my.alist")``."""

import importlib
from typing import Any

from .linear import LinearCode

__all__ = ["LinearCode", "code", "specs"]

# A new code is one line: name: (module here, factory, what stands after the colon).
# The factory gets the text after the colon where the third entry names it, else nothing.
_CODES = {
    "wifi-648": ("ldpc", "wifi_648", ""),
    "alist": ("alist", "from_file", "FILE"),
    "conv": ("convolutional", "from_spec", "G,G[/F][@PUNCTURE][:K[:TERMINATION]]"),
    "polar-nr": ("polar", "nr", "N,K[,CRC]"),
    "polar-rptu": ("polar", "rptu", "128,64"),
    "rm": ("polar", "reed_muller", "R,M"),
    "bch": ("bch", "bch", "N,K"),
    "mat": ("mat", "from_file", "FILE"),
}


def specs() -> list[str]:
    """The specs that `code` understands."""
    return [f"{name}:{argument}" if argument else name for name, (*_, argument) in _CODES.items()]


def code(spec: str) -> Any:
    """The code that a spec names.

    The result has ``n``, ``k`` and ``encode(messages uint8 (F, k)) -> uint8 (F, n)``;
    block codes are `LinearCode`. ValueError, with the known specs, for another spec.
    """
    name, _, argument = spec.partition(":")
    module, factory, takes = _CODES.get(name, ("", "", ""))
    if not module or bool(takes) != bool(argument):
        raise ValueError(f"expected a code of {', '.join(specs())}, got {spec!r}")
    make = getattr(importlib.import_module(f".{module}", __name__), factory)
    return make(argument) if takes else make()
