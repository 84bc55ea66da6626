# SPDX-License-Identifier: GPL-3.0-or-later
"""Anybody's network as a block."""

import os
import time
from typing import Any, ClassVar

import numpy as np
from gnuradio import gr

from .models.foreign import ForeignNetwork
from .python_block import PythonBlock, set_batch


class torch_model(PythonBlock, gr.sync_block):
    """Anybody's network, of a TorchScript or an ONNX file: vectors in, vectors out.

    What waits at the input is a batch: under load many vectors go through the network at once, and
    a single one does not wait for others.

    file: saved by torch.jit.save, or a file that ends in .onnx, for which onnxruntime is needed.
    inputs, outputs: elements of a vector in and out; the network takes (B, inputs) and gives
    (B, outputs) for any B. input_type, output_type: "complex", "float", "int" or "byte". batch: the
    most vectors that go through at once. device: "cpu" or "cuda". threads: of the processor, for
    one call. ValueError where the network, which is tried, does not take or give this.

    stats: `calls` and `vectors`; `batch_mean` and `batch_max`; `latency_mean_ms` and
    `latency_max_ms`, the time of one call of the network.
    """

    _TYPES: ClassVar = {
        "complex": np.complex64,
        "float": np.float32,
        "int": np.int32,
        "byte": np.uint8,
    }

    def __init__(
        self,
        file: str | os.PathLike,
        inputs: int,
        outputs: int,
        input_type: str = "float",
        output_type: str = "float",
        batch: int = 256,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        for name in (input_type, output_type):
            if name not in self._TYPES:
                raise ValueError(f"expected a type of {', '.join(self._TYPES)}, got {name!r}")
        if batch < 1:
            raise ValueError(f"expected a batch of at least 1, got {batch}")
        kinds = self._TYPES[input_type], self._TYPES[output_type]
        self.network = ForeignNetwork(file, inputs, outputs, *kinds, device=device, threads=threads)
        self._batch, self._seconds, self._longest = batch, 0.0, 0.0
        super().__init__("torch_model", [(kinds[0], inputs)], [(kinds[1], outputs)])
        self.torch_threads = threads
        set_batch(batch, self)

    def process(self, input_items: list, output_items: list) -> int:
        """Run the network on all vectors that wait."""
        x, y = input_items[0].reshape(-1, self.network.inputs), output_items[0]
        y = y.reshape(-1, self.network.outputs)
        for first in range(0, len(x), self._batch):
            part = slice(first, first + self._batch)
            began = time.perf_counter()
            y[part] = self.network(x[part])
            took = time.perf_counter() - began
            self._seconds += took
            self._longest = max(self._longest, took)
            size = len(x[part])
            self.counts.update(vectors=size, batches=1)
            self.counts["batch_max"] = max(self.counts["batch_max"], size)
        return len(x)

    def stats(self) -> dict[str, Any]:
        """Return counts, sizes of batches and times of calls; see the class."""
        batches = max(self.counts["batches"], 1)
        return super().stats() | {
            "batch_mean": self.counts["vectors"] / batches,
            "latency_mean_ms": 1000 * self._seconds / batches,
            "latency_max_ms": 1000 * self._longest,
        }
