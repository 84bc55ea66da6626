# SPDX-License-Identifier: GPL-3.0-or-later
"""Constellations: points with bit labels, and the mapper.

A label holds K = log2(M) bits; the bit sent first is its most significant one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

MAX_ORDER = 4096


@dataclass(frozen=True, eq=False)
class Constellation:
    """M points and their labels.

    Parameters
    ----------
    name : what figures and messages call it
    points : complex64 (M,), finite and distinct; named constellations have unit average power
    labels : uint32 (M,), a permutation of 0 .. M-1; labels[i] belongs to points[i]

    ValueError where M is not a power of two from 2 to 4096, or points or labels are not so.
    """

    name: str
    points: np.ndarray
    labels: np.ndarray

    def __post_init__(self):
        points = np.array(self.points, dtype=np.complex64)
        labels = np.array(self.labels)
        order = points.size
        if points.ndim != 1 or order & (order - 1) or not 2 <= order <= MAX_ORDER:
            raise ValueError(
                f"constellation {self.name!r}: expected 2, 4, 8, ... {MAX_ORDER} points, "
                f"got an array of shape {points.shape}"
            )
        if not np.isfinite(points).all() or np.unique(points).size != order:
            raise ValueError(f"constellation {self.name!r}: expected finite, distinct points")
        if labels.shape != points.shape or not np.array_equal(np.sort(labels), np.arange(order)):
            raise ValueError(
                f"constellation {self.name!r}: expected labels that hold each of "
                f"0 .. {order - 1} once, got {labels}"
            )
        labels = labels.astype(np.uint32)
        for name, value in (("points", points), ("labels", labels)):
            value.flags.writeable = False
            object.__setattr__(self, name, value)

    @property
    def order(self) -> int:
        """M, the number of points."""
        return self.points.size

    @property
    def bits_per_symbol(self) -> int:
        """K = log2(M)."""
        return self.order.bit_length() - 1

    @property
    def points_by_label(self) -> np.ndarray:
        """complex64 (M,): the point of label 0, 1, ..."""
        by_label = np.empty_like(self.points)
        by_label[self.labels] = self.points
        return by_label

    @property
    def bits(self) -> np.ndarray:
        """uint8 (M, K): the bits of each point's label, most significant first."""
        shifts = np.arange(self.bits_per_symbol - 1, -1, -1, dtype=np.uint32)
        return (self.labels[:, None] >> shifts & 1).astype(np.uint8)

    @classmethod
    def from_digital(cls, obj: Any) -> Constellation:
        """Take over a ``gnuradio.digital`` constellation with one complex sample a symbol.

        The points stay as the object has them, so LLRs fit what its modulator sends. By
        default GNU Radio scales to unit average amplitude; give the object
        ``normalization=POWER_NORMALIZATION`` for Es = 1. A pre-differential code c is
        followed: value v is sent as point c[v].
        """
        if obj.dimensionality() != 1:
            raise ValueError(
                "expected a constellation of one complex sample a symbol, "
                f"got dimensionality {obj.dimensionality()}"
            )
        labels = np.arange(obj.arity(), dtype=np.uint32)
        if obj.apply_pre_diff_code():
            labels[np.array(obj.pre_diff_code(), dtype=int)] = np.arange(obj.arity())
        return cls("digital", np.array(obj.points()), labels)


def _gray(order: int) -> np.ndarray:
    level = np.arange(order)
    return level ^ level >> 1


def _unit_power(points: np.ndarray) -> np.ndarray:
    return points / np.sqrt(np.mean(np.abs(points) ** 2))


def _qam(name: str, order: int) -> Constellation:
    side = round(order**0.5)
    levels = 2.0 * np.arange(side) - (side - 1)
    gray = _gray(side)
    return Constellation(
        name,
        _unit_power((levels[:, None] + 1j * levels).ravel()),
        (gray[:, None] * side + gray).ravel(),
    )


def _qam_3gpp(name: str, order: int) -> Constellation:
    """3GPP TS 38.211, 5.1.3-5.1.6: even bits choose the in-phase level, odd ones quadrature:
    (1-2b0)[2^(k-1) - (1-2b2)[2^(k-2) - ...]], and its continuation to 1024 points."""
    labels = np.arange(order)
    bits_per_rail = (order.bit_length() - 1) // 2

    def rail(first_bit: int) -> np.ndarray:
        value = np.ones(order)
        for i in reversed(range(bits_per_rail)):
            sign = 1 - 2 * (labels >> (2 * (bits_per_rail - 1 - i) + 1 - first_bit) & 1)
            inner = value if i < bits_per_rail - 1 else 0
            value = sign * (2 ** (bits_per_rail - 1 - i) - inner)
        return value

    return Constellation(name, _unit_power(rail(0) + 1j * rail(1)), labels)


def _psk(name: str, order: int) -> Constellation:
    turn = np.exp(2j * np.pi * np.arange(order) / order)
    return Constellation(name, turn, _gray(order))


# ETSI EN 302 307-1 (DVB-S2), figure 10: angle in units of pi/4, label by label.
_PSK8_DVB_S2 = (1, 0, 4, 5, 2, 7, 3, 6)

# Figures 11 and 12: ring and angle in units of pi/12 (16-APSK) or pi/24, label by label.
_APSK16 = (
    *((1, a) for a in (3, -3, 9, -9, 1, -1, 11, -11, 5, -5, 7, -7)),
    *((0, a) for a in (3, -3, 9, -9)),
)
_APSK32 = (
    *((1, a) for a in (6, 10, -6, -10, 18, 14, -18, -14)),
    *((2, a) for a in (3, 9, -6, -12, 18, 12, -21, -15)),
    *((1, 2), (0, 6), (1, -2), (0, -6), (1, 22), (0, 18), (1, -22), (0, -18)),
    *((2, a) for a in (0, 6, -3, -9, 21, 15, 24, -18)),
)

# Tables 9 and 10: radii of the rings over that of the innermost one, by code rate.
_APSK_RINGS: dict[int, dict[str, Any]] = {
    16: {
        "2/3": (1.0, 3.15),
        "3/4": (1.0, 2.85),
        "4/5": (1.0, 2.75),
        "5/6": (1.0, 2.70),
        "8/9": (1.0, 2.60),
        "9/10": (1.0, 2.57),
    },
    32: {
        "3/4": (1.0, 2.84, 5.27),
        "4/5": (1.0, 2.72, 4.87),
        "5/6": (1.0, 2.64, 4.64),
        "8/9": (1.0, 2.54, 4.33),
        "9/10": (1.0, 2.53, 4.30),
    },
}


def _psk8_dvb_s2(name: str, order: int) -> Constellation:
    return Constellation(name, np.exp(1j * np.pi / 4 * np.array(_PSK8_DVB_S2)), np.arange(order))


def _apsk(name: str, order: int, rate: str = "3/4") -> Constellation:
    table: Any = {16: _APSK16, 32: _APSK32}[order]
    step = {16: np.pi / 12, 32: np.pi / 24}[order]
    ring, angle = np.array(table).T
    points = np.array(_APSK_RINGS[order][rate])[ring] * np.exp(1j * step * angle)
    return Constellation(name, _unit_power(points), np.arange(order))


_SQUARE = (4, 16, 64, 256, 1024)
_FAMILIES: dict[str, tuple[Any, ...]] = {
    **{f"qam{m}": (_qam, m) for m in _SQUARE},
    **{f"qam{m}-3gpp": (_qam_3gpp, m) for m in _SQUARE},
    **{f"psk{m}": (_psk, m) for m in (2, 4, 8, 16)},
    **{f"apsk{m}": (_apsk, m) for m in (16, 32)},
    "psk8-dvb-s2": (_psk8_dvb_s2, 8),
    **{f"apsk{m}-dvb-s2-{r}": (_apsk, m, r) for m, rates in _APSK_RINGS.items() for r in rates},
}
NAMES = tuple(_FAMILIES)


def from_file(path: str | Path) -> Constellation:
    """Return the constellation that a text file lists.

    A line holds a point's in-phase and quadrature component and its label, between blanks or
    commas; # begins a comment. Labels are numbers from 0 to M - 1, or all of them K binary
    digits, the bit sent first at the left; where no line has one, points stand in the order of
    their labels. Points stay as they are: their average power need not be 1.

    ValueError with the line for what does not fit; OSError where the file cannot be read.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: expected a text file of points, got other bytes") from error
    points: list[complex] = []
    labels: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].replace(",", " ").split()
        if not words:
            continue
        try:
            points.append(complex(float(words[0]), float(words[1])))
        except (ValueError, IndexError):
            words = []
        labels += words[2:]
        if len(words) not in (2, 3) or len(labels) not in (0, len(points)):
            expected = "I Q LABEL" if labels else "I Q or I Q LABEL"
            raise ValueError(
                f"{path}, line {number}: expected {expected} as in the lines before, "
                f"got {line.strip()[:60]!r}"
            )
    if not all(label.isdecimal() for label in labels):
        raise ValueError(f"{path}: expected labels of digits, got {labels}")
    bits = max(len(points).bit_length() - 1, 1)
    binary = all(len(label) == bits and set(label) <= {"0", "1"} for label in labels)
    numbers = [int(label, 2 if binary else 10) for label in labels] or range(len(points))
    return Constellation(f"file:{path}", np.array(points), np.array(numbers))


def constellation(spec: Any) -> Constellation:
    """Make the constellation of a name or of a ``digital`` object; a `Constellation` stays itself.

    * ``qam4 qam16 qam64 qam256 qam1024``: the I rail's bits first, then Q's; on a rail, level l
      counted from the most negative has the Gray label l xor (l >> 1);
    * ``qam4-3gpp`` ... ``qam1024-3gpp``: the bit order and signs of 3GPP TS 38.211;
    * ``psk2 psk4 psk8 psk16``: point l at angle 2 pi l / M has label l xor (l >> 1);
    * ``psk8-dvb-s2``: the 8-PSK of DVB-S2 (ETSI EN 302 307-1, figure 10);
    * ``apsk16-dvb-s2-2/3`` ... ``apsk32-dvb-s2-9/10``: its 16- and 32-APSK (figures 11 and 12)
      with the ring ratios of that code rate; ``apsk16 apsk32`` are those of rate 3/4;
    * ``file:PATH``: the points and labels of a text file, see `from_file`.

    The named ones have unit average power. ValueError for another name.
    """
    if isinstance(spec, Constellation):
        return spec
    if isinstance(spec, str):
        if spec.startswith("file:") and len(spec) > len("file:"):
            return from_file(spec.removeprefix("file:"))
        if spec not in _FAMILIES:
            raise ValueError(
                f"expected a constellation of {', '.join(NAMES)} or file:PATH, got {spec!r}"
            )
        make, *arguments = _FAMILIES[spec]
        return make(spec, *arguments)
    # GNU Radio hands its objects out as shared pointers; base() is what they have in common.
    if hasattr(spec, "points") and hasattr(spec, "pre_diff_code"):
        return Constellation.from_digital(spec)
    raise ValueError(
        "expected a constellation's name, a Constellation or a gnuradio.digital "
        f"constellation, got {type(spec).__name__}"
    )


def modulate(bits: np.ndarray, spec: Any) -> np.ndarray:
    """Maps bits (..., n K), 0 or 1, to symbols complex64 (..., n).

    ``spec`` is what `constellation` takes. ValueError where the last axis is not whole
    symbols or a value is neither 0 nor 1.
    """
    modulation = constellation(spec)
    bits = np.asarray(bits)
    k = modulation.bits_per_symbol
    if bits.ndim == 0 or bits.shape[-1] % k:
        raise ValueError(f"expected a multiple of {k} bits, got an array of shape {bits.shape}")
    if ((bits != 0) & (bits != 1)).any():
        raise ValueError("expected bits that are 0 or 1")
    groups = bits.reshape(*bits.shape[:-1], bits.shape[-1] // k, k).astype(np.uint32)
    labels = groups @ (1 << np.arange(k - 1, -1, -1, dtype=np.uint32))
    return modulation.points_by_label[labels]
