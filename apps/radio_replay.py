#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Send a recording by a front end, as it is.

The rate of a SigMF recording must be that of the front end.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import sys
import time

from gnuradio import gr
from gnuradio.neuralfec import app, telemetry
from gnuradio.neuralfec.radio import front_end, recordings
from gnuradio.neuralfec.radio.streams import Running, recording_source


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec radio-replay --recording file:y.c64 --front-end loop:air",
    )
    made.add_argument(
        "--recording", required=True, metavar="SPEC", help=f"to read, {', '.join(recordings.KINDS)}"
    )
    made.add_argument(
        "--front-end", required=True, metavar="SPEC", help=", ".join(front_end.REGISTRY.specs())
    )
    made.add_argument("--times", type=int, default=1, help="how often, one behind the other")
    front_end.add_options(made)
    app.add_quiet(made)
    telemetry.add_option(made)
    return made


def run(args: argparse.Namespace) -> int:
    radio = front_end.front_end(args.front_end, front_end.settings_of(args))
    if args.times < 1:
        raise ValueError(f"--times: expected at least 1, got {args.times}")
    recording = recordings.Source(args.recording)
    if recording.sample_rate and abs(recording.sample_rate / args.rate - 1) > 1e-6:
        raise ValueError(
            f"wrong rate: {args.recording} has {recording.sample_rate:.0f} samples/s, "
            f"--rate {args.rate:.0f}"
        )
    if not radio.live:
        raise ValueError(f"expected a radio or the loop device, got {radio.describe()}")
    graph, source = gr.top_block(), recording_source(recording, args.times)
    graph.connect(source, radio.sink())
    running = Running(graph, [source], radio, lambda: source.counts["items"])
    try:
        with telemetry.told(
            args.stats, lambda: {"recording": source.stats(), "front_end": radio.stats()}
        ):
            while not running.over():
                time.sleep(0.02)
    finally:
        running.stop()
    running.over()
    samples = source.counts["items"]
    if not args.quiet:
        told = ", ".join(f"{value} {key}" for key, value in radio.stats().items() if value)
        print(f"{args.front_end}: {samples} samples sent" + (f"; {told}" if told else ""))
    return app.OK


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
