# SPDX-License-Identifier: GPL-3.0-or-later
"""Error-rate curves as a figure."""

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from .results import Results, labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMES = {"bler": "Block error rate", "ber": "Bit error rate"}


def figure(
    results: Sequence[Results],
    path: str | os.PathLike | None = None,
    *,
    metric: str = "bler",
    title: str = "",
    snr_label: str = "SNR (dB)",
) -> "Figure":
    """Draw every scheme of the results against SNR, with 95 % intervals.

    Parameters
    ----------
    path : where to save it, PNG, PDF or SVG by its name; None to save nothing
    metric : "bler" or "ber"
    """
    from matplotlib.figure import Figure

    drawn = Figure(figsize=(6.4, 4.8), layout="constrained")
    axes = drawn.subplots()
    draw(axes, results, metric=metric)
    axes.set(xlabel=snr_label, title=title)
    if path is not None:
        drawn.savefig(path, dpi=150)
    return drawn


def draw(axes: "Axes", results: Sequence[Results], *, metric: str = "bler") -> None:
    """Draw every scheme of the results into axes of a larger figure.

    A point without an error is an arrow down from the upper end of its interval. metric : "bler"
    or "ber"; ValueError for another.
    """
    if metric not in _NAMES:
        raise ValueError(f"expected metric 'bler' or 'ber', got {metric!r}")
    for (index, scheme), label in labels(results).items():
        result = results[index]
        snr = result.snr_db(scheme)
        value, low, high = np.array([result.rate(s, scheme, metric) for s in snr]).T
        seen = value > 0
        line = axes.errorbar(
            snr[seen],
            value[seen],
            yerr=(value[seen] - low[seen], high[seen] - value[seen]),
            marker="o",
            markersize=4,
            capsize=3,
            linewidth=1.2,
            label=label,
        )
        axes.plot(snr[~seen], high[~seen], "v", color=line[0].get_color(), fillstyle="none")
    axes.set_yscale("log")
    axes.set_ylabel(_NAMES[metric])
    axes.grid(True, which="both", alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
