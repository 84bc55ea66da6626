# SPDX-License-Identifier: GPL-3.0-or-later
"""What the best code of a length can do: the normal approximation to the finite-length limit."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from .constellation import constellation
from .demapping import demap

# Nodes of the quadrature along each axis of the noise.
_NODES = 48


class Information(NamedTuple):
    """Mean and variance of the information density of one symbol."""

    capacity: float
    """C in bits."""
    dispersion: float
    """V in bits²."""


def information(spec: Any, noise_var: float) -> Information:
    """Compute capacity and dispersion of bit-interleaved coded modulation in Gaussian noise.

    The information density of a symbol is that of its K bits, whose LLRs are taken by themselves,

        i = sum_k (1 - log2(1 + exp(-s_k L_k))),   s_k = 1 for b_k = 1, -1 for b_k = 0,

    C its mean and V its variance over equally likely symbols and the noise, by Gauss-Hermite
    quadrature. With "psk2" this is the binary-input Gaussian channel. Source: G. Caire, G. Taricco,
    E. Biglieri, "Bit-interleaved coded modulation", IEEE Trans. Inf. Theory, 1998.

    Parameters
    ----------
    spec : constellation, as of `phy.constellation.constellation`
    noise_var : N0, the variance of the complex noise; Es = 1

    ValueError for a noise variance that is not finite and positive.
    """
    made = constellation(spec)
    nodes, weights = np.polynomial.hermite.hermgauss(_NODES)
    noise = math.sqrt(noise_var) * (nodes[:, None] + 1j * nodes)
    received = (made.points[:, None] + noise.ravel()).astype(np.complex64)
    signs = 2.0 * made.bits[:, None, :] - 1
    llrs = demap(received, made, noise_var).astype(float)
    density = np.sum(1 - np.logaddexp(0, -signs * llrs) / math.log(2), axis=-1)
    weight = np.outer(weights, weights).ravel() / (math.pi * made.order)
    capacity = float(np.sum(density * weight))
    return Information(capacity, float(np.sum((density - capacity) ** 2 * weight)))


def normal_approximation(n: int, k: int, noise_var: float, spec: Any = "psk2") -> float:
    """Estimate the least block error rate of any code with k message bits and n sent ones.

    With N = n / K symbols of capacity C and dispersion V, see `information`,

        P = Q((N C - k + log2(N) / 2) / sqrt(N V)).

    It is no bound, but lies between those known but for the shortest codes. Source: Y. Polyanskiy,
    H. V. Poor, S. Verdu, "Channel coding rate in the finite blocklength regime", IEEE Trans. Inf.
    Theory, 2010.

    Parameters
    ----------
    n, k : bits of the codeword and of the message
    noise_var : N0, the variance of the complex noise; Es = 1
    spec : constellation, as of `phy.constellation.constellation`

    ValueError where 0 < k <= n does not hold, and for a noise variance that is not finite and
    positive.
    """
    if not 0 < k <= n:
        raise ValueError(f"expected 0 < k <= n, got k = {k}, n = {n}")
    from scipy.special import ndtr

    made = constellation(spec)
    symbols = n / made.bits_per_symbol
    capacity, dispersion = information(made, noise_var)
    above = symbols * capacity - k + math.log2(symbols) / 2
    return float(ndtr(-above / math.sqrt(symbols * dispersion)))
