# SPDX-License-Identifier: GPL-3.0-or-later
"""Every decoder there is, with a code that it decodes: found by trying what the registry
names, so that a new decoder is in each test over all of them by itself."""

import functools
import re

import numpy as np
from gnuradio.neuralfec import codes, decoders

CODES = ("conv:7,5:60:zero", "polar-nr:64,32", "wifi-648", "rm:3,7", "polar-nr:64,32,crc6")
ARGUMENTS = ("", ":1", ":4", ":32", ":8,1")

# What the registry's names alone do not reach: options, ends of frames, other families.
VARIANTS = [
    ("viterbi", "conv:171,133:200:tail-biting"),
    ("viterbi", "conv:171,133@110110:300:none"),
    ("viterbi:int8", "conv:171,133:200:zero"),
    ("bcjr", "conv:7,5:60:tail-biting"),
    ("bcjr:max-log", "conv:171,133:200:zero"),
    ("bcjr-burst:3", "conv:171,133@110110:300:none"),
    ("rnn", "conv:7,5:700:none"),
    ("rnn", "conv:7,5:60:tail-biting"),
    ("bp:20", "polar-nr:64,32"),
    ("min-sum:20", "wifi-648"),
    ("min-sum-int8:20", "nr-ldpc:100,1300"),
    ("min-sum-int8:20", "ccsds:128,64"),
    ("sc:exact", "polar-nr:64,32"),
    ("scl:8", "polar-nr:64,32,crc11"),
    ("scl:4,exact", "polar-nr:128,64"),
    ("osd:2", "bch:63,45"),
    ("osd:2,early", "polar-nr:64,32"),
    ("syndrome-osd:1", "polar-nr:64,32"),
    ("syndrome-ae:4", "polar-nr:64,32"),
    ("viterbi", "conv:171,-133:200:zero"),
    ("bp:30", "nr-ldpc:64,128"),
    ("min-sum:30", "nr-ldpc:100,1300"),
    ("scl:8", "nr-polar:64,128"),
    ("sc", "nr-polar:64,120"),
    ("scl:8", "nr-polar:32,108,downlink"),
    ("ae-sc:16", "rm:3,7"),
    ("scl-osd:4,2", "nr-polar:64,128"),
    ("osd:2", "ccsds:128,64"),
]

NAMES = sorted({re.split(r"[\[:]", spec)[0] for spec in decoders.specs()})
CASES = [*NAMES, *(f"{spec} on {code}" for spec, code in VARIANTS)]


@functools.cache
def code_of(spec):
    return codes.code(spec)


@functools.cache
def specs_of(case):
    """(decoder spec, code spec) of a case, the first pair that fits for a bare name."""
    if " on " in case:
        return tuple(case.split(" on "))
    for code in CODES:
        for argument in ARGUMENTS:
            try:
                decoders.decoder(case + argument, code_of(code))
            except (ValueError, OSError):
                continue
            return case + argument, code
    raise AssertionError(f"no code of {CODES} fits decoder {case}; add one")


def make(case):
    """A new decoder of a case, and its code."""
    spec, code = specs_of(case)
    return decoders.decoder(spec, code_of(code)), code_of(code)


def deviation(code):
    """Of the noise at which decoders have something to do, for BPSK of amplitude 1."""
    return 0.6 if code.k * 2 <= code.n else 0.45


def noisy(code, frames, seed=0, sigma=None):
    """Messages and their true LLRs over AWGN of a deviation, or that of the code."""
    rng = np.random.default_rng(seed)
    messages = rng.integers(0, 2, (frames, code.k), dtype=np.uint8)
    sigma = sigma or deviation(code)
    received = 2.0 * code.encode(messages) - 1 + sigma * rng.standard_normal((frames, code.n))
    return messages, (received * (2 / sigma**2)).astype(np.float32)
