# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of LLR quantization."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pmt
from gnuradio import gr

from ..python_block import PythonBlock
from .quantizer import LlrQuantizer
from .store import SoftBuffer

_ID = pmt.intern("frame_id")


def llr_quantizer(
    model: str | os.PathLike = "qam256-15bit",
    frame_symbols: int = 8,
    packed: bool = True,
    search: bool = True,
) -> Any:
    """Quantizes the LLRs of M-QAM symbols: a C++ block with the kernel of a model.

    Input: float32, vector items of `frame_symbols` symbols of K LLRs. Output: their packed
    bits, ceil(frame_symbols N_b / 8) bytes an item, or one int index a symbol. Frames of a
    multiple of 8 symbols take exactly N_b bits a symbol.

    NaN counts as 0, an infinite LLR as certain; `bad_samples()` tells how many came.
    model, search : as `quantization.LlrQuantizer`; errors as well
    """
    from ..neuralfec_python import llr_quantizer as block

    return block(LlrQuantizer(model, search=search).quantizer, frame_symbols, packed)


def llr_dequantizer(
    model: str | os.PathLike = "qam256-15bit", frame_symbols: int = 8, packed: bool = True
) -> Any:
    """Undoes `llr_quantizer` of the same model and arguments, by a table.

    ValueError for a model of more than 20 bits, which has no table.
    """
    from ..neuralfec_python import llr_dequantizer as block

    quantizer = LlrQuantizer(model)
    if quantizer.dequantizer is None:
        raise ValueError(
            f"expected a model of at most 20 bits, {quantizer.card.name} has {quantizer.bits}"
        )
    return block(quantizer.dequantizer, frame_symbols, packed)


class llr_store(PythonBlock, gr.sync_block):
    """Soft buffer of hybrid ARQ: keeps each frame's LLRs by an id in few bits and adds those
    of its retransmissions (chase combining).

    Stream: float32, a frame of n LLRs a vector item, in and out. The stream tag `frame_id` (an
    integer) on an item is its frame's id; an item without one goes through as it is. Message
    port `pdus`: PDUs ({frame_id: integer}, f32 vector of n LLRs). What comes out, on the port
    of the same kind, is the sum of the LLRs and those stored under the id; the sum is
    stored in their place. A message on `release`, an id or a dict with `frame_id`, forgets a
    frame, once it is decoded.

    PDUs that are not as above are counted as `malformed` and dropped. `stats()`: also the
    counters of `SoftBuffer`, `frames` and `memory` (bytes of packed LLRs) now held.

    model : as `quantization.LlrQuantizer`
    frame_llrs : n, whole symbols
    capacity : bytes of packed LLRs at most, 0 for no limit; the oldest make room
    stream : whether there are stream ports, which GNU Radio wants connected
    """

    def __init__(
        self,
        model: str | os.PathLike = "qam256-15bit",
        frame_llrs: int = 648,
        capacity: int = 0,
        stream: bool = True,
    ) -> None:
        quantizer = LlrQuantizer(model)
        if frame_llrs < 1 or frame_llrs % quantizer.bits_per_symbol:
            raise ValueError(
                f"expected frames of a multiple of {quantizer.bits_per_symbol} LLRs, "
                f"got {frame_llrs}"
            )
        signature = [(np.float32, frame_llrs)] if stream else None
        super().__init__("llr_store", signature, signature)
        self.buffer = SoftBuffer(quantizer, capacity or None)
        self._frame_llrs = frame_llrs
        self.message_port("pdus", self._combine_pdu)
        self.message_port("release", self._release)
        self._pdus = pmt.intern("pdus_out")
        self.message_port_register_out(self._pdus)

    def process(self, input_items: list, output_items: list) -> int:
        frames = input_items[0]
        output_items[0][:] = frames
        start = self.nitems_read(0)
        for tag in self.get_tags_in_window(0, 0, len(frames), _ID):
            if pmt.is_integer(tag.value):
                item = tag.offset - start
                output_items[0][item] = self.buffer.combine(pmt.to_long(tag.value), frames[item])
            else:
                self.counts["malformed"] += 1
        return len(frames)

    def _combine_pdu(self, message: Any) -> None:
        frame = None
        if pmt.is_pair(message) and pmt.is_dict(pmt.car(message)):
            frame_id = pmt.dict_ref(pmt.car(message), _ID, pmt.PMT_NIL)
            llrs = pmt.cdr(message)
            if (
                pmt.is_integer(frame_id)
                and pmt.is_f32vector(llrs)
                and pmt.length(llrs) == self._frame_llrs
            ):
                frame = self.buffer.combine(pmt.to_long(frame_id), pmt.f32vector_elements(llrs))
        if frame is None:
            self.counts["malformed"] += 1
            return
        vector = pmt.init_f32vector(len(frame), frame.tolist())
        self.message_port_pub(self._pdus, pmt.cons(pmt.car(message), vector))

    def _release(self, message: Any) -> None:
        if pmt.is_dict(message) and not pmt.is_integer(message):
            message = pmt.dict_ref(message, _ID, pmt.PMT_NIL)
        if pmt.is_integer(message):
            self.buffer.release(pmt.to_long(message))
        else:
            self.counts["malformed"] += 1

    def stats(self) -> dict[str, int | float]:
        return (
            super().stats()
            | dict(self.buffer.counts)
            | {
                "frames": len(self.buffer),
                "memory": self.buffer.memory,
                "bad_samples": self.buffer.quantizer.counts["bad_samples"],
            }
        )
