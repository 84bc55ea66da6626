# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts of feedback codes at operating points, stored for curves that are drawn from them.

`<name>.csv` has a row for each scheme, setting and seed: what was run, and the counts of
``evaluation.simulate`` as they are. `<name>.json` tells by which commands.
"""

import dataclasses
import math
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from .. import provenance
from ..simulation import Estimate, clopper_pearson, counts
from .evaluation import posterior_error_rate
from .setting import Setting


def _optional(text: str) -> float | None:
    return counts.number(text) if text else None


_SETTING: dict[str, Callable[[str], Any]] = {
    "snr_db": float,
    "feedback_snr_db": _optional,
    "termination": str,
    "threshold": _optional,
    "transmitter_threshold": _optional,
    "channel": str,
}
_KEY: dict[str, Callable[[str], Any]] = {
    "scheme": str,
    "model": str,
    **_SETTING,
    "error_target": _optional,
    "seed": int,
}
_SHAPE = ("groups", "group_bits")


@dataclasses.dataclass
class Point:
    """Hold one operating point: scheme as the legend has it, model, setting, seed, and counts.

    error_target: of a code that confirms its blocks, else None. groups, group_bits: Q and m.
    Rates are in message bits a symbol sent; real SNR and capacity at it count the power that
    was really sent.
    """

    scheme: str
    model: str
    setting: Setting
    error_target: float | None
    seed: int
    groups: int
    group_bits: int
    counts: dict[str, float]

    @property
    def key(self) -> tuple:
        """What tells it from another point."""
        setting = dataclasses.astuple(self.setting)
        return (self.scheme, self.model, *setting, self.error_target, self.seed)

    @property
    def digital(self) -> bool:
        """Whether what came back were bits."""
        return "feedback_bits" in self.counts

    @property
    def rate(self) -> float:
        """Message bits a symbol, of blocks that were not erased."""
        kept = self.counts["blocks"] - self.counts.get("erasures", 0)
        return kept / self.counts["blocks"] * self.counts["bits"] / self.counts["symbols"]

    @property
    def differential_rate(self) -> float:
        """R_d (eq. 16), of average lengths: what is gained by groups that end by themselves."""
        return self.rate - self.counts["bits"] / (self.groups * self.counts["rounds"])

    @property
    def power(self) -> float:
        """Mean power of the symbols sent."""
        return self.counts["energy"] / self.counts["symbols"]

    @property
    def real_snr_db(self) -> float:
        """SNR of the power that was really sent."""
        return self.setting.snr_db + 10 * math.log10(self.power)

    @property
    def block_error_rate(self) -> Estimate:
        """Counted, with the interval of Clopper and Pearson."""
        return clopper_pearson(int(self.counts["block_errors"]), int(self.counts["blocks"]))

    @property
    def posterior_error_rate(self) -> Estimate | None:
        """By the receiver's own posterior; None of a code that has none."""
        return posterior_error_rate(self.counts) if "error_estimate" in self.counts else None


def load(file: str | os.PathLike) -> list[Point]:
    """Read the points of a CSV file; ValueError for one of something else."""
    points = []
    for key, row in counts.load(file, _KEY, [*_SHAPE, "blocks", "block_errors"]).items():
        scheme, model, *setting, error_target, seed = key
        try:
            made = Setting(**dict(zip(_SETTING, setting, strict=True)))
        except ValueError as error:
            raise ValueError(f"{file}, row of {key}: {error}") from error
        groups, group_bits = (int(row.pop(name)) for name in _SHAPE)
        points.append(Point(scheme, model, made, error_target, seed, groups, group_bits, row))
    return points


def add(file: str | os.PathLike, fresh: Iterable[Point]) -> None:
    """Put points and this process's record into a CSV file and its JSON.

    ValueError for a point that is there already: the same noise would count twice.
    """
    file = Path(file)
    points = {point.key: point for point in (load(file) if file.exists() else [])}
    for point in fresh:
        if point.key in points:
            raise ValueError(f"{file} has {point.key} already; take another seed")
        points[point.key] = point
    rows = {
        key: {"groups": point.groups, "group_bits": point.group_bits, **point.counts}
        for key, point in points.items()
    }
    counts.save(file, list(_KEY), rows, first=_SHAPE)
    note_run(file)


def note_run(file: Path) -> None:
    """Put this process's record into the JSON beside a CSV file."""
    runs = counts.about(file).get("runs", [])
    counts.save_about(file, {"runs": [*runs, provenance.record()]})


def combined(points: Iterable[Point]) -> list[Point]:
    """Make points of one scheme, model and setting one, whatever the seeds."""
    found: dict[tuple, Point] = {}
    for point in points:
        known = found.get(point.key[:-1])
        if known is None:
            found[point.key[:-1]] = dataclasses.replace(point, counts=dict(point.counts))
        else:
            counts.add(known.counts, point.counts)
    return list(found.values())
