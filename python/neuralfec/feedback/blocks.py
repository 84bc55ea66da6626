# SPDX-License-Identifier: GPL-3.0-or-later
"""GNU Radio blocks around sessions: both ends, and a link with noise and faults between them.

All ports are message ports. A message of a link is a PDU: float32 samples, and in its
dictionary `control`, the bytes of the control part (see ``session``).
"""

import threading
import time
import warnings

import numpy as np
import pmt
from gnuradio import gr

from .. import vectors
from ..python_block import PythonBlock
from . import files
from .session import Faults, Message, Receiver, SimulatedLink, Transmitter
from .setting import log_odds

_CONTROL = pmt.intern("control")


def message_of(pdu: "pmt.pmt_base") -> Message:
    """The message in a PDU of a link."""
    meta, samples = _parts(pdu)
    control = pmt.dict_ref(meta, _CONTROL, pmt.PMT_NIL)
    if not pmt.is_u8vector(control) or not pmt.is_f32vector(samples):
        raise ValueError("expected a PDU of float32 samples with control bytes")
    return Message(vectors.to_array(control).tobytes(), vectors.to_array(samples))


def pdu_of(message: Message) -> "pmt.pmt_base":
    """A message as the PDU of a link."""
    control = vectors.from_array(np.frombuffer(message.control, np.uint8))
    meta = pmt.dict_add(pmt.make_dict(), _CONTROL, control)
    return pmt.cons(meta, vectors.from_array(np.ravel(message.samples)))


def _parts(pdu: "pmt.pmt_base") -> tuple["pmt.pmt_base", "pmt.pmt_base"]:
    if not pmt.is_pair(pdu) or not pmt.is_uniform_vector(pmt.cdr(pdu)):
        raise ValueError("expected a PDU")
    meta = pmt.car(pdu)
    return (meta if pmt.is_dict(meta) else pmt.make_dict()), pmt.cdr(pdu)


def outcomes_pdu(rounds: np.ndarray, **columns: np.ndarray) -> "pmt.pmt_base":
    """What became of messages as a PDU: the rounds of each, and vectors in the dictionary."""
    meta = pmt.make_dict()
    for name, column in columns.items():
        meta = pmt.dict_add(meta, pmt.intern(name), vectors.from_array(column))
    return pmt.cons(meta, vectors.from_array(rounds.astype(np.float32)))


class _Timed(PythonBlock, gr.basic_block):
    """A block of messages that also acts by itself.

    Handlers take messages in; `turn` does the work, in a thread of the block's own: soon
    after something came in, so that what comes at about the same time is one batch, and every
    `period` seconds. `lock` is held by both.
    """

    # What comes in this long after the first message is worked on together with it.
    GATHER = 0.0005

    def __init__(self, name: str, period: float):
        super().__init__(name, None, None)
        self._period = period
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._ends = threading.Event()
        self._worker: threading.Thread | None = None

    def handle(self, name: str, handler) -> None:
        """An input port. Messages that make no sense are counted, logged once and dropped."""

        def locked(pdu) -> None:
            with self._lock:
                try:
                    handler(pdu)
                except ValueError as error:
                    if not self.counts["malformed_pdus"]:
                        gr.logger(self.alias()).warn(f"dropped from {name}: {error}")
                    self.counts["malformed_pdus"] += 1
                    return
            self._wake.set()

        self.message_port(name, locked)

    def turn(self) -> None:
        """The block's own work; each block has its own."""

    def post(self, name: str, message: "pmt.pmt_base") -> None:
        """Puts a message into one of the block's ports from outside the graph."""
        self.gateway._post(pmt.intern(name), message)

    def start(self) -> bool:
        self._ends.clear()
        self._worker = threading.Thread(target=self._run, daemon=True)
        self._worker.start()
        return super().start()

    def stop(self) -> bool:
        self._ends.set()
        self._wake.set()
        if self._worker is not None:
            self._worker.join()
        return super().stop()

    def _run(self) -> None:
        while not self._ends.is_set() and self.error is None:
            self._wake.wait(self._period)
            if self._wake.is_set():
                time.sleep(self.GATHER)
            self._wake.clear()
            with self._lock:
                self._call(self.turn)


def _load(
    model: str,
    termination: str,
    threshold: float,
    transmitter_threshold: float,
    snr_db: float | None,
    error_target: float,
):
    """Code and setting of a model; empty, 0 or None: what its card says."""
    code, made_for, _ = files.load(
        model, threshold or None, snr_db, error_target=error_target or None
    )
    setting = made_for.with_(
        termination=termination or None, transmitter_threshold=transmitter_threshold or None
    )
    return code, setting


class feedback_transmitter(_Timed):
    """Transmit by a variable-length feedback code: messages in, symbols out.

    Parameters
    ----------
    model : file, or name of a shipped model; both ends alike, as all that follows to snr_db
    termination : "receiver", "transmitter", "hybrid", "none", or "" for what the model was
        made for
    threshold : log-odds in nats above which the receiver decides a group; 0 for the model's
    transmitter_threshold : belief above which the transmitter stops a block; 0 for the model's
    error_target : undetected block error rate, for belief-driven codes that confirm blocks: it
        chooses threshold and confirmation; 0 for a code without
    snr_db : SNR that a code made for several is told of; None for the model's
    capacity : sessions in flight
    timeout : least seconds before a round is sent again
    max_repeats : of one round, before the session has failed

    Ports: `pdus` takes PDUs of K bits, or several times K, one session each, with the number
    of the first as `session` in the dictionary or counting on. `symbols` and `feedback` are the
    link. `outcomes` tells of sessions that have ended: a PDU of float32, the rounds of each, with
    `session`, `delivered`, `erased`, `symbols`, `energy`, `repeated` as vectors in its
    dictionary.
    """

    def __init__(
        self,
        model: str = "feedback/belief-4bit-1dB",
        termination: str = "",
        threshold: float = 0.0,
        transmitter_threshold: float = 0.0,
        snr_db: float | None = None,
        error_target: float = 0.0,
        capacity: int = 256,
        timeout: float = 0.5,
        max_repeats: int = 10,
    ):
        code, setting = _load(
            model, termination, threshold, transmitter_threshold, snr_db, error_target
        )
        self.session = Transmitter(
            code,
            setting,
            capacity=capacity,
            timeout=timeout,
            max_repeats=max_repeats,
            max_records=capacity,
        )
        super().__init__("feedback_transmitter", timeout / 4)
        self.handle("pdus", self._submit)
        self.handle("feedback", self._feedback)
        for port in ("symbols", "outcomes"):
            self.message_port_register_out(pmt.intern(port))

    def stats(self) -> dict[str, int | float]:
        own = {"in_flight": self.session.in_flight, "backlog": self.session.backlog}
        return super().stats() | dict(self.session.counts) | own

    def _submit(self, pdu) -> None:
        meta, data = _parts(pdu)
        bits = vectors.to_array(data)
        size = self.session.code.parameters.message_bits
        if bits.dtype != np.uint8 or bits.size == 0 or bits.size % size:
            raise ValueError(f"expected messages of {size} bits, got {bits.size} {bits.dtype}")
        first = pmt.to_python(pmt.dict_ref(meta, pmt.intern("session"), pmt.PMT_NIL))
        self.session.submit(bits.reshape(-1, size), first)

    def _feedback(self, pdu) -> None:
        self.session.receive(message_of(pdu), time.monotonic())

    def turn(self) -> None:
        for message in self.session.poll(time.monotonic()):
            self.message_port_pub(pmt.intern("symbols"), pdu_of(message))
        ended = list(self.session.outcomes)
        self.session.outcomes.clear()
        if ended:
            columns = {
                name: np.array([getattr(outcome, name) for outcome in ended], kind)
                for name, kind in (
                    ("session", np.uint32),
                    ("delivered", np.uint8),
                    ("erased", np.uint8),
                    ("symbols", np.uint32),
                    ("energy", np.float32),
                    ("repeated", np.uint32),
                )
            }
            rounds = np.array([outcome.rounds for outcome in ended])
            self.message_port_pub(pmt.intern("outcomes"), outcomes_pdu(rounds, **columns))


class feedback_receiver(_Timed):
    """Receive by a variable-length feedback code: symbols in, decoded messages out.

    Parameters as the transmitter's; idle : seconds without news after which a session has failed.

    Ports: `symbols` and `feedback` are the link. `pdus` gives each message that was decoded
    and whose CRC was right: K bits, with `session`, `stream` (the transmitter's start) and
    `rounds` in the dictionary. `failures`: those that were not, with the `reason`.
    """

    def __init__(
        self,
        model: str = "feedback/belief-4bit-1dB",
        termination: str = "",
        threshold: float = 0.0,
        transmitter_threshold: float = 0.0,
        snr_db: float | None = None,
        error_target: float = 0.0,
        capacity: int = 1024,
        idle: float = 60.0,
    ):
        code, setting = _load(
            model, termination, threshold, transmitter_threshold, snr_db, error_target
        )
        self.session = Receiver(code, setting, capacity=capacity, idle=idle, max_records=capacity)
        super().__init__("feedback_receiver", min(idle / 4, 1.0))
        self.handle("symbols", self._symbols)
        for port in ("feedback", "pdus", "failures"):
            self.message_port_register_out(pmt.intern(port))

    def stats(self) -> dict[str, int | float]:
        own = {"in_flight": self.session.in_flight}
        return super().stats() | dict(self.session.counts) | own

    def _symbols(self, pdu) -> None:
        self.session.receive(message_of(pdu), time.monotonic())

    def turn(self) -> None:
        for message in self.session.poll(time.monotonic()):
            self.message_port_pub(pmt.intern("feedback"), pdu_of(message))
        while self.session.deliveries:
            delivery = self.session.deliveries.popleft()
            stream, number = delivery.session
            meta = pmt.to_pmt({"stream": stream, "session": number, "rounds": delivery.rounds})
            if delivery.bits is None:
                reason = pmt.dict_add(meta, pmt.intern("reason"), pmt.intern(delivery.reason))
                empty = vectors.from_array(np.empty(0, np.uint8))
                self.message_port_pub(pmt.intern("failures"), pmt.cons(reason, empty))
            else:
                data = vectors.from_array(delivery.bits)
                self.message_port_pub(pmt.intern("pdus"), pmt.cons(meta, data))


class feedback_link(_Timed):
    """Simulate a link in one direction: noise on the samples, faults on the messages.

    Parameters
    ----------
    snr_db : 1 / sigma^2 of a real symbol in dB; infinite for no noise
    seed : of all that is random
    drop, double, delay, corrupt : share of the messages that fare so, in [0, 1)
    longest_delay : seconds

    Ports: `in`, `out`.
    """

    def __init__(
        self,
        snr_db: float = 1.0,
        seed: int = 0,
        drop: float = 0.0,
        double: float = 0.0,
        delay: float = 0.0,
        corrupt: float = 0.0,
        longest_delay: float = 0.5,
    ):
        shares = (drop, double, delay, corrupt)
        if not all(0 <= share < 1 for share in shares) or longest_delay <= 0:
            raise ValueError(
                f"expected shares in [0, 1) and a delay above 0, got {shares}, {longest_delay}"
            )
        faults = Faults(drop, double, delay, corrupt, latency=0.0, longest_delay=longest_delay)
        self.link = SimulatedLink(seed, 0.0, faults)
        self.set_snr_db(snr_db)
        super().__init__("feedback_link", 0.02 if delay else 1.0)
        self.handle("in", self._take)
        self.message_port_register_out(pmt.intern("out"))

    def set_snr_db(self, snr_db: float) -> None:
        if np.isnan(snr_db):
            raise ValueError("expected an SNR in dB, got nan")
        self.link.deviation = 10 ** (-snr_db / 20)

    def stats(self) -> dict[str, int | float]:
        return super().stats() | dict(self.link.counts)

    def _take(self, pdu) -> None:
        self.link.send(message_of(pdu), time.monotonic())

    def turn(self) -> None:
        for message in self.link.arrivals(time.monotonic()):
            self.message_port_pub(pmt.intern("out"), pdu_of(message))


def _deprecated(old: str, new: str) -> None:
    warnings.warn(
        f"{old} is deprecated and goes with the next release: take {new}",
        DeprecationWarning,
        stacklevel=3,
    )


def deepvlf_transmitter(
    model: str = "feedback/belief-4bit-1dB",
    termination: str = "",
    threshold: float = 0.0,
    transmitter_threshold: float = 0.0,
    snr_db: float | None = None,
    capacity: int = 256,
    timeout: float = 0.5,
    max_repeats: int = 10,
) -> feedback_transmitter:
    """Make a feedback_transmitter; deprecated. threshold is the probability gamma."""
    _deprecated("deepvlf_transmitter", "feedback_transmitter")
    return feedback_transmitter(
        model,
        termination,
        log_odds(threshold) if threshold else 0.0,
        transmitter_threshold,
        snr_db,
        capacity=capacity,
        timeout=timeout,
        max_repeats=max_repeats,
    )


def deepvlf_receiver(
    model: str = "feedback/belief-4bit-1dB",
    termination: str = "",
    threshold: float = 0.0,
    transmitter_threshold: float = 0.0,
    snr_db: float | None = None,
    capacity: int = 1024,
    idle: float = 60.0,
) -> feedback_receiver:
    """Make a feedback_receiver; deprecated. threshold is the probability gamma."""
    _deprecated("deepvlf_receiver", "feedback_receiver")
    return feedback_receiver(
        model,
        termination,
        log_odds(threshold) if threshold else 0.0,
        transmitter_threshold,
        snr_db,
        capacity=capacity,
        idle=idle,
    )


def deepvlf_link(
    snr_db: float = 1.0,
    seed: int = 0,
    drop: float = 0.0,
    double: float = 0.0,
    delay: float = 0.0,
    corrupt: float = 0.0,
    longest_delay: float = 0.5,
) -> feedback_link:
    """Make a feedback_link; deprecated."""
    _deprecated("deepvlf_link", "feedback_link")
    return feedback_link(snr_db, seed, drop, double, delay, corrupt, longest_delay)
