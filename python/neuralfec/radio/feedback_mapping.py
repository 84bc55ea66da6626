# SPDX-License-Identifier: GPL-3.0-or-later
"""Real symbols of a feedback code as values of a burst.

Two reals x make a complex value (x1 + j x2) / sqrt 2, so that the code's 1 / sigma^2 is a
subcarrier's Es/N0; the values go through a random permutation and, symbol by symbol, a unitary
Fourier transform, that a fade takes a little from each and not all from some. The receiver
equalises by minimum mean square error and takes the bias off; then all values of a burst have one
SNR, 1 / mean(1 / (1 + |h|^2 / N0)) - 1.
"""

from __future__ import annotations

import functools

import numpy as np

from .. import _kernels
from ..phy.burst import Burst, BurstFormat
from .recordings import Complex


@functools.lru_cache(maxsize=128)
def permutation(size: int) -> np.ndarray:
    """Return the order that values of a burst go in, uint32 (size,)."""
    # Bursts of a running link have few sizes.
    order = _kernels.random_permutation(size, 1) if size else np.zeros(0, np.uint32)
    order.flags.writeable = False
    return order


@functools.lru_cache(maxsize=128)
def inverse(size: int) -> np.ndarray:
    """Return the inverse of `permutation`, uint32 (size,)."""
    # To gather by it is faster than to scatter by the permutation.
    order = np.empty(size, np.uint32)
    order[permutation(size)] = np.arange(size, dtype=np.uint32)
    order.flags.writeable = False
    return order


def spread(format: BurstFormat, values: np.ndarray) -> Complex:
    """Map reals, float32 (n,), to payload values of whole symbols."""
    pairs = -(-values.size // 2)
    symbols = -(-pairs // format.data)
    whole = np.ones(2 * symbols * format.data, np.float32)
    whole[: values.size] = values
    mixed = whole.take(inverse(whole.size))
    grid = (mixed[::2] + 1j * mixed[1::2]).reshape(symbols, format.data) / np.sqrt(2)
    return (np.fft.fft(grid) / np.sqrt(format.data)).astype(np.complex64).reshape(-1)


def despread(
    burst: Burst, format: BurstFormat, count: int, first: int = 0
) -> tuple[np.ndarray, float]:
    """Take the reals of a burst, float32 (count,), and their SNR 1 / sigma^2.

    first : payload symbol that they begin with
    """
    y, h = (part.reshape(-1, format.data)[first:] for part in (burst.y, burst.h))
    energy = np.abs(h) ** 2
    share = energy / (energy + burst.noise_var)
    bias = share.mean(1, keepdims=True)
    equal = h.conj() * y / (energy + burst.noise_var) / bias
    grid = np.fft.ifft(equal) * np.sqrt(2 * format.data)
    mixed = np.stack([grid.real, grid.imag], -1).reshape(-1).astype(np.float32)
    mean = float(bias.mean())
    # Without noise the mean may round to 1.
    return mixed[permutation(mixed.size)[:count]], mean / max(1 - mean, 1e-6)
