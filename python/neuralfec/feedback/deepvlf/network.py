# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks of DeepVLF (arXiv:2602.07881), in torch.

A block of K bits is Q groups of m bits, and each network reads and writes one vector a
group: the transmitter's gives the parity symbol of each group (eq. 3), the receiver's the
belief over its 2^m patterns (eq. 5). A group is a token of a small transformer: a feature
extractor f^(v) shared by all groups, self-attention for the coefficients rho, and a head
f^(c). ``stopping`` tells what the third network is for.
"""

import itertools
import math
from collections.abc import Mapping

import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .parameters import CodeParameters, NetworkShape
from .witness import INPUTS


def activate(name: str, x: Tensor) -> Tensor:
    """Apply the activation of a name, "relu" or "gelu"; any other changes nothing."""
    if name == "relu":
        return torch.relu(x)
    if name == "gelu":
        return nn.functional.gelu(x)
    return x


class AttentionLayer(nn.Module):
    """Pre-norm transformer layer: h += A(LN h), h += W2 act(W1 LN h); one head, no mask."""

    def __init__(self, shape: NetworkShape):
        super().__init__()
        width = shape.width
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width, bias=False)
        self.merge = nn.Linear(width, width)
        self.expand = nn.Linear(width, shape.hidden)
        self.contract = nn.Linear(shape.hidden, width)
        self.activation: str = shape.activation
        self.scale: float = 1 / math.sqrt(width)

    def forward(self, h: Tensor) -> Tensor:
        """Return h, (blocks, Q, width), after this layer."""
        g = self.norm1(h)
        rho = torch.softmax(self.query(g) @ self.key(g).transpose(-2, -1) * self.scale, -1)
        h = h + self.merge(rho @ self.value(g))
        return h + self.contract(activate(self.activation, self.expand(self.norm2(h))))


class GroupTransformer(nn.Module):
    """One network of a code: (blocks, Q, inputs) float32 to (blocks, Q, outputs) float32.

    A module of the same sizes for every number of groups up to those of its position table,
    which is a buffer and part of the state.
    """

    def __init__(self, shape: NetworkShape, groups: int):
        super().__init__()
        self.shape = shape
        self.extract1 = nn.Linear(shape.inputs, shape.features)
        self.extract2 = nn.Linear(shape.features, shape.features)
        self.extract3 = (
            nn.Identity() if shape.deep_after is None else nn.Linear(shape.features, shape.features)
        )
        self.embed = nn.Linear(shape.features, shape.width)
        self.register_buffer("positions", sinusoids(groups, shape.width))
        self.layers = nn.ModuleList(AttentionLayer(shape) for _ in range(shape.layers))
        self.norm = nn.LayerNorm(shape.width)
        widths = (shape.width, *shape.head)
        self.head = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))
        self.head_activation: str = shape.head_activation
        self.scale: float = math.sqrt(shape.width)
        self.deep_after: int = -1 if shape.deep_after is None else shape.deep_after

    def forward(self, inputs: Tensor, round: int) -> Tensor:
        """Return the outputs of a round.

        round : tau - 1, from 0; the depth of the extractor follows it
        """
        h = torch.relu(self.extract2(torch.relu(self.extract1(inputs))))
        if self.deep_after >= 0 and round >= self.deep_after:
            h = torch.relu(self.extract3(h))
        h = self.embed(h) * self.scale + self.positions
        for layer in self.layers:
            h = layer(h)
        h = self.norm(h)
        for i, linear in enumerate(self.head):
            if i > 0:
                h = activate(self.head_activation, h)
            h = linear(h)
        return h


def sinusoids(positions: int, width: int) -> Tensor:
    """Position table of Vaswani et al. 2017, Sec. 3.5: (positions, width) float32."""
    angle = torch.arange(positions)[:, None] / 10000 ** (torch.arange(0, width, 2) / width)
    return torch.stack((angle.sin(), angle.cos()), dim=2).flatten(1)[:, :width]


class FeedbackCode(nn.Module):
    """Both networks of a code and the statistics of its power normalisation (eq. 6, 14).

    The symbol of group q in round tau is

        x = weight[q] (o - mean[tau, q]) / (deviation[tau, q] + 1e-8),

    o the transmitter network's output, clipped to the peak. mean, deviation: (tau_max, Q);
    weight: (Q,), of mean square 1. A receiver of a "received" code feeds back
    y / received_deviation, (Q,).
    """

    def __init__(self, parameters: CodeParameters):
        super().__init__()
        self.code = parameters
        table = (parameters.rounds, parameters.groups)
        self.transmitter = GroupTransformer(parameters.transmitter, parameters.groups)
        self.receiver = GroupTransformer(parameters.receiver, parameters.groups)
        hidden = parameters.termination_hidden
        self.termination = StoppingNetwork(hidden) if hidden else nn.Identity()
        self.register_buffer("mean", torch.zeros(table))
        self.register_buffer("deviation", torch.ones(table))
        self.register_buffer("received_deviation", torch.ones(parameters.groups))
        self.register_buffer("weight", torch.ones(parameters.groups))

    @torch.jit.ignore
    def set_statistics(self, statistics: Mapping[str, NDArray]) -> None:
        """Set the statistics of the power normalisation, by name."""
        for name, value in statistics.items():
            getattr(self, name).copy_(torch.from_numpy(value))

    def forward(
        self, transmitter_inputs: Tensor, receiver_inputs: Tensor, round: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return the raw output of both networks, (blocks, Q, 1), and logits, (blocks, Q, 2^m).

        round: tau - 1 as a tensor of one element.
        """
        number = int(round.item())
        return (
            self.transmitter(transmitter_inputs, number),
            self.receiver(receiver_inputs, number),
        )


class StoppingNetwork(nn.Module):
    """Inputs (n, 7) of a group to log-odds (n,) that its decision is right.

    Inputs: (belief in the true pattern, largest in another) of this round and the two before,
    0 before the first; round / 10.
    """

    def __init__(self, hidden: int):
        super().__init__()
        self.layer1 = nn.Linear(INPUTS, hidden)
        self.layer2 = nn.Linear(hidden, hidden)
        self.layer3 = nn.Linear(hidden, 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the log-odds, (n,), of inputs, (n, 7)."""
        h = torch.relu(self.layer2(torch.relu(self.layer1(inputs))))
        return self.layer3(h)[:, 0]
