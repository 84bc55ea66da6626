#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Bursts: search and demodulation beside gr-digital's OFDM synchroniser and receiver.

CPU time of one thread for the kernels, of the whole process for flow graphs, whose sources and
sinks cost little. Million samples a second, medians; both sides in one run.
"""

import statistics
import time

import numpy as np
from gnuradio import blocks, digital, gr, neuralfec
from gnuradio.neuralfec import _kernels, provenance
from gnuradio.neuralfec.phy.burst import PRESETS
from gnuradio.neuralfec.phy.channel import complex_normal

REPEATS = 5
SYMBOLS = 100


def rate(samples, work, clock):
    """Msamples/s of a piece of work, median."""
    rates = []
    for _ in range(REPEATS):
        begin = clock()
        work()
        rates.append(samples / (clock() - begin) / 1e6)
    return statistics.median(rates)


def kernels(name):
    """Search of noise, and demodulation of a burst without and with its header."""
    format = PRESETS[name]
    rng = np.random.default_rng(1)
    noise = complex_normal(rng, (1 << 21,))
    receiver = _kernels.BurstReceiver(format.kernel, format.threshold, 1e-3)
    yield "search", rate(noise.size, lambda: receiver.push(noise), time.thread_time)
    x = rng.choice([1, -1, 1j, -1j], SYMBOLS * format.data)
    burst = np.concatenate([np.zeros(100), format.build(x), np.zeros(1000)])
    samples = (burst + complex_normal(rng, burst.shape, 0.03)).astype(np.complex64)
    _, found = _kernels.BurstSearch(format.kernel, format.threshold).search(samples)
    window = samples[found["window"] :]
    demodulator = _kernels.BurstDemodulator(format.kernel)
    times = 200

    def demodulate():
        for _ in range(times):
            demodulator.demodulate(window, found["cfo"], SYMBOLS, 0)

    def with_header():
        for _ in range(times):
            demodulator.header(window, found["cfo"])
            demodulator.demodulate(window, found["cfo"], SYMBOLS, 0)

    length = times * format.length(SYMBOLS)
    yield "demodulate", rate(length, demodulate, time.thread_time)
    yield "header and demodulate", rate(length, with_header, time.thread_time)


def graph_rate(samples, make):
    """Msamples/s of CPU of a graph that repeats samples through a block."""
    count = 4_000_000

    seconds = []
    for _ in range(3):
        graph = gr.top_block()
        source = blocks.vector_source_c(samples.tolist(), True)
        head = blocks.head(gr.sizeof_gr_complex, count)
        graph.connect(source, head)
        kept = make(graph, head)
        begin = time.process_time()
        graph.run()
        seconds.append(time.process_time() - begin)
        del kept
    return count / statistics.median(seconds) / 1e6


def into_sinks(block, outputs):
    """Connect a new block of this kind between the samples and null sinks of these sizes."""

    def connect(graph, head):
        made = block()
        graph.connect(head, made)
        for port, size in enumerate(outputs):
            graph.connect((made, port), blocks.null_sink(size))
        return made

    return connect


def main():
    print(f"{provenance.cpu()}, GNU Radio {gr.version()}, one thread a kernel; Msamples/s of CPU")
    for name in PRESETS:
        for what, speed in kernels(name):
            print(f"{name:24}{what:28}{speed:8.1f}")
    rng = np.random.default_rng(2)
    noise = complex_normal(rng, (1 << 18,))
    format = PRESETS["burst-128"]
    bursts = np.concatenate(
        [format.build(rng.choice([1, -1, 1j, -1j], SYMBOLS * format.data)) for _ in range(10)]
    )
    bursts = bursts + complex_normal(rng, bursts.shape, 0.01)
    item = gr.sizeof_gr_complex
    ours = into_sinks(neuralfec.burst_receiver, [item, item])
    theirs = into_sinks(lambda: digital.ofdm_sync_sc_cfb(64, 16, threshold=0.9), [4, 1])
    receiver = into_sinks(lambda: digital.ofdm_rx(fft_len=64, cp_len=16), [1])
    print(f"{'burst_receiver block':24}{'noise':28}{graph_rate(noise, ours):8.1f}")
    print(f"{'':24}{'bursts back to back':28}{graph_rate(bursts, ours):8.1f}")
    print(f"{'ofdm_sync_sc_cfb':24}{'noise':28}{graph_rate(noise, theirs):8.1f}")
    print(f"{'digital.ofdm_rx':24}{'noise':28}{graph_rate(noise, receiver):8.1f}")


if __name__ == "__main__":
    main()
