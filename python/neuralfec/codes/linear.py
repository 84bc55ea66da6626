# SPDX-License-Identifier: GPL-3.0-or-later
"""Binary linear block codes."""

from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import gf2
from .gf2 import Bits


class LinearCode:
    """A binary linear block code: {x : H x^T = 0} = {u G}.

    ``parity_check``: H, (m, n) of 0 and 1; its rows may depend on each other.
    ``generator``: G, (k, n), k = n - rank H. Left out, the systematic one is made from H
    whose message bits stand as far to the front as H allows: in the first k positions
    where the last n - k columns of H are independent.
    ``name``: the code's spec, for messages and files.

    Attributes: ``n``, ``k``, ``parity_check``, ``generator`` (read-only uint8 arrays),
    ``information_set`` (k positions, such that G restricted to them is invertible; the
    message's own positions where the code is systematic).

    ValueError where G H^T is not 0 or the ranks do not add up to n.
    """

    def __init__(
        self, parity_check: ArrayLike, generator: ArrayLike | None = None, *, name: str = ""
    ) -> None:
        self.parity_check = gf2.as_bits(parity_check, "parity-check matrix")
        self.n = self.parity_check.shape[1]
        self.name = name
        last_column_first = range(self.n - 1, -1, -1)
        if generator is None:
            self.generator, self.information_set = gf2.null_space(
                self.parity_check, last_column_first
            )
        else:
            self.generator = gf2.as_bits(generator, "generator matrix")
            self._check_generator()
            self.information_set = _information_set(self.generator)
        self.k = self.generator.shape[0]
        if self.k == 0:
            raise ValueError(
                f"expected a code of at least 1 message bit, got n = rank H = {self.n}"
            )
        for array in (self.parity_check, self.generator, self.information_set):
            array.flags.writeable = False

    def _check_generator(self) -> None:
        k, n = self.generator.shape
        if n != self.n:
            raise ValueError(f"expected a generator matrix of {self.n} columns, got {n}")
        for name, matrix, expected in (
            ("generator matrix", self.generator, k),
            ("parity-check matrix", self.parity_check, n - k),
        ):
            rank = gf2.row_reduce(matrix)[1].size
            if rank != expected:
                raise ValueError(f"expected a {name} of rank {expected}, got rank {rank}")
        wrong = np.argwhere(gf2.product(self.generator, self.parity_check.T))
        if wrong.size:
            row, check = wrong[0]
            raise ValueError(
                f"expected G H^T = 0, got row {row} of the generator matrix failing check {check}"
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} ({self.n}, {self.k})>"

    @cached_property
    def systematic(self) -> bool:
        """Whether codeword[information_set] is the message itself."""
        return np.array_equal(self.generator[:, self.information_set], np.eye(self.k))

    @cached_property
    def edges(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """The ones of H, row by row: (check of each, bit of each)."""
        checks, bits = np.nonzero(self.parity_check)
        return checks.astype(np.uint32), bits.astype(np.uint32)

    @cached_property
    def _inverse(self) -> Bits:
        return gf2.inverse(self.generator[:, self.information_set])

    @cached_property
    def pseudo_inverse(self) -> Bits:
        """P, uint8 (n, k), with G P = I: x P is the message of a codeword x.

        There are many; this one's rows outside the information set are zero.
        """
        matrix = np.zeros((self.n, self.k), dtype=np.uint8)
        matrix[self.information_set] = self._inverse
        matrix.flags.writeable = False
        return matrix

    def encode(self, messages: ArrayLike) -> Bits:
        """Codewords u G, uint8 (F, n), of messages (F, k); (n,) of one message (k,)."""
        if np.ndim(messages) == 1:
            return self.encode(gf2.as_frames(messages, self.k, "messages"))[0]
        messages = gf2.as_frames(messages, self.k, "messages")
        if not self.systematic:
            return gf2.product(messages, self.generator)
        codewords = np.empty((messages.shape[0], self.n), dtype=np.uint8)
        parity = self._parity_positions
        codewords[:, self.information_set] = messages
        codewords[:, parity] = gf2.product(messages, self.generator[:, parity])
        return codewords

    @cached_property
    def _parity_positions(self) -> NDArray[np.intp]:
        return np.setdiff1d(np.arange(self.n), self.information_set)

    def messages(self, codewords: ArrayLike) -> Bits:
        """Messages, uint8 (F, k), of codewords (F, n).

        Only the information set is looked at: of a word that is no codeword this is the
        message of the codeword that agrees with it there.
        """
        codewords = gf2.as_frames(codewords, self.n, "codewords")
        information = codewords[:, self.information_set]
        return information if self.systematic else gf2.product(information, self._inverse)

    def syndrome(self, words: ArrayLike) -> Bits:
        """H x^T of each word: uint8 (F, m) of words (F, n)."""
        words = gf2.as_frames(words, self.n, "words")
        return gf2.product(words, self.parity_check.T)

    def is_codeword(self, words: ArrayLike) -> NDArray[np.bool_]:
        """Whether all checks of each word hold: bool (F,) of words (F, n)."""
        return ~self.syndrome(words).any(axis=1)


def _information_set(generator: Bits) -> NDArray[np.intp]:
    """The message's own positions of a systematic code, else the leftmost that do."""
    k = generator.shape[0]
    units = np.flatnonzero(generator.sum(axis=0, dtype=np.int64) == 1)
    rows, first = np.unique(generator[:, units].argmax(axis=0), return_index=True)
    return units[first] if rows.size == k else gf2.row_reduce(generator)[1]
