# SPDX-License-Identifier: GPL-3.0-or-later
"""What front ends are made of: GNU Radio's blocks, set up, and what bursts need before them."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pmt
from gnuradio import gr

from ..python_block import PythonBlock, page_items
from .front_end import FrontEnd
from .recordings import Sink, Source

LENGTH, TX_TIME = pmt.intern("packet_len"), pmt.intern("tx_time")
RX_TIME = pmt.intern("rx_time")
# Seconds between handing a burst over and its first sample on the air.
_LEAD = 0.01
# Samples of a buffer of an IIO device: its latency, of which several are queued.
_IIO_BUFFER = 1 << 14


class recording_source(PythonBlock, gr.sync_block):
    """Gives the samples of a recording so many times, and ends with it."""

    def __init__(self, recording: Source, times: int = 1) -> None:
        super().__init__("recording_source", None, [np.complex64])
        self._recording, self._times = recording, times

    def start(self) -> bool:
        """Begin with the first sample."""
        recordings = (self._recording.pieces() for _ in range(self._times))
        self._pieces = itertools.chain.from_iterable(recordings)
        self._left = np.empty(0, np.complex64)
        return super().start()

    def process(self, input_items, output_items) -> int:
        """Copy what is there, and read the next piece where nothing is."""
        if self._left.size == 0:
            self._left = next(self._pieces, self._left)
        size = min(self._left.size, len(output_items[0]))
        output_items[0][:size] = self._left[:size]
        self._left = self._left[size:]
        return size or gr.WORK_DONE


class recording_sink(PythonBlock, gr.sync_block):
    """Writes samples to a recording, with an annotation for each tag packet_len."""

    def __init__(self, recording: Sink, keep: bool = False) -> None:
        super().__init__("recording_sink", [np.complex64], None)
        self._recording, self._keep = recording, keep

    def process(self, input_items, output_items) -> int:
        """Write all that is there."""
        size = len(input_items[0])
        for tag in self.get_tags_in_window(0, 0, size, LENGTH):
            self.counts["bursts"] += 1
            number = self.counts["bursts"]
            self._recording.annotate(tag.offset, pmt.to_long(tag.value), f"burst {number}")
        self._recording.write(input_items[0])
        return size

    def stop(self) -> bool:
        """Give the files their names where nobody else does."""
        if self._keep:
            self._recording.keep()
        return super().stop()


def room_for(burst: int, item_size: int = 8) -> int:
    """Return the items of an output buffer from which a burst of so many goes out in one call.

    The scheduler fills at most half of a buffer, and buffers are whole pages.
    """
    page = page_items(item_size)
    return -(-2 * burst // page) * page


class BurstWriter:
    """Copies bursts that a function makes to a block's first output, with tags.

    Each has a tag packet_len on its first sample.

    block: whose output it is. next_burst: gives complex samples, or None where there are none now.
    time: gives the tag tx_time of a burst of so many samples that begins, or None. counts: where
    bursts and samples are counted.
    """

    def __init__(
        self,
        block: Any,
        next_burst: Callable[[], np.ndarray | None],
        counts: Counter[str],
        time: Callable[[int], Any] = lambda size: None,
    ) -> None:
        self._block, self._next, self._time, self._counts = block, next_burst, time, counts
        self._left = np.empty(0, np.complex64)
        # Whether there was nothing to send when it asked last.
        self.idle = True

    def clear(self) -> None:
        """Forget the rest of a burst."""
        self._left = np.empty(0, np.complex64)

    def write(self, out: np.ndarray) -> int:
        """Copy bursts as far as there is room; how many samples."""
        done = 0
        while done < len(out):
            if self._left.size == 0:
                burst = self._next()
                self.idle = burst is None
                if burst is None:
                    break
                self._left = burst
                offset = self._block.nitems_written(0) + done
                self._block.add_item_tag(0, offset, LENGTH, pmt.from_long(burst.size))
                if (at := self._time(burst.size)) is not None:
                    self._block.add_item_tag(0, offset, TX_TIME, at)
                self._counts["bursts"] += 1
            size = min(self._left.size, len(out) - done)
            out[done : done + size] = self._left[:size]
            self._left = self._left[size:]
            done += size
        self._counts["samples"] += done
        return done


class burst_feed(PythonBlock, gr.sync_block):
    """Gives bursts that a function makes, one by one, each with a tag packet_len.

    next_burst: gives complex samples, or None where there are none now. over: tells whether there
    will be none any more, at which the block ends. A message on "wake" makes it ask at once; by
    itself it asks four times a second.
    """

    def __init__(
        self, next_burst: Callable[[], np.ndarray | None], over: Callable[[], bool]
    ) -> None:
        super().__init__("burst_feed", None, [np.complex64])
        self._writer, self._over = BurstWriter(self, next_burst, self.counts), over
        self.message_port("wake", lambda message: None)

    @property
    def idle(self) -> bool:
        """Whether there was nothing to send when it asked last."""
        return self._writer.idle

    def start(self) -> bool:
        """Begin with a new burst."""
        self._writer.clear()
        return super().start()

    def wake(self) -> None:
        """Ask for the next burst at once."""
        self.to_basic_block()._post(pmt.intern("wake"), pmt.PMT_NIL)

    def process(self, input_items, output_items) -> int:
        """Copy bursts as far as there is room."""
        done = self._writer.write(output_items[0])
        return gr.WORK_DONE if done == 0 and self._over() else done


class sample_tap(PythonBlock, gr.sync_block):
    """Hands samples to a function, and tells another of each gap, a tag rx_time inside."""

    def __init__(self, push: Callable[[np.ndarray], None], gap: Callable[[], None]) -> None:
        super().__init__("sample_tap", [np.complex64], None)
        self._push, self._gap = push, gap

    def process(self, input_items, output_items) -> int:
        """Hand on all that is there."""
        hand_on(self, input_items[0], self._push, self._gap)
        self.counts["samples"] += len(input_items[0])
        return len(input_items[0])


def hand_on(
    block: Any,
    samples: np.ndarray,
    push: Callable[[np.ndarray], Any],
    gap: Callable[[], None],
) -> list[Any]:
    """Hand a block's samples to a function, and tell another of each gap; the tags rx_time."""
    read, done = block.nitems_read(0), 0
    tags = sorted(block.get_tags_in_window(0, 0, len(samples), RX_TIME), key=_offset)
    for tag in tags:
        at = tag.offset - read
        if at > done:
            push(samples[done:at])
        if tag.offset:
            gap()
        done = at
    if done < len(samples):
        push(samples[done:])
    return tags


def _offset(tag: Any) -> int:
    return tag.offset


class Running:
    """A flow graph that runs in the background.

    Parameters
    ----------
    graph : a top block
    parts : its Python blocks, whose errors it tells
    radio : the front end, whose errors it tells
    moved : how many samples have moved, to see that they do
    idle : whether it is all right that none do

    `stop` must be called in the end.
    """

    # Seconds without a sample after which a live front end is taken for dead.
    _PATIENCE = 5.0

    def __init__(
        self,
        graph: gr.top_block,
        parts: list[PythonBlock],
        radio: FrontEnd,
        moved: Callable[[], int],
        idle: Callable[[], bool] = lambda: False,
    ) -> None:
        self._graph, self._parts, self._radio = graph, parts, radio
        self._moved, self._idle = moved, idle
        self._last, self._at = -1, time.monotonic()
        graph.start()
        self._waiter = threading.Thread(target=graph.wait, daemon=True)
        self._waiter.start()

    def over(self) -> bool:
        """Tell whether it has ended; RuntimeError where that is by a fault, or nothing moves."""
        for part in self._parts:
            if part.error is not None:
                raise RuntimeError(str(part.error)) from part.error
        if self._radio.error():
            raise RuntimeError(self._radio.error())
        if not self._waiter.is_alive():
            return True
        now, moved = time.monotonic(), self._moved()
        if moved != self._last or self._idle() or not self._radio.live:
            self._last, self._at = moved, now
        elif now > self._at + self._PATIENCE:
            raise RuntimeError(f"{self._radio.spec}: no samples for {self._PATIENCE:g} s")
        return False

    def stop(self) -> None:
        """Stop it, and wait until it has; a front end that hangs is left behind."""
        self._graph.stop()
        self._waiter.join(5)


def receive(
    radio: FrontEnd,
    push: Callable[[np.ndarray], None],
    gap: Callable[[], None],
    done: Callable[[], bool],
) -> None:
    """Hand samples of a front end to a function until its end, or until all is done.

    OSError where it is not there, RuntimeError where it fails.
    """
    graph, tap = gr.top_block(), sample_tap(push, gap)
    source = radio.source()
    # What comes while the function works waits here.
    source.set_min_output_buffer(0, 1 << 18)
    graph.connect(source, tap)
    running = Running(graph, [tap], radio, lambda: tap.counts["samples"])
    try:
        while not (running.over() or done()):
            time.sleep(0.02)
    finally:
        running.stop()
    running.over()


class burst_scheduler(PythonBlock, gr.basic_block):
    """Hands bursts on as a whole, each with a tag tx_time.

    A burst that has no time of its own gets one behind the burst before it, at the earliest
    `lead` seconds from now: UHD wants a time on every burst once one had one, and plays a burst
    that comes in pieces with gaps.

    sample_rate: samples/s. clock: gives the device's time in seconds. max_burst: most samples of a
    burst; a longer one ends the block with the reason.
    """

    def __init__(
        self,
        sample_rate: float,
        clock: Callable[[], float],
        max_burst: int = 1 << 20,
        lead: float = _LEAD,
    ) -> None:
        super().__init__("burst_scheduler", [np.complex64], [np.complex64])
        self._rate, self._clock, self._lead = sample_rate, clock, lead
        self._max_burst = max_burst
        self.set_tag_propagation_policy(gr.TPP_DONT)
        self.set_min_output_buffer(0, room_for(max_burst))

    def start(self) -> bool:
        """Forget what was there before."""
        self._burst: list[np.ndarray] = []
        self._have = self._length = 0
        self._end = 0.0
        return super().start()

    def forecast(self, noutput_items: int, ninputs: int) -> list[int]:
        """Ask for any sample: bursts are gathered in here."""
        return [1] * ninputs

    def process(self, input_items, output_items) -> int:
        """Gather a burst; once it is whole and has room, send it."""
        samples = input_items[0]
        if self._length == 0:
            tags = self.get_tags_in_window(0, 0, len(samples), LENGTH)
            first = min((tag.offset for tag in tags), default=None)
            read = self.nitems_read(0)
            if first is None or first > read:
                skipped = len(samples) if first is None else first - read
                self.counts["samples_in_no_burst"] += skipped
                self.consume(0, skipped)
                return 0
            self._length = next(pmt.to_long(t.value) for t in tags if t.offset == first)
            if not 1 <= self._length <= self._max_burst:
                raise ValueError(
                    f"expected bursts of 1 to {self._max_burst} samples, got {self._length}"
                )
            times = self.get_tags_in_window(0, 0, 1, TX_TIME)
            self._time = times[0].value if times else None
        left = self._length - self._have
        if left <= len(samples) and len(output_items[0]) < self._length:
            # Its last sample stays outside: a block without input is not called.
            left -= 1
        part = samples[:left].copy()
        self._burst.append(part)
        self._have += part.size
        self.consume(0, part.size)
        return self._send(output_items[0]) if self._have == self._length else 0

    def _send(self, out: np.ndarray) -> int:
        length = self._length
        out[:length] = np.concatenate(self._burst)
        if self._time is None:
            at = max(self._clock() + self._lead, self._end)
            self._time = pmt.make_tuple(pmt.from_uint64(int(at)), pmt.from_double(at % 1))
        else:
            at = pmt.to_uint64(pmt.tuple_ref(self._time, 0)) + pmt.to_double(
                pmt.tuple_ref(self._time, 1)
            )
        self._end = at + length / self._rate
        offset = self.nitems_written(0)
        self.add_item_tag(0, offset, LENGTH, pmt.from_long(length))
        self.add_item_tag(0, offset, TX_TIME, self._time)
        self._burst, self._have, self._length = [], 0, 0
        self.counts["bursts"] += 1
        return length


class burst_padder(PythonBlock, gr.basic_block):
    """Fills the time between bursts with zeros, for devices that want samples without end."""

    def __init__(self, most: int = 4096) -> None:
        super().__init__("burst_padder", [np.complex64], [np.complex64])
        self._most = most
        self._left = 0
        self.set_max_output_buffer(_IIO_BUFFER)

    def forecast(self, noutput_items: int, ninputs: int) -> list[int]:
        """Ask for nothing."""
        return [0] * ninputs

    def process(self, input_items, output_items) -> int:
        """Hand on what is there, zeros where nothing is and no burst has begun."""
        samples, out = input_items[0], output_items[0]
        size = min(len(samples), len(out))
        for tag in self.get_tags_in_window(0, 0, size, LENGTH):
            end = tag.offset - self.nitems_read(0) + pmt.to_long(tag.value)
            self._left = max(self._left, end)
        if size:
            out[:size] = samples[:size]
            self.consume(0, size)
            self._left = max(0, self._left - size)
            return size
        if self._left:
            return 0
        size = min(len(out), self._most)
        out[:size] = 0
        return size


class event_counter(PythonBlock, gr.basic_block):
    """Counts what a USRP tells of its bursts: late ones and underflows."""

    # UHD's codes: underflow, sequence error, time error, the same within a burst, user payload.
    _NAMES = {2: "underflows", 4: "sequence_errors", 8: "late", 16: "underflows"}  # noqa: RUF012

    def __init__(self) -> None:
        super().__init__("event_counter", None, None)
        self.events: Counter[str] = Counter()
        self.message_port("events", self.handle_event)

    def handle_event(self, message: Any) -> None:
        """Count one message, a pair of "uhd_async_msg" and a dictionary."""
        if not (pmt.is_pair(message) and pmt.is_dict(pmt.cdr(message))):
            return
        code = pmt.dict_ref(pmt.cdr(message), pmt.intern("event_code"), pmt.PMT_NIL)
        number = pmt.to_python(code)
        if isinstance(number, int) and number in self._NAMES:
            self.events[self._NAMES[number]] += 1


def _uhd_settings(usrp: Any, settings: dict[str, Any]) -> None:
    from gnuradio import uhd

    if settings["clock_source"]:
        usrp.set_clock_source(settings["clock_source"], 0)
    if settings["time_source"]:
        usrp.set_time_source(settings["time_source"], 0)
    wanted = settings["sample_rate"]
    usrp.set_samp_rate(wanted)
    found = usrp.get_samp_rate()
    if abs(found / wanted - 1) > 1e-3:
        raise RuntimeError(f"wrong rate: it runs at {found:.0f} samples/s, not at {wanted:.0f}")
    if settings["antenna"]:
        usrp.set_antenna(settings["antenna"], 0)
    if settings["bandwidth"]:
        usrp.set_bandwidth(settings["bandwidth"], 0)
    if settings["frequency"]:
        # An oscillator that is too fast is told less.
        frequency = settings["frequency"] / (1 + 1e-6 * settings["ppm"])
        usrp.set_center_freq(uhd.tune_request(frequency, settings["lo_offset"]), 0)
    if settings["gain"] is not None:
        usrp.set_gain(settings["gain"], 0)


def uhd_source(arguments: str, settings: dict[str, Any]) -> Any:
    """Open a USRP's receiver; its rx_time tags tell of gaps."""
    from gnuradio import uhd

    usrp = uhd.usrp_source(arguments, uhd.stream_args(cpu_format="fc32", channels=[0]), True)
    _uhd_settings(usrp, settings)
    return usrp


class uhd_sink(gr.hier_block2):
    """A USRP's transmitter, with whole bursts that all have times, and a counter of U and L."""

    def __init__(self, arguments: str, settings: dict[str, Any], max_burst: int) -> None:
        from gnuradio import uhd

        super().__init__(
            "uhd_sink", gr.io_signature(1, 1, gr.sizeof_gr_complex), gr.io_signature(0, 0, 0)
        )
        stream = uhd.stream_args(cpu_format="fc32", channels=[0])
        self._usrp = uhd.usrp_sink(arguments, stream, "packet_len")
        _uhd_settings(self._usrp, settings)
        self._scheduler = burst_scheduler(
            settings["sample_rate"], lambda: self._usrp.get_time_now().get_real_secs(), max_burst
        )
        self._counter = event_counter()
        self.connect(self, self._scheduler, self._usrp)
        self.msg_connect(self._usrp, "async_msgs", self._counter, "events")

    def stats(self) -> dict[str, int]:
        """Count bursts, late ones and underflows."""
        return {"bursts": self._scheduler.counts["bursts"], **self._counter.events}

    @property
    def error(self) -> Exception | None:
        """What ended the bursts, or None."""
        return self._scheduler.error


def _iio_rate(settings: dict[str, Any]) -> int:
    rate = round(settings["sample_rate"])
    # Below it the AD936x wants a filter of its own, which "Auto" makes down to this.
    if not 521_000 <= rate <= 61_440_000:
        raise RuntimeError(f"wrong rate: it runs at 521e3 to 61.44e6 samples/s, not at {rate}")
    return rate


def iio_source(uri: str, settings: dict[str, Any]) -> Any:
    """Open an AD936x's receiver."""
    from gnuradio import iio

    rate = _iio_rate(settings)
    radio = iio.fmcomms2_source_fc32(uri, [True, True], _IIO_BUFFER)
    radio.set_samplerate(rate)
    radio.set_filter_params("Auto", "", 0.0, 0.0)
    if settings["frequency"]:
        radio.set_frequency(round(settings["frequency"] / (1 + 1e-6 * settings["ppm"])))
    if settings["gain"] is not None:
        radio.set_gain_mode(0, "manual")
        radio.set_gain(0, settings["gain"])
    return radio


class iio_sink(gr.hier_block2):
    """An AD936x's transmitter, with zeros between bursts."""

    def __init__(self, uri: str, settings: dict[str, Any]) -> None:
        from gnuradio import iio

        super().__init__(
            "iio_sink", gr.io_signature(1, 1, gr.sizeof_gr_complex), gr.io_signature(0, 0, 0)
        )
        rate = _iio_rate(settings)
        self._radio = iio.fmcomms2_sink_fc32(uri, [True, True], _IIO_BUFFER, False)
        self._radio.set_samplerate(rate)
        self._radio.set_filter_params("Auto", "", 0.0, 0.0)
        if settings["bandwidth"]:
            self._radio.set_bandwidth(round(settings["bandwidth"]))
        if settings["frequency"]:
            frequency = settings["frequency"] / (1 + 1e-6 * settings["ppm"])
            self._radio.set_frequency(round(frequency))
        if settings["gain"] is not None:
            # It counts down from full power.
            self._radio.set_attenuation(0, -settings["gain"])
        self._padder = burst_padder()
        self.connect(self, self._padder, self._radio)

    @property
    def error(self) -> Exception | None:
        """What ended the bursts, or None."""
        return self._padder.error


def zmq_source(address: str) -> Any:
    """Connect to a socket that samples are pushed to."""
    from gnuradio import zeromq

    return zeromq.pull_source(gr.sizeof_gr_complex, 1, address, 100, False)


def zmq_sink(address: str) -> Any:
    """Bind a socket and push samples to it."""
    from gnuradio import zeromq

    return zeromq.push_sink(gr.sizeof_gr_complex, 1, address, 100, False)
