# SPDX-License-Identifier: GPL-3.0-or-later
"""What samples tell of a receiver: level, clipping, DC, image, noise floor; and what to change."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..phy.burst import Burst, BurstFormat, BurstReceiver, burst_format
from .recordings import Complex

# A rail this near to the converter's full scale of 1 has hit it.
_FULL = 0.999
_WINDOW = 1024
# Windows whose powers are kept; then every second one goes.
_MOST_WINDOWS = 1 << 14


class Health:
    """Measures samples that are pushed into it, piece by piece.

    Parameters
    ----------
    sample_rate : samples/s
    format : of the bursts of a peer to look for, a `BurstFormat` or a preset's name
    """

    def __init__(self, sample_rate: float, format: str | BurstFormat = "burst-128") -> None:
        self.sample_rate = sample_rate
        self.format = burst_format(format)
        self.bursts: list[Burst] = []
        self._receiver = BurstReceiver(self.format)
        self._sums = np.zeros(4, complex)
        self._clipped = 0
        self._peak = 0.0
        self._powers: list[float] = []
        self._every, self._windows = 1, 0

    @property
    def samples(self) -> int:
        """How many samples there were."""
        return int(self._sums[0].real)

    def push(self, samples: Complex) -> None:
        """Take complex samples (n,)."""
        x = np.asarray(samples, np.complex64)
        if x.size == 0:
            return
        rails = np.abs(x.view(np.float32))
        power = np.abs(x) ** 2
        self._sums += [
            x.size, x.sum(dtype=complex), power.sum(dtype=float), np.sum(x * x, dtype=complex)
        ]  # fmt: skip
        self._clipped += int(np.count_nonzero(rails.reshape(-1, 2).max(1) >= _FULL))
        self._peak = max(self._peak, float(rails.max()))
        whole = x.size // _WINDOW * _WINDOW
        for level in power[:whole].reshape(-1, _WINDOW).mean(1):
            self._windows += 1
            if self._windows % self._every == 0:
                self._powers.append(float(level))
        if len(self._powers) > _MOST_WINDOWS:
            self._powers, self._every = self._powers[::2], 2 * self._every
        self.bursts = [*self.bursts, *self._receiver.push(x)][-1000:]

    def gap(self) -> None:
        """Samples are missing here."""
        self._receiver.gap()

    def figures(self) -> dict[str, Any]:
        """Return the figures by name; levels in dB of full scale, None for what is not known.

        rms_dbfs, peak_dbfs, noise_floor_dbfs; clipped, a share; dc_db and image_db by the rms; dc
        and image, each two rails; bursts, snr_db and cfo_hz of a peer, medians. ValueError without
        samples.
        """
        count, first, power, square = self._sums
        if count == 0:
            raise ValueError("expected samples, there are none")
        mean = first / count
        variance = max((power / count).real - abs(mean) ** 2, 1e-30)
        # r = s + c conj(s) with E s^2 = 0 has E r^2 = 2 c E|s|^2 for small c.
        image = (square / count - mean**2) / (2 * variance)
        floor = float(np.quantile(self._powers, 0.05)) if self._powers else None
        spacing = self.sample_rate / self.format.fft_length
        return {
            "samples": self.samples,
            "rms_dbfs": _db(variance + abs(mean) ** 2),
            "peak_dbfs": 2 * _db(self._peak),
            "noise_floor_dbfs": None if floor is None else _db(floor),
            "clipped": self._clipped / count.real,
            "dc_db": _db(abs(mean) ** 2 / variance),
            "image_db": _db(abs(image) ** 2),
            "dc": [mean.real, mean.imag],
            "image": [image.real, image.imag],
            "bursts": len(self.bursts),
            "snr_db": float(np.median([_db(b.snr) for b in self.bursts])) if self.bursts else None,
            "cfo_hz": float(np.median([b.cfo for b in self.bursts])) * spacing
            if self.bursts
            else None,
        }


def _db(power: float) -> float:
    return float(10 * np.log10(max(power, 1e-30)))


def advice(figures: dict[str, Any], sample_rate: float, frequency: float = 0.0) -> list[str]:
    """Say what to change, by figures of `Health`, and "overflows_a_second" where they have it.

    frequency : of the carrier in Hz, 0 where it is not known
    """
    said = []
    if figures["clipped"] > 1e-4:
        said.append(
            f"{100 * figures['clipped']:.2g} % of the samples clip: lower --gain by "
            f"{6 if figures['clipped'] < 0.01 else 12} dB"
        )
    elif figures["rms_dbfs"] < -60:
        said.append(
            f"the level is {figures['rms_dbfs']:.0f} dB of full scale: raise --gain, "
            "or look at antenna and cable"
        )
    if figures["dc_db"] > -10:
        said.append(
            f"DC is {figures['dc_db']:.0f} dB by the rest: move it out of the band, --lo-offset "
            f"{0.75 * sample_rate:.0f}, where the radio can"
        )
    # Bursts are circular; so few samples are not.
    if figures["image_db"] > -25 and figures["samples"] > 1e5:
        said.append(
            f"the IQ image is {figures['image_db']:.0f} dB: run the radio's calibration for it"
        )
    if (cfo := figures["cfo_hz"]) is not None and abs(cfo) > 0.05 * sample_rate:
        by = f", or --ppm by {-1e6 * cfo / frequency:+.1f}" if frequency else ""
        said.append(f"the peer is {cfo:+.0f} Hz off: change --frequency by {cfo:+.0f}{by}")
    if figures.get("overflows_a_second", 0) > 0:
        said.append(
            f"{figures['overflows_a_second']:.1f} overflows a second lose samples: "
            "lower --rate, or free the processor"
        )
    return said
