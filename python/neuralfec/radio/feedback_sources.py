# SPDX-License-Identifier: GPL-3.0-or-later
"""What the feedback link's super-blocks are of: a file, a pattern that both ends know, messages."""

from __future__ import annotations

import abc
from collections import deque

import numpy as np

_LENGTH_BYTES = 4


class Source(abc.ABC):
    """What an initiator's super-blocks are of.

    Attributes
    ----------
    super_blocks : how many there are, 0 for a stream without an end
    missing : bytes that they are made up by
    """

    super_blocks = 0
    missing = 0

    @abc.abstractmethod
    def body(self, number: int) -> bytes:
        """Return the bytes of a super-block; they are asked for in order, each once a stream."""

    @property
    def ready(self) -> bool:
        """Whether the next super-block has something to tell; a stream waits for it."""
        return True


class FileSource(Source):
    """So many super-blocks, and how many bytes they are made up by."""

    def __init__(self, bodies: list[bytes], missing: int) -> None:
        self._bodies, self.super_blocks, self.missing = bodies, len(bodies), missing

    def body(self, number: int) -> bytes:
        """Return the bytes of a super-block."""
        return self._bodies[number]


class PatternSource(Source):
    """A stream of random bytes that follow from a seed, so that a responder can count errors.

    capacity : bytes of a super-block
    seed : at least 0; ValueError for others
    """

    def __init__(self, capacity: int, seed: int) -> None:
        if seed < 0:
            raise ValueError(f"expected a seed of at least 0, got {seed}")
        self._size, self._seed = capacity, seed

    def body(self, number: int) -> bytes:
        """Return the bytes of a super-block."""
        return np.random.default_rng([self._seed, number]).bytes(self._size)


class MessageSource(Source):
    """A stream of messages of bytes, so many whole ones a super-block as wait and fit.

    Each has its length before it, 4 bytes, little-endian; a length of 0 is the end. While none
    waits and none is on its way, nothing is sent. `push` may be called from another thread.

    capacity : bytes of a super-block
    limit : messages that may wait, at least 1; ValueError for others, and for a capacity that
        takes no message
    """

    def __init__(self, capacity: int, limit: int = 1024) -> None:
        if capacity <= _LENGTH_BYTES:
            raise ValueError(f"expected super-blocks with room for a message, got {capacity} bytes")
        if limit < 1:
            raise ValueError(f"expected a limit of at least 1 message, got {limit}")
        self._size, self._limit = capacity, limit
        self._waiting: deque[bytes] = deque()

    @property
    def ready(self) -> bool:
        """Whether a message waits."""
        return bool(self._waiting)

    def push(self, message: bytes) -> bool:
        """Take a message; whether there was room. ValueError for one that fits no super-block."""
        most = self._size - _LENGTH_BYTES
        if not 0 < len(message) <= most:
            raise ValueError(f"expected messages of 1 to {most} bytes, got {len(message)}")
        if len(self._waiting) >= self._limit:
            return False
        self._waiting.append(message)
        return True

    def body(self, number: int) -> bytes:
        """Return the bytes of a super-block."""
        parts, left = [], self._size
        while self._waiting and len(self._waiting[0]) + _LENGTH_BYTES <= left:
            message = self._waiting.popleft()
            parts += [len(message).to_bytes(_LENGTH_BYTES, "little"), message]
            left -= len(message) + _LENGTH_BYTES
        return b"".join(parts).ljust(self._size, b"\0")


def messages_of(body: bytes) -> list[bytes]:
    """Take the messages out of a super-block's bytes; ValueError where there are other bytes."""
    found, at = [], 0
    while at + _LENGTH_BYTES <= len(body):
        size = int.from_bytes(body[at : at + _LENGTH_BYTES], "little")
        if size == 0:
            break
        at += _LENGTH_BYTES
        if at + size > len(body):
            raise ValueError(f"expected messages, got one of {size} bytes in {len(body)}")
        found.append(body[at : at + size])
        at += size
    return found
