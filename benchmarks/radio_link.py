#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""A coded file through the loop device, sender, air and receiver on one core, in real time.

Prints how much of the air was filled, what was lost, and the processor time by that of the air. The
machine must have a core to spare: what else runs on it shows as overflows and gaps.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gnuradio.neuralfec import provenance
from gnuradio.neuralfec.radio.file_link import Framing

PROGRAM = Path(__file__).parents[1] / "apps" / "radio_link.py"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=5e6, help="samples/s")
    parser.add_argument("--seconds", type=float, default=4.0, help="of bursts")
    parser.add_argument("--constellation", default="qam16")
    parser.add_argument("--code", default="wifi-648")
    parser.add_argument("--decoder", default="bp:50")
    parser.add_argument("--snr", type=float, default=20.0, help="dB, over the whole band")
    args = parser.parse_args(argv)
    framing = Framing(args.code, args.constellation)
    burst = framing.format.length(framing.symbols) + 2 * framing.format.symbol_length
    bursts = int(args.seconds * args.rate / burst)
    core = min(os.sched_getaffinity(0))
    front_end = f"loop:benchmark-{os.getpid()},snr={args.snr},cfo={args.rate / 1000},ppm=10"
    with tempfile.TemporaryDirectory() as folder:
        data = os.urandom(bursts * framing.frames_a_burst * framing.frames.capacity)
        Path(folder, "in").write_bytes(data)
        command = [
            *(sys.executable, str(PROGRAM), "--front-end", front_end, "--rate", str(args.rate)),
            *("--file", "in", "--out", "out", "--json", "j", "--quiet"),
            *("--code", args.code, "--constellation", args.constellation),
            *("--decoder", args.decoder),
        ]
        begin = time.monotonic()
        subprocess.run(
            command, cwd=folder, check=False, env=os.environ | {"OMP_NUM_THREADS": "1"},
            preexec_fn=lambda: os.sched_setaffinity(0, {core}),
        )  # fmt: skip
        wall = time.monotonic() - begin
        record = json.loads(Path(folder, "j").read_text())
        same = Path(folder, "out").read_bytes() == data
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = usage.ru_utime + usage.ru_stime
    samples = record["receiver"]["samples"]
    lost = sum(last - first + 1 for first, last in record["missing_frames"])
    made = provenance.record()
    print(f"machine          {made['cpu']}, {made['cores']} cores, {made['versions']}")
    print(f"rate             {args.rate / 1e6:g} Msamples/s, core {core} alone")
    print(f"file             {len(data)} bytes, {'the same' if same else 'NOT the same'}")
    print(
        f"frames           {record['frames']}, {lost} lost, {record['counts']['damaged']} damaged"
    )
    print(f"overflows        {record['front_end']['overflows']}")
    print(
        f"air              {samples / args.rate:.2f} s, {bursts * burst / samples:.2f} of it bursts"
    )
    print(f"goodput          {record['bits_a_second'] / 1e3:.0f} kbit/s")
    print(f"processor        {used:.2f} s of {wall:.2f} s, start of the program included")
    return 0


if __name__ == "__main__":
    sys.exit(main())
