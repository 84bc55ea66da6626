#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-3.0-or-later
"""Decoders of other projects beside ours, on one core in one run, where they are there.

    OMP_NUM_THREADS=1 benchmarks/rivals.py --libfec libfec.so.0 --libcorrect libcorrect.so \\
        --aff3ct libaff3ct_ldpc.so --srsran libsrsran_ldpc.so --store results/rivals.json

Convolutional code (171, 133): libfec's viterbi27 (Debian's libfec0, or github.com/quiet/libfec)
and libcorrect's decoder with SIMD (github.com/quiet/libcorrect); viterbi.py has GNU Radio's.
LDPC (648, 324) of 802.11n, at most 20 iterations: aff3ct's layered decoders of many frames at once
(github.com/aff3ct/aff3ct), and the package `ldpc` (pip install ldpc). LDPC of 5G NR, 8 iterations:
the decoder in bytes of srsRAN (github.com/srsran/srsRAN_4G), which stops by a CRC in the message or
not at all. build_rivals.sh makes the libraries of checkouts.

Each decodes the same noisy words; all have to decode noiseless ones without an error first. Speed
is process time of the calls, the best of some runs in turns, with all conversions that a caller
with float LLRs needs.
"""

import argparse
import ctypes
import importlib.util
import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


# aff3ct's rules: name, function, type of LLRs and of bits, steps an LLR of 1 and largest one. The
# steps of bytes lose the fewest words of those tried: its messages end at 7.
AFF3CT: list[tuple[str, str, type, type, float, float]] = [
    ("sum-product", "floats", np.float32, np.int32, 1, np.inf),
    ("min-sum, 0.8", "floats", np.float32, np.int32, 1, np.inf),
    ("min-sum, 0.75, 16 bits", "shorts", np.int16, np.int16, 8, 511),
    ("offset min-sum, bytes", "bytes", np.int8, np.int8, 1.5, 31),
]


def aff3ct(path: str, code: codes.linear.LinearCode, rule: int, iterations: int = 20) -> Decode:
    """A layered decoder of aff3ct."""
    library = ctypes.CDLL(path)
    library.aff3ct_make.restype = ctypes.c_void_p
    edges = [np.ascontiguousarray(part, np.int32) for part in np.nonzero(code.parity_check)]
    checks = code.parity_check.shape[0]
    pointers = [part.ctypes.data_as(ctypes.c_void_p) for part in edges]
    state = ctypes.c_void_p(
        library.aff3ct_make(rule, code.k, code.n, checks, *pointers, len(edges[0]), iterations)
    )
    count = library.aff3ct_frames(state, rule)
    _, name, of_llrs, of_bits, steps, largest = AFF3CT[rule]
    decode_some = getattr(library, f"aff3ct_decode_{name}")

    def decode(llrs: np.ndarray) -> np.ndarray:
        given = -llrs
        if largest < np.inf:
            given = np.clip(np.rint(steps * given), -largest, largest)
        given = np.ascontiguousarray(given, of_llrs)
        out = np.empty((len(llrs), code.k), of_bits)
        assert len(llrs) % count == 0
        for at in range(0, len(llrs), count):
            part = given[at:].ctypes.data_as(ctypes.c_void_p)
            decode_some(state, part, out[at:].ctypes.data_as(ctypes.c_void_p))
        return (out != 0).astype(np.uint8)

    return decode


class _SrsranArguments(ctypes.Structure):
    _fields_ = [
        ("type", ctypes.c_int),
        ("base_graph", ctypes.c_int),
        ("lifting_size", ctypes.c_uint16),
        ("scale", ctypes.c_float),
        ("iterations", ctypes.c_uint32),
    ]


# 3GPP TS 38.212, 5.1.
CRC24B = 0x1800063


def with_check(messages: np.ndarray) -> np.ndarray:
    """Messages with their last 24 bits made the CRC-24B of those before."""
    checked = messages.copy()
    for row in checked:
        value = int("".join(map(str, row[:-24])), 2) << 24
        for bit in range(value.bit_length() - 1, 23, -1):
            if value >> bit & 1:
                value ^= CRC24B << (bit - 24)
        row[-24:] = [value >> i & 1 for i in range(23, -1, -1)]
    return checked


def srsran(path: str, k: int, e: int, size: int, *, crc: bool) -> Decode:
    """The decoder in bytes of srsRAN for base graph 1 without filler, k = 22 size."""
    library = ctypes.CDLL(path)
    # The structures are opaque to us and smaller than this.
    state, check = ctypes.create_string_buffer(4096), ctypes.create_string_buffer(8192)
    avx512 = hasattr(library, "create_ldpc_dec_c_avx512long") and _kernels.simd_target() == "AVX3"
    asked = _SrsranArguments(6 if avx512 else 4, 0, size, 0.8, 8)
    assert library.srsran_ldpc_decoder_init(state, ctypes.byref(asked)) == 0
    assert library.srsran_crc_init(check, CRC24B, 24) == 0

    def decode(llrs: np.ndarray) -> np.ndarray:
        out = np.empty((len(llrs), k), np.uint8)
        given = np.clip(np.rint(-4 * llrs), -127, 127).astype(np.int8)
        for row, word in zip(out, given, strict=True):
            library.srsran_ldpc_decoder_decode_crc_c(
                state,
                word.ctypes.data_as(ctypes.c_void_p),
                row.ctypes.data_as(ctypes.c_void_p),
                e,
                check if crc else None,
            )
        return out

    return decode


def compare(
    title: str,
    code: Any,
    made: dict[str, Decode],
    reference: str,
    runs: int,
    *,
    words: int = 512,
    deviation: float = 0.75,
    crc: bool = False,
) -> dict[str, dict[str, float]]:
    """Print message bits a second of decoders, in turns on the same LLRs; return them.

    With crc the messages end in CRC-24B.
    """
    rng = np.random.default_rng(1)
    messages = rng.integers(0, 2, (words, code.k), dtype=np.uint8)
    if crc:
        messages = with_check(messages)
    signs = 2 * code.encode(messages).astype(np.float32) - 1
    deviation = np.float32(deviation)
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
    table = {}
    for name, seconds in best.items():
        speed, ratio = messages.size / seconds, seconds / best[reference]
        print(f"{name:34}{speed / 1e6:10.2f}{ratio:14.1f}{errors[name]:8.3f}")
        table[name] = {"bits_per_second": speed, "block_error_rate": float(errors[name])}
    return table


def of_ours(code: Any, *specs: str) -> dict[str, Decode]:
    """Decoders of ours by their specs."""
    made = {spec: decoders.decoder(spec, code) for spec in specs}
    return {
        f"ours, {spec}": lambda llrs, one=one: one.decode(llrs)[0] for spec, one in made.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    for name in ("libfec", "libcorrect", "aff3ct", "srsran"):
        parser.add_argument(f"--{name}", help="its shared library")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--store", type=Path, help="JSON file for the speeds")
    arguments = parser.parse_args()
    print(
        f"{provenance.cpu()}, 1 thread, {_kernels.simd_target()}; numpy {np.__version__}, "
        f"python {platform.python_version()}; best of {arguments.runs} runs"
    )
    for name in ("libfec", "libcorrect", "aff3ct", "srsran"):
        if not getattr(arguments, name):
            print(f"{name} is not there: --{name} names its shared library")
    tables = {}
    k = 1024
    code = codes.code(f"conv:171,133:{k}:zero")
    made = of_ours(code, "viterbi:int8", "viterbi")
    if arguments.libfec:
        made["libfec's viterbi27"] = libfec(arguments.libfec, k)
    if arguments.libcorrect:
        made["libcorrect's, SIMD"] = libcorrect(arguments.libcorrect, k)
    title = f"(171, 133), frames of {k} bits"
    tables[title] = compare(title, code, made, "ours, viterbi:int8", arguments.runs)

    ldpc = codes.code("wifi-648")
    made = of_ours(ldpc, "bp:20", "bp-layered:20", "min-sum-layered:20,0.8", "min-sum-int8:20")
    if arguments.aff3ct:
        for rule, (name, *_) in enumerate(AFF3CT):
            made[f"aff3ct's, {name}"] = aff3ct(arguments.aff3ct, ldpc, rule)
    if importlib.util.find_spec("ldpc"):
        made["ldpc's BpDecoder, product-sum"] = pypi_ldpc(ldpc)
    else:
        print("the package ldpc is not there: pip install ldpc")
    for deviation in (0.75, 0.8):
        title = f"LDPC (648, 324), up to 20 iterations, noise {deviation}"
        tables[title] = compare(
            title, ldpc, made, "ours, min-sum-int8:20", arguments.runs, deviation=deviation
        )

    if arguments.srsran:
        k, e = 8448, 12672
        code = codes.code(f"nr-ldpc:{k},{e}")
        made = of_ours(code, "min-sum-int8:8", "min-sum-int8:12")
        for crc, name in ((True, "stops by CRC"), (False, "never stops")):
            made[f"srsRAN's, bytes, {name}"] = srsran(arguments.srsran, k, e, 384, crc=crc)
        # Near a block error rate of 1e-2, and where no word is decoded and nobody stops.
        for deviation in (0.66, 0.9):
            title = f"5G NR LDPC ({e}, {k}), 8 iterations, noise {deviation}"
            tables[title] = compare(
                title,
                code,
                made,
                "ours, min-sum-int8:8",
                arguments.runs,
                words=128,
                deviation=deviation,
                crc=True,
            )
    if arguments.store:
        record = provenance.record() | {"simd": _kernels.simd_target(), "tables": tables}
        arguments.store.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
