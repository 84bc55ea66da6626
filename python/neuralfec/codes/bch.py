# SPDX-License-Identifier: GPL-3.0-or-later
"""Binary primitive BCH codes (Lin and Costello, Error Control Coding, chapter 6)."""

import numpy as np

from . import gf2
from .linear import LinearCode

# Primitive polynomials of degree m over GF(2), bit i for x^i; those of the book's tables.
_PRIMITIVE = {3: 0b1011, 4: 0b10011, 5: 0b100101, 6: 0b1000011, 7: 0b10001001, 8: 0b100011101}


def _product(a: int, b: int) -> int:
    """Of two polynomials over GF(2)."""
    result = 0
    while b:
        result ^= a if b & 1 else 0
        a, b = a << 1, b >> 1
    return result


def _minimal_polynomials(degree: int) -> dict[int, int]:
    """Minimal polynomial of alpha^i, for each i, of a primitive element alpha."""
    n = 2**degree - 1
    powers = [1]
    for _ in range(n - 1):
        power = powers[-1] << 1
        powers.append(power ^ _PRIMITIVE[degree] if power >> degree else power)
    logarithm = {power: i for i, power in enumerate(powers)}
    polynomials: dict[int, int] = {}
    for i in range(1, n):
        if i in polynomials:
            continue
        conjugates = {i * 2**j % n for j in range(degree)}
        # prod (x + alpha^c), coefficients in GF(2^m), lowest power first.
        coefficients = [1]
        for c in conjugates:
            scaled = [a and powers[(logarithm[a] + c) % n] for a in coefficients]
            shifted = [0, *coefficients]
            coefficients = [a ^ b for a, b in zip(shifted, [*scaled, 0], strict=True)]
        polynomial = sum(a << j for j, a in enumerate(coefficients))
        polynomials |= dict.fromkeys(conjugates, polynomial)
    return polynomials


def bch(argument: str) -> LinearCode:
    """Make the narrow-sense primitive BCH code of ``N,K``, N = 7, 15, ... 255; systematic.

    Its generator polynomial is the product of the minimal polynomials of
    alpha, alpha^2, ... alpha^2t for the t that leaves K message bits.
    """
    words = [word.strip() for word in argument.split(",")]
    if len(words) != 2 or not all(word.isdecimal() for word in words):
        raise ValueError(f"expected bch:N,K, got bch:{argument}")
    n, k = map(int, words)
    degree = n.bit_length()
    if degree not in _PRIMITIVE or n != 2**degree - 1:
        raise ValueError(f"expected N = 7, 15, 31, 63, 127 or 255, got bch:{argument}")
    minimal = _minimal_polynomials(degree)
    generators: dict[int, int] = {}
    generator, used = 1, set()
    for i in range(1, n):
        if minimal[i] not in used:
            used.add(minimal[i])
            generator = _product(generator, minimal[i])
            generators[n - generator.bit_length() + 1] = generator
    if k not in generators:
        raise ValueError(
            f"expected a K of {', '.join(map(str, sorted(generators)))} for N = {n}, got {k}"
        )
    row = [generators[k] >> i & 1 for i in range(n - k + 1)]
    shifts = np.zeros((k, n), dtype=np.uint8)
    for i in range(k):
        shifts[i, i : i + n - k + 1] = row
    return LinearCode(gf2.null_space(shifts)[0], name=f"bch:{n},{k}")
