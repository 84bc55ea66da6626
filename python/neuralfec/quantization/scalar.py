# SPDX-License-Identifier: GPL-3.0-or-later
"""Scalar quantization of LLRs for maximum mutual information.

Winkelbauer and Matz, "On quantization of log-likelihood ratios for maximum mutual
information", 2015; here exact, by dynamic programming over a fine histogram.
"""

from __future__ import annotations

import torch

from .partition import between, merged_entropy, partition

_BINS = 768


def design(llrs: torch.Tensor, levels: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Design a quantizer of one LLR that keeps most of I(b; L): the last of `designs`."""
    return designs(llrs, levels)[-1]


def designs(llrs: torch.Tensor, levels: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Design quantizers of one LLR, of 2 ... levels levels, that keep most of I(b; L).

    Each is the best among all whose thresholds lie on a grid of 768 quantiles of the LLRs.

    Parameters
    ----------
    llrs : samples (N,) of true LLRs of one bit
    levels : how many at most

    Returns
    -------
    Pairs: levels float32 (n,), the LLRs of the average posteriors; thresholds (n - 1,)

    Raises
    ------
    ValueError : for fewer LLRs or other levels than the grid allows
    """
    llrs = llrs.flatten().sort().values.double()
    size = len(llrs) // _BINS
    if size < 1 or not 2 <= levels <= _BINS:
        raise ValueError(
            f"expected at least {_BINS} LLRs and 2 to {_BINS} levels, got {len(llrs)}, {levels}"
        )
    bins = llrs[: size * _BINS].view(_BINS, size)
    ones = torch.sigmoid(bins).mean(1).cumsum(0)
    ones = torch.cat([torch.zeros_like(ones[:1]), ones])
    weight = torch.arange(_BINS + 1, dtype=torch.double, device=llrs.device)
    w = between(weight)
    # H(b | level) times the level's weight: least where the mutual information is largest.
    cost = merged_entropy(w, between(ones))
    cost[w == 0] = torch.inf
    _, choices = partition(cost, levels)
    found = []
    for most in range(1, levels):
        cuts = [_BINS]
        for last in reversed(choices[:most]):
            cuts.append(int(last[cuts[-1]]))
        edges = torch.tensor([*cuts, 0][::-1], device=llrs.device)
        average = ones[edges].diff() / weight[edges].diff()
        found.append((torch.logit(average, eps=1e-7).float(), bins[edges[1:-1], 0].float()))
    return found
