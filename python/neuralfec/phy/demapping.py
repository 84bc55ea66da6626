# SPDX-License-Identifier: GPL-3.0-or-later
"""The soft demapper: NumPy in, LLRs out, computed by the C++ kernel."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np

from .. import _kernels
from .constellation import Constellation, constellation

METHODS = ("exact", "max-log")


@functools.lru_cache(maxsize=64)
def _kernel(
    modulation: Constellation, method: str, interferers: int, interferer: Constellation | None
) -> _kernels.Demapper:
    return _kernels.Demapper(
        modulation.points,
        modulation.labels,
        method == "exact",
        interferers,
        () if interferer is None else interferer.points,
    )


_named = functools.lru_cache(maxsize=32)(constellation)


def _resolve(spec: Any) -> Constellation:
    # Names give one object each, so that a kernel is found again by its constellation.
    return _named(spec) if isinstance(spec, str) else constellation(spec)


def demap(
    symbols: np.ndarray,
    spec: Any,
    noise_var: float | np.ndarray,
    csi: np.ndarray | None = None,
    method: str = "exact",
    *,
    interferer_csi: np.ndarray | None = None,
    interferer: Any = None,
    stats: dict[str, int] | None = None,
) -> np.ndarray:
    """LLRs of the bits of symbols y = h x + sum_i h_i z_i + n.

    L_k = log P(b_k = 1 | y) - log P(b_k = 0 | y)
        = log sum_{x: b_k=1} sum_z exp(-|y - h x - sum_i h_i z_i|^2 / N0) - the same over b_k = 0,

    equation (3) of M. Arvinte, S. Vishwanath, A. H. Tewfik, "Deep Log-Likelihood Ratio
    Quantization"; "max-log" keeps the largest term of each sum. Within 1e-4 relative + 1e-4
    absolute of the definition.

    Parameters
    ----------
    symbols : complex64 (...), y
    spec : the constellation of x, as `phy.constellation.constellation` takes it
    noise_var : N0, the variance of the complex noise (both rails together), a number or
        float32 that broadcasts with symbols
    csi : h, complex64, broadcasts with symbols; None is 1
    method : "exact" or "max-log"
    interferer_csi : complex64 (I, ...), the gains h_i of I = 1 or 2 known interferers
    interferer : the constellation of all z_i, needed with interferer_csi
    stats : counts are added here: "symbols", and "bad_symbols" with a NaN or Inf

    Returns
    -------
    float32 (..., K), all finite. Symbols with a NaN or Inf in y, h or h_i, and those with h = 0,
    give 0: nothing known.

    ValueError for shapes that do not fit and where a noise variance is not finite and positive.
    """
    if method not in METHODS:
        raise ValueError(f"expected method 'exact' or 'max-log', got {method!r}")
    if (interferer_csi is None) != (interferer is None):
        raise ValueError("expected interferer_csi and interferer together")
    symbols = np.asarray(symbols)
    shape = symbols.shape

    def flat(name: str, values: Any, dtype: type) -> np.ndarray:
        with warnings.catch_warnings():
            # What overflows float32 becomes Inf and is handled as such.
            warnings.simplefilter("ignore", RuntimeWarning)
            values = np.asarray(values, dtype)
        try:
            return np.ascontiguousarray(np.broadcast_to(values, shape)).reshape(-1)
        except ValueError:
            raise ValueError(
                f"expected {name} that broadcasts with symbols {shape}, got shape {values.shape}"
            ) from None

    gains = []
    if interferer_csi is not None:
        gains = [flat("interferer_csi", row, np.complex64) for row in interferer_csi]
    kernel = _kernel(
        _resolve(spec), method, len(gains), None if interferer is None else _resolve(interferer)
    )
    llrs, bad = kernel.demap(
        flat("symbols", symbols, np.complex64),
        np.array([noise_var], dtype=np.float32)
        if np.ndim(noise_var) == 0
        else flat("noise_var", noise_var, np.float32),
        () if csi is None else flat("csi", csi, np.complex64),
        np.stack(gains) if gains else (),
    )
    if stats is not None:
        stats["symbols"] = stats.get("symbols", 0) + symbols.size
        stats["bad_symbols"] = stats.get("bad_symbols", 0) + bad
    return llrs.reshape(*shape, llrs.shape[-1])
