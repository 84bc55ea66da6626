#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""LLR quantization on one core: our kernels beside torch, TorchScript and onnxruntime.

All of them in one process with one thread, in turns; figures are medians. onnxruntime joins where
it is installed (pip install onnxruntime onnx). Blocks are timed in a flow graph of their own
with sources and sinks that do next to nothing.
"""

import argparse
import io
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from gnuradio import blocks, gr, neuralfec
from gnuradio.neuralfec import _kernels, models, provenance
from gnuradio.neuralfec.quantization import LlrQuantizer
from gnuradio.neuralfec.quantization.data import LlrSource
from gnuradio.neuralfec.quantization.network import GainCellQuantizer, RailLayer

BATCH = 1024


def alternate(runs: dict[str, tuple[int, Callable]], repeats: int) -> dict[str, float]:
    """Median Msym/s by name, of calls in turns; each is given with its symbols a call."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, (_, call) in runs.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: runs[name][0] / np.median(seconds[name]) / 1e6 for name in runs}


def network_of(model: str) -> GainCellQuantizer:
    """The model as a torch module again."""
    state = models.state_dict(f"quantization/{model}")
    hidden = [len(state[name]) for name in state if name.endswith("bias")][:-1]
    bits = LlrQuantizer(model).bits
    module = GainCellQuantizer(bits, state["levels"], state["table"], tuple(hidden))
    module.load_state_dict(state)
    # Plain layers, which every library has its fastest code for.
    for i, layer in enumerate(module.encoder):
        if isinstance(layer, RailLayer):
            outputs, inputs = layer.weight.shape
            plain = torch.nn.Linear(inputs, 2 * outputs)
            plain.weight.copy_(torch.cat([layer.weight, layer.weight.roll(inputs // 2, 1)]))
            plain.bias.copy_(layer.bias.repeat(2))
            module.encoder[i] = plain
    return module.eval()


class Encoder(torch.nn.Module):
    """LLRs to index: what the kernel does."""

    def __init__(self, network: GainCellQuantizer):
        super().__init__()
        self.network = network

    def forward(self, llrs: torch.Tensor) -> torch.Tensor:
        return self.network.index(self.network(llrs))


def onnx_session(network: GainCellQuantizer, llrs: torch.Tensor):
    """The dense layers alone, without features and index, which onnxruntime gets for free."""
    try:
        import onnxruntime
    except ImportError:
        return None
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The exporter that needs no further package is the older one.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(network.encoder, (llrs,), file, input_names=["x"], dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(
        file.getvalue(), options, providers=["CPUExecutionProvider"]
    )


def block_speed(source, made, size_out: int, frame_symbols: int, seconds: float) -> float:
    """Msym/s of a block between a source that repeats itself and a null sink."""
    top = gr.top_block()
    sink = blocks.null_sink(size_out)
    for block in (source, made):
        block.set_min_output_buffer(2048)
    top.connect(source, made, sink)
    top.start()
    time.sleep(0.2)
    begin, start = sink.nitems_read(0), time.perf_counter()
    time.sleep(seconds)
    done, spent = sink.nitems_read(0) - begin, time.perf_counter() - start
    top.stop()
    top.wait()
    return done * frame_symbols / spent / 1e6


def measure(model: str, repeats: int, seconds: float) -> None:
    fast, search = LlrQuantizer(model, search=False), LlrQuantizer(model)
    llrs = LlrSource(fast.card.parameters["constellation"], (16, 20), seed=3).llrs(1 << 17)
    array = llrs.numpy()
    indices = search.quantize(array)
    packed = search.pack(indices)
    batches = list(llrs.split(BATCH))[:32]
    arrays = [batch.numpy() for batch in batches]
    module = network_of(model)
    encoder = Encoder(module).eval()
    scripted = torch.jit.optimize_for_inference(torch.jit.script(encoder))
    table = module.decode(module.codeword(torch.arange(1 << fast.bits))).numpy()
    n, small = len(array), len(batches) * BATCH
    runs = {
        "quantizer kernel": (n, lambda: fast.quantizer.quantize(array)),
        f"quantizer kernel, batch {BATCH}": (
            small,
            lambda: [fast.quantizer.quantize(part) for part in arrays],
        ),
        f"torch, batch {BATCH}": (small, lambda: [encoder(part) for part in batches]),
        f"TorchScript, batch {BATCH}": (small, lambda: [scripted(part) for part in batches]),
    }
    if session := onnx_session(module, batches[0]):
        runs[f"onnxruntime, batch {BATCH}"] = (
            small,
            lambda: [session.run(None, {"x": part}) for part in arrays],
        )
    others = list(runs)[2:]
    runs |= {
        "search kernel": (n, lambda: search.quantizer.quantize(array)),
        "dequantizer kernel": (n, lambda: search.dequantizer.dequantize(indices)),
        "numpy.take": (n, lambda: table.take(indices, 0)),
        "pack": (n, lambda: search.pack(indices)),
        "unpack": (n, lambda: search.unpack(packed, n)),
    }
    for _, call in runs.values():
        call()
    speed = alternate(runs, repeats)
    print(f"\n{model}")
    for name, value in speed.items():
        print(f"  {name:32}{value:9.2f} Msym/s")
    best = max(speed[name] for name in others)
    print(f"  quantizer / best of {', '.join(others)}: {speed['quantizer kernel'] / best:.2f}")
    frame = 64
    k = fast.bits_per_symbol
    floats = blocks.vector_source_f(array.ravel().tolist(), True, k * frame)
    numbers = blocks.vector_source_i(indices.tolist(), True, frame)
    for name, source, made, size_out, kernel in [
        (
            "llr_quantizer block",
            floats,
            neuralfec.llr_quantizer(model, frame, packed=False, search=False),
            4 * frame,
            "quantizer kernel",
        ),
        (
            "llr_quantizer block, search",
            floats,
            neuralfec.llr_quantizer(model, frame, packed=False),
            4 * frame,
            "search kernel",
        ),
        (
            "llr_dequantizer block",
            numbers,
            neuralfec.llr_dequantizer(model, frame, packed=False),
            4 * k * frame,
            "dequantizer kernel",
        ),
    ]:
        rate = block_speed(source, made, size_out, frame, seconds)
        print(f"  {name:32}{rate:9.2f} Msym/s, {rate / speed[kernel]:.0%} of the kernel")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["qam256-15bit", "qam256-18bit"])
    parser.add_argument("--repeats", type=int, default=31)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each flow graph")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{provenance.cpu()}, 1 thread, SIMD {_kernels.simd_target()}, {provenance.versions()}")
    with torch.inference_mode():
        for model in args.models:
            measure(model, args.repeats, args.seconds)


if __name__ == "__main__":
    main()
