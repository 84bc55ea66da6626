# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks between symbols and samples of radios."""

from __future__ import annotations

from collections import deque
from typing import Any, ClassVar

import numpy as np
import pmt
from gnuradio import gr

from ..phy.burst import burst_format
from ..phy.impairments import Impairments
from ..python_block import PythonBlock
from .front_end import Settings
from .front_end import front_end as made_of


class burst_transmitter(PythonBlock, gr.basic_block):
    """Makes bursts of symbols of unit mean energy: samples out, a burst as a whole.

    Input "pdus": PDUs of complex symbols on the port of that name; the dictionary may have "user"
    (36 bits for the header) and "tx_time" (of radios, a tuple of seconds and fraction). The
    end-of-file message ends the stream once all bursts are out. PDUs beyond `limit` that wait are
    dropped and counted as dropped_pdus: who sends them must wait for the radio.
    Input "stream": a tagged stream of symbols; "packet_len" on the first symbol of each burst, and
    "user" and "tx_time" where there are any. It waits for the radio by itself.

    Output: complex samples; the first of each burst has the tag "packet_len", and "tx_time" where
    it came with one.

    format: a preset's name or a `phy.burst.BurstFormat`. amplitude: rms of the samples; OFDM peaks
    are 10 dB above. silence: zeros before and behind each burst, in symbols, for amplifiers that
    ramp up. input: "pdus" or "stream". limit: PDUs that may wait, at least 1. ValueError for
    others, and an end with the reason for symbols that are no burst.
    """

    def __init__(
        self,
        format: Any = "burst-128",
        amplitude: float = 0.2,
        silence: int = 2,
        input: str = "pdus",
        limit: int = 64,
    ):
        self.format = burst_format(format)
        if not (np.isfinite(amplitude) and amplitude > 0):
            raise ValueError(f"expected an amplitude > 0, got {amplitude}")
        if silence < 0:
            raise ValueError(f"expected a silence of at least 0 symbols, got {silence}")
        if input not in ("pdus", "stream"):
            raise ValueError(f"expected an input of pdus or stream, got {input!r}")
        if limit < 1:
            raise ValueError(f"expected a limit of at least 1 PDU, got {limit}")
        super().__init__(
            "burst_transmitter", [np.complex64] if input == "stream" else None, [np.complex64]
        )
        self.set_tag_propagation_policy(gr.TPP_DONT)
        self._amplitude, self._limit = np.float32(amplitude), limit
        self._silence = np.zeros(silence * self.format.symbol_length, np.complex64)
        self._waiting: deque[tuple[np.ndarray, dict[str, Any]]] = deque()
        self._clear()
        if input == "pdus":
            self.message_port("pdus", self.handle_pdu)

    def _clear(self) -> None:
        self._waiting.clear()
        self._sent, self._ends = 0, False
        # Of a stream: the symbols of a packet, its length (0 for none) and its tags.
        self._symbols: list[np.ndarray] = []
        self._have = self._length = 0

    def start(self) -> bool:
        self._clear()
        return super().start()

    def forecast(self, noutput_items: int, ninputs: int) -> list[int]:
        return [1] * ninputs

    def handle_pdu(self, message: Any) -> None:
        if pmt.is_eof_object(message):
            self._ends = True
            return
        if not (pmt.is_pair(message) and pmt.is_c32vector(pmt.cdr(message))):
            raise ValueError("expected a PDU of complex symbols")
        if len(self._waiting) >= self._limit:
            self.counts["dropped_pdus"] += 1
            return
        meta = pmt.car(message)
        known = {}
        for key in ("user", "tx_time") if pmt.is_dict(meta) else ():
            value = pmt.dict_ref(meta, pmt.intern(key), pmt.PMT_NIL)
            if not pmt.is_null(value):
                known[key] = value
        symbols = np.array(pmt.c32vector_elements(pmt.cdr(message)), np.complex64)
        self._queue(symbols, known)

    def _queue(self, symbols: np.ndarray, known: dict[str, Any]) -> None:
        user = pmt.to_python(known["user"]) if "user" in known else 0
        burst = self._amplitude * self.format.build(symbols, user)
        samples = np.concatenate([self._silence, burst, self._silence])
        tags = {key: known[key] for key in known.keys() & {"tx_time"}}
        tags["packet_len"] = pmt.from_long(samples.size)
        self._waiting.append((samples, tags))
        self.counts["bursts"] += 1

    def _take(self, symbols: np.ndarray) -> None:
        """Gather a packet; the last symbol of one stays outside until its burst is sent."""
        read = self.nitems_read(0)
        if self._length == 0:
            tags = self.get_tags_in_window(0, 0, len(symbols))
            begins = [t for t in tags if pmt.symbol_to_string(t.key) == "packet_len"]
            first = min((tag.offset for tag in begins), default=read + len(symbols))
            if first > read:
                self.counts["symbols_in_no_packet"] += first - read
                self.consume(0, first - read)
                return
            own = {pmt.symbol_to_string(t.key): t.value for t in tags if t.offset == first}
            self._length = pmt.to_long(own.pop("packet_len"))
            if self._length < 1:
                raise ValueError(f"expected packets of symbols, got packet_len {self._length}")
            self._known = own
        part = symbols[: self._length - self._have].copy()
        self._symbols.append(part)
        self._have += part.size
        if self._have < self._length:
            self.consume(0, part.size)
            return
        self.consume(0, part.size - 1)
        self._queue(np.concatenate(self._symbols), self._known)
        self._symbols, self._have, self._length = [], 0, 0

    def process(self, input_items, output_items) -> int:
        out, done = output_items[0], 0
        if input_items and not self._waiting:
            self._take(input_items[0])
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
                if input_items:
                    self.consume(0, 1)
        return gr.WORK_DONE if done == 0 and self._ends and not self._waiting else done


class burst_meter(PythonBlock, gr.sync_block):
    """Gives the figures of bursts as streams, one value a burst: for plots and numbers in a window.

    Input: PDUs of a `burst_receiver` on the port "pdus". Outputs: float; SNR in dB, EVM in dB, and
    carrier offset in subcarrier spacings. It holds the newest 1000 bursts that nobody took yet.
    """

    _KEYS = tuple(pmt.intern(key) for key in ("snr_db", "evm_db", "cfo"))

    def __init__(self):
        super().__init__("burst_meter", None, [np.float32] * 3)
        self._values: deque[list[float]] = deque(maxlen=1000)
        self.message_port("pdus", self.handle_pdu)

    def handle_pdu(self, message: Any) -> None:
        meta = pmt.car(message) if pmt.is_pair(message) else pmt.PMT_NIL
        if not (pmt.is_dict(meta) and all(pmt.dict_has_key(meta, key) for key in self._KEYS)):
            raise ValueError("expected PDUs of a burst receiver, with snr_db, evm_db and cfo")
        self._values.append([pmt.to_double(pmt.dict_ref(meta, k, pmt.PMT_NIL)) for k in self._KEYS])

    def process(self, input_items, output_items) -> int:
        size = min(len(self._values), len(output_items[0]))
        for index in range(size):
            for out, value in zip(output_items, self._values.popleft(), strict=True):
                out[index] = value
        return size


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


class _radio(gr.hier_block2):
    """What both directions share; a class says whether it sends."""

    _SENDS: ClassVar[bool]

    def __init__(
        self,
        front_end: str = "loop:air",
        sample_rate: float = 1e6,
        frequency: float = 0.0,
        gain: float | None = None,
        antenna: str = "",
        bandwidth: float = 0.0,
        lo_offset: float = 0.0,
        clock_source: str = "",
        time_source: str = "",
        ppm: float = 0.0,
    ):
        none, one = gr.io_signature(0, 0, 0), gr.io_signature(1, 1, gr.sizeof_gr_complex)
        ports = (one, none) if self._SENDS else (none, one)
        super().__init__(type(self).__name__, *ports)
        settings = Settings(
            sample_rate, frequency, gain, antenna, bandwidth, lo_offset, clock_source, time_source,
            ppm,
        )  # fmt: skip
        self._front_end = made_of(front_end, settings)
        if self._SENDS:
            self._front_end.keep_at_end()
        # Kept: a Python block that nobody holds is taken away while the graph runs.
        self._block = self._front_end.sink() if self._SENDS else self._front_end.source()
        self.connect(*((self, self._block) if self._SENDS else (self._block, self)))

    def stats(self) -> dict[str, int]:
        """Return what the front end counts."""
        return self._front_end.stats()

    def error(self) -> str:
        """Return why the front end has ended by itself, "" where it has not."""
        return self._front_end.error()


class radio_source(_radio):
    """Samples of a front end by its spec; see `radio.front_end`.

    Output: complex samples, with a tag rx_time on the first and behind each gap where the front end
    tells of them.

    front_end: "loop:air", "uhd:type=b200", "soapy:driver=rtlsdr", "iio:ip:192.168.2.1",
    "zmq:tcp://127.0.0.1:5555", "file:x.c64", "sigmf:x.sigmf-meta". sample_rate: samples/s.
    frequency, bandwidth, lo_offset: Hz, 0 for the device's own. gain: dB, None for the device's
    own. antenna, clock_source, time_source: by the device's names. ppm: what its oscillator is too
    fast by.
    ValueError for a spec that is none, OSError for a front end that is not there.
    """

    _SENDS = False


class radio_sink(_radio):
    """Samples to a front end by its spec; see `radio.front_end`.

    Input: complex samples; a tag packet_len begins a burst, which goes out as a whole, and at its
    tag tx_time where the front end keeps time.

    The arguments are those of `radio_source`. ValueError for a spec that is none, OSError for a
    front end that is not there.
    """

    _SENDS = True
