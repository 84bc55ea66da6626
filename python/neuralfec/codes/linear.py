# SPDX-License-Identifier: GPL-3.0-or-later
"""Binary linear block codes."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import gf2, sparse
from .gf2 import Bits
from .sparse import Ones, Program

PLACES = ("first", "last", "systematic")


class LinearCode:
    """A binary linear block code: {x : H x^T = 0} = {u G}.

    Parameters
    ----------
    parity_check : H, (m, n) of 0 and 1, dense, of scipy.sparse, or `sparse.Ones`; its rows may
        depend on each other
    generator : G, (k, n), k = n - rank H; None: the code is systematic, and ``message`` says
        where its message stands
    name : the code's spec, for messages and files
    message : "first": as far to the front as H allows, so in the first k bits where the last
        n - k columns of H are independent. "last": in the last k bits where the first n - k
        columns are independent, else where GNU Radio's ``fec.ldpc_encoder`` puts it.
        "systematic": "first" where the last n - k columns of H are, but for a few, triangular,
        a staircase for instance, and the first ones are not: H is made for check bits that
        stand behind the message. "last" elsewhere.

    Attributes: ``n``, ``k``, ``ones`` (H as `sparse.Ones`), ``information_set`` (k positions, such
    that G restricted to them is invertible; the message's own positions where the code is
    systematic).

    H is kept sparse, and encoding substitutes into it: a generator matrix is made where one is
    asked for. ValueError where G H^T is not 0 or the ranks do not add up to n.
    """

    def __init__(
        self,
        parity_check: Any,
        generator: ArrayLike | None = None,
        *,
        name: str = "",
        message: str = "first",
    ) -> None:
        self.ones = Ones.of(parity_check, "parity-check matrix")
        self.n = self.ones.shape[1]
        self.name = name
        self._given: Bits | None = None
        if generator is not None:
            self._given = gf2.as_bits(generator, "generator matrix")
            self._check_generator(self._given)
            self._given.flags.writeable = False
            self.information_set = _information_set(self._given)
        else:
            if message not in PLACES:
                raise ValueError(f"expected the message {', '.join(PLACES)}, got {message!r}")
            progress = sparse.Progress(f"{name or 'code'}: choosing message bits")
            self._equations, self.information_set = _place(self.ones, message, progress)
            progress.end()
        self.information_set.flags.writeable = False
        self.k = self.information_set.size
        if self.k == 0:
            raise ValueError(
                f"expected a code of at least 1 message bit, got n = rank H = {self.n}"
            )

    def _check_generator(self, generator: Bits) -> None:
        k, n = generator.shape
        if n != self.n:
            raise ValueError(f"expected a generator matrix of {self.n} columns, got {n}")
        for name, packed, expected in (
            ("generator matrix", gf2.pack(generator), k),
            ("parity-check matrix", self.ones.packed(), n - k),
        ):
            rank = len(gf2.eliminate(packed, range(n), upwards=False)[0])
            if rank != expected:
                raise ValueError(f"expected a {name} of rank {expected}, got rank {rank}")
        wrong = np.argwhere(self.ones.product(generator))
        if wrong.size:
            row, check = wrong[0]
            raise ValueError(
                f"expected G H^T = 0, got row {row} of the generator matrix failing check {check}"
            )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} ({self.n}, {self.k})>"

    def __getstate__(self) -> dict[str, Any]:
        # What can be made again stays behind; kernels cannot travel.
        made = {
            name
            for kind in type(self).__mro__
            for name, value in vars(kind).items()
            if isinstance(value, cached_property)
        }
        return {name: value for name, value in vars(self).items() if name not in made}

    @cached_property
    def parity_check(self) -> Bits:
        """H, read-only uint8 (m, n)."""
        matrix = self.ones.dense()
        matrix.flags.writeable = False
        return matrix

    @cached_property
    def generator(self) -> Bits:
        """G, read-only uint8 (k, n): k n bytes."""
        if self._given is not None:
            return self._given
        matrix = self.encode(np.eye(self.k, dtype=np.uint8))
        matrix.flags.writeable = False
        return matrix

    @cached_property
    def systematic(self) -> bool:
        """Whether codeword[information_set] is the message itself."""
        if self._given is None:
            return True
        return np.array_equal(self._given[:, self.information_set], np.eye(self.k))

    @property
    def message_place(self) -> str:
        """Where the message stands in a codeword, in words."""
        if not self.systematic:
            return "not in the codeword as it is"
        first, last = int(self.information_set[0]), int(self.information_set[-1])
        if np.array_equal(self.information_set, first + np.arange(self.k)):
            return f"bits {first} to {last}, counted from 0"
        return f"{self.k} bits from {self.information_set.min()} to {self.information_set.max()}"

    @property
    def edges(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
        """The ones of H, row by row: (check of each, bit of each)."""
        return self.ones.rows, self.ones.columns

    @cached_property
    def _inverse(self) -> Bits:
        return gf2.inverse(self.generator[:, self.information_set])

    @cached_property
    def pseudo_inverse(self) -> Bits:
        """P, uint8 (n, k), with G P = I: x P is the message of a codeword x.

        There are many; this one's rows outside the information set are zero.
        """
        matrix = np.zeros((self.n, self.k), dtype=np.uint8)
        identity = np.eye(self.k, dtype=np.uint8)
        matrix[self.information_set] = identity if self.systematic else self._inverse
        matrix.flags.writeable = False
        return matrix

    def encoding_program(self) -> Program:
        """Return the exclusive ors that encode, for the kernel ``XorEncoder``."""
        if self._given is None:
            progress = sparse.Progress(f"{self.name or 'code'}: preparing the encoder")
            found = sparse.substitution(self.ones, self._equations, progress)
            progress.end()
            return found._replace(message=self.information_set)
        # The message stands behind the code bits, which are sums of its bits.
        columns = Ones.of(self._given, "generator matrix").transposed()
        shifted = Ones.at(columns.rows, columns.columns + self.n, (self.n, self.n + self.k))
        return sparse.program(
            [(np.arange(self.n), shifted)],
            places=self.n + self.k,
            message=self.n + np.arange(self.k),
            sent=np.arange(self.n),
        )

    @cached_property
    def _encoder(self) -> Any:
        found = self.encoding_program()
        try:
            from .. import _kernels
        except ImportError:  # Where networks are trained from the source tree alone.
            return sparse.PlainEncoder(found)
        return _kernels.XorEncoder(**found._asdict())

    def encode(self, messages: ArrayLike) -> Bits:
        """Encode messages.

        Parameters
        ----------
        messages : (F, k) or one message (k,), 0 and 1

        Returns
        -------
        Codewords uint8 (F, n), or (n,) for one message. ValueError for another shape or other
        values.
        """
        words = gf2.as_frames(messages, self.k, "messages")
        codewords = self._encoder.encode(words)
        return codewords[0] if np.ndim(messages) == 1 else codewords

    def messages(self, codewords: ArrayLike) -> Bits:
        """Return the messages, uint8 (F, k), of codewords (F, n).

        Only the information set is looked at: of a word that is no codeword this is the
        message of the codeword that agrees with it there.
        """
        words = gf2.as_frames(codewords, self.n, "codewords")
        information = words[:, self.information_set]
        return information if self.systematic else gf2.product(information, self._inverse)

    def syndrome(self, words: ArrayLike) -> Bits:
        """Return H x^T of each word: uint8 (F, m) of words (F, n)."""
        return self.ones.product(gf2.as_frames(words, self.n, "words"))

    def is_codeword(self, words: ArrayLike) -> NDArray[np.bool_]:
        """Return whether all checks of each word hold: bool (F,) of words (F, n)."""
        return ~self.syndrome(words).any(axis=1)


def _place(
    matrix: Ones, message: str, progress: sparse.Progress
) -> tuple[sparse.Equations, NDArray[np.intp]]:
    """The equations of a systematic code and its message's positions, see `LinearCode`."""
    m, n = matrix.shape
    if message == "systematic":
        back, front = (
            len(sparse.order(matrix, columns).guessed)
            for columns in (np.arange(n)[-m:], np.arange(n)[:m])
        )
        message = "first" if 2 * back <= front and front else "last"
    forwards = np.arange(n)
    if message == "first":
        given = sparse.equations(matrix, forwards[::-1], progress)
        return given, np.setdiff1d(forwards, given.check_bits)
    given = sparse.equations(matrix, forwards, progress)
    information = np.setdiff1d(forwards, given.check_bits)
    if np.array_equal(information, forwards[n - information.size :]) or m * n > sparse.DENSE:
        return given, information
    # The first columns depend on each other: fec.ldpc_encoder exchanges some, row by row.
    information = _gr_fec_positions(matrix.packed(), n)
    check_bits = np.setdiff1d(forwards, information)
    return sparse.Equations(check_bits, given.rows), information


def _gr_fec_positions(packed: Bits, n: int) -> NDArray[np.intp]:
    """Where GNU Radio's ``fec.ldpc_encoder`` puts the message bits, in their order.

    Each row in turn takes the first column with a one that no row before it took, in its own
    place, against the column that stood there; a row without one goes last.
    """
    words = packed.view(np.uint64)
    place = np.arange(n)
    rank, limit = 0, len(packed)
    while rank < limit:
        row = np.unpackbits(packed[rank], count=n)[place[rank:]]
        if not row.any():
            words[rank:limit] = np.roll(words[rank:limit], -1, axis=0)
            limit -= 1
            continue
        column = rank + int(row.argmax())
        place[[rank, column]] = place[[column, rank]]
        bit = packed[:, place[rank] // 8] & (0x80 >> place[rank] % 8)
        bit[rank] = 0
        words[np.flatnonzero(bit)] ^= words[rank]
        rank += 1
    return place[rank:]


def _information_set(generator: Bits) -> NDArray[np.intp]:
    """The message's own positions of a systematic code, else the leftmost that do."""
    k, n = generator.shape
    units = np.flatnonzero(generator.sum(axis=0, dtype=np.int64) == 1)
    rows, first = np.unique(generator[:, units].argmax(axis=0), return_index=True)
    if rows.size == k:
        return units[first]
    return gf2.eliminate(gf2.pack(generator), range(n), upwards=False)[0]
