# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks between symbols and samples of radios."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pmt
from gnuradio import gr

from ..phy.burst import burst_format
from ..phy.impairments import Impairments
from ..python_block import PythonBlock


class burst_transmitter(PythonBlock, gr.sync_block):
    """Makes bursts of PDUs of symbols: samples out, a burst as a whole.

    Input: PDUs of complex symbols of unit mean energy on the port "pdus"; the dictionary may have
    "user" (36 bits for the header) and "tx_time" (of radios, a tuple of seconds and fraction).
    `pdu.tagged_stream_to_pdu` makes such PDUs of a stream. The end-of-file message ends the stream
    once all bursts are out. Output: complex samples; the first of each burst has the tag
    "packet_len", and "tx_time" where the PDU had it.

    format: a preset's name or a `phy.burst.BurstFormat`. amplitude: rms of the samples; OFDM peaks
    are 10 dB above. silence: zeros before and behind each burst, in symbols, for amplifiers that
    ramp up. ValueError for others, and an end with the reason for symbols that are no burst.
    """

    def __init__(self, format: Any = "burst-128", amplitude: float = 0.2, silence: int = 2):
        self.format = burst_format(format)
        if not (np.isfinite(amplitude) and amplitude > 0):
            raise ValueError(f"expected an amplitude > 0, got {amplitude}")
        if silence < 0:
            raise ValueError(f"expected a silence of at least 0 symbols, got {silence}")
        super().__init__("burst_transmitter", None, [np.complex64])
        self._amplitude = np.float32(amplitude)
        self._silence = np.zeros(silence * self.format.symbol_length, np.complex64)
        self._waiting: deque[tuple[np.ndarray, dict[str, Any]]] = deque()
        self._sent = 0
        self._ends = False
        self.message_port("pdus", self.handle_pdu)

    def start(self) -> bool:
        self._waiting.clear()
        self._sent, self._ends = 0, False
        return super().start()

    def handle_pdu(self, message: Any) -> None:
        if pmt.is_eof_object(message):
            self._ends = True
            return
        if not (pmt.is_pair(message) and pmt.is_c32vector(pmt.cdr(message))):
            raise ValueError("expected a PDU of complex symbols")
        meta = pmt.car(message)
        tags = {}
        user = 0
        if pmt.is_dict(meta):
            user = pmt.to_python(pmt.dict_ref(meta, pmt.intern("user"), pmt.from_long(0)))
            time = pmt.dict_ref(meta, pmt.intern("tx_time"), pmt.PMT_NIL)
            if not pmt.is_null(time):
                tags["tx_time"] = time
        symbols = np.array(pmt.c32vector_elements(pmt.cdr(message)), np.complex64)
        burst = self._amplitude * self.format.build(symbols, user)
        samples = np.concatenate([self._silence, burst, self._silence])
        tags["packet_len"] = pmt.from_long(samples.size)
        self._waiting.append((samples, tags))
        self.counts["bursts"] += 1

    def process(self, input_items, output_items) -> int:
        out, done = output_items[0], 0
        while self._waiting and done < len(out):
            samples, tags = self._waiting[0]
            if self._sent == 0:
                for key, value in tags.items():
                    self.add_item_tag(0, self.nitems_written(0) + done, pmt.intern(key), value)
            part = samples[self._sent : self._sent + len(out) - done]
            out[done : done + part.size] = part
            done += part.size
            self._sent += part.size
            if self._sent == samples.size:
                self._waiting.popleft()
                self._sent = 0
        return gr.WORK_DONE if done == 0 and self._ends and not self._waiting else done


class impairments(PythonBlock, gr.sync_block):
    """Impairs samples: clipping, static taps, carrier offset, gain, noise, IQ image, DC, converter.

    What changes the number of samples (clock offset, delay, drops), phase noise and fading are of
    the library, `phy.impairments`. Input and output: complex samples.

    cfo: carrier offset in cycles a sample. taps: complex gains a sample apart. gain: amplitude.
    noise_var: of the complex noise, both rails together. image: coefficient of the conjugate.
    dc: added. clip: largest magnitude before all else, 0 for none. bits: of a converter with full
    scale 1, 0 for none. seed: the same gives the same noise. ValueError for what cannot be.
    """

    def __init__(
        self,
        cfo: float = 0.0,
        taps: Any = (1.0,),
        gain: float = 1.0,
        noise_var: float = 0.0,
        image: complex = 0.0,
        dc: complex = 0.0,
        clip: float = 0.0,
        bits: int = 0,
        seed: int = 1,
    ):
        self._taps = np.atleast_1d(np.asarray(taps, np.complex64))
        if self._taps.ndim != 1 or self._taps.size == 0 or not np.isfinite(self._taps).all():
            raise ValueError(f"expected at least one finite tap, got {taps}")
        if clip < 0 or bits < 0:
            raise ValueError(f"expected clip and bits >= 0, got {clip} and {bits}")
        self._rest = Impairments(
            gain=gain, noise_var=noise_var, image=image, dc=dc, bits=bits or None
        )
        super().__init__("impairments", [np.complex64], [np.complex64])
        self._cfo, self._clip, self._seed = float(cfo), float(clip), seed

    def start(self) -> bool:
        self._rng = np.random.default_rng(self._seed)
        self._before = np.zeros(self._taps.size - 1, np.complex64)
        self._phase = 0.0
        return super().start()

    def process(self, input_items, output_items) -> int:
        x = input_items[0][: len(output_items[0])]
        if self._clip:
            x = x * np.minimum(1, self._clip / np.maximum(np.abs(x), 1e-30))
        whole = np.concatenate([self._before, x]).astype(np.complex64)
        self._before = whole[len(whole) - self._taps.size + 1 :]
        x = np.convolve(whole, self._taps, "valid")
        if self._cfo:
            turns = self._phase + self._cfo * np.arange(x.size)
            self._phase = (self._phase + self._cfo * x.size) % 1.0
            x = x * np.exp(2j * np.pi * turns)
        output_items[0][: x.size] = self._rest.apply(x, self._rng)
        return x.size
