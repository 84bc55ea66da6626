#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a file over coded bursts of radio samples, or receive one.

The file is cut into numbered frames with CRC-32; each is coded, interleaved and mapped, and bursts
of them go to a recording, for a radio or any program's channel. The receiver finds bursts in a
recording at any carrier offset up to 11 subcarrier spacings and any gain, and writes the frames
whose CRC is right. Front ends: file:PATH, raw complex64 samples; sigmf:NAME.sigmf-meta.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import itertools
import os
import sys
import time
from typing import Any

import numpy as np
from gnuradio.neuralfec import app, codes, decoders, provenance
from gnuradio.neuralfec.framing import ranges
from gnuradio.neuralfec.phy.burst import PRESETS
from gnuradio.neuralfec.phy.constellation import NAMES
from gnuradio.neuralfec.radio import file_link, recordings
from rich.console import Console
from rich.live import Live

# Amplitude of what is written: room for OFDM's peaks below 1, full scale of most radios.
AMPLITUDE = 0.2
PICTURE_SYMBOLS = 5000


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec radio-link --role both --front-end file:air.c64 --file file.bin --out out.bin",
        "neuralfec radio-link --role tx --front-end sigmf:tx.sigmf-meta --file file.bin",
        "neuralfec radio-link --role rx --front-end sigmf:tx.sigmf-meta --out o.bin --json j.json",
    )
    made.add_argument("--role", default="both", choices=["tx", "rx", "both"], help="send, receive")
    made.add_argument(
        "--front-end", required=True, metavar="SPEC", help=" or ".join(recordings.KINDS)
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
    made.add_argument("--rate", type=float, default=1e6, help="samples/s, for SigMF and figures")
    made.add_argument("--picture", type=app.OutputFile, help="PNG, PDF or SVG to draw (rx, both)")
    made.add_argument("--json", type=app.OutputFile, help="counts and figures to write (rx, both)")
    app.add_quiet(made)
    return made


def check(args: argparse.Namespace) -> None:
    """Refuse options that do not go together, before any work."""
    recordings.parse(args.front_end)
    if not (np.isfinite(args.rate) and args.rate > 0):
        raise ValueError(f"--rate: expected more than 0 samples/s, got {args.rate}")
    if args.role != "rx" and args.file is None:
        raise ValueError(f"--role {args.role}: expected --file, the file to send")
    if args.role != "tx" and args.out is None:
        raise ValueError(f"--role {args.role}: expected --out, the file to write")
    if args.role == "tx" and (args.out or args.json or args.picture):
        raise ValueError("--role tx: --out, --json and --picture are of rx and both")
    if args.role == "rx" and args.file is not None:
        raise ValueError("--role rx: --file is of tx and both")
    others = [path for path in (args.file, args.out, args.json, args.picture) if path]
    for path, other in itertools.product(recordings.paths(args.front_end), others):
        if os.path.exists(path) and os.path.exists(other) and os.path.samefile(path, other):
            raise ValueError(f"{path}: is a file of another option, too")
        if os.path.realpath(path) == os.path.realpath(other):
            raise ValueError(f"{path}: is a file of another option, too")
    if args.picture:
        app.check_picture(args.picture)


def transmit(args: argparse.Namespace, framing: file_link.Framing, live: Live) -> None:
    size = args.file.size
    if size is None:
        raise ValueError(f"{args.file}: expected a regular file, whose size is known")
    if size == 0:
        raise ValueError(f"{args.file}: expected a file with data, it is empty")
    sink = recordings.Sink(args.front_end, args.rate)
    try:
        silence = np.zeros(framing.format.preamble_length, np.complex64)
        with args.file.open() as file:
            for number, burst in enumerate(file_link.Transmitter(framing).bursts(file, size), 1):
                sink.annotate(sink.samples, burst.size, f"burst {number}")
                sink.write(np.complex64(AMPLITUDE) * burst)
                live.update(f"{number} bursts, {sink.samples / args.rate:.3f} s of air")
        # The last burst's end must not be the recording's.
        sink.write(silence)
        sink.keep()
    finally:
        sink.discard()


def receive(args: argparse.Namespace, framing: file_link.Framing, live: Live) -> dict[str, Any]:
    source = recordings.Source(args.front_end)
    rate = source.sample_rate or args.rate
    begin = time.monotonic()
    spectrum = np.zeros(512)
    with args.out.open() as output:
        receiver = file_link.Receiver(framing, args.decoder, output, args.second_pass)
        for piece in source.pieces():
            receiver.push(piece)
            if args.picture and piece.size >= spectrum.size:
                rows = piece[: piece.size // spectrum.size * spectrum.size].reshape(-1, 512)
                spectrum += np.mean(np.abs(np.fft.fft(rows * np.hanning(512))) ** 2, 0)
            live.update(line(receiver))
        receiver.finish()
    stats = receiver.receiver.stats()
    if receiver.total == 0:
        raise RuntimeError(
            f"no burst in {stats['samples']} samples of {source.spec} "
            f"({stats['candidates']} candidates, {stats['headers']} headers)"
        )
    seconds = stats["samples"] / rate
    if args.picture:
        picture(args, receiver, spectrum, rate)
    written = receiver.counts["written"] * framing.frames.capacity * 8
    return {
        "frames": receiver.total,
        "missing_frames": receiver.missing(),
        "counts": dict(receiver.counts),
        "receiver": stats,
        "bits_a_second": written / seconds,
        "samples_a_second_of_this_run": stats["samples"] / (time.monotonic() - begin),
        "bursts": receiver.bursts,
    }


def line(receiver: file_link.Receiver) -> str:
    """One line of live figures."""
    if not receiver.bursts:
        return "no burst yet"
    burst, counts = receiver.bursts[-1], receiver.counts
    return (
        f"{counts['written']} of {receiver.total} frames, SNR {burst['snr_db']:.1f} dB, "
        f"EVM {burst['evm_db']:.1f} dB, carrier {burst['cfo_cycles_a_sample']:.5f} of the rate, "
        f"clock {burst['clock_offset_ppm']:.1f} ppm, "
        f"BLER {counts['damaged'] / max(counts['frames'], 1):.3g}"
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
    with Live("", console=console, refresh_per_second=4, transient=True) as live:
        if args.role != "rx":
            transmit(args, framing, live)
        if args.role == "tx":
            return app.OK
        record = receive(args, framing, live)
    if args.json:
        parameters = {key: value for key, value in vars(args).items() if value is not None}
        args.json.write_json(provenance.record() | {"parameters": parameters} | record)
    missing = record["missing_frames"]
    if not args.quiet:
        lost = sum(last - first + 1 for first, last in missing)
        bursts = record["receiver"]["bursts"]
        torn = record["receiver"]["torn_by_residual"]
        snr = np.mean([burst["snr_db"] for burst in record["bursts"]])
        print(
            f"{args.out}: {record['frames'] - lost} of {record['frames']} frames in {bursts} "
            f"bursts, {torn} torn, SNR {snr:.1f} dB"
            + (f"; without frames {ranges(missing)}" if missing else "")
        )
    return app.INCOMPLETE if missing else app.OK


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
