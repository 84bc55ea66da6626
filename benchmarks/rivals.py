#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoders of other projects beside ours, on one core in one run, where they are there.

    OMP_NUM_THREADS=1 benchmarks/rivals.py --libfec libfec.so --libcorrect libcorrect.so

Convolutional code (171, 133): libfec's viterbi27 (Debian's libfec0, or github.com/quiet/libfec)
and libcorrect's decoder with SIMD (github.com/quiet/libcorrect); viterbi.py has GNU Radio's.
LDPC: belief propagation of the package `ldpc` (pip install ldpc), 20 iterations at most.

Each decodes the same noisy words; all have to decode noiseless ones without an error first. Speed
is process time of the calls, the best of some runs in turns.
"""

import argparse
import ctypes
import importlib.util
import platform
import time
from collections.abc import Callable

import numpy as np
from gnuradio.neuralfec import _kernels, codes, decoders, provenance

Decode = Callable[[np.ndarray], np.ndarray]
POLYNOMIALS = (0o171, 0o133)


def levels(llrs: np.ndarray) -> np.ndarray:
    """LLRs as bytes: 0 a certain 0, 255 a certain 1."""
    return np.ascontiguousarray(np.clip(np.rint(127.5 + 16 * llrs), 0, 255), np.uint8)


def reversed_bits(polynomial: int) -> int:
    """A polynomial with its newest bit last."""
    return int(f"{polynomial:07b}"[::-1], 2)


def libfec(path: str, k: int) -> Decode:
    """The decoder of libfec for terminated frames of k bits."""
    library = ctypes.CDLL(path)
    library.create_viterbi27.restype = ctypes.c_void_p
    library.set_viterbi27_polynomial((ctypes.c_int * 2)(*map(reversed_bits, POLYNOMIALS)))
    state = ctypes.c_void_p(library.create_viterbi27(k + 6))
    bytes_out = ctypes.create_string_buffer(-(-k // 8))

    def decode(llrs: np.ndarray) -> np.ndarray:
        out = np.empty((len(llrs), k), np.uint8)
        for row, symbols in zip(out, levels(llrs), strict=True):
            library.init_viterbi27(state, 0)
            library.update_viterbi27_blk(state, symbols.ctypes.data_as(ctypes.c_void_p), k + 6)
            library.chainback_viterbi27(state, bytes_out, k, 0)
            row[:] = np.unpackbits(np.frombuffer(bytes_out, np.uint8))[:k]
        return out

    return decode


def libcorrect(path: str, k: int) -> Decode:
    """The decoder of libcorrect for terminated frames of k bits."""
    library = ctypes.CDLL(path)
    create = library.correct_convolutional_sse_create
    create.restype = ctypes.c_void_p
    polynomials = (ctypes.c_uint16 * 2)(*map(reversed_bits, POLYNOMIALS))
    state = ctypes.c_void_p(create(ctypes.c_size_t(2), ctypes.c_size_t(7), polynomials))
    run = library.correct_convolutional_sse_decode_soft
    run.restype = ctypes.c_ssize_t
    bytes_out = ctypes.create_string_buffer(-(-(k + 6) // 8) + 8)

    def decode(llrs: np.ndarray) -> np.ndarray:
        out = np.empty((len(llrs), k), np.uint8)
        for row, symbols in zip(out, levels(llrs), strict=True):
            given = symbols.ctypes.data_as(ctypes.c_void_p)
            run(state, given, ctypes.c_size_t(symbols.size), bytes_out)
            row[:] = np.unpackbits(np.frombuffer(bytes_out, np.uint8))[:k]
        return out

    return decode


def pypi_ldpc(code: codes.linear.LinearCode) -> Decode:
    """Belief propagation of the package ldpc, by syndromes of hard decisions."""
    from ldpc import BpDecoder

    # Noise of about the rate of wrong bits at the SNR of the run.
    made = BpDecoder(
        code.parity_check,
        error_rate=0.06,
        max_iter=20,
        bp_method="product_sum",
        input_vector_type="received_vector",
    )

    def decode(llrs: np.ndarray) -> np.ndarray:
        words = []
        for row in llrs:
            hard = (row > 0).astype(np.uint8)
            made.update_channel_probs(1 / (1 + np.exp(np.abs(row))))
            words.append(np.array(made.decode(hard)))
        return code.messages(np.array(words, np.uint8))

    return decode


def compare(title: str, code: object, made: dict[str, Decode], reference: str, runs: int) -> None:
    """Print message bits a second of decoders, in turns on the same LLRs."""
    rng = np.random.default_rng(1)
    messages = rng.integers(0, 2, (512, code.k), dtype=np.uint8)
    signs = 2 * code.encode(messages).astype(np.float32) - 1
    deviation = np.float32(0.75)
    noisy = signs + deviation * rng.standard_normal(signs.shape, dtype=np.float32)
    llrs = 2 / deviation**2 * noisy
    best, errors = dict.fromkeys(made, np.inf), {}
    for name, decode in made.items():
        wrong = int((decode(8 * signs) != messages).any(1).sum())
        assert wrong == 0, f"{name}: {wrong} of {len(messages)} noiseless words are wrong"
    for _ in range(runs):
        for name, decode in made.items():
            start = time.process_time()
            decided = decode(llrs)
            best[name] = min(best[name], time.process_time() - start)
            errors[name] = np.mean((decided != messages).any(1))
    print(f"\n{title}\n{'':34}{'Mbit/s':>10}{'ours over it':>14}{'FER':>8}")
    for name, seconds in best.items():
        ratio = seconds / best[reference]
        print(f"{name:34}{messages.size / seconds / 1e6:10.2f}{ratio:14.1f}{errors[name]:8.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--libfec", help="its shared library")
    parser.add_argument("--libcorrect", help="its shared library")
    parser.add_argument("--runs", type=int, default=5)
    arguments = parser.parse_args()
    print(
        f"{provenance.cpu()}, 1 thread, {_kernels.simd_target()}; numpy {np.__version__}, "
        f"python {platform.python_version()}; best of {arguments.runs} runs"
    )
    k = 1024
    code = codes.code(f"conv:171,133:{k}:zero")
    ours = {spec: decoders.decoder(spec, code) for spec in ("viterbi:int8", "viterbi")}
    made: dict[str, Decode] = {
        f"ours, {spec}": lambda llrs, one=one: one.decode(llrs)[0] for spec, one in ours.items()
    }
    for name, make, path in (
        ("libfec's viterbi27", libfec, arguments.libfec),
        ("libcorrect's, SIMD", libcorrect, arguments.libcorrect),
    ):
        if path:
            made[name] = make(path, k)
        else:
            print(f"{name} is not there: --{make.__name__} names its shared library")
    compare(f"(171, 133), frames of {k} bits", code, made, "ours, viterbi:int8", arguments.runs)

    ldpc = codes.code("wifi-648")
    ours = {spec: decoders.decoder(spec, ldpc) for spec in ("bp:20", "min-sum-int8:20")}
    made = {
        f"ours, {spec}": lambda llrs, one=one: one.decode(llrs)[0] for spec, one in ours.items()
    }
    if importlib.util.find_spec("ldpc"):
        made["ldpc's BpDecoder, product-sum"] = pypi_ldpc(ldpc)
    else:
        print("the package ldpc is not there: pip install ldpc")
    compare("LDPC (648, 324)", ldpc, made, "ours, bp:20", arguments.runs)


if __name__ == "__main__":
    main()
