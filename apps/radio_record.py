#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Record samples of a front end, with an annotation for each burst in them.

SigMF annotations tell start, length, SNR, EVM, carrier and clock offset, and with --code how many
of the burst's frames have the right CRC. neuralfec radio-link --role rx reads the recording again,
to the same counts; neuralfec radio-replay sends it. Without --seconds it records until Ctrl-C.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import sys

import numpy as np
from gnuradio.neuralfec import app, codes, decoders, telemetry
from gnuradio.neuralfec.phy.burst import PRESETS, BurstReceiver
from gnuradio.neuralfec.phy.constellation import NAMES
from gnuradio.neuralfec.radio import file_link, front_end, recordings
from gnuradio.neuralfec.radio.streams import receive


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec radio-record --front-end loop:air,snr=20 --recording sigmf:air.sigmf-meta "
        "--seconds 0.5",
        "neuralfec radio-record --front-end file:y.c64 --recording sigmf:y.sigmf-meta --code "
        "wifi-648",
    )
    made.add_argument(
        "--front-end", required=True, metavar="SPEC", help=", ".join(front_end.REGISTRY.specs())
    )
    made.add_argument(
        "--recording",
        required=True,
        metavar="SPEC",
        help=f"to write: {', '.join(recordings.KINDS)}",
    )
    made.add_argument("--seconds", type=float, help="of samples")
    made.add_argument("--format", default="burst-128", choices=list(PRESETS), help="of the bursts")
    made.add_argument("--code", help=f"of the frames to check: {', '.join(codes.specs())}")
    made.add_argument("--decoder", default="bp:50", help=", ".join(decoders.specs()))
    made.add_argument("--constellation", default="qam16", help=", ".join([*NAMES, "file:PATH"]))
    front_end.add_options(made)
    app.add_quiet(made)
    telemetry.add_option(made)
    return made


class Recorder:
    """Writes what comes, and what it finds in it."""

    def __init__(self, args: argparse.Namespace, sink: recordings.Sink) -> None:
        self.sink = sink
        # Wrong names are refused, though without --code nothing is decoded.
        framing = file_link.Framing(args.code or "wifi-648", args.constellation, args.format)
        frames = file_link.Receiver(framing, args.decoder)
        self.frames = frames if args.code else None
        self._bursts = BurstReceiver(args.format)
        self._rate, self._fft = args.rate, self._bursts.format.fft_length
        self.found = 0

    def push(self, samples: np.ndarray) -> None:
        """Take samples."""
        self.sink.write(samples)
        self._look(samples)

    def _look(self, samples: np.ndarray) -> None:
        if self.frames is not None:
            known = self.frames.counts["bursts"]
            self.frames.push(samples)
            new = self.frames.counts["bursts"] - known
            for burst in self.frames.bursts[len(self.frames.bursts) - new :]:
                right = burst["frames"] - burst["damaged"]
                self._annotate(burst, crc_right=right, crc_wrong=burst["damaged"])
            return
        for burst in self._bursts.push(samples):
            self._annotate(
                {
                    "start": burst.start,
                    "length": burst.length,
                    "snr_db": 10 * float(np.log10(burst.snr)),
                    "evm_db": 20 * float(np.log10(burst.evm)),
                    "cfo_cycles_a_sample": burst.cfo / self._fft,
                    "clock_offset_ppm": 1e6 * burst.clock_offset,
                }
            )

    def gap(self) -> None:
        """Samples are missing here."""
        (self.frames or self._bursts).gap()

    def finish(self) -> None:
        """Take what the end of the samples completes."""
        self._look(np.zeros(2 * self._bursts.format.length(1), np.complex64))

    def _annotate(self, burst: dict, **more: int) -> None:
        self.found += 1
        self.sink.annotate(
            burst["start"],
            burst["length"],
            f"burst {self.found}",
            snr_db=round(burst["snr_db"], 3),
            evm_db=round(burst["evm_db"], 3),
            cfo_hz=round(burst["cfo_cycles_a_sample"] * self._rate, 3),
            clock_offset_ppm=round(burst["clock_offset_ppm"], 3),
            **more,
        )


def run(args: argparse.Namespace) -> int:
    radio = front_end.front_end(args.front_end, front_end.settings_of(args))
    if args.seconds is not None and not (np.isfinite(args.seconds) and args.seconds > 0):
        raise ValueError(f"--seconds: expected more than 0, got {args.seconds}")
    if not radio.live and set(recordings.paths(args.front_end)) & set(
        recordings.paths(args.recording)
    ):
        raise ValueError(f"{args.recording}: is the input, too")
    sink = recordings.Sink(args.recording, args.rate, args.frequency)
    try:
        recorder = Recorder(args, sink)
        most = np.inf if args.seconds is None else args.seconds * args.rate
        try:
            with telemetry.told(
                args.stats,
                lambda: {"recording": {"samples": sink.samples}, "front_end": radio.stats()},
            ):
                receive(radio, recorder.push, recorder.gap, lambda: sink.samples >= most)
        except KeyboardInterrupt:
            recorder.finish()
            sink.keep()
            raise app.Interrupted(f"kept {sink.samples} samples in {args.recording}") from None
        recorder.finish()
        sink.keep()
    finally:
        sink.discard()
    if not args.quiet:
        print(f"{args.recording}: {sink.samples} samples, {recorder.found} bursts")
    return app.OK


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
