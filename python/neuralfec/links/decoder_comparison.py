# SPDX-License-Identifier: GPL-3.0-or-later
"""Error rate against speed of all decoders that take a code.

A comparison is one or more codes of the same length and rate over one channel at one Eb/N0. Its
decoders come from the registry: each name, with what `VARIANTS` puts behind it, that takes the
code. Speed is thread time of one core, measured in turns on LLRs of that channel.
"""

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from .. import _kernels, decoders, provenance
from ..codes import code as make_code
from ..simulation import Results
from ..simulation.figure import LIMIT
from ..simulation.options import result_name
from .bicm import DecoderLink

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Comparison:
    """Codes that do the same job, and the channel on which their decoders are compared."""

    title: str
    codes: tuple[str, ...]
    constellation: str
    eb_n0_db: float


COMPARISONS = {
    "64-32": Comparison("length 64, rate 1/2", ("polar-nr:64,32",), "qam16", 6.0),
    "128-64": Comparison(
        "length 128, rate 1/2",
        ("polar-nr:128,64,crc11", "rm:3,7", "polar-rptu:128,64", "ccsds:128,64"),
        "psk2",
        2.5,
    ),
    "ldpc-648": Comparison("LDPC (648, 324)", ("wifi-648",), "psk2", 2.0),
    "conv-7-5": Comparison("convolutional (7, 5), 256 bits", ("conv:7,5:256",), "psk2", 4.5),
    "conv-171-133": Comparison("K = 7 (171, 133), 256 bits", ("conv:171,133:256",), "psk2", 3.5),
}
"""The comparisons by name."""

# What stands behind a decoder's name; nothing where a name is not here.
VARIANTS = {
    "bp": (":20", ":50"),
    "min-sum": (":20",),
    "min-sum-int8": (":20",),
    "bp-layered": (":12",),
    "min-sum-layered": (":12",),
    "viterbi": ("", ":int8"),
    "bcjr": ("", ":max-log"),
    "scl": (":8", ":32"),
    "scl-osd": (":8,3", ":8,3,early"),
    "ae-sc": (":32",),
    "osd": (":1", ":2", ":3", ":3,early"),
    "syndrome": ("",),
    "syndrome-ae": (":8",),
    "syndrome-osd": (":1", ":2"),
}
# Block error rate above which a decoder is not drawn: it does not decode such a code.
DRAWN = 0.5
_MARKERS = "osD^v<>pPX*hd8H1234|_"
# Decoders of other channels than the one of a comparison.
ELSEWHERE = ("bcjr-burst",)


def specs() -> list[str]:
    """Return the specs of all decoders that are tried."""
    return [
        name + variant
        for name in decoders.REGISTRY.entries
        if name not in ELSEWHERE
        for variant in VARIANTS.get(name, ("",))
    ]


def takers(code: str) -> list[str]:
    """Return the specs of the decoders that take a code."""
    made, found = make_code(code), []
    for spec in specs():
        try:
            decoders.decoder(spec, made)
        except ValueError:
            continue
        found.append(spec)
    return found


def words_per_second(
    code: str,
    constellation: str,
    eb_n0_db: float,
    specs: Sequence[str],
    runs: int = 5,
    seconds: float = 0.1,
) -> dict[str, float]:
    """Measure the speed of decoders in turns, medians of thread time.

    Parameters
    ----------
    code, constellation, eb_n0_db : of `DecoderLink`
    specs : of decoders that take the code
    runs : turns
    seconds : of one decoder in one turn, about; it gets 4 words at least and 8192 at most

    Returns
    -------
    Words a second, by spec
    """
    rng = np.random.default_rng(1)
    links = {spec: DecoderLink(code, constellation, [spec]) for spec in specs}

    def turn(spec: str, frames: int) -> float:
        link = links[spec]
        before = link.seconds[spec]
        link(rng, eb_n0_db, frames)
        return (link.seconds[spec] - before) / frames

    first = {spec: turn(spec, 4) for spec in specs}
    frames = {spec: int(np.clip(seconds / first[spec], 4, 8192)) for spec in specs}
    turns = [{spec: turn(spec, frames[spec]) for spec in specs} for _ in range(runs)]
    return {spec: 1 / statistics.median(row[spec] for row in turns) for spec in specs}


def speed_record(words: dict[str, float]) -> dict:
    """Return what a result keeps of a measurement by `words_per_second`."""
    return {
        "command": provenance.command(),
        "cpu": provenance.cpu(),
        "threads": 1,
        "simd": _kernels.simd_target(),
        "versions": provenance.versions(),
        "words_per_second": {spec: float(f"{value:.4g}") for spec, value in words.items()},
    }


def name_of(comparison: str, code: str) -> str:
    """Return the name of the counts of a code in a comparison."""
    return result_name("decoders", comparison, code)


def best(rows: Sequence[tuple[str, float, float]]) -> list[int]:
    """Return which rows (name, words/s, error rate) no other beats in both, the fastest first."""
    order = sorted(range(len(rows)), key=lambda i: (-rows[i][1], rows[i][2]))
    found: list[int] = []
    for i in order:
        if not found or rows[i][2] < rows[found[-1]][2]:
            found.append(i)
    return found


def figure(comparison: Comparison, results: Sequence[Results]) -> "Figure":
    """Draw block error rate against words a second of all decoders, 95 % intervals.

    Those that lose more than half of the words are left out. A dotted line joins those that no
    other beats in both. The finite-length limit of codes of this length is dashed, where it is
    not far below all of them.

    results : one a code of the comparison, with the speeds of `speed_record` in what they tell
        about themselves
    """
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    drawn = Figure(figsize=(9.5, 5), layout="constrained")
    axes = drawn.subplots()
    rows = [
        (result.about["parameters"]["code"], spec, speed, result.rate(comparison.eb_n0_db, spec))
        for result in results
        for spec, speed in result.about["speed"]["words_per_second"].items()
    ]
    rows = sorted((row for row in rows if row[3].value < DRAWN), key=lambda row: row[3].value)
    # The most reliable first, as in the legend.
    markers = dict(zip(dict.fromkeys(row[1] for row in rows), itertools.cycle(_MARKERS)))
    several = len(results) > 1
    colors = {key: f"C{i % 10}" for i, key in enumerate(comparison.codes if several else markers)}
    points = []
    for code, spec, speed, rate in rows:
        # Without an error: an arrow down from the upper end of the interval.
        place = rate.value or rate.high
        points.append((spec, speed, place))
        axes.errorbar(
            speed,
            place,
            yerr=[[place - rate.low if rate.value else 0], [rate.high - place]],
            marker=markers[spec] if rate.value else "$\\downarrow$",
            markersize=7,
            capsize=2,
            linestyle="none",
            color=colors[code if several else spec],
        )
    front = [points[i] for i in best(points)]
    axes.plot([p[1] for p in front], [p[2] for p in front], ":", color="0.5", zorder=0)
    limit = DecoderLink(comparison.codes[0], comparison.constellation, []).limit
    bound = limit(comparison.eb_n0_db)
    handles = [
        Line2D([], [], color=colors.get(spec, "0.3"), marker=marker, linestyle="none", label=spec)
        for spec, marker in markers.items()
    ]
    if several:
        handles[:0] = [Patch(color=color, label=code) for code, color in colors.items()]
    if bound > min(point[2] for point in points) / 10:
        handles.append(axes.axhline(bound, color="k", linestyle="--", linewidth=1, label=LIMIT))
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="words per second on one core",
        ylabel="block error rate",
        title=f"{comparison.title}: {comparison.constellation}, Eb/N0 {comparison.eb_n0_db:g} dB",
    )
    # At least a decade: intervals that are short stay so.
    low, high = axes.get_ylim()
    middle = (low * high) ** 0.5
    axes.set_ylim(min(low, middle / 10**0.5), max(high, middle * 10**0.5))
    axes.grid(True, which="both", alpha=0.3)
    # Beside the axes: in them it would hide points.
    axes.legend(handles=handles, loc="center left", bbox_to_anchor=(1.02, 0.5), fontsize=8)
    return drawn
