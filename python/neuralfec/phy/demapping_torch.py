# SPDX-License-Identifier: GPL-3.0-or-later
"""The soft demapper in torch: any device, differentiable, for training.

Same definition and conventions as `phy.demapping`, whose C++ kernel is the one to use
where no gradient is wanted.
"""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
import torch

from .constellation import Constellation, constellation


@functools.lru_cache(maxsize=32)
def _subsets(modulation: Constellation) -> np.ndarray:
    """int64 (2, K, M/2): the points whose bit k is 0, and 1."""
    bits = modulation.bits.T
    return np.stack([np.argsort(bits != value, axis=1, kind="stable") for value in (0, 1)])[
        :, :, : modulation.order // 2
    ]


@functools.lru_cache(maxsize=32)
def _rails(modulation: Constellation) -> Any:
    """Levels and (rail, subsets (2, M_rail/2)) of each bit, if each bit depends on one rail."""
    parts = [
        np.unique(part, return_inverse=True)
        for part in (modulation.points.real, modulation.points.imag)
    ]
    levels = [part[0] for part in parts]
    index = [part[1] for part in parts]
    if levels[0].size * levels[1].size != modulation.order:
        return None
    bits = []
    for bit in modulation.bits.T:
        for rail in (0, 1):
            of_level = np.zeros(levels[rail].size)
            np.add.at(of_level, index[rail], bit)
            of_level *= levels[rail].size / modulation.order
            if np.isin(of_level, (0, 1)).all():
                bits.append((rail, np.stack([np.flatnonzero(of_level == v) for v in (0, 1)])))
                break
        else:
            return None
    return levels, bits


def _ratio(metrics: torch.Tensor, zeros: Any, ones: Any, method: str) -> torch.Tensor:
    zeros, ones = (torch.as_tensor(i, device=metrics.device) for i in (zeros, ones))
    if method == "exact":
        return metrics[..., ones].logsumexp(-1) - metrics[..., zeros].logsumexp(-1)
    return metrics[..., ones].amax(-1) - metrics[..., zeros].amax(-1)


def demap(
    symbols: torch.Tensor,
    spec: Any,
    noise_var: float | torch.Tensor,
    csi: torch.Tensor | None = None,
    method: str = "exact",
    *,
    interferer_csi: torch.Tensor | None = None,
    interferer: Any = None,
) -> torch.Tensor:
    """LLRs of symbols y = h x + sum_i h_i z_i + n; shapes and meaning as in `phy.demapping.demap`.

    Parameters
    ----------
    symbols : complex (...), any device
    spec : the constellation of x, as `phy.constellation.constellation` takes it
    noise_var : N0, a number or a tensor that broadcasts with symbols
    csi : h, complex, broadcasts with symbols; None is 1
    method : "exact" or "max-log"
    interferer_csi : complex (I, ...), the gains h_i of I known interferers
    interferer : the constellation of all z_i, needed with interferer_csi

    Returns
    -------
    float (..., K), in the precision of symbols. Symbols with a NaN or Inf in them give 0.
    """
    if method not in ("exact", "max-log"):
        raise ValueError(f"expected method 'exact' or 'max-log', got {method!r}")
    modulation = constellation(spec)
    device = symbols.device
    noise_var = torch.as_tensor(noise_var, device=device, dtype=symbols.real.dtype)
    if not bool(((noise_var > 0) & noise_var.isfinite()).all()):
        raise ValueError("expected a finite noise variance > 0")
    if (interferer_csi is None) != (interferer is None):
        raise ValueError("expected interferer_csi and interferer together")
    h = torch.ones_like(symbols) if csi is None else csi.expand_as(symbols)
    known = symbols.isfinite() & h.isfinite()
    if interferer_csi is not None:
        known = known & interferer_csi.isfinite().all(0)
        interferer_csi = torch.where(known, interferer_csi, 0)
    y = torch.where(known, symbols, 0)
    h = torch.where(known, h, 0)

    if interferer_csi is not None:
        llrs = _demap_interfered(
            y, modulation, noise_var, h, method, interferer_csi, constellation(interferer)
        )
    elif (rails := _rails(modulation)) is not None:
        # Equation (4): G = |h|^2 / N0 and y / h are all that the LLRs depend on.
        power = h.abs().square()
        gain = power / noise_var
        centred = y * h.conj() / torch.where(power > 0, power, 1)
        metrics = []
        for part, levels in zip((centred.real, centred.imag), rails[0], strict=True):
            levels = torch.as_tensor(levels, device=device, dtype=part.dtype)
            metrics.append(-gain[..., None] * (part[..., None] - levels).square())
        of_bits = [_ratio(metrics[rail], sets[0], sets[1], method) for rail, sets in rails[1]]
        llrs = torch.stack(of_bits, -1)
    else:
        points = torch.tensor(modulation.points, dtype=y.dtype, device=device)
        error = y[..., None] - h[..., None] * points
        zeros, ones = _subsets(modulation)
        distances = (error.real.square() + error.imag.square()) / noise_var[..., None]
        llrs = _ratio(-distances, zeros, ones, method)
    return torch.where(known[..., None], llrs, 0)


def _demap_interfered(y, modulation, noise_var, h, method, interferer_csi, interferer):
    """Equation (3), one interferer hypothesis z at a time."""
    points = torch.tensor(modulation.points, dtype=y.dtype, device=y.device)
    wanted = h[..., None] * points
    zeros, ones = (torch.as_tensor(s, device=y.device) for s in _subsets(modulation))
    reduce = torch.logsumexp if method == "exact" else torch.amax
    join = torch.logaddexp if method == "exact" else torch.maximum
    sums: list[torch.Tensor] = []
    for z in itertools.product(interferer.points.tolist(), repeat=len(interferer_csi)):
        rest = y - sum(gain * point for gain, point in zip(interferer_csi, z, strict=True))
        error = rest[..., None] - wanted
        metrics = -(error.real.square() + error.imag.square()) / noise_var[..., None]
        parts = [reduce(metrics[..., s], -1) for s in (zeros, ones)]
        sums = parts if not sums else [join(a, b) for a, b in zip(sums, parts, strict=True)]
    return sums[1] - sums[0]
