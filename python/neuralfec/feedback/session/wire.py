# SPDX-License-Identifier: GPL-3.0-or-later
"""The messages of sessions, built and read."""

import dataclasses
import zlib
from collections import Counter

import numpy as np

from ..code import Code
from ..setting import Setting

FORMAT = 1
SYMBOLS, STOP, FEEDBACK, DONE, FAILED, ERASED = range(1, 7)


def record_type(places: int, payload_bytes: int = 0) -> np.dtype:
    """Return the type of the control part of a message for one session.

    head: format and kind, 4 bits each. code: identity of the code. stream: the transmitter's
    start, drawn at random; number: of the session in it. round: from 1. digest: CRC-32 of the
    message bits, in DONE of those delivered. groups: bit q % 8 of byte q // 8 is place or
    group q; forward the places of the round that carry a symbol, back the groups decoded. payload:
    digital feedback. crc: CRC-32 of all before it.
    """
    return np.dtype(
        [
            ("head", "u1"),
            ("code", "<u2"),
            ("stream", "<u2"),
            ("number", "<u4"),
            ("round", "u1"),
            ("digest", "<u4"),
            ("groups", "u1", ((places + 7) // 8,)),
            ("payload", "u1", (payload_bytes,)),
            ("crc", "<u4"),
        ]
    )


@dataclasses.dataclass
class Message:
    """Hold what goes over a link: control records as bytes, float32 samples, a row a record."""

    control: bytes
    samples: np.ndarray


def digest(bits: np.ndarray) -> int:
    """Return the CRC-32 of message bits, packed most significant first."""
    return zlib.crc32(np.packbits(bits).tobytes())


class Wire:
    """Build and read the messages of one code."""

    def __init__(self, code: Code, setting: Setting):
        p = code.parameters
        payload_bytes = code.payload_bytes
        if payload_bytes and setting.asks_transmitter:
            raise ValueError("a code with digital feedback is stopped by its receiver")
        self.identity = code.identity
        self.dtype = record_type(p.places, payload_bytes)
        self.forward_width = p.places
        self.back_width = p.places + p.groups * p.patterns * setting.asks_transmitter
        if payload_bytes:
            self.back_width = 0

    def build(self, records: np.ndarray, samples: np.ndarray, limit: int) -> list[Message]:
        """Build messages of at most `limit` records."""
        records["code"] = self.identity
        raw = records.view(np.uint8).reshape(len(records), -1)
        records["crc"] = [zlib.crc32(row[:-4].tobytes()) for row in raw]
        return [
            Message(records[i : i + limit].tobytes(), samples[i : i + limit].ravel())
            for i in range(0, len(records), limit)
        ]

    def read(
        self, message: Message, width: int, kinds: tuple[int, ...], counts: Counter
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return the intact records of a message and their samples; count what is not intact."""
        nothing = np.empty(0, self.dtype), np.empty((0, width), np.float32)
        counts["messages"] += 1
        size = len(message.control) // self.dtype.itemsize
        if size == 0 or len(message.control) % self.dtype.itemsize:
            counts["malformed"] += 1
            return nothing
        samples = np.asarray(message.samples, np.float32)
        if samples.size != size * width:
            counts["malformed"] += 1
            return nothing
        samples = samples.reshape(size, width)
        raw = np.frombuffer(message.control, np.uint8).reshape(size, -1)
        records = np.frombuffer(message.control, self.dtype)
        crc = np.array([zlib.crc32(row[:-4].tobytes()) for row in raw], np.uint32)
        intact = crc == records["crc"]
        counts["corrupted"] += int((~intact).sum())
        known = (records["head"] >> 4 == FORMAT) & np.isin(records["head"] & 15, kinds)
        counts["unknown"] += int((intact & ~known).sum())
        ours = records["code"] == self.identity
        counts["other_code"] += int((intact & known & ~ours).sum())
        finite = np.isfinite(samples).all(1)
        counts["bad_samples"] += int((intact & known & ours & ~finite).sum())
        good = intact & known & ours & finite
        return records[good], samples[good]

    def mask_bytes(self, mask: np.ndarray) -> np.ndarray:
        """Pack masks (n, Q) or (n, P) bool into the bytes of a record."""
        bits = np.zeros((len(mask), 8 * self.dtype["groups"].shape[0]), bool)
        bits[:, : mask.shape[1]] = mask
        return np.packbits(bits, axis=1, bitorder="little")

    def mask(self, records: np.ndarray, width: int) -> np.ndarray:
        """Return the masks of records, (n, width) bool."""
        bits = np.unpackbits(records["groups"], axis=1, bitorder="little")
        return bits[:, :width].astype(bool)
