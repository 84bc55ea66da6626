# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoding with an estimator: LLRs in, messages out."""

import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..codes import LinearCode
from ..codes.automorphisms import affine_automorphisms
from ..codes.gf2 import Bits
from ..codes.polar import PolarCode
from ..decoders.ordered_statistics import OrderedStatistics, distance
from ..phy.llr import frames, known
from ..remade import Remade, remade
from .form import systematic_form

# Positions are changed together in re-encoding as long as their |L| sum up to this.
_REACH = 16.0

# |L| that estimators are shown at most: bits of it are right as far as they can learn.
_MOST_RELIABLE = np.float32(64.0)

Llrs = NDArray[np.float32]
Estimator = Callable[[Llrs, Bits], tuple[Llrs, Llrs]]
"""(|L| (F, n), syndromes (F, checks)) to LLRs, log P(flip) - log P(no flip), of the message's
bits (F, k) and of the codeword's (F, n)."""


def default_model(code: LinearCode) -> str:
    """Return the shipped model of a code: "syndrome/polar-nr-64-32" for polar-nr:64,32."""
    if not isinstance(code, LinearCode):
        raise ValueError(f"expected a binary linear block code, got {code!r}")
    return f"syndrome/{code.name.replace(':', '-').replace(',', '-')}"


def load_estimator(
    model: str | os.PathLike,
    code: LinearCode,
    passes: int | None = None,
    reencode: int | None = None,
) -> Estimator:
    """Make the estimator of a model file, or of a shipped model.

    Where the card's ``form`` is "systematic", it is one of `systematic_form(code)`.

    passes: how often a cancellation network walks its tree; None: as it was trained, but once
        where its posteriors are only to order positions (reencode not None), to which further
        passes add less than their time is worth.

    ValueError for the model of another code: its card holds the hash of H.
    """
    from .. import models

    expect = {"system": "syndrome", "code": models.CodeIdentity.of(code)}
    card = models.read_card(model)
    card.check(expect)
    shape = card.parameters.get("cancellation_network")
    if shape is not None and isinstance(code, PolarCode):
        trained = shape["passes"] if reencode is None else 1
        weights = models.parameters(model)["weights"]
        return cancellation_estimator(
            code,
            weights,
            shape["features"],
            shape["hidden"],
            shape["leaf_hidden"],
            trained if passes is None else passes,
        )
    if passes is not None:
        raise ValueError(f"model {card.name} has no passes to choose")
    recurrent = card.parameters.get("recurrent")
    if recurrent is not None:
        return recurrent_estimator(code, models.parameters(model), recurrent["steps"])
    return torch_estimator(model, expect)


@remade
def torch_estimator(model: str | os.PathLike, expect: dict[str, Any]) -> Estimator:
    """Make the estimator of a model file that runs in torch.

    model : its name or file
    expect : what its card must say, see `models.Card.check`
    """
    import torch

    from .. import models

    network, _ = models.load(model, expect)

    def estimate(reliabilities: Llrs, syndromes: Bits) -> tuple[Llrs, Llrs]:
        with torch.inference_mode():
            inputs = torch.from_numpy(reliabilities), torch.from_numpy(syndromes).float()
            message, codeword = network(*inputs)
        return message.numpy(), codeword.numpy()

    return estimate


@remade
def cancellation_estimator(
    code: PolarCode,
    weights: NDArray[np.float32],
    features: int,
    hidden: int,
    leaf_hidden: int,
    passes: int,
) -> Estimator:
    """Make the estimator of a `network.CancellationNetwork` that runs in the C++ kernel."""
    from .. import _kernels

    kernel = _kernels.CancellationNetwork(
        code.n, code.unfrozen.tolist(), features, hidden, leaf_hidden
    )
    frozen = np.setdiff1d(np.arange(code.n), code.unfrozen)

    def estimate(reliabilities: Llrs, syndromes: Bits) -> tuple[Llrs, Llrs]:
        u = np.zeros(reliabilities.shape, dtype=np.uint8)
        u[:, frozen] = syndromes
        return kernel.estimate(weights, reliabilities, u, passes)

    return estimate


@remade
def recurrent_estimator(code: LinearCode, parameters: dict[str, NDArray], steps: int) -> Estimator:
    """Make the estimator of a `network.RecurrentEstimator` that runs in the C++ kernel.

    Parameters
    ----------
    code : the code that the network was trained for
    parameters : of the network by name; the cells' as torch.nn.GRU has them
    steps : how many time steps it takes
    """
    from .. import _kernels

    cells: list[tuple[Any, ...]] = []
    while f"cells.weight_ih_l{len(cells)}" in parameters:
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        cells.append(tuple(parameters[f"cells.{name}_l{len(cells)}"] for name in names))
    weight, bias = parameters["output.weight"], parameters["output.bias"]
    if not cells or cells[0][0].shape[1] != 3 * code.n - code.k or len(weight) != code.n:
        raise ValueError(
            f"expected cells of {3 * code.n - code.k} inputs and {code.n} outputs, got "
            f"{[cell[0].shape for cell in cells]} and {weight.shape}"
        )
    kernel = _kernels.GatedRecurrentNetwork(cells, weight, bias, steps)
    message = parameters["message"]

    def estimate(reliabilities: Llrs, syndromes: Bits) -> tuple[Llrs, Llrs]:
        signs = 2 * syndromes.astype(np.float32) - 1
        x = [np.float32(0.25) * reliabilities, np.exp(np.float32(-0.5) * reliabilities), signs]
        codeword = kernel.run(np.concatenate(x, axis=1))
        return codeword[:, message], codeword

    return estimate


class SyndromeDecoder(Remade):
    """A syndrome-based neural decoder.

    The estimator sees |L| and the syndrome of the hard decision y, and says which bits of
    y P are wrong (P: the code's pseudo-inverse): the output flips do not depend on the
    codeword sent. Frames whose syndrome is zero are not touched.

    code : a `LinearCode`
    estimator : see `load_estimator`
    systematic : whether the estimator is one of `systematic_form(code)`; messages are those of
        ``code`` all the same
    reencode : None: the message's flips decide. 0 to 3: ordered re-encoding of that order.
        Ordered-statistics decoding of the channel's LLRs, of order 0 or 1, goes first. Where
        its word is farther from the LLRs than the sent one should be (see stop), the network
        follows; the means of its codeword posteriors and of the channel's LLRs order the
        positions for ordered-statistics decoding again. The word nearest to the channel's
        LLRs is the decision.
    stop : the distance of the word sent has a known mean and standard deviation, given |L|;
        a first word that exceeds the mean by less than ``stop`` deviations is final.
        -inf: none is.
    automorphisms : permutations of positions (A, n) that map the code to itself. The frame is
        decoded under one after the other, too, until a word is as near as the sent one is on the
        mean (see stop); the nearest word is the decision.

    LLRs must be true ones: the networks shipped depend on their scale.
    """

    def __init__(
        self,
        code: LinearCode,
        estimator: Estimator,
        *,
        reencode: int | None = None,
        stop: float = 0.5,
        automorphisms: NDArray[np.integer] | None = None,
        systematic: bool = False,
    ) -> None:
        from .. import _kernels

        if reencode not in (None, 0, 1, 2, 3):
            raise ValueError(f"expected reencode None or 0 to 3, got {reencode!r}")
        self.n, self.k = code.n, code.k
        self._to_code = None
        if systematic:
            form = systematic_form(code)
            self._to_code = _kernels.Gf2Map(code.messages(form.generator))
            code = form
        self.code = code
        self._estimate, self._stop = estimator, stop
        self._reencode = None
        if reencode is not None:
            self._first = OrderedStatistics(code, min(reencode, 1))
            self._reencode = OrderedStatistics(code, reencode)
        self._syndromes = _kernels.Gf2Map(np.ascontiguousarray(code.parity_check.T))
        self._messages = _kernels.Gf2Map(code.pseudo_inverse)
        self._encode = _kernels.Gf2Map(code.generator)
        self._automorphisms = np.zeros((0, code.n), dtype=np.intp)
        if automorphisms is not None:
            self._automorphisms = np.asarray(automorphisms, dtype=np.intp)
            for order in self._automorphisms:
                if not np.array_equal(np.sort(order), np.arange(code.n)):
                    raise ValueError(f"expected permutations of 0 .. {code.n - 1}, got {order}")
                if not code.is_codeword(code.generator[:, order]).all():
                    raise ValueError("expected permutations that map the code to itself")

    def decode(self, llrs: Llrs) -> tuple[Bits, dict[str, int]]:
        """Decode LLRs (F, n) to messages uint8 (F, k); NaN counts as 0.

        Counts: ``frames``; ``zero_syndromes``, frames that were codewords; ``corrected``, the
        others in which the decision changed a bit of the codeword; ``flips``, the codeword bits
        changed; ``bad_samples``. ValueError for another shape.
        """
        llrs, bad_samples = known(frames(llrs, self.n))
        hard = (llrs > 0).astype(np.uint8)
        messages = self._messages.apply(hard)
        syndromes = self._syndromes.apply(hard)
        wrong = np.flatnonzero(syndromes.any(axis=1))
        flips = corrected = 0
        if wrong.size:
            decided = self._decode(llrs[wrong], hard[wrong], syndromes[wrong])
            if self._automorphisms.size:
                decided = self._nearest(llrs[wrong], decided)
            messages[wrong] = decided
            changed = np.count_nonzero(self._encode.apply(decided) != hard[wrong], axis=1)
            flips, corrected = int(changed.sum()), int(np.count_nonzero(changed))
        if self._to_code is not None:
            messages = self._to_code.apply(messages)
        return messages, {
            "frames": len(llrs),
            "zero_syndromes": len(llrs) - wrong.size,
            "corrected": corrected,
            "flips": flips,
            "bad_samples": bad_samples,
        }

    def _decode(self, llrs: Llrs, hard: Bits, syndromes: Bits) -> Bits:
        if self._reencode is None:
            message, _ = self._estimate(_reliabilities(llrs), syndromes)
            return self._messages.apply(hard) ^ (message > 0)
        decided, _ = self._first.decode(llrs)
        doubtful = np.flatnonzero(self._is_far(decided, llrs, self._stop))
        if doubtful.size:
            llrs, hard = llrs[doubtful], hard[doubtful]
            _, codeword = self._estimate(_reliabilities(llrs), syndromes[doubtful])
            # Better than the posteriors by themselves, which are surer than they should be.
            improved = (np.where(hard, -codeword, codeword) + llrs) / 2
            again, _ = self._reencode.decode(llrs, improved, _REACH)
            decided[doubtful] = self._choose(llrs, [decided[doubtful], again])
        return decided

    def _is_far(self, words: Bits, llrs: Llrs, stop: float) -> NDArray[np.bool_]:
        """|L| counts where a bit is wrong, which has the probability 1 / (1 + e^|L|)."""
        size = np.minimum(np.abs(llrs), 80)
        wrong = 1 / (1 + np.exp(size))
        mean = np.sum(size * wrong, axis=1)
        deviation = np.sqrt(np.sum(size**2 * wrong * (1 - wrong), axis=1))
        return distance(self._encode.apply(words), llrs) > mean + stop * deviation

    def _choose(self, llrs: Llrs, candidates: list[Bits]) -> Bits:
        distances = [distance(self._encode.apply(words), llrs) for words in candidates]
        return np.stack(candidates)[np.argmin(distances, axis=0), np.arange(len(llrs))]

    def _nearest(self, llrs: Llrs, decided: Bits) -> Bits:
        # What is nearer than the mean is right so often that more decodings gain nothing.
        stop = min(self._stop, 0.0)
        doubtful = np.arange(len(llrs))
        for order in self._automorphisms:
            doubtful = doubtful[self._is_far(decided[doubtful], llrs[doubtful], stop)]
            if not doubtful.size:
                break
            permuted = np.ascontiguousarray(llrs[doubtful][:, order])
            hard = (permuted > 0).astype(np.uint8)
            words = self._encode.apply(self._decode(permuted, hard, self._syndromes.apply(hard)))
            back = np.empty_like(words)
            back[:, order] = words
            candidates = [decided[doubtful], self._messages.apply(back)]
            decided[doubtful] = self._choose(llrs[doubtful], candidates)
        return decided


def _reliabilities(llrs: Llrs) -> Llrs:
    return np.minimum(np.abs(llrs), _MOST_RELIABLE)


def load(
    model: str | os.PathLike,
    code: LinearCode,
    *,
    passes: int | None = None,
    reencode: int | None = None,
    automorphisms: int = 0,
) -> SyndromeDecoder:
    """Make the decoder of a model file, or of a shipped model.

    Parameters
    ----------
    model : file or shipped name; "gru-64-32" is "syndrome/gru-64-32"
    passes, reencode : see `load_estimator` and `SyndromeDecoder`
    automorphisms : how many permutations of the code to decode under, too
    """
    from .. import models

    if isinstance(model, str) and f"syndrome/{model}" in models.shipped():
        model = f"syndrome/{model}"
    form = models.read_card(model).parameters.get("form")
    return SyndromeDecoder(
        code,
        load_estimator(model, code, passes, reencode),
        reencode=reencode,
        automorphisms=affine_automorphisms(code, automorphisms) if automorphisms else None,
        systematic=form == "systematic",
    )


def syndrome(argument: str, code: Any) -> SyndromeDecoder:
    """Make the decoder of ``syndrome[:MODEL]``, the code's shipped model where there is none."""
    return load(argument or default_model(code), code)


def syndrome_osd(argument: str, code: Any) -> SyndromeDecoder:
    """Make the decoder of ``syndrome-osd:ORDER[,MODEL]``, which re-encodes by order 0 to 3."""
    order, _, model = argument.partition(",")
    if order not in ("0", "1", "2", "3"):
        raise ValueError(f"expected syndrome-osd:ORDER[,MODEL], ORDER 0 to 3, got {argument!r}")
    return load(model or default_model(code), code, reencode=int(order))


def syndrome_ensemble(argument: str, code: Any) -> SyndromeDecoder:
    """Make the decoder of ``syndrome-ae:M[,MODEL]``: at most M decodings, M - 1 automorphisms."""
    count, _, model = argument.partition(",")
    if not count.isdecimal() or int(count) < 2:
        raise ValueError(f"expected syndrome-ae:M[,MODEL], M from 2 on, got {argument!r}")
    return load(model or default_model(code), code, automorphisms=int(count) - 1)
