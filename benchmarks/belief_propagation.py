#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Speed of LDPC decoding on one core, beside GNU Radio's fec.ldpc_decoder.

The (648, 324) code of 802.11n, +-1 in real Gaussian noise. Two operating points: noise in
which no codeword is ever found, so that every decoder does all 20 iterations, and noise of
a block error rate near 1e-3 with up to 50 iterations, where all stop when the checks hold.
All decoders get the same LLRs in one process, in turn; CPU time of the whole process
counts, sources and sinks of the flow graphs included, and the medians are compared.

Then our rules and schedules beside flooding sum-product of up to 20 iterations, all stopping
when the checks hold: iterations, block errors and speed. The last rows have noise that is
0.1 dB stronger, so what a decoder loses against sum-product is below 0.1 dB where it has
fewer block errors than sum-product has there.

    .venv/bin/python benchmarks/belief_propagation.py
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from gnuradio import blocks, fec, gr, neuralfec
from gnuradio.neuralfec import _kernels, codes, decoders, provenance
from gnuradio.neuralfec.codes import alist
from gnuradio.neuralfec.decoders.belief_propagation import BeliefPropagation


def in_graph(block: gr.basic_block, samples: np.ndarray, frame: int) -> blocks.vector_sink_b:
    """What a block makes of float32 samples, ``frame`` of them an item."""
    graph = gr.top_block()
    with tempfile.NamedTemporaryFile() as file:
        samples.astype(np.float32).tofile(file)
        file.flush()
        graph.source = blocks.file_source(gr.sizeof_float * frame, file.name)
        # Room for many codewords, so that many are there when the decoder is called.
        graph.source.set_min_output_buffer((1 << 20) // frame)
        graph.sink = blocks.vector_sink_b(block.output_signature().sizeof_stream_item(0))
        graph.connect(graph.source, block, graph.sink)
        graph.run()
    return graph.sink


def cpu_seconds(work: Callable[[], None]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def compare(
    code: codes.LinearCode,
    path: Path,
    deviation: float,
    iterations: int,
    sigma: float,
    args: argparse.Namespace,
) -> None:
    rng = np.random.default_rng(1)
    messages = rng.integers(0, 2, (args.frames, code.k), dtype=np.uint8)
    noisy = 2.0 * code.encode(messages) - 1 + rng.normal(0, deviation, (args.frames, code.n))
    llrs = (2 / deviation**2 * noisy).astype(np.float32)
    # The slow ones get fewer frames, for a run of about the same time.
    few = max(64, args.frames // 8)
    bp = BeliefPropagation(code, iterations)
    min_sum = BeliefPropagation(code, iterations, rule="min-sum")
    try:
        theirs = fec.ldpc_decoder.make(str(path), sigma, iterations)
    except TypeError:  # GNU Radio 3.10.9 and later take no sigma
        theirs = fec.ldpc_decoder.make(str(path), max_iterations=iterations)

    def ours(codewords: int) -> fec.extended_decoder:
        decoder = neuralfec.generic_ldpc_decoder(code, iterations=iterations, codewords=codewords)
        return fec.extended_decoder(decoder, None)

    def their_bits(samples: np.ndarray) -> np.ndarray:
        sink = in_graph(fec.extended_decoder(theirs, None), samples, 1)
        return np.reshape(sink.data(), (len(samples), -1))

    runs = {
        "fec.ldpc_decoder": (
            few,
            lambda: in_graph(fec.extended_decoder(theirs, None), noisy[:few], 1),
        ),
        "call, sum-product": (args.frames, lambda: bp.decode(llrs)),
        "call, min-sum": (args.frames, lambda: min_sum.decode(llrs)),
        "block, sum-product": (
            args.frames,
            lambda: in_graph(neuralfec.ldpc_decoder(code, iterations), llrs, code.n),
        ),
        "extended_decoder, 16 codewords a frame": (
            args.frames,
            lambda: in_graph(ours(16), llrs, 1),
        ),
        "extended_decoder, 1 codeword a frame": (few, lambda: in_graph(ours(1), llrs[:few], 1)),
    }
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(args.repeats):
        for name, (frames, work) in runs.items():
            speeds[name].append(frames / cpu_seconds(work))
    base = statistics.median(speeds["fec.ldpc_decoder"])
    decoded = bp.run(llrs)
    # Its message bits stand elsewhere in the codeword: what it makes of clean ones is right.
    theirs_wrong = their_bits(noisy[:few]) != their_bits(2.0 * code.encode(messages[:few]) - 1)
    print(
        f"\nup to {iterations} iterations, ours did {decoded.iterations.mean():.1f}; block errors: "
        f"ours {(decoded.messages != messages).any(axis=1).mean():.1e} of {args.frames}, "
        f"fec.ldpc_decoder {theirs_wrong.any(axis=1).mean():.1e} of {few}"
    )
    print(f"  {'':40}{'codewords/s':>12}{'ratio':>9}")
    for name, values in speeds.items():
        speed = statistics.median(values)
        print(f"  {name:40}{speed:12.0f}{speed / base:9.1f}")


def noisy(
    code: codes.LinearCode, frames: int, deviation: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Messages and true LLRs; the noise of a seed is the same but for its deviation."""
    rng = np.random.default_rng(seed)
    messages = rng.integers(0, 2, (frames, code.k), dtype=np.uint8)
    received = 2.0 * code.encode(messages) - 1 + deviation * rng.normal(0, 1, (frames, code.n))
    return messages, (2 / deviation**2 * received).astype(np.float32)


def compare_schedules(code: codes.LinearCode, args: argparse.Namespace) -> None:
    """Print rules and schedules beside flooding sum-product."""
    deviation = 0.78
    specs = ("bp:20", "bp-layered:12", "min-sum:20", "min-sum-layered:20,0.8", "min-sum-int8:20")
    every = {spec: decoders.decoder(spec, code) for spec in specs}
    frames = 4 * args.frames
    worse = deviation * 10 ** (0.1 / 20)
    for of_noise, some in ((deviation, specs), (worse, specs[:1])):
        messages, llrs = noisy(code, frames, of_noise, seed=2)
        seconds: dict[str, list[float]] = {spec: [] for spec in some}
        totals, wrong = {}, {}
        for _ in range(args.repeats):
            for spec in some:
                start = time.process_time()
                decided, totals[spec] = every[spec].decode(llrs)
                seconds[spec].append(time.process_time() - start)
                wrong[spec] = int((decided != messages).any(axis=1).sum())
        slowest = statistics.median(seconds["bp:20"])
        print(f"\nnoise of deviation {of_noise:.4f}, {frames} codewords")
        print(
            f"  {'':26}{'iterations':>12}{'ratio':>7}{'errors':>9}{'codewords/s':>14}{'ratio':>7}"
        )
        for spec in some:
            mean = totals[spec]["iterations"] / frames
            time_taken = statistics.median(seconds[spec])
            print(
                f"  {spec:24}{mean:12.2f}{mean / totals['bp:20']['iterations'] * frames:12.2f}"
                f"{wrong[spec]:12}{frames / time_taken:14.0f}{slowest / time_taken:7.2f}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--frames", type=int, default=4096, help="codewords a run of ours")
    args = parser.parse_args()

    gr.logging().set_default_level(gr.log_levels.warn)
    code = codes.code("wifi-648")
    print(f"CPU {provenance.cpu()}, 1 thread, SIMD {_kernels.simd_target()}")
    print(f"GNU Radio {gr.version()}, gr-neuralfec {neuralfec.__version__}, NumPy {np.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "code.alist")
        alist.write(path, code.parity_check)
        # fec.ldpc_decoder's sigma is neither deviation nor variance; 0.4 is where it makes
        # the fewest errors in noise of deviation 0.8.
        for deviation, iterations, sigma in ((1.3, 20, 1.0), (0.8, 50, 0.4)):
            compare(code, path, deviation, iterations, sigma, args)
    compare_schedules(code, args)


if __name__ == "__main__":
    main()
