# SPDX-License-Identifier: GPL-3.0-or-later
"""Models in the formats of others: ONNX for its engines, NumPy's npz for anything."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .card import Card
from .files import load, parameters, read_card, replace, torch_or_error

if TYPE_CHECKING:
    import torch

_OPSET = 17


def export(
    model: str | os.PathLike,
    file: str | os.PathLike,
    *,
    method: str = "forward",
    module: torch.nn.Module | None = None,
) -> None:
    """Write a model into a file of another format, by the file's name.

    Parameters
    ----------
    model : shipped name or model file
    file : ``*.onnx``, the network as ONNX (opset 17) with the card as metadata ``model.json``;
        ``*.npz``, all parameters and buffers as NumPy arrays by name
    method : which of the card's methods the ONNX file computes
    module : network to take in place of the file's TorchScript, where ONNX cannot express it

    Raises
    ------
    ValueError : for another format, a method that the card does not name, and an operation
        that ONNX does not have
    ImportError : for ONNX where torch or onnx is not installed
    """
    card = read_card(model)
    kind = Path(file).suffix
    if kind == ".npz":
        written = io.BytesIO()
        np.savez(written, **parameters(model))
        replace(file, written.getvalue())
    elif kind == ".onnx":
        if method not in card.methods:
            raise ValueError(
                f"model {card.name} has the methods {', '.join(card.methods)}, not {method!r}"
            )
        replace(file, _onnx(module or load(model)[0], card, method) + _metadata(card))
    else:
        raise ValueError(f"expected a file *.onnx or *.npz, got {file}")


def _onnx(module: Any, card: Card, method: str) -> bytes:
    torch = torch_or_error()
    inputs, outputs = card.methods[method].inputs, card.methods[method].outputs
    any_size = {
        name: {axis: f"{name}_{axis}" for axis, size in enumerate(shape) if size is None}
        for name, shape in (inputs | outputs).items()
    }
    examples = [
        torch.ones([2 if size is None else size for size in shape]) for shape in inputs.values()
    ]
    if method == "decode":
        module = _decoder(module)
    elif method != "forward":
        raise ValueError(f"model {card.name}: ONNX cannot express {method}, forward and decode")
    written = io.BytesIO()
    for name, symbolic in _SYMBOLS.items():
        torch.onnx.register_custom_op_symbolic(name, symbolic, _OPSET)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            torch.onnx.export(
                module,
                tuple(examples),
                written,
                # The exporter that takes TorchScript.
                dynamo=False,
                input_names=list(inputs),
                output_names=list(outputs),
                dynamic_axes=any_size,
                opset_version=_OPSET,
            )
    except (RuntimeError, torch.onnx.OnnxExporterError) as error:
        reason = str(error).strip().splitlines()[-1]
        raise ValueError(f"model {card.name}: ONNX cannot express {method}: {reason}") from error
    return written.getvalue()


def _decoder(module: Any) -> Any:
    """Return a module whose forward is another one's decode."""
    torch = torch_or_error()
    base: Any = torch.nn.Module

    class Decoder(base):
        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, latent):
            return self.module.decode(latent)

    return torch.jit.script(Decoder())


def _frexp(g: Any, x: Any) -> Any:
    """Positive x as mantissa in 0.5 .. 1 and exponent.

    Where rounding takes the next exponent, the mantissa is 0.5 or 1: nothing jumps there that
    is linear between powers of two.
    """
    torch = torch_or_error()

    def constant(value: float) -> Any:
        return g.op("Constant", value_t=torch.tensor(value))

    exponent = g.op("Floor", g.op("Div", g.op("Log", x), constant(float(np.log(2)))))
    exponent = g.op("Add", exponent, constant(1.0))
    return g.op("Div", x, g.op("Pow", constant(2.0), exponent)), exponent


def _copysign(g: Any, x: Any, sign: Any) -> Any:
    """The magnitude of x with a sign; that of -0 is lost."""
    torch = torch_or_error()
    negative = g.op("Less", sign, g.op("Constant", value_t=torch.tensor(0.0)))
    size = g.op("Abs", x)
    return g.op("Where", negative, g.op("Neg", size), size)


def _metadata(card: Card) -> bytes:
    """The card as a field of ONNX's protobuf, which may stand behind all others."""

    def field(number: int, data: bytes) -> bytes:
        size, length = len(data), b""
        while size > 127:
            length, size = length + bytes([size & 127 | 128]), size >> 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + data

    # ModelProto.metadata_props = 14; StringStringEntryProto: key = 1, value = 2.
    entry = field(1, b"model.json") + field(2, card.to_json().encode())
    return field(14, entry)


# What the exporter does not know, of what the shipped networks use.
_SYMBOLS = {
    "aten::atanh": lambda g, x: g.op("Atanh", x),
    "aten::copysign": _copysign,
    "aten::frexp": _frexp,
}
