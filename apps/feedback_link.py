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
from gnuradio.neuralfec import app, provenance, vectors
from gnuradio.neuralfec.feedback import evaluation, files
from gnuradio.neuralfec.python_block import PythonBlock
from gnuradio.neuralfec.simulation import clopper_pearson

# Session numbers of one pass over the file are at most this many.
PASS = 1 << 24


class Inbox(PythonBlock, gr.basic_block):
    """Keeps what comes out of a transmitter or receiver."""

    def __init__(self):
        super().__init__("inbox", None, None)
        self.messages: list = []
        self.message_port("in", self.messages.append)


class Loop(gr.top_block):
    """Transmitter, receiver or both, and the simulated links."""

    def __init__(self, arguments: argparse.Namespace, setting: evaluation.Setting):
        super().__init__("feedback_link")
        code = {
            "model": arguments.model,
            "termination": arguments.termination or "",
            "threshold": arguments.threshold or 0.0,
            "snr_db": arguments.snr,
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


class Sender:
    """Cuts data into messages and sends them until all are delivered."""

    def __init__(self, loop: Loop, data: bytes, passes: int):
        self.loop = loop
        self.bits = loop.transmitter.session.code.parameters.message_bits
        size = self.bits // 8
        content = len(data).to_bytes(size, "big") + data
        padded = np.frombuffer(content + bytes(-len(content) % size), np.uint8)
        rows = np.unpackbits(padded.reshape(-1, size), axis=1)
        if len(rows) > PASS:
            raise ValueError(f"expected a file of at most {(PASS - 1) * size} bytes")
        self.messages = np.zeros((len(rows), self.bits), np.uint8)
        self.messages[:, : 8 * size] = rows
        self.passes, self.turn = passes, 0
        self.missing = np.arange(len(rows))
        self.waiting: dict[int, int] = {}
        self.columns: dict[str, list[np.ndarray]] = {}

    def step(self) -> bool:
        """Takes outcomes, sends what failed again; True when there is nothing left to do."""
        while self.loop.outcomes.messages:
            pdu = self.loop.outcomes.messages.pop(0)
            meta, rounds = pmt.car(pdu), pmt.cdr(pdu)
            self.columns.setdefault("rounds", []).append(vectors.to_array(rounds))
            for name in ("session", "delivered", "symbols", "energy", "repeated"):
                column = vectors.to_array(pmt.dict_ref(meta, pmt.intern(name), pmt.PMT_NIL))
                self.columns.setdefault(name, []).append(column)
            for number, delivered in zip(
                self.columns["session"][-1], self.columns["delivered"][-1], strict=True
            ):
                place = self.waiting.pop(int(number))
                if not delivered:
                    self.missing = np.append(self.missing, place)
        if self.waiting:
            return False
        if self.missing.size == 0 or self.turn == self.passes:
            return True
        # The place in the file is the number's rest, so gaps split the submission.
        self.missing.sort()
        first = self.turn * PASS
        for part in np.split(self.missing, np.flatnonzero(np.diff(self.missing) > 1) + 1):
            meta = pmt.to_pmt({"session": first + int(part[0])})
            data = vectors.from_array(self.messages[part].ravel())
            self.waiting.update((first + int(place), int(place)) for place in part)
            self.loop.transmitter.post("pdus", pmt.cons(meta, data))
        self.missing = np.empty(0, np.int64)
        self.turn += 1
        return False

    def state(self) -> tuple[int, str]:
        """Blocks that are delivered, and how many of all."""
        done = len(self.messages) - len(self.missing) - len(self.waiting)
        return done, f"{done} of {len(self.messages)} blocks"

    def results(self, setting: evaluation.Setting) -> dict:
        columns = {name: np.concatenate(parts) for name, parts in self.columns.items()}
        sessions, symbols = len(columns["rounds"]), float(columns["symbols"].sum())
        wrong = sessions - int(columns["delivered"].sum())
        energy = float(columns["energy"].sum(dtype=np.float64))
        groups = self.loop.transmitter.session.code.parameters.groups
        power = energy / symbols
        snr = 10 ** (setting.snr_db / 10)
        stats = self.loop.transmitter.stats()
        return {
            "sessions": sessions,
            "failed_sessions": wrong,
            "block_error_rate": wrong / sessions,
            "block_error_rate_interval": list(clopper_pearson(wrong, sessions)[1:]),
            "average_rounds": symbols / groups / sessions,
            "rounds_histogram": np.bincount(columns["rounds"].astype(int)).tolist(),
            "rate": self.bits * sessions / symbols,
            "mean_power": power,
            "repeated_symbols": int(columns["repeated"].sum()),
            "capacity": 0.5 * math.log2(1 + snr),
            "capacity_at_real_snr": 0.5 * math.log2(1 + snr * power),
            "forward_control_bits": stats["control_bits"],
            "blocks_missing": len(self.missing),
        }


class Collector:
    """Puts data together again from what a receiver delivers."""

    def __init__(self, loop: Loop):
        self.loop = loop
        self.parts: dict[int, bytes] = {}
        self.stream: int | None = None

    def step(self) -> bool:
        """Takes deliveries; True when the data is whole."""
        while self.loop.decoded.messages:
            message = self.loop.decoded.messages.pop(0)
            meta = pmt.to_python(pmt.car(message))
            if meta["stream"] != self.stream:
                self.stream, self.parts = meta["stream"], {}
            bits = vectors.to_array(pmt.cdr(message))
            packed = np.packbits(bits[: bits.size // 8 * 8]).tobytes()
            self.parts[meta["session"] % PASS] = packed
        return 0 in self.parts and len(self.parts) == self.count()

    def state(self) -> tuple[int, str]:
        """Blocks that are here, and how many of all."""
        return len(self.parts), f"of {self.count()}" if 0 in self.parts else ""

    def part(self) -> bytes:
        """The data's beginning, as far as it is whole."""
        whole = next(place for place in range(len(self.parts) + 1) if place not in self.parts)
        length = int.from_bytes(self.parts[0], "big") if whole else 0
        return b"".join(self.parts[place] for place in range(1, whole))[:length]

    def count(self) -> int:
        size = len(self.parts[0])
        return 1 - -int.from_bytes(self.parts[0], "big") // size

    def data(self) -> bytes:
        length = int.from_bytes(self.parts[0], "big")
        return b"".join(self.parts[i] for i in range(1, self.count()))[:length]


def run(arguments: argparse.Namespace) -> int:
    code, made_for, card = files.load(
        arguments.model, threshold=arguments.threshold, snr_db=arguments.snr
    )
    setting = evaluation.override(
        made_for,
        feedback_snr_db=arguments.feedback_snr,
        termination=arguments.termination,
        threshold=arguments.threshold,
    )
    if code.parameters.message_bits < 8:
        raise ValueError("expected a code of at least 8 message bits")
    print(f"{card.name}: {setting.termination} termination, {files.describe(setting)}", flush=True)
    data = b""
    most = (PASS - 1) * (code.parameters.message_bits // 8)
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
    sender = Sender(loop, data, arguments.passes) if loop.transmitter else None
    collector = Collector(loop) if loop.receiver else None
    start = heard = time.monotonic()
    before: object = None
    whole = sent = False
    total = len(sender.messages) if sender else None
    progress = app.Progress(total, "blocks", arguments.quiet)
    loop.start()
    try:
        while not ((sender is None or sent) and (collector is None or whole or sent)):
            time.sleep(0.02)
            loop.check()
            progress.update(*(sender or collector).state())
            sent = sender is not None and sender.step()
            whole = collector is not None and collector.step()
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
        result |= sender.results(setting)
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
        f"{result['failed_sessions']} failed and sent again\n"
        f"block error rate     {result['block_error_rate']:.2e} [{low:.1e}, {high:.1e}]\n"
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
        choices=evaluation.TERMINATIONS,
        help="who ends a block",
    )
    made.add_argument("--threshold", type=float, help="gamma of the receiver")
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
    app.add_quiet(made)
    return made


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
