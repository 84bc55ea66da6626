# SPDX-License-Identifier: GPL-3.0-or-later
"""Training data, made on the fly: LLRs of equiprobable bits over i.i.d. Rayleigh fading.

Codewords of a linear code have equiprobable bits, and the LLRs of one symbol do not see the
code: this is the papers' data of LDPC codewords without the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from ..phy.constellation import constellation
from ..phy.demapping_torch import demap

_CHUNK = 1 << 17


@dataclass
class LlrSource:
    """Draws exact LLRs of y = h x + h_I z + n, h ~ CN(0, 1) and h_I ~ CN(0, interferer_power).

    spec : constellation of x, Es = 1
    snr_db : (low, high); SNR = Es / N0 in dB is uniform between them
    interferer : constellation of z, known to the demapper, or None
    """

    spec: str
    snr_db: tuple[float, float]
    interferer: str | None = None
    interferer_power: float = 1.0
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        self.generator = torch.Generator(self.device).manual_seed(self.seed)

    def _complex_normal(self, count: int) -> torch.Tensor:
        return torch.randn(
            count, generator=self.generator, device=self.device, dtype=torch.complex64
        )

    def _points(self, spec: str, count: int) -> torch.Tensor:
        points = torch.tensor(constellation(spec).points, device=self.device)
        drawn = torch.randint(len(points), (count,), generator=self.generator, device=self.device)
        return points[drawn]

    def _chunk(self, count: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        low, high = self.snr_db
        uniform = torch.rand(count, generator=self.generator, device=self.device)
        noise_var = 10 ** (-(low + (high - low) * uniform) / 10)
        h = self._complex_normal(count)
        y = h * self._points(self.spec, count) + noise_var.sqrt() * self._complex_normal(count)
        known = {}
        if self.interferer is not None:
            gain = self._complex_normal(count) * self.interferer_power**0.5
            y = y + gain * self._points(self.interferer, count)
            known = {"interferer_csi": gain[None], "interferer": self.interferer}
        llrs = self._demap(y, noise_var, h, known)
        return h.abs().square() / noise_var, y / h, llrs

    def _demap(self, y: torch.Tensor, noise_var: torch.Tensor, h: torch.Tensor, known: dict):
        if self.device == "cpu":
            try:
                from ..phy import demapping
            except ImportError:
                # Without the built module, the torch twin.
                pass
            else:
                known = {k: v if isinstance(v, str) else v.numpy() for k, v in known.items()}
                llrs = demapping.demap(y.numpy(), self.spec, noise_var.numpy(), h.numpy(), **known)
                return torch.from_numpy(llrs)
        return demap(y, self.spec, noise_var, h, **known)

    def draw(self, symbols: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Draw symbols.

        Returns G = |h|^2 / N0 float32 (symbols,), y / h complex64 (symbols,), LLRs (symbols, K).
        """
        sizes = [_CHUNK] * (symbols // _CHUNK) + [symbols % _CHUNK] * (symbols % _CHUNK > 0)
        parts = [self._chunk(size) for size in sizes]
        return tuple(torch.cat(part) for part in zip(*parts, strict=True))

    def llrs(self, symbols: int) -> torch.Tensor:
        """Draw LLRs float32 (symbols, K)."""
        return self.draw(symbols)[2]


def divergence(llrs: torch.Tensor, quantized: torch.Tensor) -> torch.Tensor:
    """Compute D = sum_k KL(P(b_k) || Q(b_k)) in bits a symbol, (...), of LLRs (..., K).

    It is what a decoder loses that takes the quantized posteriors for the true ones.
    """
    llrs, quantized = llrs.double(), quantized.double()
    p = torch.sigmoid(llrs)
    softplus = torch.nn.functional.softplus
    # KL = p log(p/q) + (1-p) log((1-p)/(1-q)), with log q = -softplus(-L).
    terms = p * (softplus(-quantized) - softplus(-llrs)) + (1 - p) * (
        softplus(quantized) - softplus(llrs)
    )
    return terms.sum(-1) / torch.log(torch.tensor(2.0))
