# SPDX-License-Identifier: GPL-3.0-or-later
"""Model files: a network and its card in one file.

>>> card = Card(system="quantization", name="qam256-15bit",
...             methods={"forward": Method({"llrs": (None, 8)}, {"latent": (None, 3)})},
...             training=Training(seed=1, steps=2000), measured={"loss_db": 0.08})
>>> save("qam256-15bit.pt", network, card)
>>> module, card = load("qam256-15bit.pt", expect={"bits_per_symbol": 8})
"""

from .card import Card, CodeIdentity, Method, Shape, Training, parity_check_sha256
from .catalogue import list, show
from .cost import Cost, cost
from .export import export
from .files import load, parameters, path, read_card, save, shipped, state_dict

__all__ = [
    "Card",
    "CodeIdentity",
    "Cost",
    "Method",
    "Shape",
    "Training",
    "cost",
    "export",
    "list",
    "load",
    "parameters",
    "parity_check_sha256",
    "path",
    "read_card",
    "save",
    "shipped",
    "show",
    "state_dict",
]
