# SPDX-License-Identifier: GPL-3.0-or-later
"""Design of the gain-cell codebook.

1. Dynamic programming, twice: for every interval of G and every number n the thresholds on a
   rail that lose least; then the cells and their n_c under sum n_c^2 <= 2^(N_b - 2), by
   a Lagrange multiplier. The loss is the divergence between a symbol's posteriors and their
   average over its level.
2. Lloyd's iteration: each symbol to the codeword of least divergence, each level to the
   average of the posteriors that came to it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from ..phy.constellation import constellation
from .data import LlrSource
from .partition import between, merged_entropy, partition

# A rail's distance from the axis is cut off here (Es = 1).
_LARGEST_DISTANCE = 1.4
_GAINS = 64
# Steps of the distance, at least and between two points of a rail.
_DISTANCES = 144
_BETWEEN_POINTS = 9
_WIDEST_CELL = 16


@dataclass
class Codebook:
    """Holds levels int64 (C,) and table float32 (sum levels, K / 2), see `GainCellQuantizer`."""

    levels: torch.Tensor
    table: torch.Tensor


def fold(llrs: torch.Tensor) -> torch.Tensor:
    """Fold LLRs (N, K): rails (N, 2, K / 2) whose first LLR has lost its sign."""
    rails = llrs.reshape(len(llrs), 2, -1).clone()
    rails[..., 0] = rails[..., 0].abs()
    return rails


def _entropy(p: torch.Tensor) -> torch.Tensor:
    return -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))


@dataclass
class _Histogram:
    """Over a grid of gains and distances: rails, sums of P(b = 1) and of their entropy."""

    weight: torch.Tensor  # (gain, distance)
    ones: torch.Tensor  # (gain, distance, K / 2)
    entropy: torch.Tensor  # (gain, distance)

    @classmethod
    def of(cls, source: LlrSource, symbols: int, distances: int) -> tuple[_Histogram, torch.Tensor]:
        """And the edges between the gains: quantiles of G."""
        edges = None
        cells = _GAINS * distances
        piece = min(symbols, 500_000)
        for _ in range(-(-symbols // piece)):
            gain, position, llrs = source.draw(piece)
            if edges is None:
                quantiles = torch.arange(1, _GAINS, device=gain.device) / _GAINS
                edges = gain.sort().values[(quantiles * len(gain)).long()]
                p = fold(llrs)
                weight = torch.zeros(cells, dtype=torch.double, device=gain.device)
                ones = torch.zeros(cells, p.shape[2], dtype=torch.double, device=gain.device)
                entropy = torch.zeros_like(weight)
            p = torch.sigmoid(fold(llrs).double()).flatten(0, 1)
            distance = torch.view_as_real(position).abs() * (distances / _LARGEST_DISTANCE)
            distance = distance.long().clamp_max(distances - 1)
            cell = (torch.bucketize(gain, edges)[:, None] * distances + distance).flatten()
            weight.index_add_(0, cell, torch.ones_like(p[:, 0]))
            ones.index_add_(0, cell, p)
            entropy.index_add_(0, cell, _entropy(p).sum(1))
        total, shape = weight.sum(), (_GAINS, distances)
        parts = (weight.view(shape), ones.view(*shape, -1), entropy.view(shape))
        return cls(*(part / total for part in parts)), edges


def _rail_quantizers(
    histogram: _Histogram, width: int, most_levels: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Best quantizers of the rails for all intervals of `width` gains.

    Returns the least loss in nats for 1 .. most_levels levels, (intervals, most_levels), and
    for 2 .. most_levels the last threshold of the best quantizer of the distances below
    each, (intervals, most_levels - 1, distances + 1).
    """

    def sums(values: torch.Tensor) -> torch.Tensor:
        # By interval of gains, then accumulated over distances.
        over_gains = torch.cat([torch.zeros_like(values[:1]), values.cumsum(0)])
        interval = over_gains[width:] - over_gains[:-width]
        return torch.cat([torch.zeros_like(interval[:, :1]), interval.cumsum(1)], 1)

    weight = between(sums(histogram.weight))
    cost = -between(sums(histogram.entropy))
    for bit in range(histogram.ones.shape[2]):
        cost += merged_entropy(weight, between(sums(histogram.ones[:, :, bit])))
    cost = cost.clamp_min(0).float()
    steps = torch.arange(cost.shape[1], device=cost.device)
    cost[:, steps[:, None] > steps] = math.inf
    best, begins = partition(cost, most_levels)
    losses = torch.stack([least[:, -1] for least in best], 1)
    return losses.double().cpu(), torch.stack([begin.short() for begin in begins], 1).cpu()


Cell = tuple[int, int, int]  # first gain, width, levels


def _allocate(losses: dict[int, torch.Tensor], budget: int) -> list[Cell]:
    """Cells that lose least with sum of n^2 within the budget."""

    def cells(price: float) -> list[Cell]:
        count = torch.arange(1, losses[1].shape[1] + 1)
        best = {}
        for width, loss in losses.items():
            value, level = (2 * loss + price * count**2).min(1)
            best[width] = (value.tolist(), (level + 1).tolist())
        total, cell = [0.0], [(0, 0, 0)]
        for end in range(1, _GAINS + 1):
            value, width = min(
                (total[end - w] + best[w][0][end - w], w) for w in losses if w <= end
            )
            total.append(value)
            cell.append((end - width, width, best[width][1][end - width]))
        found, end = [], _GAINS
        while end:
            found.append(cell[end])
            end = cell[end][0]
        return found[::-1]

    cheap, dear = 1e-14, 1.0
    for _ in range(60):
        price = math.sqrt(cheap * dear)
        if sum(n * n for *_, n in cells(price)) > budget:
            cheap = price
        else:
            dear = price
    return cells(dear)


def search(
    p: torch.Tensor, levels: torch.Tensor, table: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the codewords of least divergence; the torch twin of the kernel's `CellSearch`.

    Parameters
    ----------
    p : P(b = 1) of folded rails, (N, 2, K / 2)
    levels, table : the codebook

    Returns
    -------
    cells int64 (N,), levels int64 (N, 2)
    """
    constant = torch.nn.functional.softplus(table).sum(1)
    all_cells, all_levels = [], []
    for part in p.split(1 << 15):
        cost = torch.addmm(constant, part.flatten(0, 1), table.T, alpha=-1)
        least = [of_cell.min(1) for of_cell in cost.split(levels.tolist(), 1)]
        total = torch.stack([value.view(-1, 2).sum(1) for value, _ in least], 1)
        cell = total.argmin(1)
        level = torch.stack([index.view(-1, 2) for _, index in least], 1)
        all_cells.append(cell)
        all_levels.append(level[torch.arange(len(cell), device=cell.device), cell])
    return torch.cat(all_cells), torch.cat(all_levels)


def assign(
    llrs: torch.Tensor, bits: int, levels: torch.Tensor, table: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Find the codewords of least divergence of LLRs (N, K), by the kernel where there is one.

    Returns cells int64 (N,) and levels int64 (N, 2), as `search`.
    """
    if llrs.device.type == "cpu":
        try:
            from .. import _kernels
        except ImportError:
            pass
        else:
            book = _kernels.CellCodebook(
                llrs.shape[1], bits, levels.tolist(), table.flatten().tolist()
            )
            indices, _ = _kernels.CellSearch(book).quantize(llrs.numpy())
            offsets = (levels**2).cumsum(0) - levels**2
            folded = torch.from_numpy(indices.astype("int64")) % (1 << (bits - 2))
            cell = torch.searchsorted(offsets, folded, right=True) - 1
            place, count = folded - offsets[cell], levels[cell]
            return cell, torch.stack([place // count, place % count], 1)
    return search(torch.sigmoid(fold(llrs)), levels, table)


def centroids(p: torch.Tensor, row: torch.Tensor, levels: torch.Tensor) -> torch.Tensor:
    """Compute the table float32 (sum levels, K / 2) of averaged posteriors, as LLRs.

    Parameters
    ----------
    p : P(b = 1) of folded rails, (N, 2, K / 2)
    row : the table's row of each rail, (N, 2)
    levels : levels of each cell, int64 (C,)

    One half in all is added to the counts of ones and zeros, so that no LLR is infinite.
    """
    rows = int(levels.sum())
    p, row = p.flatten(0, 1).double(), row.flatten()
    weight = torch.zeros(rows, dtype=torch.double, device=p.device)
    weight.index_add_(0, row, torch.ones_like(p[:, 0]))
    ones = torch.zeros(rows, p.shape[1], dtype=torch.double, device=p.device)
    ones.index_add_(0, row, p)
    table = torch.logit((ones + 0.005) / (weight[:, None] + 0.01), eps=1e-7).float()
    # Folded, the first bit of a rail is at least as likely one as zero.
    table[:, 0].clamp_min_(0)
    return table


def design(
    source: LlrSource,
    bits: int,
    *,
    histogram_symbols: int = 4_000_000,
    symbols: int = 1_000_000,
    iterations: int = 8,
    report=print,
) -> Codebook:
    """Design a codebook of 2^bits codewords for the LLRs of a source (square Gray QAM).

    Parameters
    ----------
    histogram_symbols : symbols that the first map is made from
    symbols, iterations : symbols and rounds of Lloyd's iteration
    report : called with a line of text now and then
    """
    points = math.isqrt(constellation(source.spec).order)
    distances = max(_DISTANCES, _BETWEEN_POINTS * points)
    histogram, edges = _Histogram.of(source, histogram_symbols, distances)
    budget = 1 << (bits - 2)
    most = min(distances // 2, 4 + round(0.5 * budget**0.5))
    found = {w: _rail_quantizers(histogram, w, most) for w in range(1, _WIDEST_CELL + 1)}
    cells = _allocate({w: losses for w, (losses, _) in found.items()}, budget)
    levels = torch.tensor([n for *_, n in cells], device=source.device)
    loss = sum(2 * found[w][0][first, n - 1].item() for first, w, n in cells) / math.log(2)
    report(f"map: D {loss:.4f} bits/symbol, levels {levels.tolist()}")

    gain, position, llrs = source.draw(symbols)
    p = torch.sigmoid(fold(llrs))
    cell_edges = edges[[first - 1 for first, *_ in cells[1:]]]
    cell = torch.bucketize(gain, cell_edges)
    level = torch.zeros(len(cell), 2, dtype=torch.long, device=source.device)
    for c, (first, width, n) in enumerate(cells):
        thresholds, place = [], distances
        for count in range(n, 1, -1):
            place = int(found[width][1][first, count - 2, place])
            thresholds.append(place * _LARGEST_DISTANCE / distances)
        thresholds = torch.tensor(thresholds[::-1], device=source.device)
        inside = cell == c
        level[inside] = torch.bucketize(torch.view_as_real(position[inside]).abs(), thresholds)

    starts = levels.cumsum(0) - levels
    entropy = _entropy(p.double()).sum((1, 2)).mean() / math.log(2)
    for iteration in range(iterations + 1):
        row = starts[cell][:, None] + level
        table = centroids(p, row, levels)
        if iteration % 2 == 0 or iteration == iterations:
            t = table[row].double()
            cost = (torch.nn.functional.softplus(t) - p * t).sum((1, 2)).mean() / math.log(2)
            report(f"iteration {iteration}: D {cost - entropy:.4f} bits/symbol")
        if iteration < iterations:
            cell, level = assign(llrs, bits, levels, table)
    return Codebook(levels, table)
