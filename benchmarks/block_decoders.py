#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Words a second of the block-code decoders on one core, beside GNU Radio's own.

Thread time of alternating runs on the same LLRs, medians; the last lines are GNU Radio's list
decoder and ours in the same kind of flow graph (process time of the whole graph).

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/block_decoders.py
"""

import argparse
import platform
import statistics
import time
from typing import Any

import numpy as np
import torch
from gnuradio import blocks, fec, gr, neuralfec
from gnuradio.neuralfec import _kernels, codes, decoders, provenance, python_block
from gnuradio.neuralfec.syndrome.data import BicmChain
from gnuradio.neuralfec.syndrome.decoder import recurrent_estimator
from gnuradio.neuralfec.syndrome.form import systematic_form
from gnuradio.neuralfec.syndrome.network import RecurrentEstimator, TransformerEstimator

CLASSICAL = ["osd:1", "osd:2", "osd:3", "sc", "scl:8", "scl:32"]
NEURAL = ["syndrome", "syndrome-osd:1", "syndrome-osd:2", "syndrome-osd:3"]
# Decoders at the length of 128: code, Eb/N0 in dB (BPSK), reference, others.
SHORT = [
    (
        "polar-nr:128,64,crc11",
        2.5,
        "scl:32",
        ["scl:8", "scl:256", "scl-osd:8,3", "scl-osd:8,3,early", "scl-osd:8,4,early"],
    ),
    ("rm:3,7", 3.0, "scl:32", ["sc", "ae-sc:32", "ae-sc:64", "ae-sc:64,64", "osd:3"]),
    ("polar-rptu:128,64", 2.0, "osd:3", ["osd:2", "osd:3,early", "osd:4,early", "syndrome-osd:3"]),
]
# Code, constellation, Eb/N0 in dB, what words a second are compared with, frames.
CASES = [
    ("polar-nr:64,32", "qam16", 5.0, "osd:2", 8192),
    ("polar-rptu:128,64", "psk2", 2.0, "osd:3", 4096),
    ("polar-rptu:128,64", "psk2", 3.0, "osd:3", 4096),
    ("polar-rptu:128,64", "psk2", 4.0, "osd:3", 4096),
]


def graph_seconds(block: gr.basic_block, llrs: np.ndarray, n: int, k: int) -> float:
    """Process time of a graph that decodes the LLRs."""
    stream = isinstance(block, gr.hier_block2)
    graph = gr.top_block()
    source = blocks.vector_source_f(llrs.ravel().tolist(), False, 1 if stream else n)
    if not stream:
        source.set_min_output_buffer(2048)
    sink = blocks.null_sink(1 if stream else k)
    graph.connect(source, block, sink)
    start = time.process_time()
    if isinstance(block, python_block.PythonBlock):
        python_block.run(graph, block)
    else:
        graph.run()
    return time.process_time() - start


def compare(code: Any, specs: list[str], reference: str, batch: Any, runs: int) -> np.ndarray:
    """Print words a second of decoders, in turns on the same LLRs, which are returned."""
    llrs, sent = batch.llrs.numpy(), batch.messages.numpy().astype(np.uint8)
    made = {name: decoders.decoder(name, code) for name in specs}
    times: dict[str, list[float]] = {name: [] for name in made}
    errors = {}
    for _ in range(runs):
        for name, decoder in made.items():
            start = time.thread_time()
            messages, _ = decoder.decode(llrs)
            times[name].append((time.thread_time() - start) / len(llrs))
            errors[name] = np.mean((messages != sent).any(axis=1))
    base = statistics.median(times[reference])
    print(f"{'':24}{'words/s':>10}{'times ' + reference:>14}{'FER':>10}")
    for name, values in times.items():
        median = statistics.median(values)
        print(f"{name:24}{1 / median:10.0f}{base / median:14.2f}{errors[name]:10.4f}")
    return llrs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="without networks and flow graphs")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{provenance.cpu()}, 1 thread, {_kernels.simd_target()}; GNU Radio {gr.version()}, "
        f"torch {torch.__version__}, numpy {np.__version__}, python {platform.python_version()}; "
        f"median of {arguments.runs} runs"
    )
    for spec, eb_n0_db, reference, others in SHORT:
        print(f"\n{spec}, psk2, Eb/N0 {eb_n0_db} dB")
        code = codes.code(spec)
        batch = BicmChain(code, "psk2", seed=1)(eb_n0_db, 8192)
        compare(code, [reference, *others], reference, batch, arguments.runs)
    if arguments.short:
        return
    for spec, constellation, eb_n0_db, reference, frames in CASES:
        print(f"\n{spec}, {constellation}, Eb/N0 {eb_n0_db} dB")
        code = codes.code(spec)
        batch = BicmChain(code, constellation, seed=1)(eb_n0_db, frames)
        llrs = compare(code, [*CLASSICAL, *NEURAL], reference, batch, arguments.runs)

        form = systematic_form(code)
        for network in (RecurrentEstimator(form, width=576), TransformerEstimator(form)):
            inputs = batch.reliabilities[:128], batch.syndrome[:128, : code.n - code.k]
            seconds = []
            with torch.inference_mode():
                for _ in range(3):
                    start = time.thread_time()
                    network(*inputs)
                    seconds.append((time.thread_time() - start) / 128)
            size = sum(p.numel() for p in network.parameters())
            name = f"{type(network).__name__} ({size / 1e6:.2f} M)"
            print(f"{name:34}{1 / statistics.median(seconds):8.0f} words/s, torch, untrained")
            if isinstance(network, RecurrentEstimator):
                state = {key: value.numpy() for key, value in network.state_dict().items()}
                estimate = recurrent_estimator(form, state, network.steps)
                arrays = inputs[0].numpy(), inputs[1].numpy().astype(np.uint8)
                kernel = []
                for _ in range(3):
                    start = time.thread_time()
                    estimate(*arrays)
                    kernel.append((time.thread_time() - start) / 128)
                print(f"{'its C++ kernel':34}{1 / statistics.median(kernel):8.0f} words/s")

        frozen = np.setdiff1d(np.arange(code.n), code.unfrozen).tolist()
        print("through a flow graph:")
        order = int(reference[-1])
        graphs = {
            "fec.polar_decoder_sc_list L=8": lambda c=code, f=frozen: fec.extended_decoder(
                fec.polar_decoder_sc_list.make(8, c.n, c.k, f, []), threading=None
            ),
            "neuralfec.polar_decoder L=8": lambda c=code: neuralfec.polar_decoder(c, list_size=8),
            f"neuralfec.osd_decoder {order}": lambda c=code, o=order: neuralfec.osd_decoder(
                c, order=o
            ),
            "neuralfec.syndrome_decoder": lambda s=spec: neuralfec.syndrome_decoder(s),
        } | {
            f"... re-encoding, order {o}": lambda s=spec, o=o: neuralfec.syndrome_decoder(
                s, reencode=o
            )
            for o in (1, 3)
        }
        for name, make in graphs.items():
            seconds = [graph_seconds(make(), llrs, code.n, code.k) for _ in range(arguments.runs)]
            print(f"{name:34}{frames / statistics.median(seconds):10.0f} words/s")


if __name__ == "__main__":
    main()
