# SPDX-License-Identifier: GPL-3.0-or-later
"""Codes of which some bits are not sent, are known, or are sent more than once."""

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from . import gf2
from .gf2 import Bits
from .sparse import Program


class RateMatchedCode:
    """The words that are sent of a mother code.

    Parameters
    ----------
    mother : a `LinearCode`, which decoders decode
    sent : positions in the mother's codeword of the n bits that are sent, in their order; one
        that stands twice is sent twice, one that is left out is punctured
    shortened : positions of mother bits that are always 0, by the mother's frozen bits or because
        the message says so, and not sent
    name : the code's spec

    Attributes: ``n``, ``k``, ``mother``, ``sent``, ``name``.
    """

    def __init__(
        self, mother: Any, sent: ArrayLike, *, shortened: ArrayLike = (), name: str = ""
    ) -> None:
        self.mother, self.name = mother, name
        self.sent = np.array(sent, dtype=np.intp)
        self.shortened = np.array(shortened, dtype=np.intp)
        self.n, self.k = self.sent.size, mother.k
        if self.n < self.k:
            raise ValueError(f"expected at least {self.k} bits to be sent, got {self.n}")
        for array in (self.sent, self.shortened):
            array.flags.writeable = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name} ({self.n}, {self.k})>"

    def __getstate__(self) -> dict[str, Any]:
        return {
            name: value
            for name, value in vars(self).items()
            if name not in ("_encoder", "_matching")
        }

    def encoding_program(self) -> Program:
        """Return the exclusive ors that encode, for the kernel ``XorEncoder``."""
        whole = self.mother.encoding_program()
        return whole._replace(sent=whole.sent[self.sent])

    @cached_property
    def _encoder(self) -> Any:
        from .. import _kernels

        return _kernels.XorEncoder(**self.encoding_program()._asdict())

    def encode(self, messages: ArrayLike) -> Bits:
        """Encode messages.

        Parameters
        ----------
        messages : (F, k) or one message (k,), 0 and 1

        Returns
        -------
        The bits sent, uint8 (F, n), or (n,) for one message. ValueError for another shape or
        other values.
        """
        words = self._encoder.encode(gf2.as_frames(messages, self.k, "messages"))
        return words[0] if np.ndim(messages) == 1 else words

    @cached_property
    def _matching(self) -> Any:
        from .. import _kernels

        return _kernels.RateMatching(self.mother.n, self.sent, self.shortened)

    def expand(self, llrs: ArrayLike) -> tuple[NDArray[np.float32], int]:
        """Return what LLRs of sent bits tell of the mother's bits.

        Parameters
        ----------
        llrs : (F, n), log P(b=1) - log P(b=0); NaN counts as 0, nothing known

        Returns
        -------
        float32 (F, N): the sum of those of a bit that is sent more than once, 0 where nothing is
        known, certainty where a bit is known to be 0; and how many LLRs were NaN. ValueError for
        another shape.
        """
        return self._matching.expand(llrs)
