# SPDX-License-Identifier: GPL-3.0-or-later
"""Automorphisms against groups that are known."""

import itertools

import numpy as np
import pytest
from gnuradio.neuralfec import codes
from gnuradio.neuralfec.codes.automorphisms import affine_automorphisms


def matrix_of(order):
    """A of x -> A x + c, (m, m), if the permutation is such a map."""
    m = len(order).bit_length() - 1
    columns = [order[1 << j] ^ order[0] for j in range(m)]
    for x, y in enumerate(order):
        expected = order[0]
        for j in range(m):
            expected ^= columns[j] * (x >> j & 1)
        assert y == expected
    return np.array([[column >> i & 1 for column in columns] for i in range(m)])


@pytest.mark.parametrize("spec", ["polar-nr:64,32", "polar-rptu:128,64", "rm:2,5", "polar-nr:16,7"])
def test_automorphisms_are_affine_different_and_map_the_code_to_itself(spec):
    code = codes.code(spec)
    orders = affine_automorphisms(code, 20)
    assert orders.shape == (20, code.n)
    assert len({tuple(order) for order in orders} | {tuple(range(code.n))}) == 21
    for order in orders:
        matrix_of(order)
        assert code.is_codeword(code.generator[:, order]).all()


def test_all_permutations_of_the_even_words_of_length_4_are_found():
    """AGL(2, 2) is the symmetric group of four positions."""
    orders = affine_automorphisms(codes.code("rm:1,2"), 100)
    found = {tuple(order) for order in orders} | {(0, 1, 2, 3)}
    assert found == set(itertools.permutations(range(4)))


def test_matrices_are_triangular_in_blocks_as_the_set_has_it():
    """The blocks of RPTU's set are 2, 2 and 3; digits of the NR set of 64 cannot change places."""
    used = {}
    for spec in ("polar-rptu:128,64", "polar-nr:64,32"):
        orders = affine_automorphisms(codes.code(spec), 200)
        used[spec] = sum(matrix_of(order) for order in orders) > 0
    of_digit = np.repeat(range(3), (2, 2, 3))
    assert np.array_equal(used["polar-rptu:128,64"], of_digit[:, None] <= of_digit)
    assert np.array_equal(used["polar-nr:64,32"], np.tril(used["polar-nr:64,32"]))
    assert used["polar-nr:64,32"].sum() > 18


def test_other_lengths_are_refused():
    with pytest.raises(ValueError, match="length 2\\^m, got 15"):
        affine_automorphisms(codes.code("bch:15,7"), 1)
