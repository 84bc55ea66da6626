# SPDX-License-Identifier: GPL-3.0-or-later
"""How fast a model runs on one core of this machine, through the door that decoding uses."""

import math
import os
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from .. import codes, models
from ..codes.convolutional import ConvolutionalCode
from ..feedback import evaluation
from ..feedback import files as feedback_files
from ..quantization import LlrQuantizer
from ..sequence.decoder import RnnDecoder
from ..syndrome import decoder as syndrome

# Message bits of a convolutional frame.
FRAME_BITS = 100
CALLS = 100


class Speed(NamedTuple):
    """Hold how many units a second of processor time many at once take, and latencies of one."""

    unit: str
    per_second: float
    median_ms: float
    p99_ms: float

    def __str__(self) -> str:
        return (
            f"{self.per_second:.0f} {self.unit}/s of processor time; a call for one frame: "
            f"median {self.median_ms:.3f} ms, 99 % within {self.p99_ms:.3f} ms"
        )


class _Work(NamedTuple):
    """A call takes so many frames, of so many units each; `many` of them fill a batch."""

    unit: str
    units: int
    many: int
    call: Callable[[int], object]


def speed(model: str | os.PathLike, seconds: float = 0.5) -> Speed:
    """Measure a model by random LLRs, or a feedback code at its operating point.

    model : path or name of a shipped model; ValueError for one of an unknown kind
    seconds : of processor time, at least for a batch; as much for single frames, at most
    """
    work = _work(model)
    work.call(work.many)
    begin, frames = time.process_time(), 0
    while frames == 0 or time.process_time() - begin < seconds:
        work.call(work.many)
        frames += work.many
    rate = frames * work.units / max(time.process_time() - begin, 1e-9)
    begin = time.process_time()
    taken: list[float] = []
    while not taken or (len(taken) < CALLS and time.process_time() - begin < seconds):
        start = time.perf_counter()
        work.call(1)
        taken.append(1e3 * (time.perf_counter() - start))
    taken.sort()
    return Speed(work.unit, rate, taken[len(taken) // 2], taken[math.ceil(0.99 * len(taken)) - 1])


def _work(model: str | os.PathLike) -> _Work:
    card = models.read_card(model)
    makers = {
        "feedback": _feedback,
        "quantization": _quantization,
        "sequence": _sequence,
        "syndrome": _syndrome,
    }
    if card.system not in makers:
        raise ValueError(f"{card.name}: no door is known to a model of system {card.system!r}")
    return makers[card.system](model, card)


def _feedback(model: str | os.PathLike, card: models.Card) -> _Work:
    code, setting, _ = feedback_files.load(model)
    rng = np.random.default_rng(0)
    call = lambda n: evaluation.simulate(code, setting, n, rng)  # noqa: E731
    return _Work("blocks through both ends", 1, 256, call)


def _quantization(model: str | os.PathLike, card: models.Card) -> _Work:
    quantizer = LlrQuantizer(model)
    bits = quantizer.bits_per_symbol
    llrs = 8 * np.random.default_rng(0).standard_normal((4096, bits), np.float32)
    return _Work("LLRs there and back", bits, 4096, lambda n: quantizer.reconstruct(llrs[:n]))


def _sequence(model: str | os.PathLike, card: models.Card) -> _Work:
    p = card.parameters
    code = ConvolutionalCode(p["generators"], p["feedback"], k=FRAME_BITS)
    decoder = RnnDecoder(code, str(model))
    llrs = 4 * np.random.default_rng(0).standard_normal((64, code.n), np.float32)
    return _Work("bits", FRAME_BITS, 64, lambda n: decoder.decode(llrs[:n]))


def _syndrome(model: str | os.PathLike, card: models.Card) -> _Work:
    decoder = _syndrome_decoder(model, card)
    llrs = 4 * np.random.default_rng(0).standard_normal((256, decoder.n), np.float32)
    return _Work("words", 1, 256, lambda count: decoder.decode(llrs[:count]))


def _syndrome_decoder(model: str | os.PathLike, card: models.Card) -> syndrome.SyndromeDecoder:
    """The decoder for the one of the named polar codes that the card is of."""
    assert card.code is not None
    reasons = []
    for family in ("polar-nr", "polar-rptu"):
        try:
            return syndrome.load(model, codes.code(f"{family}:{card.code.n},{card.code.k}"))
        except ValueError as error:
            reasons.append(str(error))
    raise ValueError(f"{card.name}: its code is not known: {'; '.join(reasons)}")
