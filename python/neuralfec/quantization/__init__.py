# SPDX-License-Identifier: GPL-3.0-or-later
"""Learned quantization of LLRs: the soft bits of one symbol in a few bits.

>>> quantizer = LlrQuantizer("qam256-15bit")
>>> indices = quantizer.quantize(llrs)          # uint32, one a symbol of 8 LLRs
>>> stored = quantizer.pack(indices)            # 15 bits a symbol
>>> back = quantizer.dequantize(quantizer.unpack(stored, len(indices)))
"""

import importlib

# Training and the networks need neither the kernels nor what is below here.
_PLACES = {"LlrQuantizer": "quantizer", "names": "quantizer", "SoftBuffer": "store"}

__all__ = ["LlrQuantizer", "SoftBuffer", "names"]


def __getattr__(name: str):
    if name in _PLACES:
        return getattr(importlib.import_module(f".{_PLACES[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
