"""Random checkpoints in the layout of the published ones, and what they compute.

The networks here are written for one block at a time from the published description, with
the published names; nothing of the package is used.
"""

import math

import numpy as np
import torch


def checkpoint(
    kind: str,
    seed: int = 0,
    *,
    groups: int = 16,
    bits: int = 3,
    rounds: int | None = None,
    width: int = 32,
    layers: tuple[int, int] = (2, 3),
) -> dict:
    """A checkpoint of DeepVLF-R ("model" and its company) or -T (a bare state dictionary)."""
    rounds = rounds or {"R": 10, "T": 20}[kind]
    generator = torch.Generator().manual_seed(seed)
    state: dict[str, torch.Tensor] = {"pe.pe": positions(200, width)[None]}

    def matrix(name: str, rows: int, columns: int, bias: bool = True) -> None:
        state[f"{name}.weight"] = torch.randn(rows, columns, generator=generator) / columns**0.5
        if bias:
            state[f"{name}.bias"] = 0.1 * torch.randn(rows, generator=generator)

    def norm(name: str) -> None:
        state[f"{name}.weight"] = 1 + 0.1 * torch.randn(width, generator=generator)
        state[f"{name}.bias"] = 0.1 * torch.randn(width, generator=generator)

    patterns, features, hidden = 1 << bits, 3 * width, 4 * width
    if kind == "R":
        inputs = {"Tmodel": bits + 2 * (rounds - 1), "Rmodel": rounds + patterns}
    else:
        inputs = {"Tmodel": patterns + 2 * (rounds - 1), "Rmodel": rounds}
    for side, count in zip(("Tmodel", "Rmodel"), layers, strict=True):
        base = f"{side}.encoder" if kind == "R" else side
        if kind == "R":
            for i, size in enumerate([inputs[side], features, features]):
                matrix(f"{base}.FC{i + 1}", features, size)
            matrix(f"{base}.FC4", width, features)
        else:
            matrix(f"{base}.linear_input1", features, inputs[side])
            matrix(f"{base}.linear_input2", features, features)
            matrix(f"{base}.linear_input3", width, features)
        for i in range(count):
            layer = f"{base}.{'layers' if kind == 'R' else 'attention_layers'}.{i}"
            norm(f"{layer}.norm1")
            norm(f"{layer}.norm2")
            for part in "qvk":
                matrix(f"{layer}.self_attn.{part}_linear", width, width, bias=False)
            matrix(f"{layer}.self_attn.FC", width, width)
            forward = "ffNet.linear_" if kind == "R" else "linear"
            matrix(f"{layer}.{forward}1", hidden, width)
            matrix(f"{layer}.{forward}2", width, hidden)
        norm(f"{base}.norm")
    if kind == "R":
        matrix("Tmodel.out1", 8, width)
        matrix("Tmodel.out2", 1, 8)
        matrix("Rmodel.out", patterns, width)
        # Confident beliefs, so that groups are decoded at different times.
        state["Rmodel.out.weight"] *= 6
        return {"model": state, "optimizer": {}, "lr_scheduler": {}, "epoch": 3}
    matrix("Tmodel.linear_output1", 8, width)
    matrix("Tmodel.linear_output2", 1, 8)
    matrix("Rmodel.linear_output1", width, width)
    matrix("Rmodel.linear_output2", patterns, width)
    matrix("Rmodel.linear_output3", patterns, patterns)
    state["total_power_reloc.weight1"] = 0.9 + 0.2 * torch.rand(groups, 1, generator=generator)
    return state


def positions(count: int, width: int) -> torch.Tensor:
    table = torch.zeros(count, width)
    for p in range(count):
        for c in range(width):
            angle = p / 10000 ** (2 * c / width)
            table[p, c] = math.sin(angle) if c % 2 == 0 else math.cos(angle)
    return table


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


def gelu(x: np.ndarray) -> np.ndarray:
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def softmax(x: np.ndarray) -> np.ndarray:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


class Network:
    """One side of a checkpoint: (Q, inputs) float64 to (Q, outputs) of one block."""

    def __init__(self, state: dict, side: str):
        self.s = {name: value.double().numpy() for name, value in state.items()}
        self.side, self.kind = side, "R" if "Tmodel.encoder.FC1.weight" in state else "T"
        self.base = f"{side}.encoder" if self.kind == "R" else side

    def linear(self, name: str, x: np.ndarray) -> np.ndarray:
        return x @ self.s[f"{name}.weight"].T + self.s.get(f"{name}.bias", 0)

    def norm(self, name: str, x: np.ndarray) -> np.ndarray:
        mean, variance = x.mean(1, keepdims=True), x.var(1, keepdims=True)
        standard = (x - mean) / np.sqrt(variance + 1e-5)
        return standard * self.s[f"{name}.weight"] + self.s[f"{name}.bias"]

    def __call__(self, x: np.ndarray, round: int) -> np.ndarray:
        b = self.base
        if self.kind == "R":
            h = self.linear(f"{b}.FC2", relu(self.linear(f"{b}.FC1", x)))
            if round > 3:
                h = self.linear(f"{b}.FC3", relu(h))
            h = self.linear(f"{b}.FC4", relu(h))
        else:
            h = relu(self.linear(f"{b}.linear_input1", x))
            h = self.linear(f"{b}.linear_input3", relu(self.linear(f"{b}.linear_input2", h)))
        width = h.shape[1]
        h = h * math.sqrt(width) + self.s["pe.pe"][0, : len(h)]
        stack = f"{b}.layers" if self.kind == "R" else f"{b}.attention_layers"
        i = 0
        while f"{stack}.{i}.norm1.weight" in self.s:
            layer = f"{stack}.{i}"
            g = self.norm(f"{layer}.norm1", h)
            q, k, v = (self.linear(f"{layer}.self_attn.{part}_linear", g) for part in "qkv")
            h = h + self.linear(f"{layer}.self_attn.FC", softmax(q @ k.T / math.sqrt(width)) @ v)
            forward = f"{layer}.ffNet.linear_" if self.kind == "R" else f"{layer}.linear"
            g = self.linear(f"{forward}1", self.norm(f"{layer}.norm2", h))
            h = h + self.linear(f"{forward}2", gelu(g) if self.kind == "R" else relu(g))
            i += 1
        h = self.norm(f"{b}.norm", h)
        if self.kind == "R":
            return (
                self.linear("Tmodel.out2", self.linear("Tmodel.out1", h))
                if self.side == "Tmodel"
                else self.linear("Rmodel.out", h)
            )
        h = self.linear(f"{b}.linear_output2", relu(self.linear(f"{b}.linear_output1", h)))
        return h if self.side == "Tmodel" else self.linear(f"{b}.linear_output3", relu(h))
