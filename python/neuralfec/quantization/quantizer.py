# SPDX-License-Identifier: GPL-3.0-or-later
"""A quantization model in use: LLRs to indices or packed bits, and back."""

from __future__ import annotations

import os
import threading
from collections import Counter
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _kernels, models
from ..remade import Remade

_SYSTEM = "quantization"
_CHUNK = 1 << 16
# 2 atanh(1 - 2^-24): LLRs of soft bits end here.
_MOST = np.float32(17.328679513998633)


def codeword(index: NDArray[np.int64], codebook: NDArray, split: list[int]) -> NDArray:
    """Return the latent float32 (N, D) that indices (N,) stand for.

    codebook: 2^b levels of each latent number, one number after the other; split: b of each.
    """
    latent, start, shift = [], 0, sum(split)
    for bits in split:
        shift -= bits
        latent.append(codebook[start + ((index >> shift) % (1 << bits))])
        start += 1 << bits
    return np.stack(latent, 1)


def encode(state: dict[str, NDArray], llrs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the latent of LLRs (N, K), as `network.BranchedAutoencoder.forward` does."""
    x = np.tanh(np.where(np.isnan(llrs), np.float32(0), llrs) / 2)
    names = [name for name in state if name.startswith("encoder.") and name.endswith(".weight")]
    for name in names:
        x = x @ state[name].T + state[name.replace("weight", "bias")]
        if name != names[-1]:
            x = np.maximum(x, 0)
    return np.tanh(x)


def decode(state: dict[str, NDArray], latent: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute LLRs (N, K) of a latent (N, D), as the networks' `decode` does.

    state: parameters of a `BranchedAutoencoder`; a `ScalarQuantizer` has none, and its latent
    is the LLRs. An autoencoder ends in soft bits tanh(z), so the LLR 2 atanh(tanh(z)) is 2 z,
    up to that of the last float32 before 1. Where the network goes through tanh and back,
    the soft bit's rounding shows: one step of it is 0.7 in an LLR of 17.
    """
    names = [name for name in state if name.startswith("decoders.") and name.endswith(".weight")]
    if not names:
        return latent
    x = latent[None]
    for name in names:
        x = x @ state[name] + state[name.replace("weight", "bias")]
        if name != names[-1]:
            x = np.maximum(x, 0)
    return (2 * x.transpose(1, 0, 2).reshape(len(latent), -1)).clip(-_MOST, _MOST)


def names() -> list[str]:
    """Return the names of the shipped models, "qam256-15bit" for instance."""
    prefix = f"{_SYSTEM}/"
    return [name.removeprefix(prefix) for name in models.shipped() if name.startswith(prefix)]


class LlrQuantizer(Remade):
    """Quantizes the LLRs of M-QAM symbols, all of a symbol in one index.

    Parameters
    ----------
    model : name of a shipped model (`names()`) or a file `*.pt`
    search : whether `quantize` looks for the codeword of least divergence, as the kernel
        `CellSearch` does, or takes the network's, which is faster and a little worse. Only models
        of gain cells have a search; others give the network's codeword always.
    bits_per_symbol : K that the model must have, None for whatever it has

    Attributes
    ----------
    bits_per_symbol : K
    bits : N_b, 0 where the latent is not quantized
    card : the model's card
    counts : `bad_samples`, LLRs so far that were NaN and counted as 0

    The order of the LLRs is that of `phy.constellation("qam<M>")`: K/2 of the I rail, most
    significant first, then the Q rail's. LLR = log P(b=1) - log P(b=0), natural logarithm.

    Raises
    ------
    FileNotFoundError, ValueError : for a file that is no such model, see `models.load`
    """

    def __init__(
        self,
        model: str | os.PathLike,
        *,
        search: bool = True,
        bits_per_symbol: int | None = None,
    ) -> None:
        self._file = model
        if isinstance(model, str) and not model.endswith(".pt") and "/" not in model:
            self._file = f"{_SYSTEM}/{model}"
        expect: dict[str, Any] = {"system": _SYSTEM}
        if bits_per_symbol is not None:
            expect["bits_per_symbol"] = bits_per_symbol
        self.card = models.read_card(self._file)
        self.card.check(expect)
        self.bits_per_symbol: int = self.card.parameters["bits_per_symbol"]
        self.bits: int = self.card.parameters["bits"]
        self.counts: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._search = search

    def __repr__(self) -> str:
        return f"<LlrQuantizer {self.card.name}: {self.bits_per_symbol} LLRs in {self.bits} bits>"

    @cached_property
    def _state(self) -> dict[str, NDArray]:
        return models.parameters(self._file)

    @property
    def _of_cells(self) -> bool:
        return self.card.parameters["quantizer"] == "GainCellQuantizer"

    def _require_bits(self) -> None:
        if not self.bits:
            raise ValueError(
                f"model {self.card.name} does not quantize its latent: it has no indices, "
                "only reconstruct()"
            )

    @cached_property
    def _codebook(self) -> _kernels.CellCodebook:
        return _kernels.CellCodebook(
            self.bits_per_symbol,
            self.bits,
            self._state["levels"].tolist(),
            self._state["table"].flatten().tolist(),
        )

    @cached_property
    def quantizer(self) -> _kernels.SymbolQuantizer:
        """The kernel of `quantize`; ValueError where the model has no indices."""
        self._require_bits()
        if self._of_cells and self._search:
            return _kernels.CellSearch(self._codebook)
        layers = [
            (self._state[name], self._state[name.replace("weight", "bias")])
            for name in self._state
            if name.startswith("encoder.") and name.endswith(".weight")
        ]
        if self._of_cells:
            network = _kernels.RailNetwork(self.bits_per_symbol // 2, layers)
            return _kernels.CellQuantizer(network, self._codebook)
        thresholds = self._state["thresholds"].astype(float)
        if layers:
            # The kernel's network ends before the tanh of the latent.
            thresholds = np.arctanh(thresholds)
        ends = np.cumsum([(1 << bits) - 1 for bits in self.card.parameters["split"]])
        feature = "soft bit" if layers else "llr"
        return _kernels.LatentQuantizer(
            _kernels.LlrNetwork(self.bits_per_symbol, feature, layers),
            [part.tolist() for part in np.split(thresholds, ends[:-1])],
        )

    @cached_property
    def dequantizer(self) -> _kernels.SymbolDequantizer | None:
        """The kernel of `dequantize`, a table of all codewords, filled here.

        None above 20 bits, where the codeword is computed for each index.
        """
        self._require_bits()
        if self.bits > _kernels.SymbolDequantizer.max_bits:
            return None
        if self._of_cells:
            rows = self._codebook.rows()
        else:
            rows = self._codewords(np.arange(1 << self.bits))
        return _kernels.SymbolDequantizer(self.bits_per_symbol, self.bits, self._of_cells, rows)

    def _codewords(self, indices: NDArray) -> NDArray[np.float32]:
        """What the network or the codebook makes of indices."""
        if self._of_cells:
            indices = indices.astype(np.int64)
            out = self._codebook.rows()[indices % (1 << (self.bits - 2))]
            for place, shift in ((0, self.bits - 1), (self.bits_per_symbol // 2, self.bits - 2)):
                out[:, place] *= np.where((indices >> shift) & 1, 1, -1)
            return out
        out = np.empty((len(indices), self.bits_per_symbol), np.float32)
        for start in range(0, len(indices), _CHUNK):
            part = indices[start : start + _CHUNK].astype(np.int64)
            latent = codeword(part, self._state["codebook"], self.card.parameters["split"])
            out[start : start + _CHUNK] = decode(self._state, latent)
        return out

    def _symbols(self, llrs: ArrayLike) -> NDArray[np.float32]:
        llrs = np.ascontiguousarray(llrs, np.float32)
        if llrs.ndim == 0 or llrs.size % self.bits_per_symbol:
            raise ValueError(
                f"expected {self.bits_per_symbol} LLRs a symbol, got an array of shape {llrs.shape}"
            )
        return llrs.reshape(-1, self.bits_per_symbol)

    def _count(self, bad_samples: int) -> None:
        with self._counting:
            self.counts["bad_samples"] += bad_samples

    def quantize(self, llrs: ArrayLike) -> NDArray[np.uint32]:
        """Quantize LLRs to indices uint32 (symbols,), below 2^N_b.

        llrs : float32 of any shape, K successive ones a symbol; ValueError where they are no whole
            symbols
        """
        indices, bad_samples = self.quantizer.quantize(self._symbols(llrs))
        self._count(bad_samples)
        return indices

    def dequantize(self, indices: ArrayLike) -> NDArray[np.float32]:
        """Return LLRs float32 (symbols, K) of indices (symbols,).

        ValueError for an index that is not below 2^N_b.
        """
        indices = np.asarray(indices)
        if indices.size and not 0 <= int(indices.min()) <= int(indices.max()) < 1 << self.bits:
            raise ValueError(
                f"expected indices from 0 to 2^{self.bits} - 1, got "
                f"{indices.min()} to {indices.max()}"
            )
        indices = indices.reshape(-1)
        if self.dequantizer is None:
            return self._codewords(indices)
        return self.dequantizer.dequantize(indices.astype(np.uint32))

    def reconstruct(self, llrs: ArrayLike) -> NDArray[np.float32]:
        """Return what is left of LLRs, float32 of their shape, after quantizing and back.

        Of a model without indices it is what is left after its latent.
        """
        symbols = self._symbols(llrs)
        if self.bits:
            return self.dequantize(self.quantize(symbols)).reshape(np.shape(llrs))
        self._count(int(np.isnan(symbols).sum()))
        parts = [
            decode(self._state, encode(self._state, symbols[start : start + _CHUNK]))
            for start in range(0, len(symbols), _CHUNK)
        ]
        return np.concatenate(parts or [symbols]).reshape(np.shape(llrs))

    def pack(self, indices: ArrayLike) -> NDArray[np.uint8]:
        """Pack indices (symbols,) into bits, N_b each, most significant first.

        Returns uint8 (ceil(symbols N_b / 8),), with zeros to the end of the last byte.
        """
        self._require_bits()
        return _kernels.pack_bits(np.asarray(indices, np.uint32).reshape(-1), self.bits)

    def unpack(self, packed: ArrayLike, symbols: int) -> NDArray[np.uint32]:
        """Undo `pack`; ValueError where the bytes are not those of so many symbols."""
        self._require_bits()
        return _kernels.unpack_bits(np.asarray(packed, np.uint8), self.bits, symbols)
