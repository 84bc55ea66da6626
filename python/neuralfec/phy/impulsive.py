# SPDX-License-Identifier: GPL-3.0-or-later
"""Real noise that is not white Gaussian: pulses as of a radar, and Student's t.

Both are Gaussian with a variance that changes from symbol to symbol. For x = +-1 sent (bit 1:
+1), y = x + n received, ``variances`` draws what each n's variance is, and ``llrs`` is
log P(1 | y) - log P(0 | y) for a receiver that knows the model but not these variances.
``noise_var`` is a real variance, that of one dimension.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray


def gaussian_llrs(y: ArrayLike, noise_var: ArrayLike) -> NDArray[np.float32]:
    """Compute 2 y / noise_var, right for Gaussian noise of this variance or of each symbol's."""
    return np.float32(2) * np.asarray(y, np.float32) / np.asarray(noise_var, np.float32)


@dataclass(frozen=True)
class Pulses:
    """Makes white Gaussian noise with pulses of Gaussian noise that begin at random.

    length : symbols of a pulse
    power : variance that it adds
    fraction : part of all symbols that are hit
    """

    fraction: float = 0.03
    length: int = 4
    power: float = 10.0

    def __post_init__(self) -> None:
        if not (0 < self.fraction < 1 and self.length >= 1 and self.power > 0):
            raise ValueError(
                "expected 0 < fraction < 1, length of at least 1 and power above 0, got "
                f"{self.fraction}, {self.length} and {self.power}"
            )

    @property
    def _start(self) -> float:
        """Probability that a pulse begins at a symbol."""
        return 1 - (1 - self.fraction) ** (1 / self.length)

    def chain(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Describe the pulses as a Markov chain of r, the symbols still hit, this one among them.

        Returns P(r' | r), float32 (length + 1, length + 1), and the stationary P(r), r = 0 ..
        length.
        """
        step = np.eye(self.length + 1, k=-1, dtype=np.float32) * (1 - self._start)
        step[0, 0] = 1 - self._start
        step[:, -1] += self._start
        stationary = self._start * (1 - self._start) ** np.arange(self.length, -1, -1)
        stationary[0] = 1 - self.fraction
        return step, stationary.astype(np.float32)

    def variances(
        self, rng: np.random.Generator, shape: tuple[int, int], noise_var: ArrayLike
    ) -> NDArray[np.float32]:
        """Sequences (F, N) of variances, float32; noise_var broadcasts to that shape."""
        _check(noise_var)
        frames, symbols = shape
        # A symbol is clear if none of the last `length` began a pulse.
        began = rng.random((frames, symbols + self.length - 1), dtype=np.float32) < self._start
        total = np.cumsum(np.pad(began, ((0, 0), (1, 0))), axis=1, dtype=np.int32)
        hit = total[:, self.length :] > total[:, : -self.length]
        return (np.asarray(noise_var) + np.float32(self.power) * hit).astype(np.float32)

    def llrs(self, y: ArrayLike, noise_var: ArrayLike) -> NDArray[np.float32]:
        """Compute the LLRs of the mixture of both Gaussians, symbol by symbol.

        That symbols are hit together is not used.
        """
        y = np.asarray(y, np.float32)

        def log_density(n: np.ndarray) -> np.ndarray:
            parts = [
                np.log(weight / np.sqrt(variance)) - n**2 / (2 * variance)
                for weight, variance in (
                    (1 - self.fraction, np.asarray(noise_var, np.float32)),
                    (self.fraction, np.asarray(noise_var, np.float32) + self.power),
                )
            ]
            return np.logaddexp(*parts)

        return (log_density(y - 1) - log_density(y + 1)).astype(np.float32)


@dataclass(frozen=True)
class StudentT:
    """Noise of Student's t distribution with `freedom` degrees, scaled to variance noise_var."""

    freedom: float = 3.0

    def __post_init__(self) -> None:
        if not self.freedom > 2:
            raise ValueError(f"expected freedom above 2 (a finite variance), got {self.freedom}")

    def variances(
        self, rng: np.random.Generator, shape: tuple[int, int], noise_var: ArrayLike
    ) -> NDArray[np.float32]:
        """Draw variances as `Pulses` does: t is a Gaussian whose variance is nu / chi^2_nu."""
        _check(noise_var)
        chi2 = rng.chisquare(self.freedom, shape)
        return (np.asarray(noise_var) * (self.freedom - 2) / chi2).astype(np.float32)

    def llrs(self, y: ArrayLike, noise_var: ArrayLike) -> NDArray[np.float32]:
        """Compute (nu+1)/2 log((1 + (y+1)^2/s) / (1 + (y-1)^2/s)), s = (nu-2) noise_var."""
        y, s = np.asarray(y, np.float32), (self.freedom - 2) * np.asarray(noise_var, np.float32)
        ratio = np.log1p((y + 1) ** 2 / s) - np.log1p((y - 1) ** 2 / s)
        return ((self.freedom + 1) / 2 * ratio).astype(np.float32)


def _check(noise_var: ArrayLike) -> None:
    noise_var = np.asarray(noise_var)
    if not (np.isfinite(noise_var).all() and (noise_var > 0).all()):
        raise ValueError(f"expected finite noise variances > 0, got {noise_var}")
