# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts of feedback codes at operating points, stored for curves that are drawn from them.

`<name>.csv` has a row for each scheme, setting and seed: what was run, and the counts of
``evaluation.simulate`` as they are. `<name>.json` tells by which commands.
"""

import dataclasses
import math
import os
from collections.abc import Iterable
from pathlib import Path

from .. import provenance
from ..simulation import Estimate, clopper_pearson, counts
from .evaluation import Setting

_WORDS = ("scheme", "model", "termination", "channel")
_KEY = ("scheme", "model", *(field.name for field in dataclasses.fields(Setting)), "seed")


def _value(text: str) -> float | None:
    return counts.number(text) if text else None


_COLUMNS = {name: str if name in _WORDS else _value for name in (*_KEY, "groups", "group_bits")}
_REQUIRED = ("blocks", "block_errors")


@dataclasses.dataclass
class Point:
    """One operating point: scheme as the legend has it, model, setting, seed, and counts.

    groups, group_bits: Q and m. Rates are in message bits a symbol sent; real SNR and capacity
    at it count the power that was really sent.
    """

    scheme: str
    model: str
    setting: Setting
    seed: int
    groups: int
    group_bits: int
    counts: dict[str, float]

    @property
    def key(self) -> tuple:
        return (self.scheme, self.model, *dataclasses.astuple(self.setting), self.seed)

    @property
    def digital(self) -> bool:
        """Whether what came back were bits."""
        return "feedback_bits" in self.counts

    @property
    def rate(self) -> float:
        return self.counts["bits"] / self.counts["symbols"]

    @property
    def differential_rate(self) -> float:
        """R_d (eq. 16), of average lengths: what is gained by groups that end by themselves."""
        return self.rate - self.counts["bits"] / (self.groups * self.counts["rounds"])

    @property
    def power(self) -> float:
        return self.counts["energy"] / self.counts["symbols"]

    @property
    def real_snr_db(self) -> float:
        return self.setting.snr_db + 10 * math.log10(self.power)

    @property
    def block_error_rate(self) -> Estimate:
        """Counted, with the interval of Clopper and Pearson."""
        return clopper_pearson(self.counts["block_errors"], self.counts["blocks"])

    @property
    def posterior_error_rate(self) -> Estimate | None:
        """By the receiver's own posterior, with a 95 % normal interval; None of a code that
        has none."""
        if "error_estimate" not in self.counts:
            return None
        n = self.counts["blocks"]
        mean = self.counts["error_estimate"] / n
        spread = 1.96 * math.sqrt(max(self.counts["estimate_squared"] / n - mean**2, 0) / n)
        return Estimate(mean, max(mean - spread, 0.0), mean + spread)


def capacity(snr_db: float) -> float:
    """0.5 log2(1 + SNR), bits a real symbol."""
    return 0.5 * math.log2(1 + 10 ** (snr_db / 10))


def load(file: str | os.PathLike) -> list[Point]:
    """Read the points of a CSV file; ValueError for one of something else."""
    points = []
    for line, (key, of) in enumerate(counts.load(file, _COLUMNS, _REQUIRED).items(), 2):
        scheme, model, *setting, seed, groups, group_bits = key
        try:
            made = Setting(*setting)
        except ValueError as error:
            raise ValueError(f"{file}, line {line}: {error}") from error
        points.append(Point(scheme, model, made, seed, groups, group_bits, of))
    return points


def add(file: str | os.PathLike, fresh: Iterable[Point]) -> None:
    """Put points and this process's record into a CSV file and its JSON.

    ValueError for a point that is there already: the same noise would count twice.
    """
    file = Path(file)
    points = load(file) if file.exists() else []
    keys = {point.key for point in points}
    for point in fresh:
        if point.key in keys:
            raise ValueError(f"{file} has {point.key} already; take another seed")
        keys.add(point.key)
        points.append(point)
    rows = {(*point.key, point.groups, point.group_bits): point.counts for point in points}
    counts.save(file, tuple(_COLUMNS), rows)
    note_run(file)


def note_run(file: Path) -> None:
    """Put this process's record into the JSON beside a CSV file."""
    runs = counts.about(file).get("runs", [])
    counts.save_about(file, {"runs": [*runs, provenance.record()]})


def combined(points: Iterable[Point]) -> list[Point]:
    """Points of one scheme, model and setting made one, whatever the seeds."""
    found: dict[tuple, Point] = {}
    for point in points:
        known = found.get(point.key[:-1])
        if known is None:
            found[point.key[:-1]] = dataclasses.replace(point, counts=dict(point.counts))
        else:
            counts.add(known.counts, point.counts)
    return list(found.values())
