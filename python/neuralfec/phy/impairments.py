# SPDX-License-Identifier: GPL-3.0-or-later
"""What radios and the way between them do to samples: for tests, training and the loop device.

Each function takes complex samples (n,) and returns complex64. `Impairments` holds one set of
them and applies them in the order of a real link, from the transmitter's clipping to the
receiver's converter; equal settings and seeds give equal samples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .channel import complex_normal

Complex = NDArray[np.complex64]

# 3GPP TR 38.901, table 7.7.2-3: delays by the rms delay spread, powers in dB.
TDL_C = np.array(
    """
    0 -4.4 0.2099 -1.2 0.2219 -3.5 0.2329 -5.2 0.2176 -2.5 0.6366 0 0.6448 -2.2 0.6560 -3.9
    0.6584 -7.4 0.7935 -7.1 0.8213 -10.7 0.9336 -11.1 1.2285 -5.1 1.3083 -6.8 2.1704 -8.7
    2.7105 -13.2 4.2589 -13.9 4.6003 -13.9 5.4902 -15.8 5.6077 -17.1 6.3065 -16 6.6374 -15.7
    7.0427 -21.6 8.6523 -22.8
    """.split(),
    dtype=float,
).reshape(-1, 2)


def carrier_offset(samples: ArrayLike, cycles: float, phase: float = 0.0) -> Complex:
    """Turn samples by `cycles` a sample from a phase in radians on: x exp(j (2 pi c n + p))."""
    samples = np.asarray(samples, np.complex64)
    turn = np.exp(1j * (phase + 2 * np.pi * cycles * np.arange(samples.size)))
    return (samples * turn).astype(np.complex64)


def resample(samples: ArrayLike, clock_offset: float, delay: float = 0.0) -> Complex:
    """Sample again by a clock that is off: y(n) = x(n / (1 + clock_offset) - delay).

    Positive offsets stretch the signal; 2e-5 is 20 ppm. The interpolator is a windowed sinc of 32
    samples, whose error is below -60 dB up to 0.8 of half the sample rate. ValueError unless
    |clock_offset| < 0.01.
    """
    samples = np.asarray(samples, np.complex64)
    if not abs(clock_offset) < 0.01:
        raise ValueError(f"expected a clock offset within +-0.01, got {clock_offset}")
    if clock_offset == 0 and delay == 0:
        return samples
    half = 16
    out = np.empty(int(np.ceil((samples.size + max(delay, 0)) * (1 + clock_offset))), np.complex64)
    padded = np.concatenate([np.zeros(2 * half), samples, np.zeros(2 * half)]).astype(np.complex64)
    taps = np.arange(-half + 1, half + 1)
    for begin in range(0, out.size, 1 << 15):
        at = np.arange(begin, min(begin + (1 << 15), out.size)) / (1 + clock_offset) - delay
        whole = np.floor(at).astype(np.int64)
        distance = (at - whole)[:, None] - taps
        weight = np.sinc(distance) * np.i0(8.0 * np.sqrt(np.maximum(0, 1 - (distance / half) ** 2)))
        weight /= np.i0(8.0)
        index = np.clip(whole[:, None] + taps + 2 * half, 0, padded.size - 1)
        out[begin : begin + at.size] = np.einsum("nt,nt->n", padded[index], weight)
    return out


def phase_noise(
    rng: np.random.Generator,
    samples: ArrayLike,
    level_dbc_hz: float,
    corner_hz: float,
    sample_rate: float,
) -> Complex:
    """Turn samples by a phase whose spectrum is flat to a corner and falls by 20 dB a decade.

    level_dbc_hz : single-sideband level L below the corner, dBc/Hz; the phase's variance is
        pi corner 10^(L / 10) rad^2
    """
    samples = np.asarray(samples, np.complex64)
    from scipy.signal import lfilter

    # The level's both sidebands through one pole: variance = L pi corner.
    variance = np.pi * corner_hz * 10 ** (level_dbc_hz / 10)
    pole = np.exp(-2 * np.pi * corner_hz / sample_rate)
    drive = rng.standard_normal(samples.size) * np.sqrt(variance * (1 - pole**2))
    start = [rng.standard_normal() * np.sqrt(variance) * pole]
    phase, _ = lfilter([1.0], [1.0, -pole], drive, zi=start)
    return (samples * np.exp(1j * phase)).astype(np.complex64)


def rayleigh_taps(
    rng: np.random.Generator, taps: int = 10, decay_db: float = 1.0, *, unit_energy: bool = True
) -> Complex:
    """Draw a Rayleigh impulse response of taps a sample apart that fall by decay_db each.

    unit_energy : whether each draw has energy 1; else it has that in the mean
    """
    power = 10 ** (-decay_db / 10 * np.arange(taps))
    h = complex_normal(rng, (taps,)) * np.sqrt(power / power.sum())
    if unit_energy:
        h = h / np.sqrt(np.sum(np.abs(h) ** 2))
    return h.astype(np.complex64)


def tdl_c_taps(rng: np.random.Generator, delay_spread: float, sample_rate: float) -> Complex:
    """Draw an impulse response of TDL-C (3GPP TR 38.901, table 7.7.2-3), mean energy 1.

    delay_spread : rms, in seconds. Taps between samples are interpolated by a windowed sinc, whose
    first sample is 8 before the first tap.
    """
    delays = TDL_C[:, 0] * delay_spread * sample_rate
    power = 10 ** (TDL_C[:, 1] / 10)
    gains = complex_normal(rng, (delays.size,)) * np.sqrt(power / power.sum())
    at = np.arange(int(np.ceil(delays.max())) + 17)[:, None] - 8 - delays
    shape = np.sinc(at) * np.where(np.abs(at) < 8, np.cos(np.pi * at / 16) ** 2, 0)
    return (shape @ gains).astype(np.complex64)


def multipath(samples: ArrayLike, taps: ArrayLike) -> Complex:
    """Convolve with an impulse response; the tail is kept, n + taps - 1 samples."""
    return np.convolve(np.asarray(samples, np.complex64), np.asarray(taps, np.complex64)).astype(
        np.complex64
    )


def clip(samples: ArrayLike, above_rms_db: float) -> Complex:
    """Limit magnitudes to so many dB above the rms of the samples that are not silent."""
    samples = np.asarray(samples, np.complex64)
    magnitude = np.abs(samples)
    loud = magnitude[magnitude > 0]
    if loud.size == 0:
        return samples
    limit = np.sqrt(np.mean(loud**2)) * 10 ** (above_rms_db / 20)
    return (samples * np.minimum(1, limit / np.maximum(magnitude, 1e-30))).astype(np.complex64)


def quantize(samples: ArrayLike, bits: int, full_scale: float = 1.0) -> Complex:
    """Convert each rail to 2^bits levels within +-full_scale, and clip what is beyond."""
    samples = np.asarray(samples, np.complex64)
    if not 1 <= bits <= 24:
        raise ValueError(f"expected 1 to 24 bits, got {bits}")
    step = full_scale / 2 ** (bits - 1)

    def rail(x: np.ndarray) -> np.ndarray:
        return (np.clip(np.floor(x / step), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1) + 0.5) * step

    return (rail(samples.real) + 1j * rail(samples.imag)).astype(np.complex64)


@dataclass(frozen=True)
class Impairments:
    """One set of impairments, applied in the order of these lines.

    Parameters
    ----------
    clip_db : transmitter's limit above rms in dB, None for none
    taps : "none"; "static:A,B,..." complex gains a sample apart; "rayleigh:TAPS[,DB_A_TAP]" or
        "tdl-c:SPREAD_SECONDS", a new draw for each call
    clock_offset : of the sample clocks, 2e-5 for 20 ppm
    delay : in samples, fractions too
    cfo : carrier offset in cycles a sample
    phase_noise_dbc : level below the corner in dBc/Hz, None for none
    phase_noise_corner : in cycles a sample
    gain : amplitude
    noise_var : of the complex noise, both rails together
    image : coefficient of the conjugate, s + image conj s
    dc : added
    bits : of the converter with full scale +-1, None for none
    drop : probability that a piece of 1000 samples loses `drop_samples`
    drop_samples : samples lost there
    sample_rate : in Hz, for delay spreads

    ValueError for taps that are none of these and for a negative noise variance.
    """

    clip_db: float | None = None
    taps: str = "none"
    clock_offset: float = 0.0
    delay: float = 0.0
    cfo: float = 0.0
    phase_noise_dbc: float | None = None
    phase_noise_corner: float = 0.05
    gain: float = 1.0
    noise_var: float = 0.0
    image: complex = 0.0
    dc: complex = 0.0
    bits: int | None = None
    drop: float = 0.0
    drop_samples: int = 1
    sample_rate: float = 1e6

    def __post_init__(self) -> None:
        if not self.noise_var >= 0:
            raise ValueError(f"expected a noise variance >= 0, got {self.noise_var}")
        if not 0 <= self.drop <= 1:
            raise ValueError(f"expected a probability of drops, got {self.drop}")
        self._draw(np.random.default_rng(0))

    def _draw(self, rng: np.random.Generator) -> Complex | None:
        name, _, rest = self.taps.partition(":")
        try:
            if name == "none":
                return None
            if name == "static":
                return np.array([complex(word) for word in rest.split(",")], np.complex64)
            if name == "rayleigh":
                words = rest.split(",")
                return rayleigh_taps(rng, int(words[0]), *map(float, words[1:]))
            if name == "tdl-c":
                return tdl_c_taps(rng, float(rest), self.sample_rate)
        except (ValueError, TypeError):
            pass
        raise ValueError(
            "expected taps none, static:A,B,..., rayleigh:TAPS[,DB_A_TAP] or tdl-c:SECONDS, "
            f"got {self.taps!r}"
        )

    def apply(self, samples: ArrayLike, rng: np.random.Generator | Any) -> Complex:
        """Impair samples (n,): complex64, a little longer for echoes, delay and clock."""
        x = np.asarray(samples, np.complex64)
        if self.clip_db is not None:
            x = clip(x, self.clip_db)
        taps = self._draw(rng)
        if taps is not None:
            x = multipath(x, taps)
        x = resample(x, self.clock_offset, self.delay)
        if self.cfo:
            x = carrier_offset(x, self.cfo, rng.uniform(0, 2 * np.pi))
        if self.phase_noise_dbc is not None:
            x = phase_noise(
                rng,
                x,
                self.phase_noise_dbc + 10 * np.log10(self.sample_rate),
                self.phase_noise_corner,
                1.0,
            )
        x = x * np.float32(self.gain)
        if self.noise_var:
            x = x + complex_normal(rng, x.shape, self.noise_var)
        if self.image:
            x = x + np.complex64(self.image) * x.conj()
        x = x + np.complex64(self.dc)
        if self.bits is not None:
            x = quantize(x, self.bits)
        if self.drop:
            keep = np.ones(x.size, bool)
            for at in np.flatnonzero(rng.random(-(-x.size // 1000)) < self.drop):
                first = at * 1000 + int(rng.integers(1000))
                keep[first : first + self.drop_samples] = False
            x = x[keep]
        return x.astype(np.complex64)
