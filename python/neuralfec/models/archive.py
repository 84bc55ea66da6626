# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of a TorchScript file as NumPy arrays, read without torch.

A TorchScript file is a zip archive: `data.pkl` describes the module's attributes by a pickle,
whose tensors are views into the raw numbers of `data/<key>`. The pickle is read here with a
table of the few names that stand for numbers; it can call nothing else.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

_STORAGES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
    "ComplexFloatStorage": "c8",
    "ComplexDoubleStorage": "c16",
}


class _Module:
    """Stands for any scripted module; the pickle sets its attributes."""


def _tensor(
    storage: NDArray, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any
) -> NDArray:
    """Return a copy of the view that torch._utils._rebuild_tensor_v2 would make."""
    strides = tuple(step * storage.itemsize for step in stride)
    # Raises ValueError where the view is not inside the storage.
    view: NDArray = np.ndarray(
        size, storage.dtype, storage.data, offset * storage.itemsize, strides
    )
    return view.astype(storage.dtype.newbyteorder("="))


def _first(value: Any, *_: Any) -> Any:
    return value


_NAMES: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor_v2"): _tensor,
    ("collections", "OrderedDict"): OrderedDict,
    **{
        ("torch.jit._pickle", name): _first
        for name in (
            "build_boollist",
            "build_doublelist",
            "build_intlist",
            "build_tensorlist",
            "restore_type_tag",
        )
    },
    **{("torch", name): code for name, code in _STORAGES.items()},
}


class _Unpickler(pickle.Unpickler):
    """Unpickles modules, tensors and lists of numbers, and refuses every other name."""

    def __init__(self, file: Any, read: Callable[[str], bytes], order: str) -> None:
        super().__init__(file)
        self._read, self._order = read, order

    def find_class(self, module: str, name: str) -> Any:
        if module.startswith("__torch__"):
            return _Module
        try:
            return _NAMES[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"expected tensors alone, found {module}.{name}") from None

    def persistent_load(self, pid: Any) -> NDArray:
        kind, code, key, _, size = pid
        if kind != "storage" or code not in _STORAGES.values():
            raise pickle.UnpicklingError(f"expected a storage of numbers, found {pid!r}")
        return np.frombuffer(self._read(f"data/{key}"), self._order + code, size)


def read_parameters(file: str | os.PathLike) -> dict[str, NDArray]:
    """Read all parameters and buffers of a TorchScript file, by their dotted names.

    Returns what `state_dict` of the loaded module holds, bit for bit, and tensors that are
    plain attributes. ValueError for a file that holds anything else than modules and numbers.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            (root,) = {name.partition("/")[0] for name in archive.namelist()}

            def read(name: str) -> bytes:
                return archive.read(f"{root}/{name}")

            big = f"{root}/byteorder" in archive.namelist() and read("byteorder") == b"big"
            with archive.open(f"{root}/data.pkl") as stream:
                module = _Unpickler(stream, read, ">" if big else "<").load()
            return dict(_tensors(module, ""))
    except Exception as error:
        # A damaged pickle raises whatever its bytes happen to ask for.
        raise ValueError(f"{file}: its parameters cannot be read: {error}") from error


def _tensors(module: Any, prefix: str) -> Iterator[tuple[str, NDArray]]:
    inner = []
    for name, value in vars(module).items():
        if isinstance(value, np.ndarray):
            yield prefix + name, value
        elif isinstance(value, _Module):
            inner.append((name, value))
    for name, value in inner:
        yield from _tensors(value, f"{prefix}{name}.")
