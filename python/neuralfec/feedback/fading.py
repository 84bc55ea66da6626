# SPDX-License-Identifier: GPL-3.0-or-later
"""A tapped fading channel for feedback codes, equalised at the receiver (Sec. V-C).

Taps: TDL-C of 3GPP TR 38.901, Table 7.7.2-3, the tapped form of the CDL-C that the paper
takes from a ray-based generator. Each tap is Rayleigh with Jakes' spectrum over the rounds.
The Q real symbols of a round are on Q / 2 subcarriers of an OFDM symbol, rounds one slot
apart.
"""

import numpy as np

CARRIER_HZ = 3.5e9
SUBCARRIER_HZ = 30e3
SLOT_SECONDS = 0.5e-3
SPEED = 1.0
DELAY_SPREAD = 100e-9
# Numbers by which a receiver tells the SNR of a symbol, in dB.
TOLD_BITS = 6
TOLD_LEAST, TOLD_STEP = -26.0, 0.75
# Equalised noise of deeper fades than this is no longer amplified.
LEAST_GAIN = 0.05

# Delays in delay spreads, powers in dB.
_TDL_C = np.array(
    [
        (0.0000, -4.4), (0.2099, -1.2), (0.2219, -3.5), (0.2329, -5.2), (0.2176, -2.5),
        (0.6366, 0.0), (0.6448, -2.2), (0.6560, -3.9), (0.6584, -7.4), (0.7935, -7.1),
        (0.8213, -10.7), (0.9336, -11.1), (1.2285, -5.1), (1.3083, -6.8), (2.1704, -8.7),
        (2.7105, -13.2), (4.2589, -13.9), (4.6003, -13.9), (5.4902, -15.8), (5.6077, -17.1),
        (6.3065, -16.0), (6.6374, -15.7), (7.0427, -21.6), (8.6523, -22.8),
    ]
)  # fmt: skip


def gains(rng: np.random.Generator, blocks: int, rounds: int, groups: int) -> np.ndarray:
    """Draw |h| of each symbol, (blocks, rounds, Q) float32, mean square 1.

    After division by h the noise of a symbol has 1 / |h| of its deviation.
    """
    from scipy.special import j0

    powers = 10 ** (_TDL_C[:, 1] / 10)
    doppler = SPEED / 299792458.0 * CARRIER_HZ
    lag = np.abs(np.subtract.outer(np.arange(rounds), np.arange(rounds))) * SLOT_SECONDS
    # Slow fading makes the correlation all but singular.
    root = np.linalg.cholesky(j0(2 * np.pi * doppler * lag) + 1e-6 * np.eye(rounds))
    taps = rng.standard_normal((2, blocks, len(powers), rounds)) @ root.T
    taps = (taps[0] + 1j * taps[1]) * np.sqrt(powers / powers.sum() / 2)[:, None]
    frequency = np.arange((groups + 1) // 2) * SUBCARRIER_HZ
    turn = np.exp(-2j * np.pi * np.outer(frequency, _TDL_C[:, 0] * DELAY_SPREAD))
    h = np.abs(np.einsum("fk,bkr->brf", turn, taps))
    return np.maximum(h, LEAST_GAIN).repeat(2, axis=2)[:, :, :groups].astype(np.float32)


def told(noise_variance: np.ndarray) -> np.ndarray:
    """Return the noise variances, float64, that the nearest numbers of TOLD_BITS bits stand for."""
    number = np.rint((-10 * np.log10(noise_variance) - TOLD_LEAST) / TOLD_STEP)
    snr_db = TOLD_LEAST + TOLD_STEP * np.arange(1 << TOLD_BITS)
    # Rounded, so that two mathematical libraries give both ends the same number.
    table = np.round(10 ** (-snr_db / 10), 9)
    return table[np.clip(number, 0, len(table) - 1).astype(int)]


def capacity(noise_variance: np.ndarray) -> np.ndarray:
    """Return the bits that rounds of symbols of unit power carry at most, (n,).

    noise_variance : of the symbols of each block's round, (n, Q); sum_q log2(1 + 1 / v_q) / 2
    """
    return np.log2(1 + 1 / noise_variance).sum(1) / 2


def hopeless(
    carried: np.ndarray, fresh: np.ndarray, left: np.ndarray, message_bits: int
) -> np.ndarray:
    """Return which blocks could not be told any more at capacity, (n,) bool.

    Parameters
    ----------
    carried : bits that the symbols so far could carry, (n,), see `capacity`
    fresh : those of the last round, for which all that are left are taken, (n,)
    left : rounds that are left, (n,)
    message_bits : of a block
    """
    return carried + left * fresh < message_bits
