#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Memory of a burst receiver over an hour's worth of samples.

The Burst Receiver block gets noise with whole bursts, bursts that lost samples and bursts with a
time tag inside, over and over, as fast as it takes them. Prints the memory of the process, and in
how far it grew after the first tenth; --json stores both.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np
import pmt
from gnuradio import blocks, gr, neuralfec
from gnuradio.neuralfec import provenance
from gnuradio.neuralfec.phy.burst import burst_format
from gnuradio.neuralfec.phy.channel import complex_normal


def air(rng: np.random.Generator) -> tuple[np.ndarray, list]:
    """Samples of 30 bursts, far apart, with noise, and a time tag inside each third one."""
    format = burst_format("burst-128")
    parts, tags, at = [], [], 0
    for number in range(30):
        symbols = np.exp(2j * np.pi * rng.random(int(rng.integers(4, 100)) * format.data))
        burst = format.build(symbols, number)
        if number % 3 == 1:
            burst = np.delete(burst, np.arange(burst.size - 400, burst.size - 300))
        elif number % 3 == 2:
            tag = gr.tag_t()
            tag.offset, tag.key = at + burst.size - 400, pmt.intern("rx_time")
            tag.value = pmt.make_tuple(pmt.from_uint64(number), pmt.from_double(0.0))
            tags.append(tag)
        parts += [burst, np.zeros(int(rng.integers(20_000, 200_000)))]
        at += parts[-2].size + parts[-1].size
    samples = np.concatenate(parts).astype(np.complex64)
    return samples + complex_normal(rng, samples.shape, format.noise_var(10.0)), tags


def resident() -> float:
    """Memory of this process, MB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 1e6


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=float, default=3.6e9, help="an hour of 1e6 a second")
    parser.add_argument("--json", type=Path, help="to write the figures to")
    args = parser.parse_args(argv)
    samples, tags = air(np.random.default_rng(1))
    top = gr.top_block()
    source = blocks.vector_source_c(samples, True, 1, tags)
    head = blocks.head(gr.sizeof_gr_complex, int(args.samples))
    receiver = neuralfec.burst_receiver()
    top.connect(source, head, receiver)
    for port in range(2):
        top.connect((receiver, port), blocks.null_sink(gr.sizeof_gr_complex))
    begin, seen = time.monotonic(), []
    step = args.samples / 20
    top.start()
    while (done := head.nitems_written(0)) < int(args.samples):
        if done >= step * (len(seen) + 1):
            seen.append([float(done), resident()])
            print(f"{done / 1e6:8.0f} Msamples {seen[-1][1]:8.1f} MB", flush=True)
        time.sleep(0.02)
    top.stop()
    top.wait()
    seen.append([float(done), resident()])
    seconds = time.monotonic() - begin
    early = next(memory for at, memory in seen if at >= 0.1 * args.samples)
    grown = seen[-1][1] - early
    counts = receiver.stats()
    print(f"{grown:+.1f} MB since the first tenth, {seconds:.0f} s, {counts}")
    if args.json:
        record = provenance.record() | {
            "samples": done,
            "seconds": seconds,
            "counts": counts,
            "resident_mb": seen,
            "grown_mb": grown,
        }
        args.json.write_text(json.dumps(record, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
