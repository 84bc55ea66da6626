#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a file by a feedback code over bursts of radio samples.

The initiator sends bursts of one round of many blocks over a weak link; the responder answers each
over a strong one. Lost, doubled and torn bursts are sent again or left out, and super-blocks whose
CRC fails are not handed on: they are told, and the exit status is 1. Both ends are two processes
with a radio each, or one with two.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
from gnuradio import gr
from gnuradio.neuralfec import app, codes, provenance, simulation, telemetry
from gnuradio.neuralfec.phy.burst import PRESETS
from gnuradio.neuralfec.phy.constellation import NAMES
from gnuradio.neuralfec.radio import front_end
from gnuradio.neuralfec.radio.feedback_framing import (
    FEEDBACK,
    STEPS,
    FeedbackFraming,
    feedback_code,
)
from gnuradio.neuralfec.radio.feedback_link import Initiator, Responder
from gnuradio.neuralfec.radio.feedback_station import AnsweringStation, InitiatingStation, Station
from gnuradio.neuralfec.radio.streams import Running, burst_feed, room_for, sample_tap
from rich.console import Console
from rich.live import Live

# Seconds that a burst may take from one thread to the other.
_PATIENCE = 0.05


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec feedback-radio --front-end loop:feedback,snr=24 --other loop:feedback,snr=3 "
        "--blocks 60 --file file.bin --out out.bin",
    )
    made.add_argument(
        "--role",
        default="both",
        choices=["initiator", "responder", "both"],
        help="send the file, receive it",
    )
    made.add_argument(
        "--front-end", required=True, metavar="SPEC", help=", ".join(front_end.REGISTRY.specs())
    )
    made.add_argument(
        "--other", metavar="SPEC", help="the responder's front end (role both), of the same kinds"
    )
    made.add_argument(
        "--processes",
        type=int,
        default=1,
        choices=[1, 2],
        help="of role both: 2 start the initiator as a program of its own",
    )
    made.add_argument("--file", type=app.InputFile, help="to send (initiator, both)")
    made.add_argument("--out", type=app.OutputFile, help="what came (responder, both)")
    made.add_argument(
        "--feedback",
        default="digital",
        choices=list(FEEDBACK),
        help="levels of what was heard, coded; or a real symbol for each group, uncoded",
    )
    made.add_argument("--model", help="made for that feedback (default: the shipped one)")
    made.add_argument(
        "--threshold", type=float, default=11.0, help="log-odds in nats that end a group"
    )
    made.add_argument(
        "--feedback-bits",
        type=int,
        choices=list(STEPS),
        help="of a level of digital feedback (default: the model's)",
    )
    made.add_argument("--blocks", type=int, default=2100, help="blocks of a burst at first")
    made.add_argument("--format", default="burst-128", choices=list(PRESETS), help="of the bursts")
    made.add_argument("--answer-code", default="wifi-648", help=", ".join(codes.specs()))
    made.add_argument("--answer-constellation", default="qam256", help=", ".join(NAMES))
    made.add_argument(
        "--timeout", type=float, help="seconds before a burst comes again (default: by its length)"
    )
    made.add_argument(
        "--patience", type=float, default=10.0, help="seconds without a burst before it gives up"
    )
    front_end.add_options(made)
    made.add_argument("--json", type=app.OutputFile, help="counts and figures to write")
    app.add_quiet(made)
    telemetry.add_option(made)
    return made


def check(args: argparse.Namespace) -> None:
    """Refuse options that do not go together, before any work."""
    if args.role != "responder" and args.file is None:
        raise ValueError(f"--role {args.role}: expected --file, the file to send")
    if args.role != "initiator" and args.out is None:
        raise ValueError(f"--role {args.role}: expected --out, the file to write")
    if args.role == "responder" and args.file is not None:
        raise ValueError("--role responder: --file is of initiator and both")
    if args.role == "initiator" and args.out is not None:
        raise ValueError("--role initiator: --out is of responder and both")
    if (args.role == "both") != (args.other is not None):
        raise ValueError("--other: expected with --role both, and with it alone")
    if args.processes == 2 and (args.role != "both" or args.file.is_stdin):
        raise ValueError("--processes 2: expected --role both, and a file that is read twice")
    for name in ("patience", "timeout"):
        value = getattr(args, name)
        if value is not None and not (np.isfinite(value) and value > 0):
            raise ValueError(f"--{name}: expected more than 0 seconds, got {value}")
    for spec in filter(None, (args.front_end, args.other)):
        radio = front_end.front_end(spec, front_end.settings_of(args))
        if not (radio.live and radio.transmits and radio.receives):
            raise ValueError(
                f"{spec}: expected a front end that sends and receives, got {radio.describe()}"
            )


class Transceiver:
    """A station with its front end: what comes goes to it, and what it makes goes out."""

    def __init__(self, spec: str, args: argparse.Namespace, station: Station) -> None:
        self.station = station
        self.radio = front_end.front_end(spec, front_end.settings_of(args))

        taken = threading.Event()

        def push(samples: np.ndarray) -> None:
            taken.clear()
            if station.push(samples):
                self._feed.wake()
                # What is sent goes first: the work that waits would hold the processor and the end.
                taken.wait(_PATIENCE)
                station.settle()

        def next_burst() -> np.ndarray | None:
            burst = station.next()
            if burst is not None:
                taken.set()
            return burst

        self._tap = sample_tap(push, station.gap)
        source = self.radio.source()
        source.set_min_output_buffer(0, 1 << 18)
        self._listening, self._sending = gr.top_block(), gr.top_block()
        self._listening.connect(source, self._tap)
        self._feed = burst_feed(next_burst, lambda: False)
        longest = station.end.framing.longest
        self._feed.set_min_output_buffer(0, room_for(longest))
        self._sending.connect(self._feed, self.radio.sink(longest))

    @property
    def name(self) -> str:
        """Which end it is."""
        return type(self.station.end).__name__.lower()

    @property
    def air_seconds(self) -> float:
        """How long this end has sent."""
        return self._feed.counts["samples"] / self.radio.settings.sample_rate

    def run(self) -> list[Running]:
        """Start both directions, the ear first."""
        tap, feed = self._tap, self._feed
        return [
            Running(self._listening, [tap], self.radio, lambda: tap.counts["samples"]),
            Running(
                self._sending,
                [feed],
                self.radio,
                lambda: feed.counts["samples"],
                lambda: feed.idle,
            ),
        ]


def line(initiator: Initiator | None, responder: Responder | None) -> str:
    """One line of live figures."""
    parts = []
    if initiator is not None:
        parts.append(
            f"{initiator.round} rounds, {initiator.counts['repeated_bursts']} bursts again"
        )
    if responder is not None:
        snr = f", SNR {10 * np.log10(responder.snr[-1]):.1f} dB" if responder.snr else ""
        parts.append(f"{responder.counts['blocks']} of {len(responder.messages)} blocks came{snr}")
    return "; ".join(parts)


def link(
    args: argparse.Namespace,
    framing: FeedbackFraming,
    initiator: Initiator | None,
    responder: Responder | None,
    live: Live,
    peer: subprocess.Popen[str] | None = None,
) -> dict[str, Any]:
    """Run the link until all is there or nothing comes any more; return its figures.

    peer : the initiator, where it is another program
    """
    stations = []
    if responder is not None:
        spec = args.other or args.front_end
        stations.append(Transceiver(spec, args, AnsweringStation(responder)))
    if initiator is not None:
        station = InitiatingStation(initiator, args.rate, args.timeout or 0.0)
        stations.append(Transceiver(args.front_end, args, station))
    running: list[Running] = []
    began = time.monotonic()
    stopped = ""
    try:
        with telemetry.told(args.stats, lambda: stats(stations)):
            for station in stations:
                running += station.run()
            began = time.monotonic()
            while True:
                for one in running:
                    one.over()
                live.update(line(initiator, responder))
                now = time.monotonic()
                if initiator is not None and initiator.over:
                    break
                if peer is not None and peer.poll() is not None:
                    if peer.returncode and peer.stderr is not None:
                        raise RuntimeError(f"the initiator: {peer.stderr.read().strip()}")
                    break
                last = max(one.station.heard for one in stations)
                # The initiator may not have got the last answer.
                done = responder is not None and responder.over
                if now > last + (1.0 if done else args.patience):
                    stopped = "" if done else f"nothing came for {args.patience:g} s"
                    if stopped and responder is not None and responder.counts["misfit_bursts"]:
                        stopped += ", bursts of other sizes did: set both ends alike"
                    break
                time.sleep(0.02)
    except KeyboardInterrupt:
        stopped = "interrupted"
    finally:
        for one in running:
            one.stop()
        for station in stations:
            station.radio.close(True)
    if responder is not None and not (stopped or responder.over):
        stopped = "not all of it came"
    # The other program may have begun later.
    began = min((one.station.first for one in stations if one.station.first), default=began)
    seconds = max(one.station.heard for one in stations) - began
    found = figures(framing, initiator, responder, stations, seconds)
    return found | ({"stopped": f"{stopped}: {line(initiator, responder)}"} if stopped else {})


def stats(stations: list[Transceiver]) -> dict[str, dict[str, Any]]:
    """Counts of the ends and of their receivers, by name."""
    return {one.name: one.station.end.stats() for one in stations}


def figures(
    framing: FeedbackFraming,
    initiator: Initiator | None,
    responder: Responder | None,
    stations: list[Transceiver],
    seconds: float,
) -> dict[str, Any]:
    """What a run gives."""
    bits = framing.code.parameters.message_bits
    found: dict[str, Any] = {"seconds": seconds, "counts": stats(stations)}
    found["air_seconds"] = {one.name: one.air_seconds for one in stations}
    found["host_turnaround_ms"] = {
        one.name: 1e3 * float(np.median(one.station.turnarounds))
        for one in stations
        if one.station.turnarounds
    }
    if initiator is not None and initiator.counts["reals"]:
        reals = initiator.counts["reals"]
        blocks = int(initiator.messages.shape[0])
        found |= {
            "blocks": blocks,
            "rate": blocks * bits / reals if initiator.over else None,
            "mean_power": initiator.energy / reals,
        }
    if responder is not None and responder.super_blocks:
        blocks = responder.counts["blocks"]
        found |= {
            "blocks": blocks,
            "block_error_rate_by_posterior": responder.error_estimate / max(blocks, 1),
            "super_blocks": responder.super_blocks,
            "right_super_blocks": responder.counts["right_super_blocks"],
            "refused_super_blocks": [
                number for number, body in enumerate(responder.bodies) if body is None
            ],
            "snr_db": 10 * float(np.log10(np.mean(responder.snr))),
            # What is handed on.
            "bits_a_second": 8
            * framing.capacity
            * responder.counts["right_super_blocks"]
            / max(seconds, 1e-9),
        }
    return found


def compared(framing: FeedbackFraming, responder: Responder, data: bytes) -> dict[str, Any]:
    """Count what is wrong of what came, by what was sent."""
    if responder.counts["blocks"] == 0 or not responder.over:
        return {}
    sent = framing.bodies(data)
    messages = framing.messages(sent)
    wrong = int((messages != responder.messages).any(1).sum())
    low, high = simulation.clopper_pearson(wrong, len(messages))[1:]
    pairs = zip(responder.bodies, sent, strict=True)
    return {
        "block_errors": wrong,
        "block_error_rate_interval": [low, high],
        "wrong_super_blocks_handed_on": sum(came not in (None, body) for came, body in pairs),
    }


def write(file: app.OutputFile, responder: Responder) -> None:
    """Write the super-blocks that are right, zeros where one is not; errors end the program."""
    if not responder.bodies:
        raise RuntimeError("no super-block came")
    empty = bytes(responder.framing.capacity)
    file.write_bytes(b"".join(body or empty for body in responder.bodies)[: responder.size])


def start_initiator(args: argparse.Namespace, record: str) -> subprocess.Popen[str]:
    """Start the other end as a program of its own, which writes its record."""
    skipped = ("help", "role", "out", "other", "processes", "json", "quiet", "stats")
    program = "import sys; from gnuradio.neuralfec.command import main; sys.exit(main())"
    words = [sys.executable, "-c", program, "feedback-radio", "--role", "initiator"]
    words += ["--json", record, "--quiet"]
    for action in parser()._actions:
        value = getattr(args, action.dest, None)
        if action.dest not in skipped and value != action.default:
            words.append(f"{action.option_strings[-1]}={value}")
    return subprocess.Popen(words, stderr=subprocess.PIPE, text=True)


def with_peer(
    args: argparse.Namespace, framing: FeedbackFraming, responder: Responder, live: Live
) -> dict[str, Any]:
    """Run the link with the initiator in a program of its own; the figures of both."""
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder, "initiator.json")
        peer = start_initiator(args, str(record))
        try:
            found = link(args, framing, None, responder, live, peer)
            with contextlib.suppress(subprocess.TimeoutExpired):
                peer.wait(args.patience)
        finally:
            peer.terminate()
            peer.communicate()
        # One that was stopped may not have written any.
        other = json.loads(record.read_text()) if record.exists() else {}
    for key in ("counts", "host_turnaround_ms", "air_seconds"):
        found[key] |= other.get(key, {})
    return found | {key: other[key] for key in ("rate", "mean_power") if key in other}


def run(args: argparse.Namespace) -> int:
    check(args)
    code = feedback_code(args.feedback, args.model, args.threshold, args.feedback_bits)
    framing = FeedbackFraming(
        code, args.blocks, args.format, args.answer_code, args.answer_constellation
    )
    initiator = responder = None
    data = b""
    if args.file is not None:
        most = framing.most_bytes
        with args.file.open() as file:
            data = file.read(most + 1)
        if not 0 < len(data) <= most:
            got = "an empty one" if not data else "more"
            raise ValueError(f"{args.file}: expected a file of 1 to {most} bytes, got {got}")
        if args.processes == 1:
            initiator = Initiator(framing, data)
    if args.out is not None:
        responder = Responder(framing)
    console = Console(stderr=True, quiet=args.quiet)
    with Live("", console=console, refresh_per_second=4, transient=True) as live:
        if responder is not None and args.processes == 2:
            found = with_peer(args, framing, responder, live)
        else:
            found = link(args, framing, initiator, responder, live)
    if responder is not None and args.role == "both":
        found |= compared(framing, responder, data)
    if args.json:
        parameters = {key: value for key, value in vars(args).items() if value is not None}
        args.json.write_json(provenance.record() | {"parameters": parameters} | found)
    stopped = found.get("stopped", "")
    if responder is not None and (responder.bodies or not stopped):
        write(args.out, responder)
    if stopped.startswith("interrupted"):
        raise app.Interrupted(stopped.removeprefix("interrupted: "))
    if stopped and not (responder and responder.bodies):
        raise RuntimeError(stopped)
    if not args.quiet:
        print(told(args, found) + (f"; {stopped}" if stopped else ""))
    return app.INCOMPLETE if stopped or found.get("refused_super_blocks") else app.OK


def told(args: argparse.Namespace, found: dict[str, Any]) -> str:
    """One line of what a run gave."""
    parts = []
    if "super_blocks" in found:
        parts.append(
            f"{args.out}: {found['right_super_blocks']} of {found['super_blocks']} super-blocks, "
            f"SNR {found['snr_db']:.1f} dB, {found['bits_a_second'] / 1e3:.1f} kbit/s, "
            f"BLER by posterior {found['block_error_rate_by_posterior']:.1e}"
        )
    if "block_errors" in found:
        parts.append(
            f"{found['block_errors']} of {found['blocks']} blocks wrong, "
            f"{found['wrong_super_blocks_handed_on']} super-blocks of them handed on"
        )
    if found.get("rate"):
        parts.append(f"rate {found['rate']:.4f} bit a real, power {found['mean_power']:.3f}")
    for name, value in found["host_turnaround_ms"].items():
        parts.append(f"turnaround of the {name}'s host {value:.1f} ms")
    return ", ".join(parts)


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
