# SPDX-License-Identifier: GPL-3.0-or-later
"""Networks that turn the K LLRs of a symbol into a few numbers, and back.

Arvinte, Vishwanath, Tewfik, "Deep Learning-Based Quantization of L-Values for Gray-Coded
Modulation", 2019: equations (2) to (16) are numbered as in the version with interference.

All have the methods of one interface, batch first, tensors on any device:

    forward(llrs float32 (N, K)) -> latent float32 (N, D)
    index(latent (N, D)) -> int64 (N,), below 2^N_b
    codeword(index (N,)) -> latent (N, D), what the index stands for
    decode(latent (N, D)) -> llrs float32 (N, K)

NaN counts as 0, an infinite LLR as certain.
"""

from itertools import pairwise

import torch
from torch import nn


def _mlp(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def finite(llrs: torch.Tensor) -> torch.Tensor:
    """Replace NaN by 0, which is nothing known, and infinity by a large number."""
    return torch.nan_to_num(llrs, nan=0.0, posinf=1e20, neginf=-1e20)


class RailLayer(nn.Module):
    """Maps both rails of a symbol alike, linearly.

    Of the rails' numbers x_I and x_Q, (N, 2 inputs) in this order, it makes
    y_I = A x_I + B x_Q + b and y_Q = A x_Q + B x_I + b, (N, 2 outputs).

    weight : (A B), (outputs, 2 inputs); bias : b, (outputs,)
    """

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = (2 * inputs) ** -0.5
        self.weight = nn.Parameter(torch.empty(outputs, 2 * inputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(outputs).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute both rails' outputs (N, 2 outputs)."""
        swapped = self.weight.roll(self.weight.shape[1] // 2, 1)
        return nn.functional.linear(
            x, torch.cat([self.weight, swapped]), torch.cat([self.bias, self.bias])
        )


class GainCellQuantizer(nn.Module):
    """Ours: a network into cells of the gain G, a table of posteriors out.

    For square Gray-labelled QAM the K LLRs depend on G = |h|^2 / N0 and the two rails of
    y / h alone, equation (4). The latent is (u, v_I, v_Q): u in 0 .. 1 tells the cell
    c = floor(u C) of G; |v| in 0 .. 1 tells the level floor(|v| n_c) of a rail's distance
    from the axis, and its sign is the rail's. A codeword stands for the average posteriors
    of its level, and the index is
        sign_I 2^(N_b-1) + sign_Q 2^(N_b-2) + sum_{c' < c} n_c'^2 + i n_c + j.

    The network ends in (u, v) of each rail, and u is the mean of both.

    levels : n_c of each cell, sum of n_c^2 <= 2^(N_b - 2)
    hidden : a rail's numbers in each layer
    table : float32 (sum n_c, K / 2), the folded LLRs of each cell's levels
    """

    bits: int

    def __init__(
        self, bits: int, levels: torch.Tensor, table: torch.Tensor, hidden: tuple[int, ...]
    ) -> None:
        super().__init__()
        if int((levels**2).sum()) > 1 << (bits - 2):
            raise ValueError(
                f"expected a sum of squared levels of at most 2^{bits - 2}, got levels {levels}"
            )
        self.bits = bits
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise([table.shape[1], *hidden, 2]):
            layers += [RailLayer(inputs, outputs), nn.ReLU()]
        self.encoder = nn.Sequential(*layers[:-1])
        self.register_buffer("levels", levels.long())
        self.register_buffer("offsets", (levels.long() ** 2).cumsum(0) - levels.long() ** 2)
        self.register_buffer("starts", levels.long().cumsum(0) - levels.long())
        self.register_buffer("table", table.float())

    def features(self, llrs: torch.Tensor) -> torch.Tensor:
        """Compute the network's inputs of LLRs (N, K), folded into the first quadrant.

        They are sign(L) log2(1 + min(|L|, 64)), the logarithm linear between powers of two; the
        first LLR of each rail is without sign.
        """
        folded = llrs.clone()
        rail = self.table.shape[1]
        folded[:, ::rail] = folded[:, ::rail].abs()
        mantissa, exponent = torch.frexp(1 + folded.abs().clamp_max(64.0))
        return torch.copysign(exponent + 2 * mantissa - 2, folded)

    def folded(self, llrs: torch.Tensor) -> torch.Tensor:
        """Compute (u, |v_I|, |v_Q|), (N, 3), before clamping: what training works on."""
        rails = self.encoder(self.features(llrs))
        u = rails[:, ::2].mean(1, keepdim=True)
        return torch.cat([u, rails[:, 1::2]], 1)

    def forward(self, llrs: torch.Tensor) -> torch.Tensor:
        """Compute the latent (u, v_I, v_Q), float32 (N, 3), of LLRs (N, K)."""
        llrs = finite(llrs)
        latent = self.folded(llrs).clamp(1e-6, 1 - 1e-6)
        negative = llrs[:, :: self.table.shape[1]] <= 0
        rails = torch.where(negative, -latent[:, 1:], latent[:, 1:])
        return torch.cat([latent[:, :1], rails], 1)

    def cells(self, latent: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the cell int64 (N,) and the levels int64 (N, 2) of a latent (N, 3)."""
        last = self.levels.shape[0] - 1
        cell = (latent[:, 0] * self.levels.shape[0]).long().clamp(0, last)
        count = self.levels[cell][:, None]
        level = (latent[:, 1:].abs() * count).long()
        return cell, torch.minimum(level.clamp_min(0), count - 1)

    @torch.jit.export
    def index(self, latent: torch.Tensor) -> torch.Tensor:
        """Compute the index int64 (N,) of a latent (N, 3)."""
        cell, level = self.cells(latent)
        sign = (latent[:, 1:] > 0).long()
        return (
            (sign[:, 0] * 2 + sign[:, 1]) * (1 << (self.bits - 2))
            + self.offsets[cell]
            + level[:, 0] * self.levels[cell]
            + level[:, 1]
        )

    @torch.jit.export
    def codeword(self, index: torch.Tensor) -> torch.Tensor:
        """Compute the latent float32 (N, 3) that indices (N,) stand for."""
        index = index.long()
        folded = index % (1 << (self.bits - 2))
        cell = torch.searchsorted(self.offsets, folded, right=True) - 1
        count = self.levels[cell]
        # An index that no codeword has is taken for the last.
        place = torch.minimum(folded - self.offsets[cell], count * count - 1)
        rails = torch.stack([place // count, place % count], 1)
        sign = torch.stack([index >> (self.bits - 1), index >> (self.bits - 2)], 1) % 2 * 2 - 1
        v = (rails + 0.5) / count[:, None] * sign
        u = (cell + 0.5) / self.levels.shape[0]
        return torch.cat([u[:, None], v], 1).float()

    @torch.jit.export
    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Compute the LLRs float32 (N, K) of a latent (N, 3), from the table."""
        cell, level = self.cells(latent)
        rails = self.table[self.starts[cell][:, None] + level]
        sign = torch.where(latent[:, 1:] > 0, 1.0, -1.0)
        first = rails[:, :, :1] * sign[:, :, None]
        return torch.cat([first, rails[:, :, 1:]], 2).flatten(1)


class _LatentCodebook(nn.Module):
    """Each latent number is quantized on its own: 2^b levels between thresholds.

    The index is the level numbers one behind the other, the first number's in the most
    significant bits. Without a codebook (`bits` 0) the latent is kept as it is.
    """

    bits: int
    dimension_bits: list[int]

    def __init__(self) -> None:
        super().__init__()
        self.bits = 0
        self.dimension_bits = torch.jit.annotate(list[int], [])
        self.register_buffer("thresholds", torch.zeros(0))
        self.register_buffer("codebook", torch.zeros(0))

    def set_codebook(self, levels: list[torch.Tensor], thresholds: list[torch.Tensor]) -> None:
        """Per latent number 2^b levels and the 2^b - 1 thresholds between them, both rising."""
        self.dimension_bits = [len(t).bit_length() for t in thresholds]
        for b, level, threshold in zip(self.dimension_bits, levels, thresholds, strict=True):
            if len(level) != 1 << b or len(threshold) != len(level) - 1:
                raise ValueError(
                    f"expected 2^b levels and 2^b - 1 thresholds, got {len(level)} and "
                    f"{len(threshold)}"
                )
        self.bits = sum(self.dimension_bits)
        self.codebook = torch.cat(levels).float()
        self.thresholds = torch.cat(thresholds).float()

    @torch.jit.export
    def index(self, latent: torch.Tensor) -> torch.Tensor:
        index = torch.zeros(latent.shape[0], dtype=torch.long, device=latent.device)
        start = 0
        for dimension, bits in enumerate(self.dimension_bits):
            count = (1 << bits) - 1
            thresholds = self.thresholds[start : start + count]
            level = torch.bucketize(latent[:, dimension].contiguous(), thresholds, right=True)
            index = index * (1 << bits) + level
            start += count
        return index

    @torch.jit.export
    def codeword(self, index: torch.Tensor) -> torch.Tensor:
        index = index.long()
        latent: list[torch.Tensor] = []
        start = 0
        shift = self.bits
        for bits in self.dimension_bits:
            shift -= bits
            level = (index >> shift) % (1 << bits)
            latent.append(self.codebook[start + level])
            start += 1 << bits
        return torch.stack(latent, 1)


class _SideBySide(nn.Module):
    """A linear layer of several networks: (networks or 1, N, inputs) to (networks, N, outputs)."""

    def __init__(self, networks: int, inputs: int, outputs: int) -> None:
        super().__init__()
        bound = inputs**-0.5
        self.weight = nn.Parameter(torch.empty(networks, inputs, outputs).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(networks, 1, outputs).uniform_(-bound, bound))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.baddbmm(self.bias, x.expand(self.weight.shape[0], -1, -1), self.weight)


class BranchedAutoencoder(_LatentCodebook):
    """The papers' autoencoder of soft bits Lambda = tanh(L / 2), equation (7).

    Encoder K - 4K - 4K - 4K - D with a tanh latent, D = 3 + 2 N_I for N_I interferers, (4);
    a decoder D - 4K - 4K - 4K - 1 with a tanh output for each bit, (11).
    """

    def __init__(self, bits_per_symbol: int, latent: int = 3) -> None:
        super().__init__()
        width = 4 * bits_per_symbol
        self.encoder = _mlp([bits_per_symbol, width, width, width, latent])
        layers: list[nn.Module] = []
        for fan_in, fan_out in pairwise([latent, width, width, width, 1]):
            layers += [_SideBySide(bits_per_symbol, fan_in, fan_out), nn.ReLU()]
        self.decoders = nn.Sequential(*layers[:-1], nn.Tanh())

    def latent(self, soft_bits: torch.Tensor) -> torch.Tensor:
        """Compute the latent (N, D) of soft bits (N, K)."""
        return torch.tanh(self.encoder(soft_bits))

    def soft_bits(self, latent: torch.Tensor) -> torch.Tensor:
        """Reconstruct soft bits (N, K) from a latent (N, D), equation (11)."""
        return self.decoders(latent[None]).permute(1, 0, 2).flatten(1)

    def forward(self, llrs: torch.Tensor) -> torch.Tensor:
        """Compute the latent float32 (N, D) of LLRs (N, K)."""
        return self.latent(torch.tanh(finite(llrs) / 2))

    @torch.jit.export
    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        # The last float32 before 1.
        """Reconstruct LLRs float32 (N, K) from a latent (N, D)."""
        bound = 1 - 2.0**-24
        return 2 * torch.atanh(self.soft_bits(latent).clamp(-bound, bound))


class ScalarQuantizer(_LatentCodebook):
    """Quantizes each LLR on its own: the latent is the LLRs, the codebook holds LLRs."""

    def forward(self, llrs: torch.Tensor) -> torch.Tensor:
        """Return the LLRs (N, K), finite, as the latent."""
        return finite(llrs)

    @torch.jit.export
    def decode(self, latent: torch.Tensor) -> torch.Tensor:
        """Return the latent (N, K) as the LLRs."""
        return latent
