# SPDX-License-Identifier: GPL-3.0-or-later
import itertools

import numpy as np
import pytest
from gnuradio.neuralfec import _kernels, codes
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


@pytest.mark.parametrize("rule", ["sum-product", "min-sum"])
def test_agrees_with_the_plain_twin(rule):
    code = codes.code("wifi-648")
    _, llrs = transmit(code, 3, 0.75, seed=1)
    decoder = BeliefPropagation(code, 6, rule=rule, scale=0.8, parity_stop=False)
    decoded = decoder.run(llrs, posteriors=True)
    expected = twin(code, llrs, 6, rule, 0.8)
    assert (decoded.iterations == 6).all()
    # tanh in double precision is 1 above 37.
    within = np.abs(expected) < 30
    assert within.mean() > 0.5
    np.testing.assert_allclose(decoded.posteriors[within], expected[within], rtol=1e-4, atol=1e-4)
    assert np.array_equal(decoded.messages, expected[:, :324] > 0)
    assert np.array_equal(decoded.converged, code.is_codeword(expected > 0))


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


def test_bits_of_results_are_the_same_on_every_simd_target():
    code = codes.code("wifi-648")
    _, llrs = transmit(code, 40, 0.86, seed=4)
    results = {}
    try:
        for target in _kernels.simd_targets():
            _kernels.set_simd_target(target)
            decoded = BeliefPropagation(code, 10).run(llrs, posteriors=True)
            results[target] = [part.tobytes() for part in decoded[:4]]
    finally:
        _kernels.set_simd_target("")
    first = next(iter(results.values()))
    assert all(result == first for result in results.values())
    one_by_one = [BeliefPropagation(code, 10).run(row[None], posteriors=True) for row in llrs]
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
    with pytest.raises(ValueError, match="rule sum-product or min-sum, got max"):
        BeliefPropagation(code, rule="max")
    with pytest.raises(ValueError, match="expected a binary linear block code, got 'wifi-648'"):
        BeliefPropagation("wifi-648")
