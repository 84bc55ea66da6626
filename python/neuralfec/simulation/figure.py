# SPDX-License-Identifier: GPL-3.0-or-later
"""Error-rate curves as a figure."""

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from .results import Results, labels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_NAMES = {"bler": "Block error rate", "ber": "Bit error rate"}
# Curves that matplotlib draws in a colour of their own; the next ones are dash-dotted.
_COLOURS = 10
LIMIT = "finite-length limit\n(normal approximation)"


def figure(
    results: Sequence[Results],
    path: str | os.PathLike | None = None,
    *,
    metrics: Sequence[str] = ("bler",),
    title: str = "",
    snr_label: str = "SNR (dB)",
    limit: Callable[[float], float] | None = None,
    names: Callable[[str], str] = str,
) -> "Figure":
    """Draw every scheme of the results against SNR, with 95 % intervals.

    Parameters
    ----------
    path : where to save it, PNG, PDF or SVG by its name; None to save nothing
    metrics : of "bler" and "ber", a panel each
    limit : the finite-length limit, a block error rate by SNR in dB; drawn dashed, with "bler"
    names : what the legend calls a scheme
    """
    from matplotlib.figure import Figure

    # The legend stands beside the panels: in them it would hide curves.
    drawn = Figure(figsize=(5.4 * len(metrics) + 2.8, 4.8), layout="constrained")
    panels = drawn.subplots(1, len(metrics), squeeze=False)[0]
    for axes, metric in zip(panels, metrics, strict=True):
        draw(axes, results, metric=metric, limit=limit if metric == "bler" else None, names=names)
        axes.set(xlabel=snr_label, title=title)
    handles = {
        label: handle
        for axes in panels
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    for axes in panels:
        if axes.get_legend():
            axes.get_legend().remove()
    if handles:
        panels[-1].legend(
            handles.values(), handles.keys(), loc="center left", bbox_to_anchor=(1.02, 0.5)
        )
    if path is not None:
        drawn.savefig(path, dpi=150)
    return drawn


def draw(
    axes: "Axes",
    results: Sequence[Results],
    *,
    metric: str = "bler",
    limit: Callable[[float], float] | None = None,
    names: Callable[[str], str] = str,
) -> None:
    """Draw every scheme of the results into axes of a larger figure.

    A point without an error is an arrow down from the upper end of its interval. metric : "bler"
    or "ber"; ValueError for another. limit, names : as of `figure`.
    """
    if metric not in _NAMES:
        raise ValueError(f"expected metric 'bler' or 'ber', got {metric!r}")
    for number, ((index, scheme), label) in enumerate(labels(results).items()):
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
            linestyle="-" if number < _COLOURS else "-.",
            label=names(label),
        )
        axes.plot(snr[~seen], high[~seen], "v", color=line[0].get_color(), fillstyle="none")
    axes.set_yscale("log")
    if limit is not None:
        # Neither wider nor lower than the counts, whose axes it leaves as they are.
        view = axes.axis()
        snr = np.linspace(view[0], view[1], 60)
        rates = [limit(point) for point in snr]
        axes.plot(snr, rates, "k--", linewidth=1, label=LIMIT)
        axes.axis(view)
    axes.set_ylabel(_NAMES[metric])
    axes.grid(True, which="both", alpha=0.3)
    if axes.get_legend_handles_labels()[0]:
        axes.legend()
