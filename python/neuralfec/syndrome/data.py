# SPDX-License-Identifier: GPL-3.0-or-later
"""The chain of bit-interleaved coded modulation in torch: what the estimators learn from."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from ..codes import LinearCode
from ..phy.constellation import constellation
from ..phy.demapping_torch import demap


@dataclass(frozen=True)
class Batch:
    """Holds F received words. The hard decision y of bit j is 1 where its LLR is positive."""

    reliabilities: torch.Tensor
    """|L|, float32 (F, n)."""
    syndrome: torch.Tensor
    """H y^T, float32 0 or 1 (F, number of checks)."""
    flips: torch.Tensor
    """e = y + codeword, float32 0 or 1 (F, n)."""
    message_flips: torch.Tensor
    """e P with the code's pseudo-inverse P, float32 0 or 1 (F, k)."""
    llrs: torch.Tensor
    """L, float32 (F, n)."""
    messages: torch.Tensor
    """float32 0 or 1 (F, k)."""


def noise_variance(eb_n0_db: Any, bits_per_symbol: int, rate: float) -> Any:
    """Compute N0 of symbols with Es = 1: Es/N0 = (Eb/N0) rate bits_per_symbol.

    Symbols filled with padding are not counted: the rate is the code's k / n.
    """
    return 10 ** (-eb_n0_db / 10) / (rate * bits_per_symbol)


class BicmChain:
    """Message - code - random interleaver - mapper - Gaussian noise - exact LLRs.

    Each frame has an interleaver of its own. Where n is no multiple of the bits a symbol,
    random bits fill the last one.

    code : a `LinearCode`
    spec : what `phy.constellation.constellation` takes
    device, seed : of the generator
    """

    def __init__(
        self, code: LinearCode, spec: Any, *, device: str = "cpu", seed: int | None = None
    ) -> None:
        self.code = code
        self.constellation = constellation(spec)
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device)
        if seed is None:
            self.generator.seed()
        else:
            self.generator.manual_seed(seed)

        def matrix(bits: Any) -> torch.Tensor:
            return torch.tensor(bits, dtype=torch.float32, device=self.device)

        self._generator_matrix = matrix(code.generator)
        self._checks = matrix(code.parity_check.T)
        self._pseudo_inverse = matrix(code.pseudo_inverse)
        self._points = torch.tensor(self.constellation.points_by_label, device=self.device)
        bits = self.constellation.bits_per_symbol
        self._weights = 2 ** torch.arange(bits - 1, -1, -1, device=self.device)

    def __call__(self, eb_n0_db: float | torch.Tensor, frames: int) -> Batch:
        """frames words at one Eb/N0 in dB, or at one each, (frames,)."""
        n, k, bits = self.code.n, self.code.k, self.constellation.bits_per_symbol
        random = {"generator": self.generator, "device": self.device}
        messages = torch.randint(0, 2, (frames, k), **random).float()
        codewords = (messages @ self._generator_matrix).remainder(2)
        order = torch.rand(frames, n, **random).argsort(1)
        padding = torch.randint(0, 2, (frames, -n % bits), **random).float()
        sent = torch.cat([codewords.gather(1, order), padding], 1)
        labels = (sent.view(frames, -1, bits).long() * self._weights).sum(-1)
        variance = noise_variance(eb_n0_db, bits, k / n)
        variance = torch.as_tensor(variance, dtype=torch.float32, device=self.device)
        variance = variance.reshape(-1, 1).expand(labels.shape)
        noise = torch.randn(labels.shape, dtype=torch.complex64, **random)
        received = self._points[labels] + noise * variance.sqrt()
        interleaved = demap(received, self.constellation, variance).reshape(frames, -1)[:, :n]
        llrs = torch.empty_like(interleaved).scatter_(1, order, interleaved)
        flips = ((llrs > 0).float() - codewords).abs()
        return Batch(
            reliabilities=llrs.abs(),
            syndrome=(flips @ self._checks).remainder(2),
            flips=flips,
            message_flips=(flips @ self._pseudo_inverse).remainder(2),
            llrs=llrs,
            messages=messages,
        )


class Teacher:
    """Puts the words that a decoder finds in the place of those sent, where they are nearer.

    There even maximum likelihood fails, and the sent word is noise in the gradient.

    Parameters
    ----------
    code : what is sent
    decoder : has `decode`, as every decoder of `decoders.decoder`
    """

    def __init__(self, code: LinearCode, decoder: Any) -> None:
        from .. import _kernels

        self._decoder = decoder
        self._encode = _kernels.Gf2Map(code.generator)
        self._messages = _kernels.Gf2Map(code.pseudo_inverse)

    def __call__(self, batch: Batch) -> Batch:
        """Return the batch with the nearer words."""
        llrs = batch.llrs.cpu().numpy()
        messages, _ = self._decoder.decode(llrs)
        hard = (llrs > 0).astype(np.uint8)

        def tensor(bits: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(bits).to(batch.flips)

        flips = tensor(hard ^ self._encode.apply(messages))
        nearer = ((flips - batch.flips) * batch.reliabilities).sum(1, keepdim=True) < 0
        return replace(
            batch,
            flips=torch.where(nearer, flips, batch.flips),
            message_flips=torch.where(
                nearer, tensor(self._messages.apply(hard) ^ messages), batch.message_flips
            ),
            messages=torch.where(nearer, tensor(messages), batch.messages),
        )
