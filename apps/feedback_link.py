#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a file over a variable-length feedback code.

In one process, over simulated channels in both directions, or as two processes that are
linked by ZeroMQ, each of which simulates the channel that it sends on:

    neuralfec feedback-link --role rx --out copy.bin
    neuralfec feedback-link --role tx --file some.bin --picture rounds.png

Each session carries K bits; its number tells their place in the file. Sessions that fail are
sent again, a limited number of times. Told at the end: rounds, block error rate, rate, the
power really sent, what the return link carried, and the channel's capacity.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import hashlib
import math
import sys
import threading
import time

import numpy as np
import pmt
import zmq
from gnuradio import gr, neuralfec, zeromq
from gnuradio.neuralfec import app, provenance, telemetry, vectors
from gnuradio.neuralfec.feedback import files
from gnuradio.neuralfec.feedback.setting import TERMINATIONS, Setting, log_odds
from gnuradio.neuralfec.feedback.transfer import COLUMNS, PASS, Collector, Sender
from gnuradio.neuralfec.python_block import PythonBlock


class Inbox(PythonBlock, gr.basic_block):
    """Keeps what comes out of a transmitter or receiver."""

    def __init__(self):
        super().__init__("inbox", None, None)
        self.messages: list = []
        self.message_port("in", self.messages.append)


class Loop(gr.top_block):
    """Transmitter, receiver or both, and the simulated links."""

    def __init__(self, arguments: argparse.Namespace, setting: Setting):
        super().__init__("feedback_link")
        code = {
            "model": arguments.model,
            "termination": arguments.termination or "",
            "threshold": theta_of(arguments) or 0.0,
            "snr_db": arguments.snr,
            "error_target": arguments.error_target or 0.0,
        }
        faults = {name: getattr(arguments, name) for name in ("drop", "double", "delay", "corrupt")}
        back_snr = math.inf if setting.feedback_snr_db is None else setting.feedback_snr_db
        self.transmitter = self.receiver = None
        if arguments.role != "rx":
            self.transmitter = neuralfec.feedback_transmitter(
                **code, capacity=arguments.capacity, timeout=arguments.timeout
            )
            self.forward = neuralfec.feedback_link(setting.snr_db, arguments.seed, **faults)
            self.outcomes = Inbox()
            self.msg_connect(self.transmitter, "symbols", self.forward, "in")
            self.msg_connect(self.transmitter, "outcomes", self.outcomes, "in")
        if arguments.role != "tx":
            self.receiver = neuralfec.feedback_receiver(**code, capacity=2 * arguments.capacity)
            self.back = neuralfec.feedback_link(back_snr, arguments.seed + 1, **faults)
            self.decoded = Inbox()
            self.msg_connect(self.receiver, "feedback", self.back, "in")
            self.msg_connect(self.receiver, "pdus", self.decoded, "in")
        if arguments.role == "both":
            self.msg_connect(self.forward, "out", self.receiver, "symbols")
            self.msg_connect(self.back, "out", self.transmitter, "feedback")
        elif arguments.role == "tx":
            self.sink = zeromq.push_msg_sink(arguments.forward, 100, True)
            self.source = zeromq.pull_msg_source(arguments.back, 100, False)
            self.msg_connect(self.forward, "out", self.sink, "in")
            self.msg_connect(self.source, "out", self.transmitter, "feedback")
        else:
            self.sink = zeromq.push_msg_sink(arguments.back, 100, True)
            self.source = zeromq.pull_msg_source(arguments.forward, 100, False)
            self.msg_connect(self.source, "out", self.receiver, "symbols")
            self.msg_connect(self.back, "out", self.sink, "in")

    def check(self) -> None:
        """RuntimeError if one of the blocks has failed."""
        for block in (self.transmitter, self.receiver):
            if block is not None and block.error is not None:
                raise RuntimeError(f"{block.alias()}: {block.error}")


def theta_of(arguments: argparse.Namespace) -> float | None:
    """The threshold that the options ask for, as log-odds."""
    return None if arguments.threshold is None else log_odds(arguments.threshold)


def send(loop: Loop, sender: Sender) -> bool:
    """Hand outcomes to the sender and its messages to the loop; True when all is done."""
    while loop.outcomes.messages:
        pdu = loop.outcomes.messages.pop(0)
        columns = {"rounds": vectors.to_array(pmt.cdr(pdu))}
        for name in COLUMNS:
            if name != "rounds":
                column = pmt.dict_ref(pmt.car(pdu), pmt.intern(name), pmt.PMT_NIL)
                columns[name] = vectors.to_array(column)
        sender.ended(columns)
    for first, messages in sender.due():
        meta = pmt.to_pmt({"session": first})
        loop.transmitter.post("pdus", pmt.cons(meta, vectors.from_array(messages.ravel())))
    return sender.done


def collect(loop: Loop, collector: Collector) -> bool:
    """Hand deliveries to the collector; True when the data is whole."""
    while loop.decoded.messages:
        message = loop.decoded.messages.pop(0)
        meta = pmt.to_python(pmt.car(message))
        collector.take(meta["stream"], meta["session"], vectors.to_array(pmt.cdr(message)))
    return collector.whole


def run(arguments: argparse.Namespace) -> int:
    code, made_for, card = files.load(
        arguments.model, theta_of(arguments), arguments.snr, error_target=arguments.error_target
    )
    setting = made_for.with_(
        feedback_snr_db=arguments.feedback_snr, termination=arguments.termination
    )
    code.check(setting)
    p = code.parameters
    print(f"{card.name}: {setting.termination} termination, {setting}", flush=True)
    data = b""
    most = (PASS - 1) * (p.message_bits // 8)
    if arguments.file is not None and (arguments.file.size or 0) > most:
        raise ValueError(f"{arguments.file}: expected a file of at most {most} bytes")
    if arguments.role != "rx":
        data = (
            np.random.default_rng(arguments.seed).bytes(arguments.bytes)
            if arguments.file is None
            else arguments.file.read_bytes()
        )
        if not data:
            raise ValueError(f"{arguments.file or '--bytes'}: there is nothing to send")
    if arguments.picture:
        app.check_picture(arguments.picture)
    loop = Loop(arguments, setting)
    sender = Sender(data, p.message_bits, arguments.passes) if loop.transmitter else None
    collector = Collector() if loop.receiver else None
    start = heard = time.monotonic()
    before: object = None
    whole = sent = False
    total = len(sender.messages) if sender else None
    progress = app.Progress(total, "blocks", arguments.quiet)
    with telemetry.told(arguments.stats, lambda: telemetry.of_blocks(loop)):
        loop.start()
        try:
            while not ((sender is None or sent) and (collector is None or whole or sent)):
                time.sleep(0.02)
                loop.check()
                progress.update(*(sender or collector).state())
                sent = sender is not None and send(loop, sender)
                whole = collector is not None and collect(loop, collector)
                news = (loop.transmitter or loop.receiver).stats().get("messages")
                if news != before:
                    before, heard = news, time.monotonic()
                if time.monotonic() - heard > arguments.patience:
                    raise RuntimeError(f"nothing heard for {arguments.patience:g} s")
            seconds = time.monotonic() - start
            if arguments.role == "rx":
                # The last answers may be asked for once more.
                time.sleep(arguments.linger)
        except KeyboardInterrupt:
            there = collector.part() if collector else b""
            if there and arguments.out:
                arguments.out.write_bytes(there)
            raise app.Interrupted(
                f"{(sender or collector).state()[0]} blocks are through, "
                f"{len(there)} bytes from the file's start"
            ) from None
        finally:
            progress.clear()
            over = threading.Event()
            if arguments.role != "both" and not (sent or whole):
                address = arguments.forward if arguments.role == "tx" else arguments.back
                threading.Thread(target=take, args=(address, over), daemon=True).start()
            loop.stop()
            loop.wait()
            over.set()
    result = {"model": card.name, "role": arguments.role, "seconds": seconds}
    status = 0
    if sender is not None:
        result |= sender.results(setting.snr_db, p.groups)
        result["forward_control_bits"] = loop.transmitter.stats()["control_bits"]
        result["file_sha256"] = hashlib.sha256(data).hexdigest()
        status = int(len(sender.missing) > 0)
        tell(result, seconds)
    if collector is not None:
        stats = loop.receiver.stats()
        result["feedback_control_bits"] = stats.get("control_bits", 0)
        result["feedback_samples"] = stats.get("feedback_samples", 0)
        result["feedback_bits"] = stats.get("feedback_bits", 0)
        delivered = max(1, stats.get("delivered", 0))
        print(
            f"return link          {result['feedback_samples'] / delivered:.1f} samples, "
            f"{result['feedback_bits'] / delivered:.1f} bits of digital feedback and "
            f"{result['feedback_control_bits'] / delivered:.0f} control bits a block"
        )
        if not whole:
            print("the file is not whole")
            status = 1
        else:
            received = collector.data()
            digest = hashlib.sha256(received).hexdigest()
            result["received_sha256"] = digest
            print(f"received             {len(received)} bytes, SHA-256 {digest[:16]}")
            if arguments.out:
                arguments.out.write_bytes(received)
    if arguments.json:
        arguments.json.write_json({**result, "made_by": provenance.record()})
    if arguments.picture and sender is not None:
        draw(arguments.picture.path, result)
    return status


def take(address: str, over: threading.Event) -> None:
    """Take what a sink still holds: without a peer its send does not return, nor does the graph."""
    with zmq.Context() as context, context.socket(zmq.PULL) as socket:
        socket.connect(address)
        while not over.is_set():
            if socket.poll(50):
                socket.recv()


def tell(result: dict, seconds: float) -> None:
    low, high = result["block_error_rate_interval"]
    print(
        f"sessions             {result['sessions']} in {seconds:.1f} s, "
        f"{result['block_errors']} wrong and {result['erasures']} erased, which are sent again\n"
        f"block error rate     {result['block_error_rate']:.2e} [{low:.1e}, {high:.1e}], "
        f"undetected\nerasure rate         {result['erasure_rate']:.2e}\n"
        f"average rounds       {result['average_rounds']:.3f} of a group\n"
        f"rate                 {result['rate']:.4f} bit/symbol; capacity "
        f"{result['capacity']:.4f}, {result['capacity_at_real_snr']:.4f} at the real SNR\n"
        f"mean power           {result['mean_power']:.4f} of the symbols sent, "
        f"{result['repeated_symbols']} sent again"
    )
    print("rounds of a block")
    most = max(result["rounds_histogram"])
    for rounds, count in enumerate(result["rounds_histogram"]):
        if count:
            print(f"{rounds:6d} {count:8d} {'#' * round(50 * count / most)}")


def draw(file: str, result: dict) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6, 4), layout="constrained")
    axes.bar(range(len(result["rounds_histogram"])), result["rounds_histogram"])
    axes.set(
        xlabel="rounds of a block",
        ylabel="blocks",
        title=f"{result['model']}: rate {result['rate']:.3f} bit/symbol, "
        f"capacity {result['capacity']:.3f}",
    )
    figure.savefig(file, dpi=120)


def parser() -> app.Parser:
    made = app.parser(
        __doc__, "neuralfec feedback-link --file file.bin --out copy.bin --json link.json"
    )
    made.add_argument(
        "--role",
        choices=["both", "tx", "rx"],
        default="both",
        help="the two ends in one process, or one of them",
    )
    made.add_argument("--file", type=app.InputFile, help="to send; random bytes if absent")
    made.add_argument("--bytes", type=int, default=6000, help="how many of them")
    made.add_argument("--out", type=app.OutputFile, help="where to write what was received")
    made.add_argument("--model", default="feedback/belief-4bit-1dB", help="file or shipped name")
    made.add_argument("--snr", type=float, help="forward SNR in dB, 1/sigma^2")
    made.add_argument("--feedback-snr", type=float, help="feedback SNR in dB, inf: noiseless")
    made.add_argument(
        "--termination",
        choices=TERMINATIONS,
        help="who ends a block",
    )
    threshold = made.add_mutually_exclusive_group()
    threshold.add_argument("--threshold", type=float, help="of the receiver, a probability gamma")
    threshold.add_argument(
        "--error-target", type=float, help="undetected block error rate, by confirmed blocks"
    )
    for fault in ("drop", "double", "delay", "corrupt"):
        made.add_argument(
            f"--{fault}", type=float, default=0.0, help="share of messages the links do this to"
        )
    made.add_argument("--capacity", type=int, default=256, help="sessions in flight")
    made.add_argument("--timeout", type=float, default=0.5, help="seconds to a repeat, at least")
    made.add_argument("--passes", type=int, default=3, help="attempts at a block")
    made.add_argument("--patience", type=float, default=30.0, help="seconds without a message")
    made.add_argument("--linger", type=float, default=2.0, help="seconds rx stays at the end")
    made.add_argument("--forward", default="tcp://127.0.0.1:5555", help="address tx binds")
    made.add_argument("--back", default="tcp://127.0.0.1:5556", help="address rx binds")
    made.add_argument("--seed", type=int, default=0, help="of noise, faults and random bytes")
    made.add_argument("--picture", type=app.OutputFile, help="histogram of the rounds")
    made.add_argument("--json", type=app.OutputFile, help="write all figures here")
    telemetry.add_option(made)
    app.add_quiet(made)
    return made


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
