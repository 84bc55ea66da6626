# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes, each by a short spec: ``code("wifi-648")``, ``code("alist:my.alist")``."""

from typing import Any

from ..registry import Registry
from .linear import LinearCode

__all__ = ["LinearCode", "code", "specs"]

_WIFI = ("648", *(f"{n}-{r}" for n in (648, 1296, 1944) for r in ("1/2", "2/3", "3/4", "5/6")))

# A new code is one line: name: (module here, factory, what stands after the name).
REGISTRY = Registry(
    "code",
    __name__,
    {
        **{f"wifi-{which}": (".ldpc", "wifi", "", which) for which in _WIFI},
        "nr-ldpc": (".ldpc", "nr_ldpc", ":K,E[,RV[,BG]]"),
        "dvb-s2": (".ldpc", "dvb_s2", ":RATE"),
        "dvb-s2-short": (".ldpc", "dvb_s2_short", ":RATE"),
        "ccsds": (".ldpc", "ccsds", ":N,K"),
        "nr-polar": (".polar", "nr_rate_matched", ":K,E[,LINK]"),
        "alist": (".files", "alist", ":FILE[@WORD]"),
        "conv": (".convolutional", "from_spec", ":G,G[/F][@PUNCTURE][:K[:TERMINATION]]"),
        "polar-nr": (".polar", "nr", ":N,K[,CRC]"),
        "polar-rptu": (".polar", "rptu", ":128,64"),
        "rm": (".polar", "reed_muller", ":R,M"),
        "bch": (".bch", "bch", ":N,K"),
        "qc": (".files", "qc", ":FILE[@WORD]"),
        "mat": (".files", "mat", ":FILE[@WORD]"),
        "matrix": (".files", "matrix", ":FILE[@WORD]"),
        "generator": (".files", "generator", ":FILE"),
    },
)


def specs() -> list[str]:
    """Return the specs that `code` understands."""
    return REGISTRY.specs()


def code(spec: str) -> Any:
    """Make the code that a spec names.

    The result has ``n``, ``k`` and ``encode(messages uint8 (F, k)) -> uint8 (F, n)``;
    block codes are `LinearCode`. ValueError, with the known specs, for another spec.
    """
    return REGISTRY.make(spec)
