#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Look at what a receiver gives, and say what to change.

Level, clipping, DC, IQ image and noise floor in dB of full scale; overflows; and of a peer that
sends bursts meanwhile (neuralfec radio-link --role tx) its SNR and carrier offset.
"""

if __name__ == "__main__":
    import _start  # noqa: F401

import argparse
import sys
import time

import numpy as np
from gnuradio.neuralfec import app, provenance, telemetry
from gnuradio.neuralfec.phy.burst import PRESETS
from gnuradio.neuralfec.radio import front_end
from gnuradio.neuralfec.radio.health import Health, advice
from gnuradio.neuralfec.radio.streams import receive


def parser() -> app.Parser:
    made = app.parser(
        __doc__,
        "neuralfec radio-doctor --front-end loop:air,snr=20 --seconds 0.5",
        "neuralfec radio-doctor --front-end file:y.c64 --json doctor.json",
    )
    made.add_argument(
        "--front-end", required=True, metavar="SPEC", help=", ".join(front_end.REGISTRY.specs())
    )
    made.add_argument("--seconds", type=float, default=2.0, help="of samples to look at")
    made.add_argument("--format", default="burst-128", choices=list(PRESETS), help="of the bursts")
    front_end.add_options(made)
    made.add_argument("--json", type=app.OutputFile, help="figures and advice to write")
    telemetry.add_option(made)
    return made


def run(args: argparse.Namespace) -> int:
    radio = front_end.front_end(args.front_end, front_end.settings_of(args))
    if not (np.isfinite(args.seconds) and args.seconds > 0):
        raise ValueError(f"--seconds: expected more than 0, got {args.seconds}")
    health = Health(args.rate, args.format)
    begin = time.monotonic()
    wanted = args.seconds * args.rate
    with telemetry.told(
        args.stats,
        lambda: {"samples": {"seen": health.samples}, "front_end": radio.stats()},
    ):
        receive(radio, health.push, health.gap, lambda: health.samples >= wanted)
    seconds = health.samples / args.rate
    if health.samples == 0:
        raise RuntimeError(f"{args.front_end}: no samples")
    figures = health.figures()
    if radio.live:
        figures["overflows_a_second"] = radio.stats().get("overflows", 0) / seconds
        figures["samples_a_second"] = health.samples / (time.monotonic() - begin)
    said = advice(figures, args.rate, args.frequency)
    print(radio.describe())
    rows = [
        ("level", "rms_dbfs", "dB of full scale"),
        ("peak", "peak_dbfs", "dB"),
        ("noise floor", "noise_floor_dbfs", "dB, of the quietest twentieth"),
        ("clipped", "clipped", "of the samples"),
        ("DC", "dc_db", "dB by the rest"),
        ("IQ image", "image_db", "dB"),
        ("overflows", "overflows_a_second", "a second"),
        ("bursts", "bursts", ""),
        ("SNR", "snr_db", "dB"),
        ("carrier offset", "cfo_hz", "Hz"),
    ]
    for name, key, unit in rows:
        if figures.get(key) is not None:
            value = figures[key]
            shown = f"{value:.1f}" if unit.startswith(("dB", "Hz", "a s")) else f"{value:.3g}"
            print(f"{name:>15} {shown:>9} {unit}")
    for line in said:
        print(f"* {line}")
    if args.json:
        args.json.write_json(provenance.record() | {"figures": figures, "advice": said})
    return app.OK


def main(argv: list[str] | None = None) -> int:
    return app.main(parser(), run, argv)


if __name__ == "__main__":
    sys.exit(main())
