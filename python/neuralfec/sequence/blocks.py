# SPDX-License-Identifier: GPL-3.0-or-later
"""GNU Radio blocks of the recurrent decoder; Viterbi and BCJR are C++ blocks."""

from typing import Any

import numpy as np
from gnuradio import gr

from ..codes import code as make_code
from ..neuralfec_python import input_available, input_ended
from ..python_block import PythonBlock, set_batch
from .decoder import RnnDecoder, RnnStream


class rnn_decoder(PythonBlock, gr.sync_block):
    """The recurrent decoder on frames: a vector item of n LLRs in, one of k message bits out.

    code: a spec, "conv:7,5:100:zero" for instance. model: a shipped model or a file; None: the
    shipped one of the code. overlap: steps on both sides of the windows that longer frames are
    cut into. batch: frames that the block can take at once; 32 fill the kernel's lanes.
    ValueError for anything else. stats: `frames`, `bad_samples`.
    """

    def __init__(
        self, code: str, model: str | None = None, overlap: int = 32, batch: int = 64
    ) -> None:
        self._decoder = RnnDecoder(make_code(code), model or None, overlap=overlap)
        n, k = self._decoder.n, self._decoder.k
        super().__init__("rnn_decoder", [(np.float32, n)], [(np.uint8, k)])
        set_batch(batch, self)

    def process(self, input_items: list, output_items: list) -> int:
        output_items[0][:], stats = self._decoder.decode(input_items[0])
        self.counts.update(stats)
        return len(output_items[0])


class rnn_stream_decoder(PythonBlock, gr.basic_block):
    """The recurrent decoder on an endless stream of LLRs that starts in state 0; bits come out.

    code: a spec, "conv:7,5"; its frames do not matter. model: as of rnn_decoder. window: message
    bits that come out together; overlap: further steps that they need on both sides. The
    latency is at most window + overlap message bits. At the end of the stream, and at a message
    on `flush`, whatever it says, all whole steps that are left are decided at once; after a flush
    a new stream begins. batch: windows that the block can take at once; 32 fill the kernel's
    lanes. Stream tags are not passed on. ValueError for anything else. stats: `bits`,
    `bad_samples`.
    """

    def __init__(
        self,
        code: str,
        model: str | None = None,
        window: int = 512,
        overlap: int = 32,
        batch: int = 32,
    ) -> None:
        self._stream = RnnStream(make_code(code), model or None, window=window, overlap=overlap)
        super().__init__("rnn_stream_decoder", [np.float32], [np.uint8])
        self.set_relative_rate(1, self._stream.outputs)
        self.set_tag_propagation_policy(gr.TPP_DONT)
        # Buffers are sized by this; start() lets single windows out.
        self._batch = window * batch
        self.set_output_multiple(self._batch)
        self._tail = np.empty(0, dtype=np.uint8)
        self._flush = False
        self.message_port("flush", self._request_flush)

    def _request_flush(self, message: Any) -> None:
        self._flush = True

    def start(self) -> bool:
        self.set_output_multiple(self._stream.window)
        if self.is_new_run():
            self._stream.reset()
            self._tail = self._tail[:0]
            self._flush = False
        return super().start()

    def stop(self) -> bool:
        self.set_output_multiple(self._batch)
        return super().stop()

    def forecast(self, noutput_items: int, ninputs: int) -> list[int]:
        left = (
            len(self._tail) or self._flush or (self._stream.pending and input_ended(self.gateway))
        )
        return [0 if left else 1] * ninputs

    def process(self, input_items: list, output_items: list) -> int:
        out = output_items[0]
        if len(self._tail):
            return self._emit(out)
        llrs = input_items[0][: self._stream.room(len(out))]
        bits, bad = self._stream.decode(llrs)
        self.consume(0, len(llrs))
        self.counts["bad_samples"] += bad
        if len(bits):
            out[: len(bits)] = bits
            self.counts["bits"] += len(bits)
            return len(bits)
        taken_all = len(llrs) == len(input_items[0])
        if self._flush and taken_all:
            self._flush = False
        elif not (
            taken_all
            and input_ended(self.gateway)
            and input_available(self.gateway) == len(input_items[0])
        ):
            return 0
        self._tail = self._stream.flush()
        return self._emit(out)

    def _emit(self, out: np.ndarray) -> int:
        size = min(len(out), len(self._tail))
        out[:size] = self._tail[:size]
        self._tail = self._tail[size:]
        self.counts["bits"] += size
        return size
