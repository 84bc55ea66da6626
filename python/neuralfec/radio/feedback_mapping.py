# SPDX-License-Identifier: GPL-3.0-or-later
"""Real symbols of a feedback code as values of a burst.

Two reals x make a complex value (x1 + j x2) / sqrt 2, so that 1 / sigma^2 of a real is a
subcarrier's Es/N0, and the values go through a random permutation. From there

* `interleave` puts each on a subcarrier. The receiver divides by the channel, and each real has the
  SNR of its subcarrier, |h|^2 / N0. Where both ends know these, a belief-driven code's symbols
  carry, over a channel that fades, the mean of log2(1 + SNR) / 2.
* `spread` gives each symbol of the burst a unitary Fourier transform, that a fade takes a little
  from each and not all from some, for what must be heard by itself. The receiver equalises by
  minimum mean square error and takes the bias off; then all values of a burst have one SNR,
  1 / mean(1 / (1 + |h|^2 / N0)) - 1, which is less than the mean of log2(1 + SNR) is worth.
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


@functools.lru_cache(maxsize=128)
def _subcarriers(format: BurstFormat, symbols: int) -> np.ndarray:
    """Return the used subcarrier that each real of a burst is on, in their order, int64."""
    mixed = format.data_positions(symbols).reshape(-1).repeat(2)
    straight = mixed.take(permutation(mixed.size))
    straight.flags.writeable = False
    return straight


def subcarriers(format: BurstFormat, count: int) -> np.ndarray:
    """Return which of the used subcarriers each of `interleave`'s reals is on, int64 (count,)."""
    return _subcarriers(format, -(-count // (2 * format.data)))[:count]


def _grid(format: BurstFormat, values: np.ndarray) -> Complex:
    """Mix reals, float32 (n,), made up to whole symbols: complex (symbols, data)."""
    pairs = -(-values.size // 2)
    symbols = -(-pairs // format.data)
    whole = np.ones(2 * symbols * format.data, np.float32)
    whole[: values.size] = values
    mixed = whole.take(inverse(whole.size))
    return ((mixed[::2] + 1j * mixed[1::2]) * np.sqrt(np.float32(0.5))).reshape(
        symbols, format.data
    )


def _straight(grid: Complex, count: int) -> np.ndarray:
    """Take the reals of a grid with its noise, float32 (count,)."""
    grid = grid * np.sqrt(np.float32(2))
    mixed = np.stack([grid.real, grid.imag], -1).reshape(-1).astype(np.float32)
    return mixed.take(permutation(mixed.size)[:count])


def interleave(format: BurstFormat, values: np.ndarray) -> Complex:
    """Map reals, float32 (n,), to payload values of whole symbols, each on one subcarrier."""
    return _grid(format, values).astype(np.complex64).reshape(-1)


def straighten(burst: Burst, format: BurstFormat, count: int) -> np.ndarray:
    """Take the reals of `interleave` out of a burst, divided by the channel, float32 (count,)."""
    energy = np.maximum(burst.h.real**2 + burst.h.imag**2, np.float32(1e-12))
    return _straight((burst.h.conj() * burst.y / energy).reshape(-1, format.data), count)


def subcarrier_snrs(burst: Burst) -> np.ndarray:
    """Return the SNR of each used subcarrier's reals, 1 / sigma^2, float64 (used,).

    The error of the channel's estimate comes times the real itself, and the strong reals are those
    that tell hypotheses apart: weighted by its energy it has E x^4 / (E x^2)^2 = 3 times its mean,
    of Gaussian reals.
    """
    energy = np.abs(burst.channel).astype(np.float64) ** 2
    error = burst.noise_var - 1 / burst.snr
    return energy / (energy.mean() * (1 / burst.snr + 3 * error))


def spread(format: BurstFormat, values: np.ndarray) -> Complex:
    """Map reals, float32 (n,), to payload values of whole symbols, each over all subcarriers."""
    grid = np.fft.fft(_grid(format, values)) / np.sqrt(format.data)
    return grid.astype(np.complex64).reshape(-1)


def despread(burst: Burst, format: BurstFormat, count: int, first: int = 0) -> np.ndarray:
    """Take the reals of `spread` out of a burst, float32 (count,).

    first : payload symbol that they begin with
    """
    y, h = (part.reshape(-1, format.data)[first:] for part in (burst.y, burst.h))
    energy = np.abs(h) ** 2
    share = energy / (energy + burst.noise_var)
    equal = h.conj() * y / (energy + burst.noise_var) / share.mean(1, keepdims=True)
    return _straight(np.fft.ifft(equal) * np.sqrt(format.data), count)
