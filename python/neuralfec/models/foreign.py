# SPDX-License-Identifier: GPL-3.0-or-later
"""Anybody's network, in a TorchScript or an ONNX file: arrays in, arrays out."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .files import quiet_jit, torch_or_error


class ForeignNetwork:
    """A network of a file that takes (B, n) and gives (B, m), B of any size.

    Parameters
    ----------
    file : a TorchScript file (torch.jit.save), or one whose name ends in .onnx
    inputs : n, elements of a vector in
    outputs : m, elements of a vector out
    input_type, output_type : numpy types of them
    device : "cpu", or "cuda" for a GPU; TorchScript alone
    threads : of the processor, that one call may take

    The network is tried with batches of 1 and 3 zeros. ValueError, with what was expected and what
    came, where the file is none, or the network does not take or give what was said. ImportError
    names torch or onnxruntime where that is missing.
    """

    def __init__(
        self,
        file: str | os.PathLike,
        inputs: int,
        outputs: int,
        input_type: Any = np.float32,
        output_type: Any = np.float32,
        *,
        device: str = "cpu",
        threads: int = 1,
    ) -> None:
        if inputs < 1 or outputs < 1:
            raise ValueError(
                f"expected vectors of at least 1 element, got {inputs} in and {outputs} out"
            )
        if threads < 1:
            raise ValueError(f"expected at least 1 thread, got {threads}")
        self._file = Path(file)
        if not self._file.is_file():
            raise ValueError(f"no such file: {file}")
        self.inputs, self.outputs, self.threads = inputs, outputs, threads
        self.input_type, self.output_type = np.dtype(input_type), np.dtype(output_type)
        make = self._onnx if self._file.suffix == ".onnx" else self._torch_script
        self._run = make(device)
        for batch in (1, 3):
            self(np.zeros((batch, inputs), self.input_type))

    def __call__(self, x: NDArray) -> NDArray:
        """Run the network on (B, n). ValueError where it does not give (B, m)."""
        try:
            y = self._run(x)
        except Exception as error:
            # torch and onnxruntime have exceptions of their own; the last line says the reason.
            lines = [line for line in str(error).splitlines() if line.strip()] or [repr(error)]
            raise ValueError(
                f"{self._file.name}: expected a network that takes {self.input_type} of shape "
                f"{x.shape}, which ended in: {lines[-1].strip()}"
            ) from error
        expected = len(x), self.outputs
        if not isinstance(y, np.ndarray) or y.shape != expected:
            raise ValueError(
                f"{self._file.name}: expected a network that gives an array of shape {expected} "
                f"for {x.shape}, got {getattr(y, 'shape', type(y).__name__)}"
            )
        if y.dtype != self.output_type and not np.can_cast(y.dtype, self.output_type, "same_kind"):
            raise ValueError(
                f"{self._file.name}: expected a network that gives {self.output_type}, "
                f"got {y.dtype}"
            )
        return y

    def _torch_script(self, device: str) -> Any:
        torch = torch_or_error()
        try:
            with quiet_jit():
                network = torch.jit.load(str(self._file), map_location=device).eval()
        except (RuntimeError, ValueError) as error:
            raise ValueError(
                f"{self._file}: expected a TorchScript file (torch.jit.save) or one of ONNX whose "
                f"name ends in .onnx, got one that torch cannot load on {device}: "
                f"{str(error).splitlines()[0]}"
            ) from error

        def run(x: NDArray) -> Any:
            with torch.inference_mode():
                y = network(torch.from_numpy(np.ascontiguousarray(x)).to(device))
            return y.cpu().numpy() if isinstance(y, torch.Tensor) else y

        return run

    def _onnx(self, device: str) -> Any:
        if device != "cpu":
            raise ValueError(f"expected the device cpu for an ONNX file, got {device!r}")
        try:
            import onnxruntime
        except ImportError as error:
            raise ImportError(
                f"{self._file.name} needs onnxruntime (pip install onnxruntime): {error}"
            ) from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = self.threads
        try:
            session = onnxruntime.InferenceSession(
                str(self._file), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ValueError(
                f"{self._file}: expected an ONNX file, got: {str(error).splitlines()[0]}"
            ) from error
        names = [entry.name for entry in session.get_inputs()]
        if len(names) != 1:
            raise ValueError(f"{self._file}: expected a network of 1 input, got {names}")
        return lambda x: session.run(None, {names[0]: np.ascontiguousarray(x)})[0]
