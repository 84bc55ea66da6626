# SPDX-License-Identifier: GPL-3.0-or-later
"""Numbered frames with CRC-32 that fill the k message bits of a block code.

A frame is ``k // 8`` bytes, the last ``k % 8`` message bits are zero:

=========  =====================  ==========================================
bytes      field                  meaning
=========  =====================  ==========================================
4          number, little-endian  0, 1, 2, ... in the order of the data
2          length, little-endian  data bytes in this frame, 0 in a filler
capacity   data                   zero beyond ``length``
4          CRC-32, little-endian  IEEE 802.3 polynomial (zlib), over the rest
=========  =====================  ==========================================
"""

import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_HEADER = np.dtype([("number", "<u4"), ("length", "<u2")])
_CRC_BYTES = 4
MAX_FRAMES = 2**32


@dataclass(frozen=True)
class FrameFormat:
    """The frame layout for k message bits.

    Raises ValueError if k bits do not hold the header, one data byte and the CRC.
    """

    k: int

    def __post_init__(self) -> None:
        if self.capacity < 1:
            raise ValueError(
                f"a frame needs at least {8 * (_HEADER.itemsize + 1 + _CRC_BYTES)} message bits, "
                f"got a code with k = {self.k}"
            )
        if self.capacity > 0xFFFF:
            raise ValueError(f"a frame holds at most 65535 data bytes, got k = {self.k}")

    @property
    def frame_bytes(self) -> int:
        """Whole bytes in a frame."""
        return self.k // 8

    @property
    def capacity(self) -> int:
        """Data bytes in a full frame."""
        return self.frame_bytes - _HEADER.itemsize - _CRC_BYTES

    def frames_for(self, size: int) -> int:
        """Number of frames that ``size`` data bytes take."""
        return -(-size // self.capacity)

    def build(self, data: bytes, first_number: int = 0) -> NDArray[np.uint8]:
        """Frames that hold ``data``: uint8 bits of shape (frames, k).

        All but the last frame are full, so a stream cut at multiples of ``capacity`` may be
        built piece by piece. Raises ValueError when the 32-bit frame number runs out.
        """
        frames = self.frames_for(len(data))
        if first_number + frames > MAX_FRAMES:
            raise ValueError(
                f"frame numbers end at {MAX_FRAMES - 1}, got frame {first_number + frames}"
            )
        packed = np.zeros((frames, self.frame_bytes), np.uint8)
        body = np.zeros(frames * self.capacity, np.uint8)
        body[: len(data)] = np.frombuffer(data, np.uint8)
        header = np.zeros(frames, _HEADER)
        header["number"] = first_number + np.arange(frames)
        header["length"] = self.capacity
        if frames:
            header["length"][-1] = len(data) - (frames - 1) * self.capacity
        packed[:, : _HEADER.itemsize] = header.view(np.uint8).reshape(frames, _HEADER.itemsize)
        packed[:, _HEADER.itemsize : -_CRC_BYTES] = body.reshape(frames, self.capacity)
        packed[:, -_CRC_BYTES:] = self._crc(packed)
        return self._bits(packed)

    def filler(self, frames: int) -> NDArray[np.uint8]:
        """Valid frames without data, which a receiver drops: uint8 bits (frames, k)."""
        packed = np.zeros((frames, self.frame_bytes), np.uint8)
        packed[:, -_CRC_BYTES:] = self._crc(packed)
        return self._bits(packed)

    def parse(
        self, bits: NDArray[np.uint8]
    ) -> tuple[NDArray[np.bool_], NDArray[np.int64], list[bytes]]:
        """Read frames: (valid (frames,), numbers (frames,), data of each frame).

        A frame is valid if its CRC is right and its length is possible. Of others neither number
        nor data mean anything: -1 and b"".
        """
        packed = np.packbits(bits[:, : 8 * self.frame_bytes], axis=1)
        header = np.ascontiguousarray(packed[:, : _HEADER.itemsize]).view(_HEADER)[:, 0]
        valid = (packed[:, -_CRC_BYTES:] == self._crc(packed)).all(axis=1)
        # An all-zero word is a codeword of every linear code, so it must not pass for a frame;
        # the CRC-32 of zeros is not zero, hence it does not.
        valid &= header["length"] <= self.capacity
        numbers = np.where(valid, header["number"].astype(np.int64), -1)
        start = _HEADER.itemsize
        data = [
            row[start : start + length].tobytes() if ok else b""
            for row, length, ok in zip(packed, header["length"], valid, strict=True)
        ]
        return valid, numbers, data

    def _crc(self, packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
        checks = np.fromiter(
            (zlib.crc32(row[:-_CRC_BYTES]) for row in packed), "<u4", count=len(packed)
        )
        return checks.view(np.uint8).reshape(-1, _CRC_BYTES)

    def _bits(self, packed: NDArray[np.uint8]) -> NDArray[np.uint8]:
        bits = np.zeros((len(packed), self.k), np.uint8)
        bits[:, : 8 * self.frame_bytes] = np.unpackbits(packed, axis=1)
        return bits


def ranges(spans: list[tuple[int, int]]) -> str:
    """Ranges (first, last) as people write them: [(3, 3), (5, 7)] gives "3, 5-7"."""
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans)
