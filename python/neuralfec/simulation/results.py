# SPDX-License-Identifier: GPL-3.0-or-later
"""Counts of a simulation, on disk and as error rates with intervals.

`<name>.csv` holds counts, one row for each scheme, SNR and seed, and is all that a resumed
run needs. `<name>.json` tells how the counts were made.
"""

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from . import counts

REQUIRED = ("blocks", "block_errors", "bits", "bit_errors")
CONFIDENCE = 0.95
_KEY = {"scheme": str, "snr_db": float, "seed": int}

Row = tuple[str, float, int]


class Estimate(NamedTuple):
    """Holds a value with its 95 % confidence interval."""

    value: float
    low: float
    high: float


def clopper_pearson(errors: float, trials: float, confidence: float = CONFIDENCE) -> Estimate:
    """Compute an error rate with its exact binomial interval (Clopper, Pearson, Biometrika 1934).

    Numbers that are no integers are taken as effective sample sizes. Without trials it is nan, from
    0 to 1. ValueError for more errors than trials.
    """
    from scipy.special import betaincinv

    if not 0 <= errors <= trials:
        raise ValueError(f"expected 0 <= errors <= trials, got {errors} errors, {trials} trials")
    if trials == 0:
        return Estimate(math.nan, 0.0, 1.0)
    tail = (1 - confidence) / 2
    low = betaincinv(errors, trials - errors + 1, tail) if errors > 0 else 0.0
    high = betaincinv(errors + 1, trials - errors, 1 - tail) if errors < trials else 1.0
    return Estimate(errors / trials, float(low), float(high))


def _sample(counts: Mapping[str, float], metric: str) -> tuple[float, float]:
    """Errors and trials of a metric as an equivalent simple random sample.

    Bit errors come in bursts, many in a bad block and none in a good one, and blocks of one
    transmission share its channel. Where the sum of squares is known, `bit_errors_squared` over
    blocks or `squared_cluster_errors` over clusters of blocks, trials count as trials / deff, deff
    being the variance of the rate between the groups over that of independent trials (Korn and
    Graubard, Survey Methodology, 1998). Else they count as independent, an interval too narrow.
    """
    if metric == "bler":
        errors, trials = counts["block_errors"], counts["blocks"]
        groups, squared = counts.get("clusters", 0), counts.get("squared_cluster_errors")
    elif metric == "ber":
        errors, trials = counts["bit_errors"], counts["bits"]
        groups, squared = counts["blocks"], counts.get("bit_errors_squared")
    else:
        raise ValueError(f"expected metric 'bler' or 'ber', got {metric!r}")
    if squared is None or groups < 2 or errors == trials:
        return errors, trials
    if errors == 0:
        return 0, groups
    rate = errors / trials
    between = (squared - errors**2 / groups) * groups / (groups - 1)
    effect = max(1.0, between / (trials * rate * (1 - rate)))
    return errors / effect, trials / effect


@dataclass
class Results:
    """Keeps counts by (scheme, SNR in dB, seed), in the order of the run.

    Each row has at least `chunks` (how many generators of the seed are used up), `blocks`,
    `block_errors`, `bits` and `bit_errors`. `about` is the JSON file.
    """

    name: str
    rows: dict[Row, dict[str, float]] = field(default_factory=dict)
    about: dict = field(default_factory=dict)

    @staticmethod
    def files(name: str, directory: str | os.PathLike = "results") -> tuple[Path, Path]:
        """Return the CSV and the JSON file of a result."""
        return Path(directory, f"{name}.csv"), Path(directory, f"{name}.json")

    @classmethod
    def load(cls, name: str, directory: str | os.PathLike = "results") -> "Results":
        """Read back what `save` wrote.

        FileNotFoundError where there is none, ValueError for a file that is not of counts.
        """
        file, _ = cls.files(name, directory)
        rows = counts.load(file, _KEY, ("chunks", *REQUIRED), _check)
        return cls(name, rows, counts.about(file))

    def save(self, directory: str | os.PathLike = "results") -> None:
        """Write both files; each is whole at every moment, before, during and after."""
        file, _ = self.files(self.name, directory)
        counts.save(file, tuple(_KEY), self.rows, ("chunks", *REQUIRED))
        counts.save_about(file, self.about)

    @property
    def schemes(self) -> list[str]:
        """The names of the schemes, in the order of the run."""
        return list(dict.fromkeys(scheme for scheme, _, _ in self.rows))

    def snr_db(self, scheme: str | None = None) -> np.ndarray:
        """Return the SNRs in dB at which a scheme has counts, float64, ascending."""
        wanted = self._scheme(scheme)
        return np.unique([snr for name, snr, _ in self.rows if name == wanted])

    def counts(self, snr_db: float, scheme: str | None = None) -> dict[str, float]:
        """Return the counts at one SNR in dB, summed over seeds.

        scheme : may be left out where there is one; ValueError for a name that there is not
        """
        wanted = self._scheme(scheme)
        total: dict[str, float] = dict.fromkeys(REQUIRED, 0)
        for (name, snr, _), row in self.rows.items():
            if name == wanted and snr == snr_key(snr_db):
                counts.add(total, row)
        return total

    def rate(self, snr_db: float, scheme: str | None = None, metric: str = "bler") -> Estimate:
        """Compute the block ("bler") or bit ("ber") error rate with its interval.

        See `clopper_pearson`; bits that are wrong together count as fewer.
        """
        return clopper_pearson(*_sample(self.counts(snr_db, scheme), metric))

    def snr_at(self, target: float, scheme: str | None = None, metric: str = "bler") -> Estimate:
        """Find the SNR in dB at which an error rate is reached.

        It is interpolated in the rate's logarithm: by a parabola through the two measured points
        around it and the better counted one of their neighbours, or a line where they have none.
        The interval is the delta method's, from the counts of these points. ValueError where the
        target does not lie between two points that have errors.
        """
        value, slopes = self._crossing(target, self._scheme(scheme), metric)
        return _normal(value, sum(slope**2 * variance for slope, variance in slopes.values()))

    def loss(self, scheme: str, reference: str, target: float, metric: str = "bler") -> Estimate:
        """Compute the SNR in dB that a scheme needs beyond the reference for an error rate.

        Where one of the two is the run's first scheme and the counts have `common_block_errors`
        (see `count_errors`) or, of clusters of blocks, `common_cluster_errors`, the interval of a
        BLER loss makes use of both having decoded the same noise; else they are taken as
        independent.
        """
        value, mine = self._crossing(target, self._scheme(scheme), metric)
        other_value, theirs = self._crossing(target, self._scheme(reference), metric)
        variance = sum(slope**2 * part for slope, part in [*mine.values(), *theirs.values()])
        first = self.schemes[0]
        if metric == "bler" and first in (scheme, reference):
            second = reference if scheme == first else scheme
            for snr in mine.keys() & theirs.keys():
                joint, alone = self.counts(snr, second), self.counts(snr, first)
                kind = "cluster" if "clusters" in joint else "block"
                common, groups = joint.get(f"common_{kind}_errors"), joint.get(f"{kind}s")
                if common and groups and joint["blocks"] == alone["blocks"]:
                    expected = joint["block_errors"] * alone["block_errors"]
                    covariance = common / expected - 1 / groups
                    variance -= 2 * mine[snr][0] * theirs[snr][0] * covariance
        return _normal(value - other_value, variance)

    def _scheme(self, scheme: str | None) -> str:
        known = self.schemes
        if scheme is None and len(known) == 1:
            return known[0]
        if scheme not in known:
            raise ValueError(f"{self.name}: expected one of the schemes {known}, got {scheme!r}")
        return scheme

    def _crossing(
        self, target: float, scheme: str, metric: str
    ) -> tuple[float, dict[float, tuple[float, float]]]:
        """SNR of the target and, by SNR of the points that it rests on, d SNR / d ln(rate) and
        the variance of ln(rate)."""
        points = []
        for snr in self.snr_db(scheme):
            errors, trials = _sample(self.counts(snr, scheme), metric)
            if errors:
                points.append((float(snr), math.log(errors / trials), 1 / errors - 1 / trials))
        wanted = math.log(target) if target > 0 else -math.inf
        for i in range(len(points) - 1):
            above, below = points[i][1], points[i + 1][1]
            if above >= wanted >= below and above > below:
                break
        else:
            measured = ", ".join(f"{math.exp(rate):.3g} at {snr:g} dB" for snr, rate, _ in points)
            raise ValueError(
                f"{self.name}, {scheme or 'scheme'}: {metric.upper()} {target:g} does not lie "
                f"between two measured points ({measured or 'no point has errors'})"
            )
        neighbours = points[max(i - 1, 0) : i] + points[i + 2 : i + 3]
        third = sorted(neighbours, key=lambda point: point[2])[:1]
        used = np.array([points[i], points[i + 1], *third])
        snr, log_rate, variance = used[:, 0] - points[i][0], used[:, 1], used[:, 2]
        # Lagrange polynomials, a row each: 1 at its own SNR, 0 at the others'.
        others = [np.delete(snr, j) for j in range(len(snr))]
        basis = np.array([np.poly(x) / np.prod(at - x) for at, x in zip(snr, others, strict=True)])
        curve = log_rate @ basis
        roots = np.roots(np.polysub(curve, [wanted]))
        line = snr[1] * (above - wanted) / (above - below)
        crossing = float(roots[np.argmin(abs(roots - line))].real)
        weights = np.array([np.polyval(row, crossing) for row in basis])
        slopes = -weights / np.polyval(np.polyder(curve), crossing)
        return points[i][0] + crossing, {
            float(at): (float(slope), float(part))
            for at, slope, part in zip(used[:, 0], slopes, variance, strict=True)
        }


def snr_key(snr_db: float) -> float:
    """Return the SNR as it is stored: microdecibels tell points apart."""
    return round(float(snr_db), 6) + 0.0


def check_counts(counts: Mapping[str, float], what: str) -> dict[str, float]:
    """Return counts as plain numbers; ValueError where they cannot be counts."""
    plain = {}
    for key, value in counts.items():
        plain[key] = value.item() if hasattr(value, "item") else value
        if not isinstance(plain[key], int | float) or not math.isfinite(plain[key]):
            raise ValueError(f"{what}: expected a finite number for {key!r}, got {value!r}")
    return _check(plain, what)


def _check(counts: dict[str, float], what: str) -> dict[str, float]:
    missing = [key for key in REQUIRED if key not in counts]
    if missing:
        raise ValueError(f"{what}: expected {list(REQUIRED)}, missing {missing}")
    for errors, trials in (("block_errors", "blocks"), ("bit_errors", "bits")):
        if not 0 <= counts[errors] <= counts[trials]:
            raise ValueError(
                f"{what}: expected 0 <= {errors} <= {trials}, "
                f"got {counts[errors]} and {counts[trials]}"
            )
    return counts


def _normal(value: float, variance: float) -> Estimate:
    from scipy.special import ndtri

    half = float(ndtri((1 + CONFIDENCE) / 2)) * math.sqrt(max(variance, 0.0))
    return Estimate(value, value - half, value + half)


def labels(results: Sequence[Results]) -> dict[tuple[int, str], str]:
    """Return what to call each scheme of several results: the shortest that tells them apart."""
    called = {}
    for index, result in enumerate(results):
        for scheme in result.schemes:
            parts = [result.name] * (len(results) > 1) + [scheme] * bool(scheme)
            called[index, scheme] = " ".join(parts) or result.name
    return called
