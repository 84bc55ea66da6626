# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimators of the flips of a hard decision.

All take reliabilities |L| (F, n) and the syndrome (F, checks), 0 or 1, float32, and return
LLRs log P(flip) - log P(no flip) of the message's bits (F, k) and of the codeword's (F, n).
"""

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import nn

from ..codes import LinearCode
from ..codes.polar import PolarCode

_LEAF = 8
# What a subcode without message bits says of its bits.
_CERTAIN = 15.0
# Beyond it a subcode's probabilities would underflow.
_MOST_CERTAIN = 10.0


class Layer(NamedTuple):
    """Where weights[out][in] and then the biases of one layer stand in the parameters."""

    inputs: int
    outputs: int
    biases: int
    weight: int
    bias: int


def _box(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Box-plus, 2 atanh(tanh(a/2) tanh(b/2)), with its correction terms made linear."""

    def correction(x: torch.Tensor) -> torch.Tensor:
        return (0.65 - 0.29 * x.abs()).clamp_min(0.0)

    least = torch.minimum(a.abs(), b.abs())
    signs = torch.copysign(torch.ones_like(a), a) * torch.copysign(torch.ones_like(b), b)
    return least * signs + correction(a + b) - correction(a - b)


def _sign(x: torch.Tensor) -> torch.Tensor:
    return torch.copysign(torch.ones_like(x), x)


class CancellationNetwork(nn.Module):
    """Ours: belief propagation on the schedule of successive cancellation, with networks.

    In the tree of a polar code a node gets from its parent, and gives back, an LLR and
    ``features`` numbers for each of its positions. With a, b the LLRs of its halves and s, r
    what its left and right child gave back, the rules

        to the left child   a [+] (b + r), r of the pass before
        to the right child  b + (a [+] s)
        to the parent       s [+] (r + b) and r + (a [+] s)

    each get an addition from a network of one hidden layer that sees all LLRs and features
    there. Networks are shared by the nodes of a level, but for the hidden layer's bias, and
    by the passes. A subcode of 8 bits corrects its LLRs by a network of its own and takes
    the exact a-posteriori probabilities of its words under the syndrome.

    The C++ kernel of the same name is the one to use where speed matters; this is its twin
    for training on a GPU and for model files.

    code : a `PolarCode` without CRC, n from 16 to 1024
    hidden, leaf_hidden : widths, multiples of 4
    passes : how often the tree is walked
    """

    def __init__(
        self,
        code: PolarCode,
        features: int = 7,
        hidden: int = 32,
        leaf_hidden: int = 64,
        passes: int = 2,
    ) -> None:
        super().__init__()
        if not isinstance(code, PolarCode) or code.crc_degree:
            raise ValueError(f"expected a polar code without a CRC, got {code!r}")
        if not 16 <= code.n <= 1024:
            raise ValueError(f"expected a code length from 16 to 1024, got {code.n}")
        if min(hidden, leaf_hidden) < 4 or hidden % 4 or leaf_hidden % 4:
            raise ValueError(f"expected multiples of 4, got widths {hidden} and {leaf_hidden}")
        self.n, self.k, self.features, self.passes = code.n, code.k, features, passes
        self.hidden, self.leaf_hidden = hidden, leaf_hidden
        self.levels = int(math.log2(code.n // _LEAF))
        self.layers, parameters = _layout(code, features, hidden, leaf_hidden)
        self.register_buffer("unfrozen", torch.tensor(code.unfrozen.astype(np.int64)))
        frozen = np.setdiff1d(np.arange(code.n), code.unfrozen)
        self.register_buffer("frozen", torch.tensor(frozen))
        self.weights = nn.Parameter(torch.zeros(parameters))
        self._subcodes = nn.Module()
        for block in range(code.n // _LEAF):
            free = np.isin(np.arange(_LEAF) + block * _LEAF, code.unfrozen)
            self._subcodes.register_buffer(f"words{block}", _words(free))
        positions = np.arange(_LEAF)
        # Position j is the sum of the u_i with all ones of j in i.
        self.register_buffer(
            "_transform",
            torch.tensor((positions[:, None] & positions) == positions, dtype=torch.float32),
        )
        self.reset()

    @property
    def sizes(self) -> dict[str, int]:
        """The arguments that make this network, but for the code."""
        names = ("features", "hidden", "leaf_hidden", "passes")
        return {name: getattr(self, name) for name in names}

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Random first layers; second layers that leave the rules' LLRs as they are."""
        with torch.no_grad():
            self.weights.zero_()
            for index, layer in enumerate(self.layers):
                if not layer.inputs:
                    continue
                shape = (layer.outputs, layer.inputs)
                matrix = torch.randn(shape, generator=generator) / math.sqrt(layer.inputs)
                if index % 2:
                    width = 1 + self.features
                    is_leaf = index >= 6 * self.levels
                    untouched = range(2 * _LEAF) if is_leaf else range(0, layer.outputs, width)
                    matrix[list(untouched)] = 0
                start = layer.weight
                self.weights[start : start + matrix.numel()] = matrix.flatten()

    def forward(
        self, reliabilities: torch.Tensor, syndrome: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return self.after_each_pass(reliabilities, syndrome)[-1]

    def after_each_pass(
        self, reliabilities: torch.Tensor, syndrome: torch.Tensor
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """What `forward` returns, after the first pass, the second, ..."""
        u = torch.zeros_like(reliabilities).index_copy(1, self.frozen, syndrome)
        nothing = torch.zeros_like(reliabilities).unsqueeze(-1)
        root = torch.cat([reliabilities.unsqueeze(-1), nothing.expand(-1, -1, self.features)], 2)
        estimates = []
        before: dict[int, torch.Tensor] = {}
        for _ in range(self.passes):
            now: dict[int, torch.Tensor] = {}
            messages: list[torch.Tensor] = []
            out = self._node(1, root, u, before, now, messages)
            message = torch.cat(messages, 1)[:, self.unfrozen]
            estimates.append((-message, -(reliabilities + out[..., 0])))
            before = now
        return estimates

    def _infer(self, index: int, bias: int, x: torch.Tensor) -> torch.Tensor:
        """The two layers from `index` on."""
        for i, layer in enumerate(self.layers[index : index + 2]):
            size = layer.inputs * layer.outputs
            matrix = self.weights[layer.weight : layer.weight + size]
            start = layer.bias + (bias * layer.outputs if layer.biases > 1 else 0)
            x = nn.functional.linear(
                nn.functional.pad(x, (0, layer.inputs - x.shape[-1])),
                matrix.view(layer.outputs, layer.inputs),
                self.weights[start : start + layer.outputs],
            )
            x = x.relu() if i == 0 else x
        return x

    @staticmethod
    def _inputs(
        llrs: list[torch.Tensor], features: list[tuple[torch.Tensor, torch.Tensor]]
    ) -> torch.Tensor:
        """A line up to 12 and a tent around 0 of each LLR, then features times signs."""
        columns = [
            f(llr).unsqueeze(-1)
            for llr in llrs
            for f in (
                lambda x: (0.25 * x).clamp(-3.0, 3.0),
                lambda x: (1.0 - 0.5 * x.abs()).clamp_min(0.0),
            )
        ]
        return torch.cat([*columns, *(z[..., 1:] * sign.unsqueeze(-1) for z, sign in features)], -1)

    @staticmethod
    def _join(llr: torch.Tensor, y: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
        y = y * sign.unsqueeze(-1)
        return torch.cat([(llr + y[..., 0]).unsqueeze(-1), y[..., 1:]], -1)

    def _node(
        self,
        node: int,
        z: torch.Tensor,
        u: torch.Tensor,
        before: dict[int, torch.Tensor],
        now: dict[int, torch.Tensor],
        messages: list[torch.Tensor],
    ) -> torch.Tensor:
        half = z.shape[1] // 2
        level = node.bit_length() - 1
        if half == _LEAF // 2:
            now[node] = self._leaf(node - (1 << level), z, u, before.get(node), messages)
            return now[node]
        width, bias = 1 + self.features, node - (1 << level)
        za, zb = z[:, :half], z[:, half:]
        a, b = za[..., 0], zb[..., 0]
        sa, sb = _sign(a), _sign(b)
        sab = sa * sb

        zr = before[2 * node + 1] if before else torch.zeros_like(za)
        r = zr[..., 0]
        llr = _box(a, b + r)
        x = self._inputs([a * sa, b * sb, r * sb, llr * sab], [(za, sa), (zb, sb), (zr, sb)])
        y = self._infer(6 * level, bias, x)[..., :width]
        zs = self._node(2 * node, self._join(llr, y, sab), u, before, now, messages)

        s = zs[..., 0]
        llr = b + _box(a, s)
        x = self._inputs([a * sa, b * sb, s * sab, llr * sb], [(za, sa), (zb, sb), (zs, sab)])
        y = self._infer(6 * level + 2, bias, x)[..., :width]
        zr = self._node(2 * node + 1, self._join(llr, y, sb), u, before, now, messages)

        r = zr[..., 0]
        upper, lower = _box(s, r + b), r + _box(a, s)
        x = self._inputs(
            [s * sab, r * sb, upper * sa, lower * sb],
            [(zs, sab), (zr, sb), (za, sa), (zb, sb)],
        )
        y = self._infer(6 * level + 4, bias, x)
        now[node] = torch.cat(
            [
                self._join(upper, y[..., :width], sa),
                self._join(lower, y[..., width : 2 * width], sb),
            ],
            1,
        )
        return now[node]

    def _leaf(
        self,
        block: int,
        z: torch.Tensor,
        u: torch.Tensor,
        before: torch.Tensor | None,
        messages: list[torch.Tensor],
    ) -> torch.Tensor:
        words = getattr(self._subcodes, f"words{block}")
        signs = 1 - 2 * (u[:, block * _LEAF : (block + 1) * _LEAF] @ self._transform).remainder(2)
        if words.shape[1] == 1:
            messages.append(torch.zeros_like(signs))
            certain = (signs * _CERTAIN).unsqueeze(-1)
            return torch.cat([certain, torch.zeros_like(z[..., 1:])], -1)
        zb = torch.zeros_like(z) if before is None else before
        llrs = z[..., 0] * signs
        pairs = torch.stack([(0.25 * llrs).clamp(-3, 3), (1 - 0.5 * llrs.abs()).clamp_min(0)], -1)
        of = [(t[..., 1:] * signs.unsqueeze(-1)).flatten(1) for t in (z, zb)]
        index = 6 * self.levels + 2 * block
        y = self._infer(index, 0, torch.cat([pairs.flatten(1), *of], 1))
        m = (llrs + y[:, :_LEAF]).clamp(-_MOST_CERTAIN, _MOST_CERTAIN)
        # Bits of all words: positions, then u.
        codewords, bits = words
        p = (-(m @ codewords.T)).softmax(1)

        def llr(of: torch.Tensor) -> torch.Tensor:
            return (p @ (1 - of)).log() - (p @ of).log()

        free = bits.any(0)
        message = torch.zeros_like(m)
        message[:, free] = llr(bits[:, free])
        messages.append(message)
        out = (llr(codewords) - m + y[:, _LEAF : 2 * _LEAF]) * signs
        features = y[:, 2 * _LEAF : 2 * _LEAF + _LEAF * self.features]
        features = features.view(-1, _LEAF, self.features) * signs.unsqueeze(-1)
        return torch.cat([out.unsqueeze(-1), features], -1)


def _words(free: np.ndarray) -> torch.Tensor:
    """Codewords and their u, (2, 2^r, 8), of a subcode with these free positions."""
    u = np.arange(2**_LEAF)[:, None] >> np.arange(_LEAF) & 1
    u = u[(u[:, ~free] == 0).all(axis=1)]
    positions = np.arange(_LEAF)
    codewords = u @ ((positions[:, None] & positions) == positions) % 2
    return torch.tensor(np.stack([codewords, u]), dtype=torch.float32)


def _layout(
    code: PolarCode, features: int, hidden: int, leaf_hidden: int
) -> tuple[list[Layer], int]:
    """Layers in the order of the parameters, and how many parameters there are."""
    layers: list[Layer] = []
    total = 0

    def add(inputs: int, outputs: int, biases: int) -> None:
        nonlocal total
        inputs, outputs = (inputs + 3) // 4 * 4, (outputs + 3) // 4 * 4
        layers.append(Layer(inputs, outputs, biases, total, total + inputs * outputs))
        total += inputs * outputs + outputs * biases

    width = 1 + features
    for level in range(int(math.log2(code.n // _LEAF))):
        for positions, outputs in ((3, width), (3, width), (4, 2 * width)):
            add(8 + positions * features, hidden, 2**level)
            add(hidden, outputs, 1)
    for block in range(code.n // _LEAF):
        used = bool((code.unfrozen // _LEAF == block).any())
        add(_LEAF * (2 + 2 * features) * used, leaf_hidden * used, 1)
        add(leaf_hidden * used, _LEAF * (1 + width) * used, 1)
    return layers, total


class RecurrentEstimator(nn.Module):
    """The paper's recurrent estimator: stacked GRU cells (Bennatan et al. 2018).

    The input (|L|, syndrome) is repeated at each of ``steps`` time steps; layers are
    scale (2n - k) wide. Reliabilities are divided by their mean in the frame, so that the
    LLRs' scale does not matter.
    """

    def __init__(self, code: LinearCode, layers: int = 2, steps: int = 5, scale: float = 6) -> None:
        super().__init__()
        self.n, self.k, self.steps = code.n, code.k, steps
        inputs = code.n + code.parity_check.shape[0]
        width = round(scale * (2 * code.n - code.k))
        self.cells = nn.GRU(inputs, width, layers, batch_first=True)
        self.output = nn.Linear(width, code.k + code.n)

    def forward(
        self, reliabilities: torch.Tensor, syndrome: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        mean = reliabilities.mean(1, keepdim=True).clamp_min(1e-6)
        x = torch.cat([reliabilities / mean, 1 - 2 * syndrome], 1)
        states, _ = self.cells(x.unsqueeze(1).expand(-1, self.steps, -1))
        y = self.output(states[:, -1])
        return y[:, : self.k], y[:, self.k :]


class TransformerEstimator(nn.Module):
    """The error correction code transformer (Choukroun, Wolf 2022) with message outputs.

    One token a reliability and one a check, its embedding scaled by the value; attention
    only between tokens that the parity-check matrix joins: a bit and a check that it takes
    part in, and bits of one check. Reliabilities are divided by their mean in the frame.
    """

    def __init__(self, code: LinearCode, layers: int = 6, width: int = 128, heads: int = 8) -> None:
        super().__init__()
        self.n, self.k = code.n, code.k
        checks = code.parity_check.shape[0]
        tokens = code.n + checks
        self.embedding = nn.Parameter(torch.randn(tokens, width) / math.sqrt(width))
        layer = nn.TransformerEncoderLayer(
            width,
            heads,
            4 * width,
            dropout=0.0,
            activation="gelu",
            batch_first=True,
            norm_first=True,
        )
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), False)
        self.squeeze = nn.Linear(width, 1)
        self.output = nn.Linear(tokens, code.k + code.n)
        h = torch.tensor(code.parity_check, dtype=torch.bool)
        joined = torch.eye(tokens, dtype=torch.bool)
        joined[code.n :, : code.n] = h
        joined[: code.n, code.n :] = h.T
        joined[: code.n, : code.n] |= (h.T.float() @ h.float()) > 0
        self.register_buffer("masked", ~joined)

    def forward(
        self, reliabilities: torch.Tensor, syndrome: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        mean = reliabilities.mean(1, keepdim=True).clamp_min(1e-6)
        values = torch.cat([reliabilities / mean, 1 - 2 * syndrome], 1)
        tokens = self.layers(values.unsqueeze(-1) * self.embedding, mask=self.masked)
        y = self.output(self.squeeze(tokens).squeeze(-1))
        return y[:, : self.k], y[:, self.k :]
