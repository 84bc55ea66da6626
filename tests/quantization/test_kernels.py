# SPDX-License-Identifier: GPL-3.0-or-later
"""Kernels of quantization against plain NumPy."""

from itertools import pairwise

import numpy as np
import pytest
from gnuradio.neuralfec import _kernels
from quantization.oracle import divergence, exact_llrs

TARGETS = _kernels.simd_targets()


@pytest.fixture(params=TARGETS)
def target(request):
    _kernels.set_simd_target(request.param)
    yield request.param
    _kernels.set_simd_target("")


def network(rng, sizes):
    return [
        (
            rng.normal(size=(outputs, inputs)).astype(np.float32) / np.sqrt(inputs),
            rng.normal(size=outputs).astype(np.float32) * 0.3,
        )
        for inputs, outputs in pairwise(sizes)
    ]


def run(layers, x):
    for i, (weights, bias) in enumerate(layers):
        x = x @ weights.T.astype(np.float64) + bias
        x = np.maximum(x, 0) if i + 1 < len(layers) else x
    return x


def small_codebook(rail_bits, bits=9, seed=3):
    """Levels 4, 6, 8 of a 9-bit codebook, with LLRs drawn at random."""
    rng = np.random.default_rng(seed)
    levels = [4, 6, 8]
    table = rng.normal(size=(sum(levels), rail_bits)).astype(np.float32) * 4
    table[:, 0] = np.abs(table[:, 0])
    made = _kernels.CellCodebook(2 * rail_bits, bits, levels, table.flatten().tolist())
    return made, levels, table


def all_codewords(levels, table, bits):
    """By the definition: LLRs of each index, NaN where there is none."""
    rail_bits = table.shape[1]
    out = np.full((1 << bits, 2 * rail_bits), np.nan)
    for sign in range(4):
        index, start = sign << (bits - 2), 0
        for n in levels:
            for i in range(n):
                for j in range(n):
                    word = np.concatenate([table[start + i], table[start + j]])
                    word[0] *= 1 if sign & 2 else -1
                    word[rail_bits] *= 1 if sign & 1 else -1
                    out[index] = word
                    index += 1
            start += n
    return out


@pytest.mark.parametrize("bits", range(1, 33))
def test_packing_round_trip(bits):
    rng = np.random.default_rng(bits)
    for count in (0, 1, 7, 8, 81, 1000):
        indices = rng.integers(0, 1 << bits, count, dtype=np.uint64).astype(np.uint32)
        packed = _kernels.pack_bits(indices, bits)
        text = "".join(f"{index:0{bits}b}" for index in indices)
        text += "0" * (-len(text) % 8)
        by_hand = bytes(int(text[i : i + 8], 2) for i in range(0, len(text), 8))
        assert packed.tobytes() == by_hand
        assert np.array_equal(_kernels.unpack_bits(packed, bits, count), indices)


def test_packing_refuses():
    for bits in (0, 33):
        with pytest.raises(ValueError, match="1 to 32 bits"):
            _kernels.pack_bits(np.zeros(8, np.uint32), bits)
    for size in (14, 16):
        with pytest.raises(ValueError, match="15 bytes for 8"):
            _kernels.unpack_bits(np.zeros(size, np.uint8), 15, 8)


@pytest.mark.parametrize("symbols", [1, 63, 64, 1000])
def test_latent_quantizer(target, symbols):
    rng = np.random.default_rng(1)
    llrs = rng.normal(size=(symbols, 8)).astype(np.float32) * 6
    layers = network(rng, [8, 32, 30, 3])
    thresholds = [np.sort(rng.normal(size=(1 << b) - 1)).astype(np.float32) for b in (5, 6, 4)]
    made = _kernels.LatentQuantizer(
        _kernels.LlrNetwork(8, "soft bit", layers), [t.tolist() for t in thresholds]
    )
    assert made.bits == 15
    latent = run(layers, np.tanh(llrs.astype(np.float64) / 2))
    expected = np.zeros(symbols, np.int64)
    margin = np.full(symbols, np.inf)
    for number, threshold in zip(latent.T, thresholds, strict=True):
        expected = expected * (len(threshold) + 1) + np.searchsorted(threshold, number, "right")
        margin = np.minimum(margin, np.abs(number[:, None] - threshold).min(1))
    indices, bad_samples = made.quantize(llrs)
    assert bad_samples == 0
    # At a threshold the rounding of float32 decides.
    clear = margin > 1e-5
    assert clear.mean() > 0.9
    assert np.array_equal(indices[clear], expected[clear])


@pytest.mark.parametrize("rail_bits", [1, 2, 3, 4, 5])
def test_search_finds_the_nearest_codeword(target, rail_bits):
    book, levels, table = small_codebook(rail_bits)
    llrs = exact_llrs(rail_bits, 12, 300).astype(np.float32)
    words = all_codewords(levels, table, 9)
    # Signs are sent as they are: of the codewords with the symbol's signs the nearest.
    distance = divergence(llrs[:, None], np.nan_to_num(words))
    wrong_sign = (words[:, ::rail_bits] > 0) != (llrs[:, None, ::rail_bits] > 0)
    distance[wrong_sign.any(-1) | np.isnan(words[:, 0])] = np.inf
    indices, _ = _kernels.CellSearch(book).quantize(llrs)
    found = distance[np.arange(len(llrs)), indices]
    assert np.all(found <= distance.min(1) + 1e-4)


def test_cell_quantizer(target):
    rng = np.random.default_rng(2)
    book, levels, _ = small_codebook(4)
    llrs = exact_llrs(4, 18, 1000).astype(np.float32)
    # Of a rail: weights of its own numbers, then of the other's.
    layers = [(w[: len(w) // 2], b[: len(b) // 2]) for w, b in network(rng, [8, 20, 12, 4])]
    layers[-1][1][:] = 0.5
    made = _kernels.CellQuantizer(_kernels.RailNetwork(4, layers), book)
    folded = llrs.astype(np.float64)
    folded[:, ::4] = np.abs(folded[:, ::4])
    magnitude = 1 + np.minimum(np.abs(folded), 64)
    octave = np.floor(np.log2(magnitude))
    feature = np.copysign(octave + magnitude / 2**octave - 1, folded)
    both = [
        (np.vstack([w, np.roll(w, w.shape[1] // 2, 1)]), np.concatenate([b, b])) for w, b in layers
    ]
    u_i, v_i, u_q, v_q = run(both, feature).T
    latent = np.column_stack([(u_i + u_q) / 2, v_i, v_q])
    count = np.array(levels)
    u = np.clip(latent[:, 0] * 3, 0, 2)
    cell = u.astype(int)
    v = np.clip(latent[:, 1:] * count[cell][:, None], 0, count[cell][:, None] - 1)
    level = v.astype(int)
    expected = (
        (count**2).cumsum()[cell] - count[cell] ** 2 + level[:, 0] * count[cell] + level[:, 1]
    )
    expected += (llrs[:, 0] > 0) * 256 + (llrs[:, 4] > 0) * 128
    positions = np.column_stack([u, v])
    clear = (np.abs(positions - np.round(positions)) > 1e-4) | (positions == np.round(positions))
    clear = clear.all(1)
    assert clear.mean() > 0.9
    indices, _ = made.quantize(llrs)
    assert np.array_equal(indices[clear], expected[clear])


def test_nan_counts_as_zero_and_infinity_as_certain(target):
    book, *_ = small_codebook(4)
    made = _kernels.CellSearch(book)
    llrs = exact_llrs(4, 18, 200).astype(np.float32)
    spoilt = llrs.copy()
    spoilt[3, 2], spoilt[100, 7], spoilt[199, 0] = np.nan, np.inf, -np.inf
    indices, bad_samples = made.quantize(spoilt)
    assert bad_samples == 1
    zeroed = np.nan_to_num(spoilt, nan=0, posinf=1e3, neginf=-1e3)
    assert np.array_equal(indices, made.quantize(zeroed)[0])
    huge = np.sign(llrs) * np.float32(3e38)
    assert made.quantize(huge)[1] == 0
    assert np.array_equal(made.quantize(huge)[0], made.quantize(np.sign(llrs) * 1e3)[0])


@pytest.mark.parametrize("rail_bits", [1, 2, 3, 4, 5])
def test_dequantizer_is_the_definition(rail_bits):
    book, levels, table = small_codebook(rail_bits)
    made = _kernels.SymbolDequantizer(2 * rail_bits, 9, True, book.rows())
    words = all_codewords(levels, table, 9)
    out = made.dequantize(np.arange(512, dtype=np.uint32))
    # The indices that are no codeword's mean nothing known.
    assert np.array_equal(out, np.nan_to_num(words).astype(np.float32))
    whole = _kernels.SymbolDequantizer(2 * rail_bits, 9, False, np.nan_to_num(words))
    assert np.array_equal(whole.dequantize(np.arange(512, dtype=np.uint32)), out)


def test_bad_arguments():
    book, levels, table = small_codebook(4)
    good = table.flatten().tolist()
    for arguments, reason in [
        ((7, 9, levels, good), "bits per symbol"),
        ((8, 8, levels, good), "sum of squared levels"),
        ((8, 9, levels, good[:-1]), "18 levels of 4 LLRs"),
        ((8, 9, [], []), "at least 1 cell"),
        ((8, 9, levels, [-1.0, *good[1:]]), "not negative"),
        ((8, 9, levels, [np.inf, *good[1:]]), "finite"),
    ]:
        with pytest.raises(ValueError, match=reason):
            _kernels.CellCodebook(*arguments)
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="a layer of 8 inputs"):
        _kernels.LlrNetwork(8, "llr", network(rng, [6, 3]))
    with pytest.raises(ValueError, match="'llr' or 'soft bit'"):
        _kernels.LlrNetwork(8, "square", [])
    with pytest.raises(ValueError, match="a layer of 8 inputs"):
        _kernels.RailNetwork(4, network(rng, [4, 2]))
    with pytest.raises(ValueError, match="2 outputs a rail"):
        _kernels.RailNetwork(4, network(rng, [8, 3]))
    with pytest.raises(ValueError, match="4 bits per rail, got 3"):
        _kernels.CellQuantizer(_kernels.RailNetwork(3, network(rng, [6, 2])), book)
    with pytest.raises(ValueError, match=r"2\^b - 1 rising"):
        _kernels.LatentQuantizer(_kernels.LlrNetwork(1, "llr", []), [[0.0, 1.0]])
    with pytest.raises(ValueError, match=r"shape \(symbols, 8\)"):
        _kernels.CellSearch(book).quantize(np.zeros((2, 4), np.float32))
    with pytest.raises(ValueError, match="at most 20 bits"):
        _kernels.SymbolDequantizer(8, 21, True, np.zeros((1, 8), np.float32))
    with pytest.raises(ValueError, match="4096 LLRs in the table"):
        _kernels.SymbolDequantizer(8, 9, False, np.zeros((128, 8), np.float32))
