# SPDX-License-Identifier: GPL-3.0-or-later
"""Monte-Carlo simulation: one engine for every curve.

>>> def link(rng, snr_db, blocks):
...     sent = rng.integers(0, 2, (blocks, 100), dtype=np.uint8)
...     return count_errors(sent, {"one": decode_one(...), "other": decode_other(...)})
>>> results = run(link, parse_snr("16:20:0.5"), name="one-and-other", workers=4)
>>> results.loss("other", "one", 1e-2)      # dB, with its interval
>>> figure([results], "one-and-other.png")
"""

from .engine import Link, count_errors, parse_snr, run
from .figure import figure
from .results import Estimate, Results, clopper_pearson
from .table import table

__all__ = [
    "Estimate",
    "Link",
    "Results",
    "clopper_pearson",
    "count_errors",
    "figure",
    "parse_snr",
    "run",
    "table",
]
