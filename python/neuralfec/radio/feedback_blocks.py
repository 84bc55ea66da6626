# SPDX-License-Identifier: GPL-3.0-or-later
"""Blocks of the feedback link: its two ends, samples in and samples out."""

from __future__ import annotations

import math
import secrets
from collections import Counter
from typing import Any

import numpy as np
import pmt
from gnuradio import gr

from .. import vectors
from ..feedback.blocks import outcomes_pdu
from ..phy.burst import Burst
from ..python_block import PythonBlock
from .feedback_framing import FeedbackFraming, feedback_code
from .feedback_link import LAST_STREAM, Initiator, Responder
from .feedback_sources import MessageSource, PatternSource, messages_of
from .feedback_station import AnsweringStation, InitiatingStation, Station
from .streams import BurstWriter, hand_on, room_for

# Bytes of the items of samples and of bits.
_SIZES = (8, 1, 1)


def _framing(
    model: str, threshold: float, feedback: str, feedback_bits: int, *shared: Any
) -> FeedbackFraming:
    """What both ends have in common; dialogs say 0 for what is the model's."""
    code = feedback_code(feedback, model, threshold or None, feedback_bits or None)
    return FeedbackFraming(code, *shared)


class _feedback_end(PythonBlock, gr.basic_block):
    """What both ends share: a station between two streams of samples."""

    station: Station

    def __init__(
        self, name: str, framing: FeedbackFraming, outputs: Any, sample_rate: float, lead: float
    ) -> None:
        if not (np.isfinite(sample_rate) and sample_rate > 0):
            raise ValueError(f"expected a rate of more than 0 samples/s, got {sample_rate}")
        if not (np.isfinite(lead) and lead >= 0):
            raise ValueError(f"expected a lead of at least 0 seconds, got {lead}")
        super().__init__(name, [np.complex64], outputs)
        self.set_tag_propagation_policy(gr.TPP_DONT)
        self._framing, self._rate, self._lead = framing, sample_rate, lead
        self._sent: Counter[str] = Counter()
        self._writer = BurstWriter(self, lambda: self.station.next(), self._sent, self._tx_time)
        for port, size in enumerate(_SIZES[: self.output_signature().max_streams()]):
            self.set_min_output_buffer(port, room_for(framing.longest, size))
        self._used = False
        self._begin()

    def _make_station(self) -> Station:
        raise AssertionError("each end has its own")

    def _begin(self) -> None:
        self.station = self._make_station()
        # A sample of the input whose time is known, with its time; the newest sample; and that at
        # whose time the last burst ends.
        self._known: tuple[int, int, float] | None = None
        self._newest, self._end = 0, 0.0

    def start(self) -> bool:
        if self._used and self.is_new_run():
            self._begin()
        self._used = True
        self._writer.clear()
        return super().start()

    def stats(self) -> dict[str, Any]:
        sent = {f"{name}_sent": count for name, count in self._sent.items()}
        return super().stats() | sent | self.station.stats()

    def forecast(self, noutput_items: int, ninputs: int) -> list[int]:
        return [1] * ninputs

    def process(self, input_items, output_items) -> int:
        # What is on its way goes first, and what need not be waited for is done behind it.
        done = self._writer.write(output_items[0])
        if done == 0:
            self.station.settle()
            self._tell(len(output_items))
            samples = input_items[0]
            self._newest = self.nitems_read(0) + len(samples)
            tags = hand_on(self, samples, self.station.push, self.station.gap)
            for tag in tags[-1:]:
                whole, part = (pmt.tuple_ref(tag.value, index) for index in (0, 1))
                self._known = (tag.offset, pmt.to_uint64(whole), pmt.to_double(part))
            self.consume(0, len(samples))
            done = self._writer.write(output_items[0])
        self.produce(0, done)
        self.counts["items"] += done
        self._write_bits(output_items[1:])
        return gr.WORK_CALLED_PRODUCE

    def _tell(self, outputs: int) -> None:
        """Hand on what has come, beside the samples, of which there are so many outputs."""

    def _write_bits(self, output_items: list[np.ndarray]) -> None:
        """Fill the outputs behind the first."""

    def _tx_time(self, size: int) -> Any:
        """When a burst that begins now shall be on the air, None where that is not told."""
        if not self._lead or self._known is None:
            return None
        offset, whole, part = self._known
        begin = max(self._newest + self._lead * self._rate, self._end)
        self._end = begin + size
        seconds = part + (begin - offset) / self._rate
        return pmt.make_tuple(pmt.from_uint64(whole + int(seconds)), pmt.from_double(seconds % 1))


class feedback_initiator(_feedback_end):
    """Sends over a weak link by a belief-driven feedback code, on bursts of samples.

    Input: complex samples of the way back, with tags rx_time on the first and behind each gap where
    the front end tells of them. Output: complex samples of bursts; the first of each has the tag
    "packet_len", and "tx_time" where `lead` asks for it.
    Port "pdus", with `input` "pdus": PDUs of bytes; each comes out of the responder as a whole, in
    order, or not at all. While none waits and none is on its way nothing is sent. PDUs beyond
    `limit` that wait are dropped and counted, as are others than PDUs of bytes that fit.
    Port "outcomes": what became of blocks, as `feedback_transmitter` tells of messages, for a
    `feedback_rate_sink`; all that are over are delivered, right or wrong.

    model, threshold, feedback, feedback_bits, blocks, format, answer_code, answer_constellation: as
    of the responder; both ends alike.
    sample_rate: samples/s. input: "pattern" for random bytes that follow from `seed`, which a
    responder that knows it counts errors by; or "pdus". limit: PDUs that may wait. timeout: seconds
    before a burst comes again, 0 for a time by its length. patience: seconds without an answer
    after which all begins anew, so that a responder may be started again. amplitude: rms of the
    samples. lead: seconds from the newest sample that has come to a burst's first, told by the tag
    tx_time; 0 for none: it goes when it can. ValueError for values that cannot be.

    stats: bursts sent and repeated, rounds, blocks, rate in bits a real of the blocks that are
    over, mean power, old and damaged answers, numbers of analog feedback that were heard wrong and
    put right, streams given up, torn bursts, turnaround in ms.
    """

    def __init__(
        self,
        model: str = "feedback/belief-4bit-1dB",
        threshold: float = 0.0,
        feedback: str = "digital",
        feedback_bits: int = 0,
        blocks: int = 2100,
        format: Any = "burst-128",
        answer_code: str = "wifi-648",
        answer_constellation: str = "qam256",
        sample_rate: float = 1e6,
        input: str = "pattern",
        seed: int = 1,
        limit: int = 64,
        timeout: float = 0.0,
        patience: float = 10.0,
        amplitude: float = 0.2,
        lead: float = 0.0,
    ):
        if input not in ("pattern", "pdus"):
            raise ValueError(f"expected an input of pattern or pdus, got {input!r}")
        shared = blocks, format, answer_code, answer_constellation
        framing = _framing(model, threshold, feedback, feedback_bits, *shared)
        if input == "pattern":
            self._source: Any = PatternSource(framing.capacity, seed)
        else:
            self._source = MessageSource(framing.capacity, limit)
        self._clocked = timeout, patience, amplitude
        super().__init__("feedback_initiator", framing, [np.complex64], sample_rate, lead)
        if input == "pdus":
            self.message_port("pdus", self.handle_pdu)
        self._outcomes = pmt.intern("outcomes")
        self.message_port_register_out(self._outcomes)

    def _make_station(self) -> Station:
        end = Initiator(self._framing, self._source, 1 + secrets.randbelow(LAST_STREAM))
        return InitiatingStation(end, self._rate, *self._clocked)

    def handle_pdu(self, message: Any) -> None:
        """Take a PDU of bytes to send."""
        try:
            if not (pmt.is_pair(message) and pmt.is_u8vector(pmt.cdr(message))):
                raise ValueError("expected a PDU of bytes")
            taken = self._source.push(vectors.to_array(pmt.cdr(message)).tobytes())
        except ValueError as error:
            # The next one may be right.
            if not self.counts["refused_pdus"]:
                gr.logger(self.alias()).warn(f"refused a PDU: {error}")
            self.counts["refused_pdus"] += 1
            return
        self.counts["dropped_pdus"] += not taken

    def stats(self) -> dict[str, Any]:
        """Return what is counted, and the rounds of this stream; see the class."""
        return super().stats() | {"rounds": self.station.end.round}

    def _tell(self, outputs: int) -> None:
        ended = self.station.end.ended
        while ended:
            one = ended.popleft()
            pdu = outcomes_pdu(
                one.rounds,
                session=one.numbers.astype(np.uint32),
                delivered=np.ones(one.numbers.size, np.uint8),
                erased=np.zeros(one.numbers.size, np.uint8),
                symbols=one.reals.astype(np.uint32),
                energy=one.energy.astype(np.float32),
                repeated=one.again.astype(np.uint32),
            )
            self.message_port_pub(self._outcomes, pdu)


class feedback_responder(_feedback_end):
    """Receives from a `feedback_initiator`, and answers each burst over a strong link.

    Input: complex samples of the weak link, with tags rx_time on the first and behind each gap
    where the front end tells of them: a burst with a gap inside is refused. Outputs: complex
    samples of answers, the first of each with the tag "packet_len", and "tx_time" where `lead` asks
    for it. With `output` "pattern" there may be two more, uint8 bits for a `ber_sink`: those that
    the pattern has, K a block, and those decoded, all blocks in order, right or wrong.
    Port "pdus", with `output` "pdus": the initiator's PDUs of bytes. Port "bursts": a PDU a burst,
    as of a `burst_receiver`, for a `burst_meter`.

    model: file, or name of a shipped model that was made for this feedback. threshold: log-odds in
    nats that end a group, 0 for the model's. feedback: "digital", levels of what was heard, coded;
    or "analog", one uncoded real symbol for each group that goes on, for a way back of 20 dB.
    feedback_bits: of a level that goes back, 8, 6, 5 or 4, or 0 for the model's and of analog
    feedback. blocks: of a burst in its first round; each three hundred or so are a super-block,
    which has a CRC-32.
    format: of the bursts, a preset's name or a `phy.burst.BurstFormat`. answer_code,
    answer_constellation: of the way back. sample_rate: samples/s. output: "pattern", of the
    initiator's `seed`, or "pdus". amplitude, lead: as of the initiator. ValueError for values that
    cannot be.

    stats: blocks, right and refused super-blocks, snr_db of the newest burst's values,
    block_error_rate_by_posterior, and by the pattern block_errors, block_error_rate and
    wrong_super_blocks that the CRC took for right; bits_a_second that were right since the first
    burst; repeated, old, foreign and torn bursts, and misfits of an initiator that is set
    otherwise; turnaround in ms.
    """

    def __init__(
        self,
        model: str = "feedback/belief-4bit-1dB",
        threshold: float = 0.0,
        feedback: str = "digital",
        feedback_bits: int = 0,
        blocks: int = 2100,
        format: Any = "burst-128",
        answer_code: str = "wifi-648",
        answer_constellation: str = "qam256",
        sample_rate: float = 1e6,
        output: str = "pattern",
        seed: int = 1,
        amplitude: float = 0.2,
        lead: float = 0.0,
    ):
        if output not in ("pattern", "pdus"):
            raise ValueError(f"expected an output of pattern or pdus, got {output!r}")
        shared = blocks, format, answer_code, answer_constellation
        framing = _framing(model, threshold, feedback, feedback_bits, *shared)
        self._pattern = PatternSource(framing.capacity, seed) if output == "pattern" else None
        self._amplitude = amplitude
        kinds = [np.complex64, np.uint8, np.uint8]
        ports = gr.py_io_signature(1, 3, kinds) if self._pattern else kinds[:1]
        super().__init__("feedback_responder", framing, ports, sample_rate, lead)
        for name in ("bursts", *(() if self._pattern else ("pdus",))):
            self.message_port_register_out(pmt.intern(name))

    def _make_station(self) -> Station:
        end = Responder(self._framing, stream=True)
        return AnsweringStation(end, self._amplitude)

    def _begin(self) -> None:
        super()._begin()
        # Bits that wait for room, by output.
        self._bits = [np.zeros(0, np.uint8) for _ in _SIZES[1:]]
        self._warned = False

    def stats(self) -> dict[str, Any]:
        """Return what is counted, and the block error rate by the pattern; see the class."""
        found = super().stats()
        if self.counts["pattern_blocks"]:
            rate = self.counts["block_errors"] / self.counts["pattern_blocks"]
            found["block_error_rate"] = rate
        return found

    def _tell(self, outputs: int) -> None:
        end = self.station.end
        if end.counts["misfit_bursts"] and not self._warned:
            self._warned = True
            gr.logger(self.alias()).warn(
                "bursts of other sizes than expected: are both ends set alike?"
            )
        while end.bursts:
            self.message_port_pub(pmt.intern("bursts"), burst_pdu(end.bursts.popleft()))
        while end.delivered:
            block = end.delivered.popleft()
            if self._pattern is None:
                self._tell_messages(block.body)
                continue
            sent = self._framing.messages([self._pattern.body(block.number)])
            self.counts["pattern_blocks"] += len(sent)
            wrong = int((sent != block.messages).any(1).sum())
            self.counts["block_errors"] += wrong
            self.counts["wrong_super_blocks"] += block.body is not None and wrong > 0
            for port, bits in zip(range(outputs - 1), (sent, block.messages), strict=False):
                self._bits[port] = np.concatenate([self._bits[port], bits.ravel()])

    def _tell_messages(self, body: bytes | None) -> None:
        try:
            messages = messages_of(body or b"")
        except ValueError:
            # Of an initiator that sends a pattern.
            self.counts["malformed_super_blocks"] += 1
            return
        for message in messages:
            data = vectors.from_array(np.frombuffer(message, np.uint8))
            self.message_port_pub(pmt.intern("pdus"), pmt.cons(pmt.make_dict(), data))

    def _write_bits(self, output_items: list[np.ndarray]) -> None:
        for port, out in enumerate(output_items):
            size = min(self._bits[port].size, len(out))
            out[:size] = self._bits[port][:size]
            self._bits[port] = self._bits[port][size:]
            self.produce(1 + port, size)


def burst_pdu(burst: Burst) -> Any:
    """Return a burst as the PDU that a `burst_receiver` makes of it."""
    meta = pmt.make_dict()
    for key, value in (
        ("start", pmt.from_uint64(burst.start)),
        ("length", pmt.from_uint64(burst.length)),
        ("symbols", pmt.from_uint64(burst.symbols)),
        ("user", pmt.from_uint64(burst.user)),
        ("snr_db", pmt.from_double(10 * math.log10(burst.snr))),
        ("evm_db", pmt.from_double(20 * math.log10(burst.evm))),
        ("cfo", pmt.from_double(burst.cfo)),
        ("clock_offset", pmt.from_double(burst.clock_offset)),
        ("noise_var", pmt.from_double(burst.noise_var)),
        ("whole", pmt.from_double(burst.whole)),
        ("h", vectors.from_array(burst.h)),
    ):
        meta = pmt.dict_add(meta, pmt.intern(key), value)
    return pmt.cons(meta, vectors.from_array(burst.y))
