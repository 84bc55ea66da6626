# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts of feedback codes at operating points, stored for curves that are drawn from them.

`<name>.csv` has a row for each scheme, setting and seed: what was run, and the counts of
``evaluation.simulate`` as they are. `<name>.json` tells by which commands.
"""

import csv
import dataclasses
import json
import math
import os
from collections.abc import Iterable
from pathlib import Path

from .. import provenance
from ..simulation import Estimate, clopper_pearson
from .evaluation import Setting

_SETTING = tuple(field.name for field in dataclasses.fields(Setting))
_KEY = ("scheme", "model", *_SETTING, "seed")
_SHAPE = ("groups", "group_bits")
_WORDS = ("scheme", "model", "termination", "channel")


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
    """The points of a CSV file; ValueError for one of something else."""
    points = []
    with open(file, newline="") as stream:
        reader = csv.DictReader(stream, strict=True)
        missing = {*_KEY, *_SHAPE, "blocks", "block_errors"} - set(reader.fieldnames or ())
        if missing:
            raise ValueError(f"{file}: not counts of feedback codes, no column {sorted(missing)}")
        for row in reader:
            try:
                values = {
                    column: text if column in _WORDS else _number(text)
                    for column, text in row.items()
                    if text
                }
                setting = Setting(**{name: values.pop(name, None) for name in _SETTING})
                named = {name: values.pop(name) for name in ("scheme", "model", "seed", *_SHAPE)}
                points.append(Point(**named, setting=setting, counts=values))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ValueError(f"{file}, line {reader.line_num}: {error}") from error
    return points


def add(file: str | os.PathLike, fresh: Iterable[Point]) -> None:
    """Puts points and this process's record into a CSV file and its JSON.

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
    columns = list(dict.fromkeys(name for point in points for name in point.counts))
    part = file.with_suffix(".part")
    with open(part, "w", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow([*_KEY, *_SHAPE, *columns])
        for point in points:
            counts = [point.counts.get(name, "") for name in columns]
            key = ["" if value is None else value for value in point.key]
            writer.writerow([*key, point.groups, point.group_bits, *counts])
    part.replace(file)
    note_run(file)


def note_run(file: Path) -> None:
    """Puts this process's record into the JSON beside a CSV file."""
    about = file.with_suffix(".json")
    runs = json.loads(about.read_text())["runs"] if about.exists() else []
    record = {"runs": [*runs, provenance.record()]}
    about.write_text(json.dumps(record, indent=2) + "\n")


def combined(points: Iterable[Point]) -> list[Point]:
    """Points of one scheme, model and setting made one, whatever the seeds."""
    found: dict[tuple, Point] = {}
    for point in points:
        known = found.get(point.key[:-1])
        if known is None:
            found[point.key[:-1]] = dataclasses.replace(point, counts=dict(point.counts))
        else:
            for name, value in point.counts.items():
                known.counts[name] = known.counts.get(name, 0) + value
    return list(found.values())


def _number(text: str) -> int | float:
    return int(text) if text.lstrip("-").isdigit() else float(text)
