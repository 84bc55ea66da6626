# SPDX-License-Identifier: GPL-3.0-or-later
"""Conversions between the ways to say how noisy a channel is."""

import math

UNITS = {
    "n0": "variance N0",
    "es_n0_db": "Es/N0 in dB",
    "eb_n0_db": "Eb/N0 in dB",
}


def noise_variance(
    value: float, unit: str = "es_n0_db", bits_per_symbol: float = 1, rate: float = 1.0
) -> float:
    """Return N0, the variance of the complex noise of a channel with symbols of Es = 1.

    With K bits a symbol and a code of rate R, Es = K R Eb, so N0 = 10^(-(Es/N0)/10) and
    N0 = 10^(-(Eb/N0)/10) / (K R).

    Parameters
    ----------
    value : N0 itself, or an SNR in dB
    unit : "n0", "es_n0_db" or "eb_n0_db"
    bits_per_symbol : K, for Eb/N0
    rate : R = k / n, for Eb/N0

    ValueError for another unit, for a value that gives no finite N0 above 0, and for K or R that
    are not above 0.
    """
    if unit not in UNITS:
        raise ValueError(f"expected a unit of {', '.join(UNITS)}, got {unit!r}")
    if not (bits_per_symbol > 0 and rate > 0):
        raise ValueError(
            f"expected bits a symbol and a rate above 0, got {bits_per_symbol} and {rate}"
        )
    try:
        n0 = float(value) if unit == "n0" else 10.0 ** (-float(value) / 10)
    except OverflowError:
        n0 = math.inf
    if unit == "eb_n0_db":
        n0 /= bits_per_symbol * rate
    # C++ blocks hold it as a float32.
    if not 1e-37 < n0 < 1e37:
        raise ValueError(f"expected a finite noise variance above 0, got {UNITS[unit]} {value}")
    return n0
