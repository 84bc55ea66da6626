# SPDX-License-Identifier: GPL-3.0-or-later
"""The rate-distortion bound of a symbol's LLRs, by the algorithm of Blahut and Arimoto.

No quantizer of fewer bits a symbol than R(D) has a mean divergence (`data.divergence`) of D or
less, however many symbols it stores together, entropy coding included. At the best codewords D is
the mutual information between the bits and their LLRs that is lost, so that R(D) is the limit of
the information bottleneck, too. Source: R. E. Blahut, "Computation of channel capacity and
rate-distortion functions", IEEE Trans. Inf. Theory, 1972.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

# Posteriors of larger LLRs are certain in double precision.
_LARGEST_LLR = 35.0


class Point(NamedTuple):
    """A point of a rate-distortion function."""

    rate: float
    """R in bits"""
    distortion: float
    """D"""
    gap: float
    """How far below R the rate-distortion function at D can lie, in bits."""


class DenseKernel:
    """exp(-slope d) of a matrix of distortions, as `blahut_arimoto` asks for it.

    Parameters
    ----------
    distortion : of each letter by each reproduction, (N, M)
    slope : of R over D, sign turned, in nats
    """

    def __init__(self, distortion: ArrayLike, slope: float) -> None:
        self._distortion = np.asarray(distortion, float)
        self._kernel = np.exp(-slope * self._distortion)

    def of_letters(self, shares: Floats) -> Floats:
        """Sum the kernel over reproductions with their shares."""
        return self._kernel @ shares

    def of_reproductions(self, weights: Floats) -> Floats:
        """Sum the kernel over letters with their weights."""
        return weights @ self._kernel

    def distortion(self, weights: Floats, shares: Floats) -> float:
        """Sum kernel times distortion over both."""
        return float(weights @ ((self._kernel * self._distortion) @ shares))


def blahut_arimoto(
    probability: Floats, kernel: Any, slope: float, shares: Floats, *, iterations: int = 200
) -> Point:
    """Find the point of a rate-distortion function with a slope.

    Parameters
    ----------
    probability : of each letter
    kernel : a `DenseKernel` or a `SymbolKernel` of that slope
    slope : -dR / dD in nats
    shares : of the reproductions at first, all above 0
    iterations : at most; it ends when the gap is below a thousandth of a bit
    """
    gap = math.inf
    for _ in range(iterations):
        weights = probability / kernel.of_letters(shares)
        factors = kernel.of_reproductions(weights)
        gap = math.log2(float(factors.max()))
        if gap < 1e-3:
            break
        shares = shares * factors
        shares /= shares.sum()
    total = kernel.of_letters(shares)
    distortion = kernel.distortion(probability / total, shares)
    rate = -slope * distortion - float(np.sum(probability * np.log(total)))
    return Point(rate / math.log(2), distortion, gap)


class Rails(NamedTuple):
    """A square QAM's rail at several gains: what a symbol's LLRs depend on, cut into cells.

    A symbol has a gain, and given that two rails, independent of each other. Rails are folded: the
    LLR of the first bit changes its sign with the received value, the others do not.
    """

    gain_probability: Floats
    """(C,)"""
    probability: Floats
    """of the cells at each gain, (C, n)"""
    llrs: Floats
    """LLRs of the cells' mean posteriors, (C, n, K / 2), the first not below 0."""


class SymbolKernel:
    """The kernel of a symbol's divergence in bits, a sum over its rails.

    Letters and reproductions are both (gain, cell of one rail, cell of the other), (C, n, n). As
    divergence adds up, the kernel is the product of those of the rails, and costs C^2 n^3, not
    C^2 n^4.
    """

    def __init__(self, rails: Rails, slope: float) -> None:
        cells, count, _ = rails.llrs.shape
        flat = rails.llrs.reshape(cells * count, -1)
        ones, log_one, log_zero = _sigmoid(flat), -np.logaddexp(0, -flat), -np.logaddexp(0, flat)
        own = np.sum(ones * log_one + (1 - ones) * log_zero, axis=1, keepdims=True)
        every = []
        for sign in (1, -1):
            # A reproduction with the other sign of the first bit has its posteriors exchanged.
            q_one, q_zero = log_one.copy(), log_zero.copy()
            if sign < 0:
                q_one[:, 0], q_zero[:, 0] = log_zero[:, 0], log_one[:, 0]
            lost = own - ones @ q_one.T - (1 - ones) @ q_zero.T
            every.append(np.maximum(lost, 0) / math.log(2))
        # Both signs are as likely, so the folded kernel is the mean of both.
        shape = (cells, count, cells, count)

        def pairs(values: Floats) -> NDArray[np.float32]:
            turned = values.reshape(shape).transpose(0, 2, 1, 3)
            return np.ascontiguousarray(turned, dtype=np.float32)

        self._kernel = pairs(0.5 * sum(np.exp(-slope * lost) for lost in every))
        self._weighted = pairs(0.5 * sum(lost * np.exp(-slope * lost) for lost in every))
        # Gains that share nothing need no products.
        self._near = [np.flatnonzero(row.max(axis=(1, 2)) > 1e-9) for row in self._kernel]

    def of_letters(self, shares: Floats) -> Floats:
        """Sum the kernel over reproductions with their shares."""
        given = shares.astype(np.float32)
        total = np.empty(shares.shape)
        for gain, near in enumerate(self._near):
            kernel = self._kernel[gain, near]
            total[gain] = (kernel @ given[near] @ kernel.transpose(0, 2, 1)).sum(0)
        return np.maximum(total, 1e-300)

    def of_reproductions(self, weights: Floats) -> Floats:
        """Sum the kernel over letters with their weights."""
        given = weights.astype(np.float32)
        total = np.zeros(weights.shape)
        for gain, near in enumerate(self._near):
            kernel = self._kernel[gain, near]
            total[near] += kernel.transpose(0, 2, 1) @ given[gain] @ kernel
        return total

    def distortion(self, weights: Floats, shares: Floats) -> float:
        """Sum kernel times divergence over both."""
        total, given = 0.0, shares.astype(np.float32)
        for gain, near in enumerate(self._near):
            plain, lossy = self._kernel[gain, near], self._weighted[gain, near]
            one = lossy @ given[near] @ plain.transpose(0, 2, 1)
            other = plain @ given[near] @ lossy.transpose(0, 2, 1)
            total += float(np.sum(weights[gain] * (one + other).sum(0)))
        return total


def _sigmoid(llrs: Floats) -> Floats:
    return np.exp(-np.logaddexp(0, -llrs))


def _equal_parts(weight: Floats, parts: int) -> NDArray[np.intp]:
    """Cut points of a fine grid into parts of equal weight; returns the part of each point."""
    total = np.cumsum(weight) - weight / 2
    return np.minimum((total / weight.sum() * parts).astype(np.intp), parts - 1)


def rayleigh_rails(
    constellation: str, low_db: float, high_db: float, *, gains: int = 24, cells: int = 72
) -> Rails:
    """Cut a square QAM's rail over Rayleigh fading into cells.

    Parameters
    ----------
    constellation : square QAM by name
    low_db, high_db : Es/N0 is uniform between them
    gains, cells : C values of G = |h|^2 / N0, n cells of a rail. With more, R(D) of 256-QAM rises
        by 0.02 bits at 13
    """
    from ..phy.constellation import constellation as make

    made = make(constellation)
    half = made.bits_per_symbol // 2
    # The rail's bits are the first half of a symbol's, its levels the real parts.
    levels, first = np.unique(made.points.real.round(9), return_index=True)
    bits = made.bits[first, :half].astype(float)
    if levels.size != 1 << half:
        raise ValueError(f"expected a square QAM, got {constellation}")

    # G: 2000 fine values, cut where its logarithm has equal parts of density^(1/3).
    noise_vars = 10 ** (-np.linspace(low_db, high_db, 41) / 10)
    edges = np.geomspace(1e-4 / noise_vars.mean(), 14 / noise_vars.min(), 2001)
    edges[0] = 0
    below = 1 - np.exp(-np.outer(edges, noise_vars)).mean(1)
    density = np.diff(below)
    middle = (edges[1:] + edges[:-1]) / 2
    part = _equal_parts(np.cbrt(density), gains)
    mass = np.bincount(part, density, gains)
    mean = np.bincount(part, density * middle, gains) / mass

    probability, llrs = np.empty((gains, cells)), np.empty((gains, cells, half))
    for at, gain in enumerate(mean):
        # y / h of the rail has variance 1 / (2 G); 4000 fine values from 0 on, folded.
        reach = levels[-1] + 5 / math.sqrt(2 * gain)
        values = (np.arange(4000) + 0.5) / 4000 * reach
        logs = -gain * (values[:, None] - levels) ** 2
        largest = logs.max(1, keepdims=True)
        likelihood = np.exp(logs - largest)
        given = likelihood / likelihood.sum(1, keepdims=True)
        fine = likelihood.sum(1) * np.exp(largest[:, 0])
        fine /= fine.sum()
        posterior = given @ bits
        zero = given @ (1 - bits)
        with np.errstate(divide="ignore"):
            exact = np.clip(np.log(posterior) - np.log(zero), -_LARGEST_LLR, _LARGEST_LLR)
        # The best codewords are as far apart, in divergence, wherever there is much probability.
        metric = np.sum(np.gradient(exact, axis=0) ** 2 * posterior * zero, axis=1)
        weight = np.sqrt(metric) * np.cbrt(fine / fine.max())
        of_cell = _equal_parts(weight + 1e-3 * weight.sum() * fine, cells)
        share = np.bincount(of_cell, fine, cells)
        for bit in range(half):
            one = np.bincount(of_cell, fine * posterior[:, bit], cells)
            none = np.bincount(of_cell, fine * zero[:, bit], cells)
            with np.errstate(divide="ignore", invalid="ignore"):
                llrs[at, :, bit] = np.log(one) - np.log(none)
        probability[at] = share
    # Empty cells have no weight, and any LLR.
    llrs = np.clip(np.nan_to_num(llrs), -_LARGEST_LLR, _LARGEST_LLR)
    llrs[..., 0] = np.abs(llrs[..., 0])
    return Rails(mass / mass.sum(), probability / probability.sum(1, keepdims=True), llrs)


def symbol_bound(rails: Rails, slope: float, *, iterations: int = 200) -> Point:
    """Find the point of R(D) of a symbol's LLRs with a slope.

    Parameters
    ----------
    rails : as `rayleigh_rails` makes them
    slope : -dR / dD in nats a bit of divergence
    iterations : at most
    """
    letters = (
        rails.gain_probability[:, None, None]
        * rails.probability[:, :, None]
        * rails.probability[:, None, :]
    )
    shares = letters + 1e-3 / letters.size
    return blahut_arimoto(
        letters, SymbolKernel(rails, slope), slope, shares / shares.sum(), iterations=iterations
    )
