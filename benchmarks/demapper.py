# SPDX-License-Identifier: GPL-3.0-or-later
"""Soft demapping: our kernel and block against GNU Radio's constellation_soft_decoder_cf.

Kernels are timed on vectors that stay in the cache, blocks in a flow graph between a source
that repeats the same vector and a null sink. Both by the CPU time of their one thread, the
block's with the scheduler's share, so that other blocks and programs do not count.
"""

import platform
import statistics
import time
from pathlib import Path

import numpy as np
from gnuradio import blocks, digital, gr, neuralfec
from gnuradio.neuralfec import _kernels
from gnuradio.neuralfec.phy import channel
from gnuradio.neuralfec.phy.constellation import constellation

VECTOR = 8192
REPEATS = 7
SNR_DB = 20


def cpu_name():
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def received(name, fading):
    rng = np.random.default_rng(1)
    x = rng.choice(constellation(name).points, VECTOR)
    return (channel.rayleigh if fading else channel.awgn)(rng, x, 10 ** (-SNR_DB / 10))


def time_kernel(name, method, csi):
    """Msymbol/s of the kernel on vectors that stay in the cache, median of medians."""
    c = constellation(name)
    kernel = _kernels.Demapper(c.points, c.labels, method == "exact")
    y, h = received(name, csi)
    noise_var = np.float32([10 ** (-SNR_DB / 10)])
    gains = h if csi else ()
    rates = []
    for _ in range(REPEATS):
        count, begin = 0, time.thread_time()
        while time.thread_time() - begin < 0.1:
            kernel.demap(y, noise_var, gains)
            count += VECTOR
        rates.append(count / (time.thread_time() - begin))
    return statistics.median(rates) / 1e6


def thread_of(block):
    """The folder in /proc of the thread that runs a block, the only one of its name."""
    # Linux keeps 15 characters of name and number.
    for task in Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().startswith(block.name()[:13]):
            return task
    raise RuntimeError(f"no thread of {block.name()}")


def cpu_seconds(thread):
    """CPU time so far of a thread, from Linux's schedstat."""
    return int((thread / "schedstat").read_text().split()[0]) / 1e9


def time_block(block, bits, inputs):
    """Msymbol/s of a block by the CPU time of its thread."""
    graph = gr.top_block()
    sources = [blocks.vector_source_c(data.tolist(), True) for data in inputs]
    for port, source in enumerate(sources):
        # Large enough that the scheduler hands on vectors of realistic size.
        source.set_min_output_buffer(8 * VECTOR)
        graph.connect(source, (block, port))
    sink = blocks.null_sink(gr.sizeof_float)
    graph.connect(block, sink)
    graph.start()
    rates = []
    while block.nitems_written(0) == 0:
        time.sleep(0.1)
    thread = thread_of(block)
    for _ in range(REPEATS):
        before, busy = block.nitems_written(0), cpu_seconds(thread)
        time.sleep(0.4)
        # The slowest need seconds for one call of the scheduler.
        while block.nitems_written(0) == before:
            time.sleep(0.1)
        rates.append((block.nitems_written(0) - before) / bits / (cpu_seconds(thread) - busy))
    graph.stop()
    graph.wait()
    return statistics.median(rates) / 1e6


def our_block(name, method, csi):
    y, h = received(name, csi)
    block = neuralfec.soft_demapper(name, 10 ** (-SNR_DB / 10), method, csi)
    return time_block(block, constellation(name).bits_per_symbol, [y, h] if csi else [y])


def gnuradio_object(name):
    c = constellation(name)
    return digital.constellation_calcdist(
        c.points_by_label.tolist(), [], 1, 1, digital.constellation.NO_NORMALIZATION
    ).base()


def gnuradio_block(name, table):
    obj = gnuradio_object(name)
    if table:
        obj.gen_soft_dec_lut(8)
    block = digital.constellation_soft_decoder_cf(obj)
    return time_block(block, constellation(name).bits_per_symbol, [received(name, False)[0]])


def main():
    print(
        f"{cpu_name()}, one thread of work, SIMD {_kernels.simd_target()}, "
        f"GNU Radio {gr.version()}, NumPy {np.__version__}, vectors of {VECTOR}, {SNR_DB} dB, "
        f"median of {REPEATS}"
    )
    print("Msymbol/s      kernel  +CSI   block  +CSI  block/kernel  GNU Radio     ratio of blocks")
    for name in ("qam16", "qam256", "psk8"):
        theirs = {"exact": gnuradio_block(name, False), "8-bit table": gnuradio_block(name, True)}
        for method, against in (("exact", "exact"), ("max-log", "8-bit table")):
            kernel = [time_kernel(name, method, csi) for csi in (False, True)]
            block = [our_block(name, method, csi) for csi in (False, True)]
            print(
                f"{name:7}{method:8}{kernel[0]:6.0f}{kernel[1]:6.0f}{block[0]:8.0f}{block[1]:6.0f}"
                f"{100 * block[0] / kernel[0]:9.0f} %{theirs[against]:10.3f} {against:12}"
                f"{block[0] / theirs[against]:8.0f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
