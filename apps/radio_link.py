#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a file over coded bursts of radio samples, or receive one.

The file is cut into numbered frames with CRC-32; each is coded, interleaved and mapped, and bursts
of them go to a front end: a radio, the loop device, or a recording for any program's channel. The
receiver finds bursts at any carrier offset up to 11 subcarrier spacings and any gain, and writes
the frames whose CRC is right. With --retransmit at both ends, what is lost comes again. Frames that
are missing in the end are told, and the exit status is 1.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import itertools
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
from gnuradio import gr
from gnuradio.neuralfec import app, codes, decoders, provenance, quantization, telemetry
from gnuradio.neuralfec.framing import ranges
from gnuradio.neuralfec.phy.burst import PRESETS
from gnuradio.neuralfec.phy.constellation import NAMES
from gnuradio.neuralfec.radio import file_link, front_end, recordings
from gnuradio.neuralfec.radio.streams import Running, burst_feed, sample_tap
from rich.console import Console
from rich.live import Live

# Amplitude of what is written: room for OFDM's peaks below 1, full scale of most radios.
AMPLITUDE = 0.2
PICTURE_SYMBOLS = 5000


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec radio-link --front-end loop:air,snr=20,cfo=500 --file file.bin --out out.bin",
        "neuralfec radio-link --front-end file:air.c64 --file file.bin --out out.bin",
        "neuralfec radio-link --role tx --front-end sigmf:tx.sigmf-meta --file file.bin",
        "neuralfec radio-link --role rx --front-end sigmf:tx.sigmf-meta --out o.bin --json j.json",
    )
    made.add_argument("--role", default="both", choices=["tx", "rx", "both"], help="send, receive")
    made.add_argument(
        "--front-end", required=True, metavar="SPEC", help=", ".join(front_end.REGISTRY.specs())
    )
    made.add_argument("--file", type=app.InputFile, help="to send (tx, both)")
    made.add_argument("--out", type=app.OutputFile, help="what was received (rx, both)")
    made.add_argument("--code", default="wifi-648", help=", ".join(codes.specs()))
    made.add_argument("--decoder", default="bp:50", help=", ".join(decoders.specs()))
    made.add_argument("--constellation", default="qam16", help=", ".join([*NAMES, "file:PATH"]))
    made.add_argument("--format", default="burst-128", choices=list(PRESETS), help="of the bursts")
    made.add_argument("--symbols", type=int, default=100, help="payload symbols a burst")
    made.add_argument(
        "--second-pass",
        action="store_true",
        help="demodulate bursts with wrong frames again, the right ones as pilots",
    )
    made.add_argument(
        "--retransmit",
        action="store_true",
        help="send lost frames again; both ends need it, and a front end that does both",
    )
    made.add_argument("--window", type=int, default=16, help="bursts before it asks what is lost")
    made.add_argument(
        "--quantizer",
        metavar="NAME",
        help=f"LLRs go through it to the decoder: {', '.join(quantization.names())}",
    )
    made.add_argument(
        "--patience", type=float, default=10.0, help="seconds without a burst before it gives up"
    )
    front_end.add_options(made)
    made.add_argument("--picture", type=app.OutputFile, help="PNG, PDF or SVG to draw (rx, both)")
    made.add_argument("--json", type=app.OutputFile, help="counts and figures to write (rx, both)")
    app.add_quiet(made)
    telemetry.add_option(made)
    return made


def check(args: argparse.Namespace) -> None:
    """Refuse options that do not go together, before any work."""
    radio = front_end.front_end(args.front_end, front_end.settings_of(args))
    if args.role != "rx" and args.file is None:
        raise ValueError(f"--role {args.role}: expected --file, the file to send")
    if args.role != "tx" and args.out is None:
        raise ValueError(f"--role {args.role}: expected --out, the file to write")
    if args.role == "tx" and (args.out or args.json or args.picture):
        raise ValueError("--role tx: --out, --json and --picture are of rx and both")
    if args.role == "rx" and args.file is not None:
        raise ValueError("--role rx: --file is of tx and both")
    if not (np.isfinite(args.patience) and args.patience > 0):
        raise ValueError(f"--patience: expected more than 0 seconds, got {args.patience}")
    if args.window < 1:
        raise ValueError(f"--window: expected at least 1 burst, got {args.window}")
    if args.retransmit and not (radio.live and radio.transmits and radio.receives):
        raise ValueError(
            f"--retransmit: expected a front end that sends and receives, got {radio.describe()}"
        )
    if args.retransmit and args.out is not None and args.out.is_stdout:
        raise ValueError("--retransmit: expected a file to write, whose parts come in any order")
    if not radio.live:
        others = [path for path in (args.file, args.out, args.json, args.picture) if path]
        for path, other in itertools.product(recordings.paths(args.front_end), others):
            if os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other):
                raise ValueError(f"{path}: is a file of another option, too")
            if os.path.realpath(path) == os.path.realpath(other):
                raise ValueError(f"{path}: is a file of another option, too")
    if args.picture:
        app.check_picture(args.picture)


class Link:
    """The station of this program, its front end, and the graphs between them."""

    def __init__(
        self, args: argparse.Namespace, framing: file_link.Framing, stack: ExitStack, live: Live
    ) -> None:
        self.args, self.framing, self.live, self._stack = args, framing, live, stack
        self.radio = front_end.front_end(args.front_end, front_end.settings_of(args))
        self.sender: file_link.Sender | None = None
        self.receiver: file_link.Receiver | None = None
        self.rate = args.rate
        self.spectrum = np.zeros(512)
        self.seconds = 0.0
        self.fault: RuntimeError | None = None
        if args.role != "rx":
            self._make_sender()

    def _make_sender(self) -> None:
        args, size = self.args, self.args.file.size
        if size is None:
            raise ValueError(f"{args.file}: expected a regular file, whose size is known")
        if size == 0:
            raise ValueError(f"{args.file}: expected a file with data, it is empty")
        window = args.window if args.retransmit else None
        # What waits on its way out, a burst there and one back, and room for a busy machine.
        samples = self.framing.format.length(self.framing.symbols)
        timeout = 0.4 + (6 * samples + 16384) / args.rate
        file = self._stack.enter_context(args.file.open())
        self.sender = file_link.Sender(self.framing, file, size, window, timeout, args.patience)

    def run(self) -> None:
        """Send and receive until all is there, or nothing comes any more."""
        args = self.args
        if args.role != "tx":
            self.receiver = file_link.Receiver(
                self.framing,
                args.decoder,
                self._stack.enter_context(args.out.open()),
                args.second_pass,
                args.retransmit,
                args.quantizer,
            )
        answers = args.retransmit and self.receiver is not None
        station = file_link.Station(self.framing, self.sender, self.receiver, answers)
        hears = self.receiver is not None or args.retransmit
        sends = self.sender is not None or answers
        if sends and hears and not self.radio.live:
            # A recording is written, and then read.
            self._go(station, [self._transmitter(station)])
            self.radio.close(keep=True)
            self._go(station, [self._listener(station)])
        else:
            # Whatever is to be heard comes after the listener is there.
            graphs = [self._listener(station)] if hears else []
            if sends:
                graphs.append(self._transmitter(station))
            self._go(station, graphs)
            self.radio.close(keep=True)

    def _listener(self, station: file_link.Station) -> Callable[[], Running]:
        source = self.radio.source()
        self.rate = getattr(self.radio, "sample_rate", self.rate)

        def push(samples: np.ndarray) -> None:
            if self.args.picture and samples.size >= 512:
                self.spectrum += np.abs(np.fft.fft(samples[:512] * np.hanning(512))) ** 2
            station.push(samples)

        tap = sample_tap(push, station.gap)
        graph = gr.top_block()
        graph.connect(source, tap)
        # While a burst is decoded the next samples wait here.
        source.set_min_output_buffer(0, 1 << 18)
        return lambda: Running(graph, [tap], self.radio, lambda: tap.counts["samples"])

    def _transmitter(self, station: file_link.Station) -> Callable[[], Running]:
        # The last burst's end must not be a recording's.
        tail = [] if self.radio.live else [np.zeros(self.framing.format.preamble_length)]

        def next_burst() -> np.ndarray | None:
            try:
                burst = station.next()
            except RuntimeError as error:
                # It waits for a report in vain.
                self.fault = error
                return None
            if burst is not None:
                return np.complex64(AMPLITUDE) * burst
            return tail.pop().astype(np.complex64) if tail else None

        feed = burst_feed(next_burst, lambda: station.over and not tail)
        station.wake = feed.wake
        sink = self.radio.sink(2 * self.framing.format.length(self.framing.symbols))
        graph = gr.top_block()
        graph.connect(feed, sink)
        moved = lambda: feed.counts["samples"]  # noqa: E731
        return lambda: Running(graph, [feed], self.radio, moved, lambda: feed.idle)

    def _go(self, station: file_link.Station, makers: list[Callable[[], Running]]) -> None:
        running: list[Running] = []
        begin = time.monotonic()
        try:
            for make in makers:
                running.append(make())
            while True:
                over = [one.over() for one in running]
                if self.fault:
                    raise self.fault
                if all(over) or (self.radio.live and self._done(station, begin)):
                    break
                self.live.update(self._line(begin))
                time.sleep(0.02)
        finally:
            for one in running:
                one.stop()
        self.seconds = time.monotonic() - begin
        for one in running:
            one.over()
        if self.receiver is not None and not self.radio.live:
            self.receiver.finish()

    def _done(self, station: file_link.Station, begin: float) -> bool:
        receiver, args = self.receiver, self.args
        sent = self.sender is None or self.sender.over
        if receiver is None:
            return sent and args.retransmit
        now = time.monotonic()
        heard = max(begin, receiver.heard)
        if receiver.total and not receiver.missing():
            # The sender may not have got the report that says so.
            linger = 1.0 if args.retransmit and self.sender is None else 0.0
            return sent and now > receiver.heard + linger
        return now > heard + args.patience

    def _line(self, begin: float) -> str:
        seconds = time.monotonic() - begin
        if self.receiver is not None:
            return line(self.receiver, self.framing, seconds)
        sender = self.sender
        assert sender is not None
        return (
            f"{sender.counts['bursts']} bursts, {sender.counts['frames']} frames of a file of "
            f"{sender.total}, {sender.counts['repeated']} again"
        )

    def stats(self) -> dict[str, dict[str, Any]]:
        """Counts of both ends and of the front end, by name."""
        told = {"front_end": self.radio.stats()}
        if self.sender is not None:
            told["sender"] = dict(self.sender.counts)
        if self.receiver is not None:
            told["receiver"] = self.receiver.receiver.stats() | dict(self.receiver.counts)
        return told

    def record(self) -> dict[str, Any]:
        """Counts and figures; RuntimeError where no burst came."""
        receiver = self.receiver
        assert receiver is not None
        stats = receiver.receiver.stats()
        if receiver.total == 0:
            raise RuntimeError(
                f"no burst in {stats['samples']} samples of {self.args.front_end} "
                f"({stats['candidates']} candidates, {stats['headers']} headers)"
            )
        written = receiver.counts["written"] * self.framing.frames.capacity * 8
        return {
            "frames": receiver.total,
            "missing_frames": receiver.missing(),
            "counts": dict(receiver.counts),
            "sent": dict(self.sender.counts) if self.sender else {},
            "receiver": stats,
            "front_end": self.radio.stats(),
            "bits_a_second": written * self.rate / stats["samples"],
            "samples_a_second_of_this_run": stats["samples"] / self.seconds,
            "bursts": receiver.bursts,
        }


def line(receiver: file_link.Receiver, framing: file_link.Framing, seconds: float) -> str:
    """One line of live figures."""
    if not receiver.bursts:
        return "no burst yet"
    burst, counts = receiver.bursts[-1], receiver.counts
    return (
        f"{counts['written']} of {receiver.total} frames, SNR {burst['snr_db']:.1f} dB, "
        f"EVM {burst['evm_db']:.1f} dB, carrier {burst['cfo_cycles_a_sample']:.5f} of the rate, "
        f"clock {burst['clock_offset_ppm']:.1f} ppm, "
        f"BLER {counts['damaged'] / max(counts['frames'], 1):.3g}, "
        f"{counts['written'] * framing.frames.capacity * 8e-3 / seconds:.0f} kbit/s"
    )


def picture(
    args: argparse.Namespace, receiver: file_link.Receiver, spectrum: np.ndarray, rate: float
) -> None:
    """Constellation, channel, spectrum and SNR of the bursts, side by side."""
    from matplotlib.figure import Figure

    burst, framing = receiver.last, receiver.framing
    drawn = Figure(figsize=(12, 9), layout="constrained")
    (one, two), (three, four) = drawn.subplots(2, 2)
    equalised = (burst.y / burst.h)[:PICTURE_SYMBOLS]
    reach = 1.6 * np.abs(framing.constellation.points).max()
    one.plot(equalised.real, equalised.imag, ".", markersize=2, alpha=0.5)
    one.set(
        title=f"newest burst, y / h, {args.constellation}",
        xlabel="in-phase",
        ylabel="quadrature",
        aspect="equal",
        xlim=(-reach, reach),
        ylim=(-reach, reach),
    )
    two.plot(framing.format.subcarriers, 20 * np.log10(np.abs(burst.channel)), ".-")
    low, high = two.get_ylim()
    # A flat channel looks flat.
    two.set(title="channel", xlabel="subcarrier", ylabel="|h| (dB)", ylim=(low - 1, high + 1))
    frequency = np.fft.fftshift(np.fft.fftfreq(spectrum.size, 1 / rate)) / 1e3
    power = 10 * np.log10(np.fft.fftshift(spectrum) + 1e-20)
    three.plot(frequency, power - power.max())
    three.set(title="spectrum", xlabel="frequency (kHz)", ylabel="power (dB)")
    at = [figures["start"] / rate for figures in receiver.bursts]
    four.plot(at, [figures["snr_db"] for figures in receiver.bursts], ".-", label="SNR")
    four.set(title="SNR and wrong frames of bursts", xlabel="time (s)", ylabel="SNR (dB)")
    wrong = four.twinx()
    wrong.plot(
        at, [f["damaged"] / f["frames"] for f in receiver.bursts], "r.", label="wrong frames"
    )
    wrong.set(ylabel="share of wrong frames", ylim=(-0.05, 1.05))
    drawn.savefig(args.picture.path, dpi=100)


def run(args: argparse.Namespace) -> int:
    check(args)
    framing = file_link.Framing(args.code, args.constellation, args.format, args.symbols)
    decoders.decoder(args.decoder, framing.code)
    console = Console(stderr=True, quiet=args.quiet)
    with ExitStack() as stack:
        live = stack.enter_context(Live("", console=console, refresh_per_second=4, transient=True))
        link = Link(args, framing, stack, live)
        stack.callback(link.radio.close, False)
        with telemetry.told(args.stats, link.stats):
            link.run()
        if args.role == "tx":
            return app.OK
        record = link.record()
        if args.picture:
            picture(args, link.receiver, link.spectrum, link.rate)
    if args.json:
        parameters = {key: value for key, value in vars(args).items() if value is not None}
        args.json.write_json(provenance.record() | {"parameters": parameters} | record)
    missing = record["missing_frames"]
    if not args.quiet:
        lost = sum(last - first + 1 for first, last in missing)
        bursts = record["receiver"]["bursts"]
        torn = record["receiver"]["torn_by_residual"] + record["receiver"]["torn_by_gap"]
        snr = np.mean([burst["snr_db"] for burst in record["bursts"]])
        print(
            f"{args.out}: {record['frames'] - lost} of {record['frames']} frames in {bursts} "
            f"bursts, {torn} torn, SNR {snr:.1f} dB, {record['bits_a_second'] / 1e3:.0f} kbit/s"
            + (f"; without frames {ranges(missing)}" if missing else "")
        )
    return app.INCOMPLETE if missing else app.OK


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
