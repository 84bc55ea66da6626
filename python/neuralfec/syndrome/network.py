# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimators of the flips of a hard decision.

All take reliabilities |L| (F, n) and the syndrome (F, checks), 0 or 1, float32, and return
LLRs log P(flip) - log P(no flip) of the message's bits (F, k) and of the codeword's (F, n).
"""

import math
import os
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import nn

from .. import models
from ..codes import LinearCode
from ..codes.polar import PolarCode

_LEAF = 8


class Layer(NamedTuple):
    """Says where weights[out][in] and then the biases of one layer stand in the parameters."""

    inputs: int
    outputs: int
    biases: int
    weight: int
    bias: int


def _box(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Box-plus, 2 atanh(tanh(a/2) tanh(b/2)), with its correction terms made linear."""

    least = torch.minimum(a.abs(), b.abs())
    return least * _sign(a) * _sign(b) + _correction(a + b) - _correction(a - b)


def _correction(x: torch.Tensor) -> torch.Tensor:
    return (0.65 - 0.29 * x.abs()).clamp_min(0.0)


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

    # TorchScript takes constants from the class.
    leaf: Final[int] = _LEAF
    # What a subcode without message bits says of its bits.
    certain: Final[float] = 15.0
    # Beyond it a subcode's probabilities would underflow.
    most_certain: Final[float] = 10.0
    systematic = False

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
        layers, parameters = _layout(code, features, hidden, leaf_hidden)
        # TorchScript takes lists of numbers, by name.
        self.inputs = [layer.inputs for layer in layers]
        self.outputs = [layer.outputs for layer in layers]
        self.biases = [layer.biases for layer in layers]
        self.weight_starts = [layer.weight for layer in layers]
        self.bias_starts = [layer.bias for layer in layers]
        self.register_buffer("unfrozen", torch.tensor(code.unfrozen.astype(np.int64)))
        frozen = np.setdiff1d(np.arange(code.n), code.unfrozen)
        self.register_buffer("frozen", torch.tensor(frozen))
        self.weights = nn.Parameter(torch.zeros(parameters))
        # All u of 8 bits with their codewords, and the rows that each subcode may have.
        u = np.arange(2**_LEAF)[:, None] >> np.arange(_LEAF) & 1
        positions = np.arange(_LEAF)
        # Position j is the sum of the u_i with all ones of j in i.
        transform = (positions[:, None] & positions) == positions
        words = np.stack([u @ transform % 2, u])
        self.register_buffer("_words", torch.tensor(words, dtype=torch.float32))
        self.register_buffer("_transform", torch.tensor(transform, dtype=torch.float32))
        frozen_bits = ~np.isin(np.arange(code.n), code.unfrozen).reshape(-1, _LEAF)
        rows = [np.flatnonzero((u[:, of_block] == 0).all(axis=1)) for of_block in frozen_bits]
        self.register_buffer("_rows", torch.tensor(np.concatenate(rows), dtype=torch.uint8))
        self._row_ends = np.cumsum([0, *map(len, rows)]).tolist()
        self.reset()

    @property
    def sizes(self) -> dict[str, int]:
        """The arguments that make this network, but for the code."""
        return {
            "features": self.features,
            "hidden": self.hidden,
            "leaf_hidden": self.leaf_hidden,
            "passes": self.passes,
        }

    @classmethod
    def from_model(cls, model: str | os.PathLike) -> "CancellationNetwork":
        """Make the network of a model file or a shipped model, in evaluation mode.

        ValueError for a model of another network.
        """
        card, parameters = models.read_card(model), models.parameters(model)
        if card.code is None or "cancellation_network" not in card.parameters:
            raise ValueError(f"expected a cancellation network, {card.name} is none")
        code = PolarCode(card.code.n, parameters["unfrozen"])
        network = cls(code, **card.parameters["cancellation_network"])
        network.load_state_dict({k: torch.from_numpy(v) for k, v in parameters.items()})
        return network.eval()

    def reset(self, generator: torch.Generator | None = None) -> None:
        """Draw random first layers; second layers leave the rules' LLRs as they are."""
        with torch.no_grad():
            self.weights.zero_()
            for index, (inputs, outputs) in enumerate(zip(self.inputs, self.outputs, strict=True)):
                if not inputs:
                    continue
                matrix = torch.randn((outputs, inputs), generator=generator) / math.sqrt(inputs)
                if index % 2:
                    width = 1 + self.features
                    is_leaf = index >= 6 * self.levels
                    untouched = range(2 * _LEAF) if is_leaf else range(0, outputs, width)
                    matrix[list(untouched)] = 0
                start = self.weight_starts[index]
                self.weights[start : start + matrix.numel()] = matrix.flatten()

    def forward(
        self, reliabilities: torch.Tensor, syndrome: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute LLRs of the message's flips (F, k) and of the codeword's (F, n)."""
        messages, codewords = self.after_each_pass(reliabilities, syndrome)
        return messages[-1], codewords[-1]

    def after_each_pass(
        self, reliabilities: torch.Tensor, syndrome: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Return both of what `forward` returns after the first pass, the second, ..."""
        u = torch.zeros_like(reliabilities).index_copy(1, self.frozen, syndrome)
        nothing = torch.zeros_like(reliabilities).unsqueeze(-1)
        root = torch.cat([reliabilities.unsqueeze(-1), nothing.expand(-1, -1, self.features)], 2)
        message_llrs: list[torch.Tensor] = []
        codeword_llrs: list[torch.Tensor] = []
        # Node 1 is the root, 2 i and 2 i + 1 are the children of i; what each got and gave.
        leaves = 1 << self.levels
        got = [nothing] * (2 * leaves)
        before = [nothing] * (2 * leaves)
        for step in range(self.passes):
            gave = [nothing] * (2 * leaves)
            messages: list[torch.Tensor] = []
            got[1] = root
            for block in range(leaves):
                node = leaves + block
                # Down from the last node whose left half is done; the first time, from the root.
                depth = 0
                while depth < self.levels and (block >> depth) % 2 == 0:
                    depth += 1
                if block > 0:
                    parent = node >> (depth + 1)
                    got[2 * parent + 1] = self._to_right(parent, got[parent], gave[2 * parent])
                for level in range(depth):
                    parent = node >> (depth - level)
                    back = before[2 * parent + 1]
                    if step == 0:
                        back = torch.zeros_like(got[parent][:, : got[parent].shape[1] // 2])
                    got[2 * parent] = self._to_left(parent, got[parent], back)
                back = before[node] if step > 0 else torch.zeros_like(got[node])
                gave[node], message = self._leaf(block, got[node], back, u)
                messages.append(message)
                while node % 2 == 1 and node > 1:
                    parent = node // 2
                    gave[parent] = self._to_parent(
                        parent, got[parent], gave[2 * parent], gave[2 * parent + 1]
                    )
                    node = parent
            message_llrs.append(-torch.cat(messages, 1)[:, self.unfrozen])
            codeword_llrs.append(-(reliabilities + gave[1][..., 0]))
            before = gave
        return message_llrs, codeword_llrs

    def _level(self, node: int) -> int:
        level = 0
        while node > 1:
            node = node // 2
            level += 1
        return level

    def _infer(self, index: int, bias: int, x: torch.Tensor) -> torch.Tensor:
        """The two layers from `index` on."""
        for i in range(index, index + 2):
            inputs, outputs = self.inputs[i], self.outputs[i]
            weight, start = self.weight_starts[i], self.bias_starts[i]
            if self.biases[i] > 1:
                start += bias * outputs
            x = nn.functional.linear(
                nn.functional.pad(x, (0, inputs - x.shape[-1])),
                self.weights[weight : weight + inputs * outputs].view(outputs, inputs),
                self.weights[start : start + outputs],
            )
            if i == index:
                x = x.relu()
        return x

    def _to_left(self, node: int, z: torch.Tensor, zr: torch.Tensor) -> torch.Tensor:
        level, half = self._level(node), z.shape[1] // 2
        za, zb = z[:, :half], z[:, half:]
        a, b, r = za[..., 0], zb[..., 0], zr[..., 0]
        sa, sb = _sign(a), _sign(b)
        sab = sa * sb
        llr = _box(a, b + r)
        x = _inputs([a * sa, b * sb, r * sb, llr * sab], [za, zb, zr], [sa, sb, sb])
        y = self._infer(6 * level, node - (1 << level), x)[..., : 1 + self.features]
        return _join(llr, y, sab)

    def _to_right(self, node: int, z: torch.Tensor, zs: torch.Tensor) -> torch.Tensor:
        level, half = self._level(node), z.shape[1] // 2
        za, zb = z[:, :half], z[:, half:]
        a, b, s = za[..., 0], zb[..., 0], zs[..., 0]
        sa, sb = _sign(a), _sign(b)
        sab = sa * sb
        llr = b + _box(a, s)
        x = _inputs([a * sa, b * sb, s * sab, llr * sb], [za, zb, zs], [sa, sb, sab])
        y = self._infer(6 * level + 2, node - (1 << level), x)[..., : 1 + self.features]
        return _join(llr, y, sb)

    def _to_parent(
        self, node: int, z: torch.Tensor, zs: torch.Tensor, zr: torch.Tensor
    ) -> torch.Tensor:
        level, half = self._level(node), z.shape[1] // 2
        za, zb = z[:, :half], z[:, half:]
        a, b, s, r = za[..., 0], zb[..., 0], zs[..., 0], zr[..., 0]
        sa, sb = _sign(a), _sign(b)
        sab = sa * sb
        upper, lower = _box(s, r + b), r + _box(a, s)
        x = _inputs([s * sab, r * sb, upper * sa, lower * sb], [zs, zr, za, zb], [sab, sb, sa, sb])
        y = self._infer(6 * level + 4, node - (1 << level), x)
        width = 1 + self.features
        up, low = y[..., :width], y[..., width : 2 * width]
        return torch.cat([_join(upper, up, sa), _join(lower, low, sb)], 1)

    def _leaf(
        self, block: int, z: torch.Tensor, before: torch.Tensor, u: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """What a subcode gives its parent, and the LLRs of its u."""
        signs = 1 - 2 * (
            u[:, block * self.leaf : (block + 1) * self.leaf] @ self._transform
        ).remainder(2)
        start, end = self._row_ends[block], self._row_ends[block + 1]
        if end - start == 1:
            certain = (signs * self.certain).unsqueeze(-1)
            return torch.cat([certain, torch.zeros_like(z[..., 1:])], -1), torch.zeros_like(signs)
        llrs = z[..., 0] * signs
        pairs = torch.stack([(0.25 * llrs).clamp(-3, 3), (1 - 0.5 * llrs.abs()).clamp_min(0)], -1)
        x = torch.cat(
            [
                pairs.flatten(1),
                (z[..., 1:] * signs.unsqueeze(-1)).flatten(1),
                (before[..., 1:] * signs.unsqueeze(-1)).flatten(1),
            ],
            1,
        )
        y = self._infer(6 * self.levels + 2 * block, 0, x)
        m = (llrs + y[:, : self.leaf]).clamp(-self.most_certain, self.most_certain)
        # Bits of all words of the subcode: positions, then u.
        words = self._words[:, self._rows[start:end].long()]
        codewords, bits = words[0], words[1]
        p = (-(m @ codewords.T)).softmax(1)
        free = bits.sum(0) > 0
        message = torch.zeros_like(m)
        message[:, free] = _llrs_of(p, bits[:, free])
        out = (_llrs_of(p, codewords) - m + y[:, self.leaf : 2 * self.leaf]) * signs
        features = y[:, 2 * self.leaf : 2 * self.leaf + self.leaf * self.features]
        features = features.view(-1, self.leaf, self.features) * signs.unsqueeze(-1)
        return torch.cat([out.unsqueeze(-1), features], -1), message


def _inputs(
    llrs: list[torch.Tensor], features: list[torch.Tensor], signs: list[torch.Tensor]
) -> torch.Tensor:
    """A line up to 12 and a tent around 0 of each LLR, then features times signs."""
    columns: list[torch.Tensor] = []
    for llr in llrs:
        columns.append((0.25 * llr).clamp(-3.0, 3.0).unsqueeze(-1))
        columns.append((1.0 - 0.5 * llr.abs()).clamp_min(0.0).unsqueeze(-1))
    for z, sign in zip(features, signs):  # noqa: B905 (TorchScript knows no strict)
        columns.append(z[..., 1:] * sign.unsqueeze(-1))
    return torch.cat(columns, -1)


def _join(llr: torch.Tensor, y: torch.Tensor, sign: torch.Tensor) -> torch.Tensor:
    y = y * sign.unsqueeze(-1)
    return torch.cat([(llr + y[..., 0]).unsqueeze(-1), y[..., 1:]], -1)


def _llrs_of(p: torch.Tensor, bits: torch.Tensor) -> torch.Tensor:
    """LLRs, log P(0) - log P(1), of bits (W, B) of words with probabilities (F, W)."""
    return (p @ (1 - bits)).log() - (p @ bits).log()


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

    The same input stands at each of ``steps`` time steps: |L| / 4, e^(-|L| / 2) and the
    syndrome as -1 (0) and 1 (1). One output layer, shared by the time steps, gives the LLRs of
    the codeword's flips, among them the message's. The LLRs must be true to scale.

    Parameters
    ----------
    code : in systematic form, see `form.systematic_form`
    layers, steps, width : of the cells; the paper has 5 layers, 5 steps and the width 6 (2n - k)

    Attributes
    ----------
    cells : `torch.nn.GRU`, the parameters of the cells in torch's layout
    output : the shared layer, width to n
    """

    systematic = True

    def __init__(self, code: LinearCode, layers: int = 2, steps: int = 5, width: int = 288) -> None:
        super().__init__()
        if not code.systematic:
            raise ValueError(f"expected a code in systematic form, got {code!r}")
        self.n, self.k, self.steps = code.n, code.k, steps
        self.register_buffer("message", torch.tensor(np.array(code.information_set, np.int64)))
        checks = code.parity_check.shape[0]
        self.cells = nn.GRU(2 * code.n + checks, width, layers, batch_first=True)
        self.output = nn.Linear(width, code.n)
        with torch.no_grad():
            # What a cell remembers stays as it is at first, in each of its gates.
            for name, parameter in self.cells.named_parameters():
                if name.startswith("weight_hh"):
                    parameter.copy_(torch.eye(width).repeat(3, 1))
                elif name.startswith("weight_ih"):
                    nn.init.kaiming_normal_(parameter, nonlinearity="linear")
                else:
                    parameter.zero_()

    def gates(self) -> list[nn.Parameter]:
        """Return the weights that stack square matrices, (3 width, width) each."""
        named = dict(self.cells.named_parameters())
        return [
            named[name]
            for name in named
            if name[:9] == "weight_hh" or (name[:9] == "weight_ih" and name != "weight_ih_l0")
        ]

    def features(self, reliabilities: torch.Tensor, syndrome: torch.Tensor) -> torch.Tensor:
        """Return the input of the cells, (F, 2n + checks)."""
        small = torch.exp(-0.5 * reliabilities)
        return torch.cat([0.25 * reliabilities, small, 2 * syndrome - 1], 1)

    def forward(
        self, reliabilities: torch.Tensor, syndrome: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute LLRs of the message's flips (F, k) and of the codeword's (F, n)."""
        x = self.features(reliabilities, syndrome)
        states, _ = self.cells(x.unsqueeze(1).expand(-1, self.steps, -1))
        codeword = self.output(states[:, -1])
        return codeword[:, self.message], codeword

    @torch.jit.unused
    def after_each_step(
        self, reliabilities: torch.Tensor, syndrome: torch.Tensor
    ) -> list[torch.Tensor]:
        """Return the LLRs of the codeword's flips after each time step, (F, n) each.

        The last is what `forward` returns. The product of the input, the largest, is taken once.
        """
        linear, cells = nn.functional.linear, self.cells
        x = self.features(reliabilities, syndrome)
        first = linear(x, cells.weight_ih_l0, cells.bias_ih_l0)
        states = [x.new_zeros(len(x), cells.hidden_size) for _ in range(cells.num_layers)]
        outputs = []
        for _ in range(self.steps):
            for layer in range(cells.num_layers):
                of_input = first
                if layer:
                    weight = getattr(cells, f"weight_ih_l{layer}")
                    bias = getattr(cells, f"bias_ih_l{layer}")
                    of_input = linear(states[layer - 1], weight, bias)
                weight = getattr(cells, f"weight_hh_l{layer}")
                of_state = linear(states[layer], weight, getattr(cells, f"bias_hh_l{layer}"))
                reset_i, keep_i, new_i = of_input.chunk(3, 1)
                reset_s, keep_s, new_s = of_state.chunk(3, 1)
                new = torch.tanh(new_i + torch.sigmoid(reset_i + reset_s) * new_s)
                keep = torch.sigmoid(keep_i + keep_s)
                # No lerp: under autocast the state stays float32 and the gates are bfloat16.
                states[layer] = new + keep * (states[layer] - new)
            outputs.append(self.output(states[-1]))
        return outputs


class TransformerEstimator(nn.Module):
    """The error correction code transformer (Choukroun, Wolf 2022) with message outputs.

    One token a reliability and one a check, its embedding scaled by the value; attention
    only between tokens that the parity-check matrix joins: a bit and a check that it takes
    part in, and bits of one check. Reliabilities are divided by their mean in the frame.
    """

    systematic = True

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
        """Compute LLRs of the message's flips (F, k) and of the codeword's (F, n)."""
        mean = reliabilities.mean(1, keepdim=True).clamp_min(1e-6)
        values = torch.cat([reliabilities / mean, 1 - 2 * syndrome], 1)
        tokens = self.layers(values.unsqueeze(-1) * self.embedding, mask=self.masked)
        y = self.output(self.squeeze(tokens).squeeze(-1))
        return y[:, : self.k], y[:, self.k :]
