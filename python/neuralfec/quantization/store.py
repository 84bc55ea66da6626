# SPDX-License-Identifier: GPL-3.0-or-later
"""A soft buffer: LLRs kept in few bits until a frame is decoded."""

from __future__ import annotations

from collections import Counter, OrderedDict

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..phy.llr import known
from .quantizer import LlrQuantizer


class SoftBuffer:
    """Keeps the LLRs of frames by an id, N_b bits a symbol, for hybrid ARQ or relaying.

    quantizer : what turns a symbol's LLRs into bits
    capacity : bytes of packed LLRs at most, None for no limit; the frame that was used
        longest ago makes room

    `counts` has `stored`, `combined`, `evicted` and `released` frames.
    """

    def __init__(self, quantizer: LlrQuantizer, capacity: int | None = None) -> None:
        if not quantizer.bits:
            raise ValueError(f"expected a model that quantizes, got {quantizer.card.name}")
        if capacity is not None and capacity < 1:
            raise ValueError(f"expected a capacity of at least 1 byte, got {capacity}")
        self.quantizer = quantizer
        self.capacity = capacity
        self.counts: Counter[str] = Counter()
        self._frames: OrderedDict[int, tuple[int, NDArray[np.uint8]]] = OrderedDict()

    def __contains__(self, frame_id: int) -> bool:
        return frame_id in self._frames

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def memory(self) -> int:
        """The bytes of packed LLRs now held."""
        return sum(packed.size for _, packed in self._frames.values())

    def store(self, frame_id: int, llrs: ArrayLike) -> None:
        """Keep a frame's LLRs, float32 (n,) with n a multiple of K, in place of older ones.

        ValueError for another size, and for a frame beyond the capacity.
        """
        llrs = np.asarray(llrs, np.float32).reshape(-1)
        indices = self.quantizer.quantize(llrs)
        packed = self.quantizer.pack(indices)
        if self.capacity is not None and packed.size > self.capacity:
            raise ValueError(
                f"expected a frame within the capacity of {self.capacity} bytes, "
                f"got one of {packed.size}"
            )
        self._frames.pop(frame_id, None)
        while self.capacity is not None and self.memory + packed.size > self.capacity:
            self._frames.popitem(last=False)
            self.counts["evicted"] += 1
        self._frames[frame_id] = (indices.size, packed)
        self.counts["stored"] += 1

    def load(self, frame_id: int) -> NDArray[np.float32]:
        """Return the LLRs of a frame as they come out of storage, float32 (n,).

        KeyError without such a frame.
        """
        symbols, packed = self._frames[frame_id]
        self._frames.move_to_end(frame_id)
        indices = self.quantizer.unpack(packed, symbols)
        return self.quantizer.dequantize(indices).reshape(-1)

    def combine(self, frame_id: int, llrs: ArrayLike) -> NDArray[np.float32]:
        """Add LLRs to those stored under an id, and store the sum in their place (chase combining).

        Returns the sum float32 (n,); without stored ones, these alone. ValueError for another size.
        """
        total, _ = known(np.reshape(llrs, -1))
        if frame_id in self._frames:
            before = self.load(frame_id)
            if before.shape != total.shape:
                raise ValueError(
                    f"expected {before.size} LLRs, as frame {frame_id} has, got {total.size}"
                )
            total = total + before
            self.counts["combined"] += 1
        self.store(frame_id, total)
        return total

    def release(self, frame_id: int) -> bool:
        """Forget a frame; returns whether there was one."""
        found = self._frames.pop(frame_id, None) is not None
        self.counts["released"] += found
        return found
