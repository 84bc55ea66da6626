#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speed of the decoders of convolutional codes beside GNU Radio's own, on one core in one run.

Blocks run in a flow graph and are timed by the CPU time of their own thread in work(), NumPy
doors by the process's CPU time; of several runs the fastest, which other work on the machine
disturbs least. Speeds are in message bits, and all of ours start from float LLRs. Blocks are fed
from a file in memory: vector_source is slower than they are, and a block that waits for its input
finds few frames at a time.

    benchmarks/viterbi.py [--noiseless 100000000] [--store results/sequence-speed.json]

What is stored is drawn by apps/sequence_decoding.py.
"""

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Before GNU Radio reads its configuration.
os.environ |= {
    "GR_CONF_PERFCOUNTERS_ON": "True",
    "GR_CONF_PERFCOUNTERS_CLOCK": "thread",
    "OMP_NUM_THREADS": "1",
}

import numpy as np
from gnuradio import blocks, digital, fec, gr, neuralfec, trellis
from gnuradio.neuralfec import _kernels, codes, provenance
from gnuradio.neuralfec.decoders import burst, convolutional
from gnuradio.neuralfec.sequence import decoder


def received(code: codes.convolutional.ConvolutionalCode, frames: int) -> np.ndarray:
    """Values +-1 and noise at 4 dB, float32 (frames, n)."""
    rng = np.random.default_rng(1)
    messages = rng.integers(0, 2, (frames, code.k), dtype=np.uint8)
    sent = 2 * code.encode(messages).astype(np.float32) - 1
    return sent + np.float32(0.63) * rng.standard_normal(sent.shape, dtype=np.float32)


def in_graph(make: Callable, values: np.ndarray, item: int, out_item: int, runs: int) -> float:
    """Message bits a second of a block in a graph; items are vectors of these lengths."""
    speeds = []
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        values.tofile(file)
        file.flush()
        for _ in range(runs):
            block = make()
            top = gr.top_block()
            source = blocks.file_source(values.itemsize * item, file.name)
            sink = blocks.null_sink(block.output_signature().sizeof_stream_item(0))
            top.connect(source, block, sink)
            top.run()
            bits = block.nitems_written(0) * out_item
            speeds.append(bits / (block.pc_work_time_total() * 1e-9))
    return max(speeds)


def called(decode: Callable, values: np.ndarray, k: int, runs: int) -> float:
    """Message bits a second of a NumPy door."""
    decode(values)
    speeds = []
    for _ in range(runs):
        start = time.process_time()
        decode(values)
        speeds.append(len(values) * k / (time.process_time() - start))
    return max(speeds)


def viterbi(code: codes.convolutional.ConvolutionalCode, runs: int) -> list[tuple[str, float]]:
    """The kernel, the block of frames and the block of streams, with both metrics."""
    values = received(code, 256)
    many = np.tile(values, (32, 1))
    rows = []

    def add(metric: str) -> None:
        kernel = convolutional.ViterbiDecoder(code, metric)
        rows.append(
            (
                f"ViterbiDecoder, {metric}, 256 frames a call",
                called(kernel.decode, values, code.k, runs),
            )
        )
        rows.append(
            (
                f"viterbi_decoder block, {metric}",
                in_graph(
                    lambda: neuralfec.viterbi_decoder(code, metric), many, code.n, code.k, runs
                ),
            )
        )
        rows.append(
            (
                f"viterbi_stream_decoder block, {metric}",
                in_graph(
                    lambda: neuralfec.viterbi_stream_decoder(code, metric=metric), many, 1, 1, runs
                ),
            )
        )

    for metric in ("int16", "int8"):
        add(metric)
    return rows


def windows(runs: int) -> list[dict[str, Any]]:
    """Speed of streams against the window, which makes their latency (window + overlap)."""
    rows = []

    def add(decoder: str, window: int, overlap: int, decode: Callable, values: np.ndarray) -> None:
        speed = called(decode, values, values.shape[1] // 2, runs)
        rows.append(
            {"decoder": decoder, "window": window, "overlap": overlap, "bits_per_second": speed}
        )
        print(
            f"  {decoder:18} window {window:5}, latency {window + overlap:5} bits "
            f"{speed / 1e6:9.2f} Mbit/s",
            flush=True,
        )

    print("Streams, by window")
    for window in (32, 64, 128, 256, 512, 1024, 2048, 4096):
        for spec in ("7,5", "171,133"):
            code = codes.code(f"conv:{spec}:2048")
            stream = _kernels.ViterbiStream(**code.stream_arguments(), block=window)
            add(f"viterbi {spec}", window, stream.depth, stream.decode, received(code, 256))
        code = codes.code("conv:7,5:2048")
        network = decoder.RnnStream(code, window=window)
        # At least the 32 windows that fill the kernel's lanes.
        add(
            "rnn 7,5",
            window,
            network.overlap,
            network.decode,
            received(code, max(16, window // 32)),
        )
    return rows


def report(rows: list[tuple[str, float]], reference: str) -> None:
    """Speeds, their ratios to the reference, and what blocks keep of their kernels' speed."""
    speeds = dict(rows)
    for name, speed in rows:
        kernel = speeds.get(f"ViterbiDecoder, {name[-5:].strip(' ,')}, 256 frames a call")
        share = f"{speed / kernel:6.0%} of the call" if "block" in name and kernel else ""
        print(
            f"  {name:50} {speed / 1e6:9.2f} Mbit/s {speed / speeds[reference]:6.1f} x {share}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--noiseless", type=int, default=0, help="bits to decode without noise")
    parser.add_argument("--store", type=Path, help="JSON file for the speeds")
    args = parser.parse_args()
    versions = ", ".join(f"{name} {value}" for name, value in provenance.versions().items())
    print(
        f"{provenance.cpu()}, 1 thread, {_kernels.simd_target()}; GNU Radio {gr.version()}, "
        f"{versions}"
    )

    k = 2048
    code = codes.code(f"conv:171,133:{k}:zero")
    values = received(code, 256)
    symbols = np.clip(np.round(values * 32 + 128), 0, 255).astype(np.uint8)

    def gr_fec() -> gr.block:
        ends = fec.CC_TERMINATED
        return fec.decoder(fec.cc_decoder.make(k, 7, 2, [0o117, 0o155], 0, -1, ends), 1, 1)

    def generic() -> gr.block:
        return fec.decoder(neuralfec.generic_viterbi_decoder(code), 4, 1)

    reference = "gr-fec cc_decoder"
    rows = [(reference, in_graph(gr_fec, symbols, 1, 1, args.runs)), *viterbi(code, args.runs)]
    rows.append(("generic_viterbi_decoder, int16", in_graph(generic, values, 1, 1, args.runs)))
    print("K = 7, rate 1/2, generators 171, 133")
    report(rows, reference)
    speeds = {"171,133": dict(rows)}

    code = codes.code(f"conv:7,5:{k}:zero")
    values = received(code, 256)
    fsm = trellis.fsm(1, 2, [0o7, 0o5])
    points = [part for first in (-1.0, 1.0) for second in (-1.0, 1.0) for part in (first, second)]
    metric = digital.TRELLIS_EUCLIDEAN

    def combined() -> gr.block:
        return trellis.viterbi_combined_fb(fsm, code.n // 2, 0, 0, 2, points, metric)

    def siso() -> gr.block:
        return trellis.siso_combined_f(
            fsm, code.n // 2, 0, 0, True, False, trellis.TRELLIS_MIN_SUM, 2, points, metric
        )

    reference = "gr-trellis viterbi_combined_fb"
    rows = [(reference, in_graph(combined, values, 1, 1, args.runs)), *viterbi(code, args.runs)]
    rows.append(("gr-trellis siso_combined_f, min-sum", siso_speed(siso, values, args.runs)))
    for method in ("log-map", "max-log"):
        bcjr = convolutional.BcjrDecoder(code, method)
        rows.append((f"BcjrDecoder, {method}", called(bcjr.posteriors, values, k, args.runs)))
    many = np.tile(values, (4, 1))
    learning = burst.BurstBcjrDecoder(code)
    rows.append(
        ("BurstBcjrDecoder, 1024 frames a call", called(learning.decode, many, k, args.runs))
    )
    rnn = decoder.RnnDecoder(code)
    rows.append(("RnnDecoder, 32 frames a call", called(rnn.decode, values[:32], k, args.runs)))
    stream = values[:64]
    rows.append(
        (
            "rnn_stream_decoder block, window 512, overlap 32",
            in_graph(lambda: neuralfec.rnn_stream_decoder("conv:7,5"), stream, 1, 1, args.runs),
        )
    )
    print("K = 3, rate 1/2, generators 7, 5")
    report(rows, reference)
    speeds["7,5"] = dict(rows)

    by_window = windows(args.runs)
    if args.store:
        record = {
            "command": provenance.command(),
            "commit": provenance.commit(),
            "cpu": provenance.cpu(),
            "threads": 1,
            "simd": _kernels.simd_target(),
            "versions": {**provenance.versions(), "gnuradio": gr.version()},
            "bits_per_second": speeds,
            "windows": by_window,
        }
        args.store.write_text(json.dumps(record, indent=2) + "\n")
    if args.noiseless:
        noiseless(args.noiseless)


def siso_speed(make: Callable, values: np.ndarray, runs: int) -> float:
    """Its a-priori inputs are zeros; it puts out two values a message bit."""
    speeds = []
    for _ in range(runs):
        block = make()
        top = gr.top_block()
        steps = values.size // 2
        priors = blocks.vector_source_f([0.0] * (2 * steps))
        top.connect(priors, (block, 0))
        top.connect(blocks.vector_source_f(values.ravel().tolist()), (block, 1))
        top.connect(block, blocks.null_sink(gr.sizeof_float))
        top.run()
        speeds.append(block.nitems_written(0) / 2 / (block.pc_work_time_total() * 1e-9))
    return max(speeds)


def noiseless(bits: int) -> None:
    """Errors without noise over many bits, in frames and in one endless stream."""
    print(f"Errors without noise, {bits} bits each:")
    rng = np.random.default_rng(2)
    for spec in ("7,5", "7,5/7", "171,133", "561,753"):
        code = codes.code(f"conv:{spec}:100000:zero")
        whole = codes.code(f"conv:{spec}:1000000")
        kernel = _kernels.ViterbiDecoder(**code.decoder_arguments())
        stream = _kernels.ViterbiStream(**code.stream_arguments())
        in_frames = in_stream = done = 0
        sent, decided = [], []
        while done < bits:
            messages = rng.integers(0, 2, (10, code.k), dtype=np.uint8)
            llrs = 2 * code.encode(messages).astype(np.float32) - 1
            in_frames += np.count_nonzero(kernel.decode(llrs)[0] != messages)
            # Terminated codewords, one behind the other, are one stream.
            zero = whole.with_frame(messages.size - code.memory, "zero")
            message = messages.reshape(1, -1)[:, : zero.k]
            found, _ = stream.decode(2 * zero.encode(message).astype(np.float32) - 1)
            decided.append(found)
            sent.append(message[0])
            sent.append(np.full(zero.memory, 255, dtype=np.uint8))
            done += messages.size
        sent, decided = np.concatenate(sent), np.concatenate(decided)
        sent = sent[: decided.size]
        in_stream = np.count_nonzero((sent != decided) & (sent != 255))
        print(f"  conv:{spec:10} frames {in_frames}, stream {in_stream}")


if __name__ == "__main__":
    main()
