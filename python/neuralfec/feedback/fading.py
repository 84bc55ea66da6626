# SPDX-License-Identifier: GPL-3.0-or-later
"""Multipath fading for feedback codes, equalised at the receiver (Sec. V-C).

The Q real symbols of a round are on ceil(Q / 2) subcarriers of an OFDM symbol, and rounds are one
slot apart. The channel is one of 3GPP TR 38.901:

* "tdl-c": the taps of Table 7.7.2-3, each of them Rayleigh with Jakes' spectrum over the rounds;
* "cdl-c": the clusters of rays of Table 7.7.1-3, between single antennas that are alike in all
  directions, drawn by Sionna, which nothing else here needs (`make sionna` brings it).
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..phy.impairments import TDL_C

CHANNELS = ("tdl-c", "cdl-c")
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
# Blocks for which Sionna draws rays at once: some 200 MiB.
_BATCH = 2048


def gains(
    channel: str, rng: np.random.Generator, blocks: int, rounds: int, groups: int
) -> NDArray[np.float32]:
    """Draw |h| of each symbol, (blocks, rounds, Q) float32, mean square 1.

    After division by h the noise of a symbol has 1 / |h| of its deviation.

    Raises
    ------
    ValueError
        If `channel` is none of `CHANNELS`.
    ModuleNotFoundError
        If the channel is "cdl-c" and there is no Sionna.
    """
    if channel not in CHANNELS:
        raise ValueError(f"expected a fading channel of {CHANNELS}, got {channel!r}")
    draw = _tapped if channel == "tdl-c" else _clustered
    h = np.abs(draw(rng, blocks, rounds, (groups + 1) // 2))
    return np.maximum(h, LEAST_GAIN).repeat(2, axis=2)[:, :, :groups].astype(np.float32)


def _tapped(
    rng: np.random.Generator, blocks: int, rounds: int, subcarriers: int
) -> NDArray[np.complexfloating]:
    from scipy.special import j0

    powers = 10 ** (TDL_C[:, 1] / 10)
    doppler = SPEED / 299792458.0 * CARRIER_HZ
    lag = np.abs(np.subtract.outer(np.arange(rounds), np.arange(rounds))) * SLOT_SECONDS
    # Slow fading makes the correlation all but singular.
    root = np.linalg.cholesky(j0(2 * np.pi * doppler * lag) + 1e-6 * np.eye(rounds))
    taps = rng.standard_normal((2, blocks, len(powers), rounds)) @ root.T
    taps = (taps[0] + 1j * taps[1]) * np.sqrt(powers / powers.sum() / 2)[:, None]
    frequency = np.arange(subcarriers) * SUBCARRIER_HZ
    turn = np.exp(-2j * np.pi * np.outer(frequency, TDL_C[:, 0] * DELAY_SPREAD))
    return np.einsum("fk,bkr->brf", turn, taps)


@functools.cache
def _rays() -> Any:
    from sionna.phy.channel.tr38901 import CDL, AntennaArray

    antenna = AntennaArray(
        num_rows=1,
        num_cols=1,
        polarization="single",
        polarization_type="V",
        antenna_pattern="omni",
        carrier_frequency=CARRIER_HZ,
        device="cpu",
    )
    return CDL(
        "C",
        DELAY_SPREAD,
        CARRIER_HZ,
        ut_array=antenna,
        bs_array=antenna,
        direction="uplink",
        min_speed=SPEED,
        max_speed=SPEED,
        device="cpu",
    )


def _clustered(
    rng: np.random.Generator, blocks: int, rounds: int, subcarriers: int
) -> NDArray[np.complexfloating]:
    import torch
    from sionna.phy import config
    from sionna.phy.channel import cir_to_ofdm_channel

    rays = _rays()
    config.seed = int(rng.integers(1 << 31))
    frequency = torch.arange(subcarriers) * SUBCARRIER_HZ
    h = np.empty((blocks, rounds, subcarriers), np.complex64)
    with torch.no_grad():
        for start in range(0, blocks, _BATCH):
            size = min(_BATCH, blocks - start)
            coefficients, delays = rays(size, rounds, 1 / SLOT_SECONDS)
            drawn = cir_to_ofdm_channel(frequency, coefficients, delays)
            h[start : start + size] = drawn.reshape(size, rounds, subcarriers).numpy()
    return h


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
