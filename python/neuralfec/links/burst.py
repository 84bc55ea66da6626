# SPDX-License-Identifier: GPL-3.0-or-later
"""Links over bursts of samples: how many bursts are found, and what their estimates cost.

Each burst has its own channel: Rayleigh taps of unit energy, a carrier offset within +-10
subcarrier spacings, a clock within +-40 ppm, a fraction of a sample of delay, and phase noise of
-43 dB (flat to 0.05 of the sample rate at -95 dBc/Hz for 1 Msample/s).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .. import _kernels
from ..codes import code as make_code
from ..decoders import decoder
from ..phy.burst import Burst, BurstReceiver, burst_format, refine
from ..phy.channel import complex_normal
from ..phy.constellation import constellation as make_constellation
from ..phy.constellation import modulate
from ..phy.demapping import demap
from ..phy.impairments import Impairments, multipath, rayleigh_taps
from ..simulation import count_errors

_SILENCE = 600
_OF_BURSTS = ("found", "whole", "torn")
_OF_CODEWORDS = ("genie", "burst", "second")
# Samples lost.
_TEARS = (1, 2, 5, 16, 144, 200)
_ZEROS = 300


# Of a block of `NothingLink`.
_BLOCK = 1_000_000


@dataclass
class NothingLink:
    """Samples without a burst: a block is a million of them, an error one with a burst delivered.

    Blocks take turns: noise; noise and a tone 10 dB above it, anywhere; noise and DC of its power;
    noise and packets of another system's OFDM 15 dB above it, with a preamble of ten equal
    periods of 16 samples and a training symbol twice, as that of IEEE 802.11a.

    Parameters
    ----------
    format : preset's name
    """

    format: str = "burst-128"
    schemes: Sequence[str] = ("false",)

    def parameters(self) -> dict[str, Any]:
        """Return what the experiment is, for `simulation.run`."""
        return {"format": self.format, "schemes": list(self.schemes)}

    def __call__(
        self, rng: np.random.Generator, snr_db: float, blocks: int
    ) -> dict[str, dict[str, float]]:
        """Count blocks with a burst; the SNR means nothing here."""
        receiver = BurstReceiver(self.format)
        errors = 0
        for number in range(blocks):
            samples = complex_normal(rng, (_BLOCK,))
            kind = number % 4
            if kind == 1:
                turn = 2j * np.pi * rng.uniform(-0.5, 0.5)
                samples += np.exp(turn * np.arange(_BLOCK)).astype(np.complex64) * 10**0.5
            elif kind == 2:
                samples += 1
            elif kind == 3:
                packets = [_foreign_packet(rng) for _ in range(_BLOCK // 10_000)]
                foreign = np.concatenate(packets)[:_BLOCK] * 10**0.75
                samples[: foreign.size] += foreign.astype(np.complex64)
            errors += bool(receiver.push(samples))
        counts: dict[str, float] = {}
        counts |= {"blocks": blocks, "block_errors": errors, "bits": blocks, "bit_errors": errors}
        return {"false": counts}


def _foreign_packet(rng: np.random.Generator) -> np.ndarray:
    """80 symbols of OFDM with its preamble and some silence, unit mean power while it lasts."""
    used = np.concatenate([np.arange(-26, 0), np.arange(1, 27)]) % 64

    def waveform(at: np.ndarray) -> np.ndarray:
        grid = np.zeros(64, complex)
        grid[at] = np.exp(0.5j * np.pi * (rng.integers(4, size=at.size) + 0.5))
        return np.fft.ifft(grid) * 64 / np.sqrt(at.size)

    short = waveform(np.array([s % 64 for s in range(-24, 25, 4) if s]))
    training = waveform(used)
    body = [waveform(used) for _ in range(80)]
    parts = [np.tile(short, 3)[:160], training[-32:], training, training]
    parts += [np.concatenate([symbol[-16:], symbol]) for symbol in body]
    return np.concatenate([*parts, np.zeros(int(rng.integers(1000, 4000)))])


@dataclass
class BurstLink:
    """Coded bursts through impaired channels.

    Parameters
    ----------
    schemes : of "found" (a block is a burst, an error one that is not found or whose header is
        wrong), "whole" (an error is a burst refused as torn), "torn" (a block is a burst that lost
        1, 2, 5, 16, 144 or 200 samples of its payload, or has zeros in place of 300, in turn; an
        error one that is delivered), "genie" (symbols, channel and noise variance known, no
        impairments), "burst" (blocks are codewords; those of a burst that is not found are
        wrong) and "second" (the same, with the right codewords of a burst as pilots of a second
        pass: a CRC tells which are right, here what was sent does)
    format : preset's name
    symbols : payload symbols a burst
    code, decoder, constellation : of the payload
    taps : of the channel, 1 dB apart; 1 is a flat one
    fading : whether the taps' energy fades, too, and is 1 only in the mean
    image_db, dc_db : of the receiver's front end by the signal, -inf for none
    """

    schemes: Sequence[str] = ("genie", "burst")
    format: str = "burst-128"
    symbols: int = 100
    code: str = "wifi-648"
    decoder: str = "bp:50"
    constellation: str = "qam16"
    taps: int = 10
    fading: bool = False
    image_db: float = -30.0
    dc_db: float = -20.0

    def __post_init__(self) -> None:
        burst_format(self.format)
        unknown = set(self.schemes) - {*_OF_BURSTS, *_OF_CODEWORDS}
        if unknown or not self.schemes:
            raise ValueError(
                f"expected schemes of {', '.join(_OF_BURSTS + _OF_CODEWORDS)}, got {self.schemes}"
            )
        self._parts  # noqa: B018  (refuses what does not fit)

    def parameters(self) -> dict[str, Any]:
        """Return what the experiment is, for `simulation.run`."""
        return {**self.__getstate__(), "schemes": list(self.schemes)}

    def __getstate__(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @cached_property
    def _parts(self) -> tuple[Any, Any, Any, int]:
        code = make_code(self.code)
        modulation = make_constellation(self.constellation)
        bits = self.symbols * burst_format(self.format).data * modulation.bits_per_symbol
        if bits < code.n:
            raise ValueError(f"expected bursts of at least {code.n} bits, got {bits}")
        return code, modulation, decoder(self.decoder, code), bits

    @cached_property
    def _receiver(self) -> BurstReceiver:
        # One for all bursts: it learns DC and image over them.
        return BurstReceiver(self.format)

    def _sent(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Messages of a burst and its symbols; what no codeword fills is random."""
        code, modulation, _, bits = self._parts
        messages = rng.integers(0, 2, (bits // code.n, code.k), dtype=np.uint8)
        words = code.encode(messages).reshape(-1)
        order = _kernels.random_permutation(words.size, 1)
        filler = rng.integers(0, 2, bits - words.size, dtype=np.uint8)
        return messages, modulate(np.concatenate([words[order], filler]), modulation)

    def _decode(self, y: np.ndarray, h: np.ndarray, noise_var: float) -> np.ndarray:
        code, modulation, decode, bits = self._parts
        words = bits // code.n
        llrs = demap(y, modulation, noise_var, h).reshape(-1)[: words * code.n]
        order = _kernels.random_permutation(words * code.n, 1)
        straight = np.empty_like(llrs)
        straight[order] = llrs
        return decode.decode(straight.reshape(words, code.n))[0]

    def _second(self, burst: Burst, messages: np.ndarray, x: np.ndarray, first: np.ndarray) -> Any:
        """Decode once more, with the codewords that are right as pilots."""
        code, modulation, _, bits = self._parts
        right = (first == messages).all(1)
        if right.all() or not right.any():
            return first
        of_bits = np.repeat(right, code.n)[_kernels.random_permutation(right.size * code.n, 1)]
        known = np.zeros(bits, bool)
        known[: of_bits.size] = of_bits
        mask = known.reshape(-1, modulation.bits_per_symbol).all(1)
        again = refine(
            self._samples[burst.window - self._before :],
            burst,
            self.format,
            np.where(mask, x, 0),
            self._receiver.offsets(),
        )
        decoded = self._decode(again["y"], again["h"], again["noise_var"])
        return np.where(right[:, None], first, decoded)

    def _receive(
        self,
        rng: np.random.Generator,
        x: np.ndarray,
        taps: np.ndarray,
        snr_db: float,
        tear: int | None = None,
    ) -> Burst | None:
        format = burst_format(self.format)
        number = int(rng.integers(2**36))
        silence = np.zeros(_SILENCE, np.complex64)
        samples = Impairments(
            clock_offset=rng.uniform(-4e-5, 4e-5),
            delay=rng.uniform(0, 1),
            cfo=rng.uniform(-10, 10) / format.fft_length,
            phase_noise_dbc=-95,
        ).apply(multipath(np.concatenate([silence, format.build(x, number), silence]), taps), rng)
        samples = samples + complex_normal(rng, samples.shape, format.noise_var(snr_db))
        image = 10 ** (self.image_db / 20) * np.exp(1j)
        dc = 10 ** (self.dc_db / 20) * np.exp(2j)
        samples = samples + image * samples.conj() + dc
        if tear is not None:
            payload = self.symbols * format.symbol_length
            first = _SILENCE + format.length(0) - format.symbol_length
            at = first + int(rng.integers(max(1, payload - _ZEROS)))
            if tear < len(_TEARS):
                samples = np.delete(samples, np.arange(at, at + _TEARS[tear]))
            else:
                samples[at : at + _ZEROS] = 0
        self._before = self._receiver.stats()["samples"]
        self._samples = samples
        found = [burst for burst in self._receiver.push(samples) if burst.user == number]
        return found[0] if found and found[0].y.size == x.size else None

    def __call__(
        self, rng: np.random.Generator, snr_db: float, blocks: int
    ) -> dict[str, dict[str, float]]:
        """Count so many blocks of each scheme: bursts, or the codewords of bursts in order."""
        format = burst_format(self.format)
        code, _, _, bits = self._parts
        words = bits // code.n
        bursts = blocks if set(_OF_BURSTS) & set(self.schemes) else -(-blocks // words)
        counts: dict[str, dict[str, float]] = {scheme: {} for scheme in self.schemes}

        def add(scheme: str, more: dict[str, float]) -> None:
            for name, value in more.items():
                counts[scheme][name] = counts[scheme].get(name, 0) + value

        for number in range(bursts):
            messages, x = self._sent(rng)
            counted = min(words, blocks - number * words)
            taps = rayleigh_taps(rng, self.taps, unit_energy=not self.fading)
            decided: dict[str, np.ndarray] = {}
            if "genie" in self.schemes:
                gains = np.fft.fft(taps, format.fft_length)[format.subcarriers % format.fft_length]
                h = np.concatenate(
                    [
                        np.delete(gains, format.pilot_positions(format.header_symbols + s))
                        for s in range(self.symbols)
                    ]
                ).astype(np.complex64)
                noise_var = 10 ** (-snr_db / 10)
                y = h * x + complex_normal(rng, h.shape, noise_var)
                decided["genie"] = self._decode(y, h, noise_var)[:counted]
            burst = None

            def one(scheme: str, wrong: bool) -> None:
                add(scheme, {"blocks": 1, "block_errors": wrong, "bits": 1, "bit_errors": wrong})

            if {"found", "whole", "burst", "second"} & set(self.schemes):
                refused = self._receiver.stats()["torn_by_residual"]
                burst = self._receive(rng, x, taps, snr_db)
                refused = self._receiver.stats()["torn_by_residual"] - refused
                if "found" in self.schemes:
                    one("found", burst is None)
                if "whole" in self.schemes:
                    one("whole", refused > 0)
            if "torn" in self.schemes:
                tear = number % (len(_TEARS) + 1)
                one("torn", self._receive(rng, x, taps, snr_db, tear) is not None)
            if {"burst", "second"} & set(self.schemes):
                decoded = 1 - messages
                if burst is not None:
                    decoded = self._decode(burst.y, burst.h, burst.noise_var)
                if "burst" in self.schemes:
                    decided["burst"] = decoded[:counted]
                if "second" in self.schemes:
                    if burst is not None:
                        decoded = self._second(burst, messages, x, decoded)
                    decided["second"] = decoded[:counted]
            if decided:
                found = count_errors(messages[:counted], decided)
                first = next(iter(found.values()))["block_errors"]
                for scheme, more in found.items():
                    wrong = more["block_errors"]
                    # Codewords of a burst share its channel.
                    cluster = {
                        "clusters": 1,
                        "squared_cluster_errors": wrong**2,
                        "common_cluster_errors": wrong * first,
                    }
                    add(scheme, more | cluster)
        return counts
