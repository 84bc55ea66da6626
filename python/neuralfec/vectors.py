# SPDX-License-Identifier: GPL-3.0-or-later
"""Uniform vectors of PMTs as numpy arrays.

pmt's own conversions go through Python lists, a microsecond an element; its serialisation
is C++ all through, and the elements lie in it in a row, big-endian.
"""

import numpy as np
import pmt

# Type codes of pmt's serialisation, serialized vectors begin with 0x0a.
_CODES = {"u1": 0, "u4": 4, "u8": 6, "f4": 8, "c8": 10}
_TYPES = {code: np.dtype(f">{name}") for name, code in _CODES.items()}
_HEADER = np.dtype([("tag", "u1"), ("type", "u1"), ("size", ">u4"), ("padding", "u1", (2,))])


def to_array(vector: "pmt.pmt_base") -> np.ndarray:
    """Elements of a u8, u32, u64, f32 or c32 vector. ValueError for anything else."""
    if not pmt.is_uniform_vector(vector):
        raise ValueError(f"expected a uniform vector, got {pmt.write_string(vector)[:60]}")
    data = pmt.serialize_str(vector)
    kind = _TYPES.get(data[1])
    if kind is None:
        raise ValueError("expected a vector of u8, u32, u64, f32 or c32")
    size = int.from_bytes(data[2:6], "big")
    return np.frombuffer(data, kind, size, len(data) - size * kind.itemsize).astype(
        kind.newbyteorder("=")
    )


def from_array(array: np.ndarray) -> "pmt.pmt_base":
    """Vector of a one-dimensional array of uint8, uint32, uint64, float32 or complex64."""
    code = _CODES.get(array.dtype.str[1:])
    if code is None or array.ndim != 1:
        raise ValueError(
            "expected a one-dimensional array of uint8, uint32, uint64, float32 or complex64, "
            f"got {array.dtype} of shape {array.shape}"
        )
    header = np.array((0x0A, code, len(array), (1, 0)), _HEADER)
    return pmt.deserialize_str(header.tobytes() + array.astype(_TYPES[code]).tobytes())
