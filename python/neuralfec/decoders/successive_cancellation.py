# SPDX-License-Identifier: GPL-3.0-or-later
"""Successive-cancellation decoders of polar codes, with and without a list."""

import re
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..codes.automorphisms import affine_automorphisms
from ..codes.gf2 import Bits
from ..codes.polar import PolarCode
from ..phy.llr import frames
from ..remade import Remade
from .ordered_statistics import OrderedStatistics


class Decoded(NamedTuple):
    """What became of F codewords."""

    messages: Bits
    """uint8 (F, k)"""
    crc_holds: NDArray[np.bool_]
    """Whether the check bits of the code's CRC hold, (F,); True for a code without one."""
    bad_samples: int
    """LLRs that were NaN and counted as 0."""


class PolarDecoder(Remade):
    """Successive cancellation, with a list of ``list_size`` paths (1, 2, 4, ... 256).

    Check nodes are min-sum, or exact (f(a, b) = 2 atanh(tanh(a/2) tanh(b/2))), which asks
    for true LLRs where min-sum is the same at every scale. A CRC of the code chooses among
    the list's words.
    """

    def __init__(self, code: PolarCode, list_size: int = 1, *, exact: bool = False) -> None:
        from .. import _kernels

        if not isinstance(code, PolarCode):
            raise ValueError(f"expected a polar code, got {code!r}")
        self.n, self.k = code.n, code.k
        self._has_check = code.crc_degree > 0
        self._kernel = _kernels.SuccessiveCancellation(
            **code.decoder_arguments(), list_size=list_size, exact=exact
        )

    def run(self, llrs: ArrayLike) -> Decoded:
        """Decode LLRs (F, n); NaN counts as 0, an infinite LLR as certain.

        ValueError for another shape.
        """
        messages, holds, bad_samples = self._kernel.decode(frames(llrs, self.n))
        return Decoded(messages, holds.view(bool), bad_samples)

    def decode(self, llrs: ArrayLike) -> tuple[Bits, dict[str, int]]:
        """Decode LLRs (F, n) to messages uint8 (F, k), as `run` does.

        Counts: ``frames``; ``bad_samples``; for a code with a CRC ``crc_holds``, the frames whose
        check bits hold. ValueError for another shape.
        """
        messages, holds, bad_samples = self._kernel.decode(frames(llrs, self.n))
        stats = {"frames": len(messages), "bad_samples": bad_samples}
        if self._has_check:
            stats["crc_holds"] = int(holds.sum())
        return messages, stats


class AutomorphismEnsemble(Remade):
    """An ensemble of successive-cancellation decoders under automorphisms of the code.

    The frame is decoded as it is and under ``count`` - 1 affine automorphisms, one after the other
    (M. Geiselhart et al., "Automorphism ensemble decoding of Reed-Muller codes", IEEE Trans.
    Commun., 2021); the word nearest to the LLRs is the decision. It is final as soon as
    ``agreement`` decodings have found it, which most frames reach soon.

    For Reed-Muller codes: successive cancellation finds the same word under every automorphism
    that most polar codes have. Check nodes are min-sum.
    """

    def __init__(self, code: PolarCode, count: int, agreement: int = 8) -> None:
        from .. import _kernels

        if not isinstance(code, PolarCode) or code.crc_degree:
            raise ValueError(f"expected a Reed-Muller or polar code without a CRC, got {code!r}")
        if count < 1 or agreement < 1:
            raise ValueError(
                f"expected at least 1 decoding and 1 that agrees, got {count} and {agreement}"
            )
        others = affine_automorphisms(code, count - 1)
        if len(others) < count - 1:
            raise ValueError(
                f"expected at most {len(others) + 1} decodings, as {code!r} has no more affine "
                f"automorphisms, got {count}"
            )
        self.n, self.k = code.n, code.k
        orders = np.vstack([np.arange(code.n), others])
        self._kernel = _kernels.AutomorphismEnsemble(
            code.n, code.unfrozen.tolist(), orders.ravel().tolist(), agreement
        )

    def decode(self, llrs: ArrayLike) -> tuple[Bits, dict[str, int]]:
        """Decode LLRs (F, n) to messages uint8 (F, k); NaN counts as 0.

        Counts: ``frames``; ``bad_samples``; ``decodings``, of all frames together. ValueError for
        another shape.
        """
        messages, decodings, bad_samples = self._kernel.decode(frames(llrs, self.n))
        return messages, {
            "frames": len(messages),
            "bad_samples": bad_samples,
            "decodings": int(decodings.sum()),
        }


class ReprocessedList(Remade):
    """A CRC-aided list decoder; where no path's check bits hold, ordered statistics decide.

    The few frames that the list of ``list_size`` paths loses are decoded by `OrderedStatistics` of
    ``order``, with an ``early`` end or without, which takes the CRC as part of the code. So a
    short list, and with it the speed of one, comes near maximum likelihood at error rates where
    such frames are rare.
    """

    def __init__(self, code: PolarCode, list_size: int, order: int, *, early: bool = False) -> None:
        self._list = PolarDecoder(code, list_size)
        if not code.crc_degree:
            raise ValueError(f"expected a polar code with a CRC, got {code!r}")
        self._ordered = OrderedStatistics(code, order, early=early)
        self.n, self.k = code.n, code.k

    def decode(self, llrs: ArrayLike) -> tuple[Bits, dict[str, int]]:
        """Decode LLRs (F, n) to messages uint8 (F, k).

        Counts: ``frames``; ``bad_samples``; ``crc_holds``, the frames that the list decided.
        ValueError for another shape.
        """
        llrs = frames(llrs, self.n)
        messages, crc_holds, bad_samples = self._list.run(llrs)
        if not crc_holds.all():
            messages[~crc_holds], _ = self._ordered.decode(llrs[~crc_holds])
        return messages, {
            "frames": len(messages),
            "bad_samples": bad_samples,
            "crc_holds": int(crc_holds.sum()),
        }


def sc(argument: str, code: Any) -> PolarDecoder:
    """Spec ``sc`` or ``sc:exact``."""
    if argument not in ("", "exact"):
        raise ValueError(f"expected sc or sc:exact, got sc:{argument}")
    return PolarDecoder(code, exact=argument == "exact")


def scl(argument: str, code: Any) -> PolarDecoder:
    """Spec ``scl:L`` or ``scl:L,exact``."""
    words = argument.split(",")
    if not words[0].isdecimal() or words[1:] not in ([], ["exact"]):
        raise ValueError(f"expected scl:L or scl:L,exact, got scl:{argument}")
    return PolarDecoder(code, int(words[0]), exact=len(words) == 2)


def scl_osd(argument: str, code: Any) -> ReprocessedList:
    """Spec ``scl-osd:L,ORDER`` or ``scl-osd:L,ORDER,early``."""
    words = re.fullmatch(r"(\d+),([0-4])(,early)?", argument)
    if words is None:
        raise ValueError(
            "expected scl-osd:L,ORDER or scl-osd:L,ORDER,early with an order of 0 to 4, "
            f"got scl-osd:{argument}"
        )
    return ReprocessedList(code, int(words[1]), int(words[2]), early=words[3] is not None)


def ae_sc(argument: str, code: Any) -> AutomorphismEnsemble:
    """Spec ``ae-sc:M`` or ``ae-sc:M,AGREEMENT``."""
    words = argument.split(",")
    if len(words) > 2 or not all(word.isdecimal() for word in words):
        raise ValueError(f"expected ae-sc:M or ae-sc:M,AGREEMENT, got ae-sc:{argument}")
    return AutomorphismEnsemble(code, *map(int, words))
