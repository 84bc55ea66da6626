# SPDX-License-Identifier: GPL-3.0-or-later
import itertools

import numpy as np
import pytest
from gnuradio.neuralfec import _kernels, codes, decoders
from gnuradio.neuralfec.decoders.belief_propagation import BeliefPropagation
from gnuradio.neuralfec.phy.channel import rayleigh
from gnuradio.neuralfec.phy.constellation import constellation, modulate
from gnuradio.neuralfec.phy.demapping import demap
from hypothesis import given, settings
from hypothesis import strategies as st


def twin(code, llrs, iterations, rule="sum-product", scale=0.75):
    """Flooding belief propagation in double precision, as the equations stand: posteriors."""
    h = code.parity_check.astype(bool)
    posteriors = []
    for channel in np.asarray(llrs, dtype=np.float64):
        to_bits = np.zeros(h.shape)
        for _ in range(iterations):
            to_checks = np.where(h, channel + to_bits.sum(axis=0) - to_bits, np.nan)
            for check, row in enumerate(h):
                bits = np.flatnonzero(row)
                for bit in bits:
                    others = to_checks[check, bits[bits != bit]]
                    if rule == "min-sum":
                        least = scale * np.abs(others).min(initial=np.inf)
                        to_bits[check, bit] = -np.prod(np.sign(-others)) * least
                    else:
                        product = np.prod(np.tanh(-others / 2))
                        to_bits[check, bit] = -2 * np.arctanh(product)
        posteriors.append(channel + to_bits.sum(axis=0))
    return np.array(posteriors)


def layered_twin(code, llrs, iterations, rule="sum-product", scale=0.75):
    """The layered schedule in double precision, check after check: posteriors."""
    posteriors = np.array(llrs, dtype=np.float64)
    checks = [np.flatnonzero(row) for row in code.parity_check]
    to_bits = [np.zeros((len(posteriors), len(bits))) for bits in checks]
    for _ in range(iterations):
        for check, bits in enumerate(checks):
            to_check = posteriors[:, bits] - to_bits[check]
            for place in range(len(bits)):
                others = np.delete(to_check, place, axis=1)
                if rule == "min-sum":
                    least = np.abs(others).min(axis=1, initial=np.inf)
                    message = -scale * np.prod(np.sign(-others), axis=1) * least
                else:
                    message = -2 * np.arctanh(np.prod(np.tanh(-others / 2), axis=1))
                to_bits[check][:, place] = message
            posteriors[:, bits] = to_check + to_bits[check]
    return posteriors


def steps_of_frame(llrs, checks):
    """What a frame's LLRs are multiplied by: 32 R, 6 to 24, steps for the median |LLR|, which is
    known to four classes an octave. R is the rate, known and unknown bits left out.
    """
    magnitudes = np.abs(np.nan_to_num(llrs, nan=0.0, posinf=np.inf)).astype(np.float32)
    classes = magnitudes.view(np.uint32) >> 21
    highest = np.float32(1e20).view(np.uint32) >> 21
    ordinary = np.sort(classes[(classes > 0) & (classes < highest)])
    if not ordinary.size:
        return np.float32(1)
    median = (ordinary[(ordinary.size + 1) // 2 - 1] << 21) + (1 << 20)
    free = np.float32((classes < highest).sum() - checks)
    steps = np.clip(np.float32(32) * free / np.float32(ordinary.size), 6, 24).astype(np.float32)
    return steps / np.maximum(np.uint32(median).view(np.float32), np.float32(1e-30))


def int8_twin(code, llrs, iterations, scale):
    """Layered min-sum in integers that saturate at a byte: posteriors in LLRs.

    Inside, a positive number means bit 0, so that signs multiply.
    """
    steps = np.array([steps_of_frame(frame, len(code.parity_check)) for frame in llrs])[:, None]
    with np.errstate(over="ignore"):
        rounded = np.rint(np.nan_to_num(llrs, nan=0.0, posinf=1e38, neginf=-1e38) * -steps)
    posteriors = np.clip(rounded, -127, 127).astype(np.int64)
    certain = np.where(np.abs(llrs) >= np.float32(1e20), -127 * np.sign(llrs), 0)
    checks = [np.flatnonzero(row) for row in code.parity_check]
    to_bits = [np.zeros((len(llrs), len(bits)), dtype=np.int64) for bits in checks]
    for _ in range(iterations):
        for check, bits in enumerate(checks):
            if len(bits) == 1:
                posteriors[:, bits] = 127
                continue
            to_check = np.clip(posteriors[:, bits] - to_bits[check], -128, 127)
            for place in range(len(bits)):
                others = np.delete(to_check, place, axis=1)
                least = np.abs(others).min(axis=1, initial=127)
                message = np.minimum((least * round(128 * scale) + 64) // 128, 48)
                negative = (others < 0).sum(axis=1) % 2 == 1
                to_bits[check][:, place] = np.where(negative, -message, message)
            posteriors[:, bits] = np.clip(to_check + to_bits[check], -128, 127)
        posteriors = np.where(certain == 0, posteriors, certain).astype(np.int64)
    return posteriors.astype(np.float32) / -steps


def transmit(code, frames, deviation, seed):
    """Messages, and the LLRs of their codewords as +-1 in real Gaussian noise."""
    rng = np.random.default_rng(seed)
    messages = rng.integers(0, 2, (frames, code.k), dtype=np.uint8)
    received = 2.0 * code.encode(messages) - 1 + rng.normal(0, deviation, (frames, code.n))
    return messages, (2 / deviation**2 * received).astype(np.float32)


def random_tree(rng, checks):
    """A parity-check matrix without cycles: each check ties one old bit to new ones."""
    rows, n = [], 1
    for _ in range(checks):
        new = int(rng.integers(1, 4))
        rows.append([int(rng.integers(n)), *range(n, n + new)])
        n += new
    matrix = np.zeros((checks, n), dtype=np.uint8)
    for check, bits in enumerate(rows):
        matrix[check, bits] = 1
    return matrix


def marginals(code, llrs):
    """LLRs of all bits given the whole frame, by adding up all codewords."""
    words = code.encode(np.array(list(itertools.product([0, 1], repeat=code.k)), dtype=np.uint8))
    weights = np.exp(np.float64(llrs) @ words.T)
    return np.log(weights @ words) - np.log(weights @ (1 - words))


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_exact_on_codes_without_cycles(seed, checks):
    rng = np.random.default_rng(seed)
    code = codes.LinearCode(random_tree(rng, checks))
    llrs = rng.normal(0, 3, (8, code.n)).astype(np.float32)
    decoder = BeliefPropagation(code, 2 * checks, parity_stop=False)
    posteriors = decoder.run(llrs, posteriors=True).posteriors
    np.testing.assert_allclose(posteriors, marginals(code, llrs), rtol=1e-5, atol=1e-5)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32), st.integers(2, 40), st.sampled_from([0.5, 3.0, 10.0]))
def test_a_check_of_any_degree(seed, degree, spread):
    # One check ends after one iteration; degrees above 32 rescale their fractions.
    rng = np.random.default_rng(seed)
    code = codes.LinearCode(np.ones((1, degree), dtype=np.uint8))
    llrs = rng.normal(0, spread, (5, degree)).astype(np.float32)
    decoder = BeliefPropagation(code, 1, parity_stop=False)
    # log of (1 - t) / (1 + t) without t's rounding: combine probabilities of 1, pairwise.
    ours = decoder.run(llrs, posteriors=True).posteriors - llrs
    u = np.exp(-np.abs(np.float64(llrs)))
    for bit in range(degree):
        total = 0.0
        for other in np.delete(u, bit, axis=1).T:
            total = (total + other) / (1 + total * other)
        sign = -np.prod(np.sign(-np.delete(llrs, bit, axis=1)), axis=1)
        np.testing.assert_allclose(ours[:, bit], sign * -np.log(total), rtol=1e-5, atol=1e-5)


def agrees(decoded, code, expected, iterations):
    """Posteriors, decisions and convergence are those of a twin."""
    assert (decoded.iterations == iterations).all()
    # tanh in double precision is 1 above 37.
    within = np.abs(expected) < 30
    assert within.mean() > 0.5
    np.testing.assert_allclose(decoded.posteriors[within], expected[within], rtol=1e-4, atol=1e-4)
    assert np.array_equal(decoded.messages, code.messages(expected > 0))
    assert np.array_equal(decoded.converged, code.is_codeword(expected > 0))


@pytest.mark.parametrize("rule", ["sum-product", "min-sum"])
def test_agrees_with_the_plain_twin(rule):
    code = codes.code("wifi-648")
    _, llrs = transmit(code, 3, 0.75, seed=1)
    decoder = BeliefPropagation(code, 6, rule=rule, scale=0.8, parity_stop=False)
    agrees(decoder.run(llrs, posteriors=True), code, twin(code, llrs, 6, rule, 0.8), 6)


@pytest.mark.parametrize("rule", ["sum-product", "min-sum"])
@pytest.mark.parametrize("spec", ["wifi-648", "wifi-648-5/6"])
def test_the_layered_schedule_agrees_with_its_plain_twin(spec, rule):
    code = codes.code(spec)
    _, llrs = transmit(code, 3, 0.75 if spec == "wifi-648" else 0.6, seed=1)
    decoder = BeliefPropagation(
        code, 4, rule=rule, scale=0.8, parity_stop=False, schedule="layered"
    )
    expected = layered_twin(code, llrs, 4, rule, 0.8)
    agrees(decoder.run(llrs, posteriors=True), code, expected, 4)
    # Flooding is another decoder.
    flooding = BeliefPropagation(code, 4, rule=rule, scale=0.8, parity_stop=False)
    assert np.abs(flooding.run(llrs, posteriors=True).posteriors - expected).max() > 1


def test_layers_need_at_most_six_tenths_of_floodings_iterations():
    code = codes.code("wifi-648")
    messages, llrs = transmit(code, 2000, 0.8, seed=8)
    flooding = BeliefPropagation(code, 20).run(llrs)
    layered = BeliefPropagation(code, 12, schedule="layered").run(llrs)
    wrong = [(decoded.messages != messages).any(axis=1).sum() for decoded in (flooding, layered)]
    assert 5 < wrong[1] <= wrong[0]
    assert layered.iterations.sum() <= 0.6 * flooding.iterations.sum()


@pytest.mark.parametrize(
    ("spec", "deviation"),
    [("wifi-648", 0.85), ("ccsds:128,64", 0.8), ("polar-nr:64,32", 0.7), ("degrees 1 to 5", 1)],
)
@pytest.mark.parametrize("scale", [0.8, 1.0, 0.01])
def test_bytes_are_those_of_the_plain_twin(spec, deviation, scale):
    if spec.startswith("degrees"):
        code = codes.LinearCode([[1, 0, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0], [0, 1, 1, 1, 1, 1]])
    else:
        code = codes.code(spec)
    _, llrs = transmit(code, 20, deviation, seed=9)
    rng = np.random.default_rng(10)
    # Scales, unknown and certain bits, outliers, whole frames of one kind: more than one
    # group of lanes would show what stays of a lane's frame before.
    llrs *= np.float32(10.0) ** rng.integers(-20, 18, (20, 1))
    llrs[3, ::5] = np.nan
    llrs[4, ::7] = np.inf * np.sign(llrs[4, ::7])
    llrs[5] *= np.float32(1e20) / np.abs(llrs[5]).max()
    llrs[6] = 0
    llrs[7] = np.copysign(np.inf, llrs[7])
    llrs[8, :3] = [3e38, -3e38, 1e20]
    llrs[9] = np.where(rng.random(code.n) < 0.5, np.nan, np.copysign(np.inf, llrs[9]))
    llrs = np.concatenate([llrs, llrs[::-1]] * 2)
    decoder = BeliefPropagation(code, 5, rule="min-sum-int8", scale=scale, parity_stop=False)
    decoded = decoder.run(llrs, posteriors=True)
    expected = int8_twin(code, llrs, 5, scale)
    assert np.array_equal(decoded.posteriors, expected)
    decided = (expected > 0)[:, code.information_set] if code.systematic else None
    assert decided is None or np.array_equal(decoded.messages, decided)
    holds = code.is_codeword(expected > 0) & (expected != 0).all(axis=1)
    assert np.array_equal(decoded.converged, holds)


def test_bytes_lose_less_than_a_tenth_of_a_decibel_against_sum_product():
    code = codes.code("wifi-648")
    messages, llrs = transmit(code, 3000, 0.8, seed=11)
    better, _ = transmit(code, 3000, 0.8, seed=11)
    assert np.array_equal(better, messages)
    # The same noise, a tenth of a decibel stronger for sum-product.
    sent = 2.0 * code.encode(messages) - 1
    worse = (sent + (llrs / (2 / 0.8**2) - sent) * 10 ** (0.1 / 20)).astype(np.float32)
    by_bytes = decoders.decoder("min-sum-int8:20", code).decode(llrs)[0]
    exact = decoders.decoder("bp:20", code).decode(worse * np.float32(2 / 0.8**2))[0]
    errors = [(decided != messages).any(axis=1).sum() for decided in (by_bytes, exact)]
    assert 10 < errors[0] <= errors[1]


def test_decisions_of_a_small_code_are_nearly_maximum_likelihood():
    # Cycles cost little here; the bound itself must hold in any case.
    code = codes.LinearCode([[1, 1, 0, 1, 1, 0, 0], [1, 0, 1, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0, 1]])
    messages, llrs = transmit(code, 4000, 0.7, seed=2)
    every = np.array(list(itertools.product([0, 1], repeat=4)), dtype=np.uint8)
    best = every[(np.float64(llrs) @ code.encode(every).T).argmax(axis=1)]
    least = (best != messages).any(axis=1).sum()
    decoded = BeliefPropagation(code, 20, parity_stop=False).run(llrs)
    errors = (decoded.messages != messages).any(axis=1).sum()
    assert least <= errors <= 1.35 * least


@pytest.mark.statistics
@pytest.mark.parametrize(
    ("snr_db", "frames", "expected"), [(18.5, 8000, 1.9e-2), (19, 25000, 5.5e-3)]
)
def test_block_error_rate_on_a_fading_channel(snr_db, frames, expected):
    """256-QAM, i.i.d. Rayleigh fading with channel knowledge, exact LLRs, interleaved.

    The rates are an independent simulator's. Their own uncertainty is that of about 100
    block errors, so both count: three standard deviations in all.
    """
    code, qam, noise_var = codes.code("wifi-648"), constellation("qam256"), 10 ** (-snr_db / 10)
    order = _kernels.random_permutation(648, 1)
    rng = np.random.default_rng(round(10 * snr_db))
    decoder, errors = BeliefPropagation(code, 50), 0
    for _ in range(frames // 1000):
        messages = rng.integers(0, 2, (1000, 324), dtype=np.uint8)
        sent = modulate(code.encode(messages)[:, order].ravel(), qam)
        received, csi = rayleigh(rng, sent, noise_var)
        llrs = np.empty((1000, 648), dtype=np.float32)
        llrs[:, order] = demap(received, qam, noise_var, csi).reshape(1000, 648)
        errors += (decoder.run(llrs).messages != messages).any(axis=1).sum()
    assert abs(errors / frames - expected) < 3 * expected * np.sqrt(1 / 100 + 1 / errors)


def test_stopping_changes_no_result_and_saves_iterations():
    code = codes.code("wifi-648")
    messages, llrs = transmit(code, 100, 0.72, seed=3)
    full = BeliefPropagation(code, 30, parity_stop=False).run(llrs)
    stopped = BeliefPropagation(code, 30).run(llrs)
    assert (full.iterations == 30).all()
    assert stopped.iterations.mean() < 10
    assert stopped.converged.all()
    assert np.array_equal(stopped.messages, full.messages)
    assert np.array_equal(stopped.messages, messages)
    # A codeword that arrives whole needs no iteration.
    at_once = BeliefPropagation(code).run(8.0 * code.encode(messages) - 4)
    assert not at_once.iterations.any()
    assert np.array_equal(at_once.messages, messages)


@pytest.mark.parametrize("rule", ["sum-product", "min-sum-int8"])
def test_bits_of_results_are_the_same_on_every_simd_target(rule):
    code = codes.code("wifi-648")
    _, llrs = transmit(code, 100 if rule == "min-sum-int8" else 40, 0.86, seed=4)
    results = {}
    try:
        for target in _kernels.simd_targets():
            _kernels.set_simd_target(target)
            decoded = BeliefPropagation(code, 10, rule=rule).run(llrs, posteriors=True)
            results[target] = [part.tobytes() for part in decoded[:4]]
    finally:
        _kernels.set_simd_target("")
    first = next(iter(results.values()))
    assert all(result == first for result in results.values())
    decoder = BeliefPropagation(code, 10, rule=rule)
    one_by_one = [decoder.run(row[None], posteriors=True) for row in llrs]
    assert b"".join(one.posteriors.tobytes() for one in one_by_one) == first[3]


def test_erasures_are_filled_and_counted():
    code = codes.code("wifi-648")
    messages, llrs = transmit(code, 4, 0.5, seed=5)
    llrs[0, ::5] = np.nan
    llrs[1, ::7] = np.inf * np.sign(code.encode(messages)[1, ::7] - 0.5)
    llrs[2] = np.nan
    decoded = BeliefPropagation(code).run(llrs, posteriors=True)
    assert decoded.bad_samples == 130 + 648
    assert decoded.converged.tolist() == [True, True, False, True]
    assert np.array_equal(decoded.messages[[0, 1, 3]], messages[[0, 1, 3]])
    assert np.isfinite(decoded.posteriors).all()
    assert not decoded.posteriors[2].any()


def test_codes_that_are_not_systematic():
    code = codes.code("polar-nr:32,20")
    assert not code.systematic
    messages, llrs = transmit(code, 200, 0.3, seed=6)
    decoded, stats = BeliefPropagation(code).decode(llrs)
    assert stats["converged"] > 190
    assert (decoded == messages).all(axis=1).sum() > 190


@pytest.mark.parametrize("shape", [(648,), (2, 647), (1, 2, 648), (0, 647)])
def test_frames_of_another_size_are_refused(shape):
    decoder = BeliefPropagation(codes.code("wifi-648"))
    with pytest.raises(ValueError, match=r"LLRs of shape \(frames, 648\), got "):
        decoder.run(np.zeros(shape, dtype=np.float32))


def test_no_frames_are_no_error():
    messages, stats = BeliefPropagation(codes.code("wifi-648")).decode(np.zeros((0, 648)))
    assert messages.shape == (0, 324)
    assert stats == {"frames": 0, "converged": 0, "iterations": 0, "bad_samples": 0}


def test_settings_out_of_range_are_refused():
    code = codes.code("wifi-648")
    with pytest.raises(ValueError, match="at least 1 iteration, got 0"):
        BeliefPropagation(code, 0)
    with pytest.raises(ValueError, match="at least 1 iteration, got -3"):
        BeliefPropagation(code, -3)
    with pytest.raises(ValueError, match=r"scale above 0 and at most 1, got 1\.5"):
        BeliefPropagation(code, rule="min-sum", scale=1.5)
    with pytest.raises(ValueError, match="rule sum-product, min-sum or min-sum-int8, got max"):
        BeliefPropagation(code, rule="max")
    with pytest.raises(ValueError, match="schedule flooding, layered or auto, got zigzag"):
        BeliefPropagation(code, schedule="zigzag")
    with pytest.raises(ValueError, match="layered schedule for min-sum in bytes, got flooding"):
        BeliefPropagation(code, rule="min-sum-int8", schedule="flooding")
    with pytest.raises(ValueError, match="expected a binary linear block code, got 'wifi-648'"):
        BeliefPropagation("wifi-648")
