# SPDX-License-Identifier: GPL-3.0-or-later
"""The syndrome-based neural decoder as a block."""

import numpy as np
from gnuradio import gr

from ..codes import code as make_code
from ..python_block import PythonBlock, set_batch
from .decoder import default_model, load


class syndrome_decoder(PythonBlock, gr.sync_block):
    """Syndrome-based neural decoder: a vector item of n LLRs in, one of k bits out.

    LLR = log P(b=1) - log P(b=0), true to scale.

    code: spec of `codes.code`.
    model: file, shipped name, or "" for the code's shipped model.
    reencode: -1, or the order (0 to 3) of ordered re-encoding.
    automorphisms: how many permutations of the code to decode under, too.
    passes: of a cancellation network; 0: as trained, or one with re-encoding.

    stats: frames, zero_syndromes, corrected, flips, bad_samples.
    ValueError for a model of another code.
    """

    def __init__(
        self,
        code: str,
        model: str = "",
        reencode: int = -1,
        automorphisms: int = 0,
        passes: int = 0,
    ):
        made = make_code(code)
        self._decoder = load(
            model or default_model(made),
            made,
            passes=passes or None,
            reencode=None if reencode < 0 else reencode,
            automorphisms=automorphisms,
        )
        super().__init__("syndrome_decoder", [(np.float32, made.n)], [(np.uint8, made.k)])
        set_batch(1024, self)

    def process(self, input_items: list, output_items: list) -> int:
        messages, stats = self._decoder.decode(input_items[0])
        output_items[0][:] = messages
        self.counts.update(stats)
        return len(messages)
