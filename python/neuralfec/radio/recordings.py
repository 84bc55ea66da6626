# SPDX-License-Identifier: GPL-3.0-or-later
"""Samples from and to files, by one spec string.

* ``file:PATH`` : raw complex64, what GNU Radio's file source and sink have;
* ``sigmf:NAME.sigmf-meta`` : SigMF, the samples in ``NAME.sigmf-data``; read as cf32, ci16, ci8
  or cu8, little-endian, written as cf32 with an annotation a burst.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..app import InputFile, OutputFile

Complex = NDArray[np.complex64]

KINDS = ("file:PATH", "sigmf:NAME.sigmf-meta")
# SigMF's names, the type of a rail and what is taken off and divided by.
_TYPES = {
    "cf32_le": ("<f4", 0.0, 1.0),
    "ci16_le": ("<i2", 0.0, 32768.0),
    "ci8": ("i1", 0.0, 128.0),
    "cu8": ("u1", 127.5, 127.5),
}
_META, _DATA = ".sigmf-meta", ".sigmf-data"


def parse(spec: str) -> tuple[str, str]:
    """Split a spec into its kind, "file" or "sigmf", and its path.

    ValueError for other kinds, with those there are.
    """
    kind, _, path = spec.partition(":")
    if kind not in ("file", "sigmf") or not path:
        raise ValueError(f"expected a front end of {', '.join(KINDS)}, got {spec!r}")
    if kind == "sigmf" and not path.endswith(_META):
        raise ValueError(f"expected a front end sigmf:NAME{_META}, got {spec!r}")
    return kind, path


def paths(spec: str) -> list[str]:
    """Return the files of a spec."""
    kind, path = parse(spec)
    return [path] if kind == "file" else [path.removesuffix(_META) + _DATA, path]


class Source:
    """Read samples piece by piece.

    Parameters
    ----------
    spec : see the module

    ValueError for files that are not there, or not of the kind.
    """

    def __init__(self, spec: str) -> None:
        kind, path = parse(spec)
        self.spec = spec
        self.sample_rate: float | None = None
        self._rail, self._zero, self._scale = _TYPES["cf32_le"]
        self._path = InputFile(path)
        self._path.check()
        if kind == "sigmf":
            self._read_meta(path)
        size = self._path.size
        item = 2 * np.dtype(self._rail).itemsize
        if size is not None and (size == 0 or size % item):
            raise ValueError(
                f"{self._path}: expected samples of {item} bytes, got a file of {size} bytes"
            )

    def _read_meta(self, path: str) -> None:
        try:
            meta = json.loads(InputFile(path).read_bytes())["global"]
            name = meta["core:datatype"]
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"{path}: expected SigMF metadata with core:datatype") from None
        if name not in _TYPES:
            raise ValueError(f"{path}: expected a datatype of {', '.join(_TYPES)}, got {name!r}")
        self._rail, self._zero, self._scale = _TYPES[name]
        rate = meta.get("core:sample_rate")
        self.sample_rate = float(rate) if rate else None
        self._path = InputFile(path.removesuffix(_META) + _DATA)
        self._path.check()

    def pieces(self, samples: int = 1 << 17) -> Iterator[Complex]:
        """Give the samples, complex64, at most so many at once."""
        item = 2 * np.dtype(self._rail).itemsize
        with self._path.open() as file:
            held = b""
            while data := file.read(samples * item):
                data = held + data
                whole = len(data) // item * item
                held = data[whole:]
                rails = np.frombuffer(data[:whole], self._rail).astype(np.float32)
                rails = (rails - np.float32(self._zero)) / np.float32(self._scale)
                yield rails.view(np.complex64)


class Sink:
    """Write samples; the files get their names by `keep`, or go by `discard`.

    Parameters
    ----------
    spec : see the module
    sample_rate : in Hz, for SigMF
    frequency : of the carrier in Hz, for SigMF; 0 where it is not known

    ValueError where the files cannot be written.
    """

    def __init__(self, spec: str, sample_rate: float, frequency: float = 0.0) -> None:
        kind, path = parse(spec)
        self.spec, self.sample_rate, self.samples = spec, sample_rate, 0
        self._capture = {"core:sample_start": 0} | (
            {"core:frequency": frequency} if frequency else {}
        )
        self._meta = OutputFile(path) if kind == "sigmf" else None
        self._data = OutputFile(path.removesuffix(_META) + _DATA if self._meta else path)
        self._annotations: list[dict[str, Any]] = []
        self._data.check()
        if self._meta:
            self._meta.check()
        self._file = self._data.open()

    def write(self, samples: Complex) -> None:
        """Append samples."""
        self._file.write(np.ascontiguousarray(samples, "<c8").data)
        self.samples += int(samples.size)

    def annotate(self, start: int, count: int, label: str, **more: Any) -> None:
        """Say what samples from `start` on are; more : by SigMF's names without a namespace."""
        self._annotations.append(
            {
                "core:sample_start": start,
                "core:sample_count": count,
                "core:label": label,
                **{f"neuralfec:{key}": value for key, value in more.items()},
            }
        )

    def keep(self) -> None:
        """Finish the files under their names."""
        self._file.close()
        if self._meta:
            self._meta.write_json(
                {
                    "global": {
                        "core:datatype": "cf32_le",
                        "core:version": "1.0.0",
                        "core:sample_rate": self.sample_rate,
                        "core:recorder": "gr-neuralfec",
                        "core:extensions": [
                            {"name": "neuralfec", "version": "1.0.0", "optional": True}
                        ],
                    },
                    "captures": [self._capture],
                    "annotations": self._annotations,
                }
            )
            self._meta.keep()
        self._data.keep()

    def discard(self) -> None:
        """Remove what was written, where it has not got its name."""
        self._file.close()
        self._data.discard()
        if self._meta:
            self._meta.discard()
