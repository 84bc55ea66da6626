# SPDX-License-Identifier: GPL-3.0-or-later
"""Partition of a line into levels that lose least, by dynamic programming.

Bellman, "On the approximation of curves by line segments using dynamic programming", 1961;
for quantizers Bruce, 1965, and for mutual information Kurkoski and Yagi, "Quantization of
binary-input discrete memoryless channels", 2014.
"""

from __future__ import annotations

import torch


def between(sums: torch.Tensor) -> torch.Tensor:
    """Return sums over all intervals from those up to each edge.

    Parameters
    ----------
    sums : cumulative sums of numbers that are not negative, (..., edges), the first 0

    Returns
    -------
    (..., edges, edges): from the edge of the first index to that of the second, 0 where that is
    not above
    """
    return (sums[..., None, :] - sums[..., :, None]).clamp_min(0)


def merged_entropy(weight: torch.Tensor, ones: torch.Tensor) -> torch.Tensor:
    """Return the entropy in nats of a bit of which only the interval is known, times the weight.

    Parameters
    ----------
    weight, ones : sums of the weights and of P(b = 1) over intervals, of one shape
    """
    ones = torch.minimum(ones, weight)
    zeros = weight - ones
    return torch.xlogy(weight, weight) - torch.xlogy(ones, ones) - torch.xlogy(zeros, zeros)


def partition(cost: torch.Tensor, levels: int) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Find the intervals, one behind the other, whose costs have the least sum.

    Parameters
    ----------
    cost : of an interval from one edge to another, (..., edges, edges); infinite where it is none
    levels : most intervals

    Returns
    -------
    For 1 .. levels intervals the least sum from the first edge to each, (..., edges); for 2 ..
    levels the edge where the last interval of that begins, int64 (..., edges)
    """
    best, begins = [cost[..., 0, :]], []
    for _ in range(levels - 1):
        least, begin = (best[-1][..., :, None] + cost).min(-2)
        best.append(least)
        begins.append(begin)
    return best, begins
