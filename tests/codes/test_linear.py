# SPDX-License-Identifier: GPL-3.0-or-later
import itertools

import numpy as np
import pytest
from gnuradio.neuralfec import codes
from gnuradio.neuralfec.codes import gf2, ldpc
from hypothesis import given, settings
from hypothesis import strategies as st

HAMMING = np.array([[1, 1, 0, 1, 1, 0, 0], [1, 0, 1, 1, 0, 1, 0], [0, 1, 1, 1, 0, 0, 1]])


def all_words(n):
    return np.array(list(itertools.product([0, 1], repeat=n)), dtype=np.uint8)


matrices = st.builds(
    lambda rows, columns, seed, density: (
        np.random.default_rng(seed).random((rows, columns)) < density
    ).astype(np.uint8),
    st.integers(1, 9),
    st.integers(1, 11),
    st.integers(0, 2**32),
    st.floats(0.05, 0.9),
)


@pytest.mark.statistics
@settings(max_examples=100, deadline=None)
@given(matrices)
def test_encoder_gives_exactly_the_words_that_all_checks_pass(parity_check):
    words = all_words(parity_check.shape[1])
    expected = words[~((words @ parity_check.T) % 2).any(axis=1)]
    if len(expected) == 1:
        with pytest.raises(ValueError, match="at least 1 message bit"):
            codes.LinearCode(parity_check)
        return
    code = codes.LinearCode(parity_check)
    assert len(expected) == 2**code.k
    messages = all_words(code.k)
    codewords = code.encode(messages)
    assert {bytes(word) for word in codewords} == {bytes(word) for word in expected}
    assert code.systematic
    assert np.array_equal(codewords[:, code.information_set], messages)
    assert np.array_equal(code.messages(codewords), messages)
    assert np.array_equal(code.is_codeword(words), ~((words @ parity_check.T) % 2).any(axis=1))


@settings(max_examples=50, deadline=None)
@given(matrices, st.integers(0, 2**32))
def test_a_given_generator_is_kept_and_inverted(parity_check, seed):
    systematic = gf2.null_space(parity_check)[0]
    k = len(systematic)
    if k == 0:
        return
    rng = np.random.default_rng(seed)
    while True:
        mix = rng.integers(0, 2, (k, k), dtype=np.uint8)
        if round(np.linalg.det(mix)) % 2:
            break
    generator = mix @ systematic % 2
    code = codes.LinearCode(parity_check, generator)
    messages = all_words(k)
    assert np.array_equal(code.encode(messages), messages @ generator % 2)
    assert np.array_equal(code.messages(code.encode(messages)), messages)


def test_message_bits_at_the_end_are_found():
    generator = np.hstack([HAMMING[:, :4].T, np.eye(4, dtype=int)])
    parity_check = np.hstack([np.eye(3, dtype=int), HAMMING[:, :4]])
    code = codes.LinearCode(parity_check, generator)
    assert code.information_set.tolist() == [3, 4, 5, 6]
    assert code.systematic


def test_wifi_648_has_the_structure_of_its_standard():
    code = codes.code("wifi-648")
    assert (code.n, code.k, code.name) == (648, 324, "wifi-648")
    assert np.array_equal(code.information_set, np.arange(324))
    # Row weights of the base matrix, counted in the standard's table.
    assert code.parity_check.sum(axis=1).reshape(12, 27)[:, 0].tolist() == [
        *(7, 8, 7, 7, 7, 8, 7, 7, 8, 7, 8, 7)
    ]
    # 802.11n encodes by its dual diagonal: p_0 is the sum of all lambda_i, then each
    # block row gives the next parity block (IEEE 802.11-2016, 19.3.11.7).
    message = np.random.default_rng(1).integers(0, 2, (1, 324), dtype=np.uint8)
    part = (message @ code.parity_check[:, :324].T % 2).reshape(12, 27)
    parity = [part.sum(axis=0) % 2]
    parity.append((part[0] + np.roll(parity[0], -1)) % 2)
    for i in range(1, 11):
        parity.append((part[i] + parity[i] + (parity[0] if i == 6 else 0)) % 2)
    assert np.array_equal(code.encode(message)[0], np.concatenate([message[0], *parity]))


def test_quasi_cyclic_shifts_to_the_right():
    assert ldpc.quasi_cyclic([(0, 0, 1), (1, 0, 0), (1, 1, 2)], 3, (2, 2)).dense().tolist() == [
        [0, 1, 0, 0, 0, 0],
        [0, 0, 1, 0, 0, 0],
        [1, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 1],
        [0, 1, 0, 1, 0, 0],
        [0, 0, 1, 0, 1, 0],
    ]


def test_what_does_not_fit_is_refused():
    generator = codes.LinearCode(HAMMING).generator
    wrong = generator.copy()
    wrong[2, 6] ^= 1
    with pytest.raises(ValueError, match=r"G H\^T = 0, got row 2"):
        codes.LinearCode(HAMMING, wrong)
    with pytest.raises(ValueError, match="generator matrix of rank 4, got rank 3"):
        codes.LinearCode(HAMMING, generator[[0, 1, 2, 2]])
    with pytest.raises(ValueError, match="parity-check matrix of rank 4, got rank 3"):
        codes.LinearCode(HAMMING, generator[:3])
    with pytest.raises(ValueError, match="generator matrix of 7 columns, got 6"):
        codes.LinearCode(HAMMING, generator[:, :6])
    with pytest.raises(ValueError, match="expected 0 and 1, got 2"):
        codes.LinearCode(HAMMING * 2)
    with pytest.raises(ValueError, match="2 dimensions"):
        codes.LinearCode(HAMMING[0])
    code = codes.LinearCode(HAMMING)
    with pytest.raises(ValueError, match=r"messages of shape \(F, 4\), got \(2, 3\)"):
        code.encode(np.zeros((2, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"words of shape \(F, 7\)"):
        code.syndrome(np.zeros((2, 3), dtype=np.uint8))
    with pytest.raises(ValueError, match="expected numbers 0 and 1"):
        code.encode([["a"] * 4])
    with pytest.raises(ValueError, match="invertible"):
        gf2.inverse(np.ones((2, 2), dtype=np.uint8))


@pytest.mark.parametrize("spec", ["", "wifi", "wifi-648:2", "alist", "alist:", ":"])
def test_unknown_specs_are_answered_with_the_known_ones(spec):
    with pytest.raises(ValueError, match=r"expected a code of .*wifi-648.*alist:FILE"):
        codes.code(spec)
