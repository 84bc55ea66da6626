# SPDX-License-Identifier: GPL-3.0-or-later
"""The burst modem: symbols to bursts of complex samples, and back.

A burst is an OFDM frame that stands alone::

    short part | training prefix | training symbol twice | header | payload | tail

`BurstFormat` holds every number of it, `BurstFormat.build` makes one, and `BurstReceiver`
finds and demodulates them in a stream of samples of any front end, at any sample rate. Offsets
of the carrier are in subcarrier spacings, sample rate / N, or in radians where it says so.

Payload symbols are any complex numbers of unit mean energy, those of a constellation or the
reals of a feedback code two by two. A receiver gives y, h and one noise variance for each
burst, what a soft demapper asks for.
"""

from __future__ import annotations

import functools
import zlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .. import _kernels

Complex = NDArray[np.complex64]

HEADER_BITS = 256
# The 80 most reliable positions of 256 (3GPP TS 38.212, table 5.3.1.2-1), rising.
_HEADER_SET = np.array(
    """
    63 95 110 111 117 118 119 121 122 123 124 125 126 127 157 158 159 171 173 174 175 179
    181 182 183 185 186 187 188 189 190 191 199 203 205 206 207 211 212 213 214 215 216 217
    218 219 220 221 222 223 226 227 228 229 230 231 232 233 234 235 236 237 238 239 240 241
    242 243 244 245 246 247 248 249 250 251 252 253 254 255
    """.split(),
    dtype=np.uint32,
)
_CRC_POLYNOMIAL = 0x1021
USER_BITS = 36
# Of noise's own metric, where it passes ten or twenty times in a million samples.
_DETECTION = 2.2
_FALSE_REFUSALS = 1e-3
# Ends of the products of neighbouring signs: the Barker sequence of 11.
_BARKER_11 = (1, 1, 1, -1, -1, -1, 1, -1, -1, 1, -1)


def _maximal_sequence(length: int, seed: int = 1) -> NDArray[np.uint8]:
    """Bits of the shift register x^15 + x^14 + 1 from a state other than 0, uint8 (length,)."""
    state, bits = seed, np.empty(length, np.uint8)
    for i in range(length):
        bit = (state >> 14 ^ state >> 13) & 1
        state = (state << 1 | bit) & 0x7FFF
        bits[i] = bit
    return bits


@dataclass(frozen=True)
class BurstFormat:
    """All the numbers of a burst; two formats with the same numbers have the same identity.

    Parameters
    ----------
    fft_length : N, a power of two
    cyclic_prefix : samples before each symbol; echoes may come this much later
    used : used subcarriers, -used/2 .. -1 and 1 .. used/2
    pilots : pilots a symbol, a divisor of used; in used / pilots symbols they visit every
        used subcarrier
    pilot_step : by how many used subcarriers they move from symbol to symbol
    short_period : samples of a period of the short part, which has 12 of them
    training_prefix : samples before the two training symbols, a multiple of 32
    header_repeats : how often each of the header's 256 code bits is sent at least
    max_symbols : payload symbols of the longest burst, at most 4095
    max_cfo : largest carrier offset that a receiver looks for, in subcarrier spacings

    ValueError for numbers that do not fit each other.
    """

    fft_length: int = 128
    cyclic_prefix: int = 16
    used: int = 104
    pilots: int = 8
    pilot_step: int = 5
    short_period: int = 16
    training_prefix: int = 32
    header_repeats: int = 4
    max_symbols: int = 4095
    max_cfo: float = 11.0

    def __post_init__(self) -> None:
        if self.used % 2 or not 2 <= self.used < self.fft_length:
            raise ValueError(
                f"expected an even number of used subcarriers below {self.fft_length}, "
                f"got {self.used}"
            )
        self.kernel  # noqa: B018  (refuses what does not fit)

    @property
    def data(self) -> int:
        """Payload values a symbol."""
        return self.used - self.pilots

    @property
    def symbol_length(self) -> int:
        """Samples a symbol, with its prefix."""
        return self.fft_length + self.cyclic_prefix

    @property
    def header_symbols(self) -> int:
        """Symbols of the header."""
        return -(-self.header_repeats * HEADER_BITS // (2 * self.data))

    @property
    def identity(self) -> int:
        """16 bits that a header carries, from all the numbers that change the samples."""
        numbers = {k: v for k, v in asdict(self).items() if k not in ("max_symbols", "max_cfo")}
        return zlib.crc32(repr(sorted(numbers.items())).encode()) & 0xFFFF

    @property
    def preamble_length(self) -> int:
        """Samples before the header."""
        return len(self._short) + self.training_prefix + 2 * self.fft_length

    def length(self, symbols: int) -> int:
        """Samples of a burst with so many payload symbols."""
        return self.preamble_length + (self.header_symbols + symbols + 1) * self.symbol_length

    @property
    def threshold(self) -> float:
        """Metric of the search that noise exceeds ten or twenty times in a million samples."""
        short = len(self._short) - self.short_period
        training = self.training_prefix + self.fft_length
        return _DETECTION * float(np.sqrt(short) + np.sqrt(training)) / (short + training)

    def noise_var(self, snr_db: float, power: float = 1.0) -> float:
        """Variance of complex noise on samples of that mean power for an Es/N0 a used subcarrier.

        N / used subcarriers' worth of the energy is on each used one: N0 = power N / (used SNR).
        """
        return power * self.fft_length / self.used / 10 ** (snr_db / 10)

    @property
    def subcarriers(self) -> NDArray[np.int64]:
        """Signed numbers of the used subcarriers, int64 (used,)."""
        half = self.used // 2
        return np.concatenate([np.arange(-half, 0), np.arange(1, half + 1)])

    def pilot_positions(self, symbol: int) -> NDArray[np.int64]:
        """Which of the used subcarriers are pilots in a symbol; the header's first is 0."""
        distance = self.used // self.pilots
        return symbol * self.pilot_step % distance + distance * np.arange(self.pilots)

    def data_positions(self, symbols: int) -> NDArray[np.int64]:
        """Tell which used subcarrier each payload value is on, int64 (symbols, data)."""
        pilot = _pilot_mask(self, self.header_symbols + symbols)[self.header_symbols :]
        return np.nonzero(~pilot)[1].reshape(symbols, self.data)

    @property
    def kernel(self) -> _kernels.BurstFormat:
        """The kernels' own copy of the numbers."""
        return _kernel(self)

    @property
    def _training(self) -> Complex:
        return _training(self.fft_length, self.used)

    @property
    def _short(self) -> Complex:
        """The short part at unit mean power: a period with unit energy on the middle of the band,
        times signs."""
        period = self.short_period
        half = self.used * period // (2 * self.fft_length)
        spectrum = np.zeros(period, complex)
        bins = np.concatenate([np.arange(-half, 0), np.arange(1, half + 1)])
        # Of a chirp's phases the waveform is nearly flat.
        spectrum[bins % period] = np.exp(1j * np.pi * np.arange(2 * half) ** 2 / (2 * half))
        one = np.fft.ifft(spectrum)
        one /= np.sqrt(np.mean(np.abs(one) ** 2))
        return np.concatenate([s * one for s in _signs()]).astype(np.complex64)

    def _spectrum(self, values: ArrayLike) -> NDArray[np.complex128]:
        """Values (symbols, used) of the used subcarriers at their places of an FFT."""
        values = np.asarray(values)
        grid = np.zeros((len(values), self.fft_length), complex)
        grid[:, self.subcarriers % self.fft_length] = values
        return grid

    def _waveform(self, spectrum: NDArray[np.complex128]) -> NDArray[np.complex128]:
        """Samples (symbols, N) of spectra, of unit mean power for unit energies."""
        samples = np.fft.ifft(spectrum)
        samples *= self.fft_length / np.sqrt(self.used)
        return samples

    def build(self, symbols: ArrayLike, user: int = 0) -> Complex:
        """Make a burst of payload symbols.

        Parameters
        ----------
        symbols : complex (n,), of unit mean energy; made up with zeros' worth of pilots to whole
            OFDM symbols of `data` values
        user : 36 bits of the user's in the header

        Returns
        -------
        complex64, samples of unit mean power. ValueError for no or too many symbols, for values
        that are not finite and for a user field out of range.
        """
        symbols = np.asarray(symbols, np.complex64).reshape(-1)
        count = -(-symbols.size // self.data)
        if not 1 <= count <= self.max_symbols:
            raise ValueError(
                f"expected 1 to {self.max_symbols * self.data} payload values, got {symbols.size}"
            )
        if not np.isfinite(symbols).all():
            raise ValueError("expected finite payload values")
        if not 0 <= user < 2**USER_BITS:
            raise ValueError(f"expected a user field of {USER_BITS} bits, got {user}")
        payload = np.ones(count * self.data, np.complex64)
        payload[: symbols.size] = symbols
        values = np.concatenate([_header(self, count, user), payload])
        known, places = _layout(self, count)
        spectrum = known.copy()
        spectrum.reshape(-1)[places] = values * np.resize(_scrambling(), values.size)
        preamble = _preamble(self)
        samples = np.empty(preamble.size + len(spectrum) * self.symbol_length, np.complex64)
        samples[: preamble.size] = preamble
        body = samples[preamble.size :].reshape(-1, self.symbol_length)
        body[:, self.cyclic_prefix :] = self._waveform(spectrum)
        body[:, : self.cyclic_prefix] = body[:, -self.cyclic_prefix :]
        return samples


def _pilot_mask(format: BurstFormat, total: int) -> NDArray[np.bool_]:
    """Which used subcarriers are pilots, of so many symbols from the header on, (total, used)."""
    first = format.pilot_step * np.arange(total)[:, None]
    return (np.arange(format.used) - first) % (format.used // format.pilots) == 0


@functools.lru_cache(maxsize=256)
def _layout(format: BurstFormat, count: int) -> tuple[NDArray[np.complex128], NDArray[np.int64]]:
    """Spectra of header, so many payload symbols and tail without their data, whose places
    are told in order; bursts of a running link have few lengths."""
    total = format.header_symbols + count
    pilot = _pilot_mask(format, total)
    bins = format.subcarriers % format.fft_length
    at = bins + format.fft_length * np.arange(total)[:, None]
    spectrum = format._spectrum(np.broadcast_to(format._training, (total + 1, format.used)))
    spectrum.reshape(-1)[at[pilot]] = np.resize(_pilot_values(), total * format.pilots)
    spectrum.flags.writeable = False
    return spectrum, at[~pilot]


@functools.lru_cache(maxsize=16)
def _preamble(format: BurstFormat) -> Complex:
    (training,) = format._waveform(format._spectrum(format._training[None]))
    prefix = training[-format.training_prefix :]
    return np.concatenate([format._short, prefix, training, training]).astype(np.complex64)


def _signs() -> NDArray[np.float32]:
    return np.cumprod([1, *_BARKER_11]).astype(np.float32)


@functools.lru_cache(maxsize=1)
def _pilot_values() -> NDArray[np.float32]:
    return (1 - 2.0 * _maximal_sequence(1021, 0x5A5A)).astype(np.float32)


@functools.lru_cache(maxsize=1)
def _scrambling() -> Complex:
    bits = _maximal_sequence(2 * 8191, 0x1234).reshape(-1, 2)
    return (((1 - 2.0 * bits[:, 0]) + 1j * (1 - 2.0 * bits[:, 1])) / np.sqrt(2)).astype(
        np.complex64
    )


@functools.lru_cache(maxsize=16)
def _training(fft_length: int, used: int) -> Complex:
    """+-1 a used subcarrier: of 64 pieces of a maximal sequence the one with the lowest peak."""
    half = used // 2
    bins = np.concatenate([np.arange(-half, 0), np.arange(1, half + 1)]) % (4 * fft_length)
    best, lowest = None, np.inf
    for seed in range(1, 65):
        values = 1 - 2.0 * _maximal_sequence(used, 257 * seed)
        grid = np.zeros(4 * fft_length)
        grid[bins] = values
        peak = np.abs(np.fft.ifft(grid)).max()
        if peak < lowest:
            best, lowest = values, peak
    return np.asarray(best, np.complex64)


@functools.lru_cache(maxsize=16)
def _header_order(bits: int) -> NDArray[np.uint32]:
    # At random: the light words of a polar code are regular, and so are fades.
    return _kernels.random_permutation(bits, 1) % HEADER_BITS


def _header(format: BurstFormat, symbols: int, user: int) -> Complex:
    fields = (format.identity << 48 | symbols << 36 | user) & (2**64 - 1)
    remainder = 0
    for i in range(63, -1, -1):
        out = (remainder >> 15 ^ fields >> i) & 1
        remainder = (remainder << 1 & 0xFFFF) ^ (_CRC_POLYNOMIAL if out else 0)
    message = [fields >> i & 1 for i in range(63, -1, -1)]
    message += [remainder >> i & 1 for i in range(15, -1, -1)]
    word = np.zeros(HEADER_BITS, np.uint8)
    word[_HEADER_SET] = message
    # The polar transform, butterflies of growing distance.
    for half in (1, 2, 4, 8, 16, 32, 64, 128):
        pairs = word.reshape(-1, 2, half)
        pairs[:, 0] ^= pairs[:, 1]
    bits = 2 * format.header_symbols * format.data
    sent = word[_header_order(bits)].reshape(-1, 2)
    rails = (1 - 2.0 * sent) / np.sqrt(2)
    return (rails[:, 0] + 1j * rails[:, 1]).astype(np.complex64)


@functools.lru_cache(maxsize=16)
def _kernel(format: BurstFormat) -> _kernels.BurstFormat:
    return _kernels.BurstFormat(
        fft_length=format.fft_length,
        cyclic_prefix=format.cyclic_prefix,
        subcarriers=format.subcarriers.tolist(),
        pilots=format.pilots,
        pilot_step=format.pilot_step,
        pilot_values=_pilot_values().tolist(),
        scrambling=_scrambling().tolist(),
        short_period=format.short_period,
        short_signs=_signs().tolist(),
        training_prefix=format.training_prefix,
        training=format._training.tolist(),
        header_symbols=format.header_symbols,
        header_order=_header_order(2 * format.header_symbols * format.data).tolist(),
        header_information_set=_HEADER_SET.tolist(),
        identity=format.identity,
        max_symbols=format.max_symbols,
        max_cfo=format.max_cfo,
    )


PRESETS = {
    "burst-64": BurstFormat(fft_length=64, used=52, pilots=4, training_prefix=32, max_cfo=11.0),
    "burst-128": BurstFormat(),
}
"""Formats by name: 48 or 96 payload values a symbol of 80 or 144 samples."""


def burst_format(spec: str | BurstFormat) -> BurstFormat:
    """Make the format of a preset; a `BurstFormat` stays itself. ValueError for another name."""
    if isinstance(spec, BurstFormat):
        return spec
    if spec not in PRESETS:
        raise ValueError(f"expected a burst format of {', '.join(PRESETS)}, got {spec!r}")
    return PRESETS[spec]


@dataclass(frozen=True)
class Burst:
    """A received burst.

    Attributes
    ----------
    y, h : complex64 (symbols data,), y = h x + n with mean |h|^2 = 1
    noise_var : variance of n, error of h counted in
    user : 36 bits of the header
    symbols : payload symbols
    start, length : stream position of the first sample, samples
    window : stream position of the first training symbol's FFT window
    cfo : carrier offset in subcarrier spacings
    clock_offset : of the sample clocks, 2e-5 for 20 ppm; positive: the burst came stretched
    snr : mean Es/N0 a used subcarrier
    evm : rms residual of pilots by the channel's
    power : mean energy a used subcarrier, at the samples' scale
    whole : bound on the chance that a burst without a gap looks as torn as this one, at most 1
    residual : float32 (symbols,), that of each symbol's pilots by N0
    channel : complex64 (used,), the gain of each used subcarrier
    metric : of the search
    """

    y: Complex
    h: Complex
    noise_var: float
    user: int
    symbols: int
    start: int
    length: int
    window: int
    cfo: float
    clock_offset: float
    snr: float
    evm: float
    power: float
    whole: float
    residual: NDArray[np.float32]
    channel: Complex
    metric: float


class BurstReceiver:
    """Receives bursts from a stream of samples, piece by piece.

    The pieces may have any size; bursts come when their last sample does. DC and IQ image are
    averaged over bursts. Bursts with a gap inside (`gap`) are torn, and so are those whose delay
    or phase jumps from one symbol to the next, or of which some symbols disagree with the channel
    or are noisier, by more than chance has in `false_refusals` of whole bursts; they are counted
    and not handed on.

    Parameters
    ----------
    format : a `BurstFormat` or a preset's name
    threshold : of the search's metric, within 0 and 1, None for the format's own; lower finds
        weaker bursts at the cost of time spent on candidates that are none
    false_refusals : within 0 and 1

    ValueError for other values.
    """

    def __init__(
        self,
        format: str | BurstFormat = "burst-128",
        threshold: float | None = None,
        false_refusals: float = _FALSE_REFUSALS,
    ) -> None:
        self.format = burst_format(format)
        self._kernel = _kernels.BurstReceiver(
            self.format.kernel,
            self.format.threshold if threshold is None else threshold,
            false_refusals,
        )

    def push(self, samples: ArrayLike) -> list[Burst]:
        """Take complex samples (n,); the bursts that they complete."""
        samples = np.asarray(samples, np.complex64)
        if samples.ndim != 1:
            raise ValueError(f"expected samples of one dimension, got shape {samples.shape}")
        return [Burst(**fields) for fields in self._kernel.push(samples)]

    def finish(self) -> list[Burst]:
        """At the end of a recording: the bursts that ended with its last samples."""
        return self.push(np.zeros(2 * self.format.length(1), np.complex64))

    def gap(self, missing: int = 0) -> None:
        """Samples are missing here, this many where it is known."""
        self._kernel.gap(missing)

    def offsets(self) -> tuple[complex, complex]:
        """DC and image coefficient of the front end as known now: r = s + image conj s + dc."""
        return self._kernel.offsets()

    def stats(self) -> dict[str, int]:
        """Count samples, candidates, headers, bursts, gaps, torn_by_gap and torn_by_residual."""
        return self._kernel.stats()


def refine(
    samples: ArrayLike,
    burst: Burst,
    format: str | BurstFormat,
    known: ArrayLike,
    offsets: tuple[complex, complex] = (0, 0),
) -> dict[str, Any]:
    """Demodulate a burst again with payload values that are known, decoded codewords' symbols.

    Parameters
    ----------
    samples : complex (n,), the stream from `burst.window` on, to the burst's end
    known : complex (symbols data,), 0 where a value is not known
    offsets : DC and image of the front end, as `BurstReceiver.offsets` tells

    Returns
    -------
    The kernel's figures by name: y, h, noise_var, snr, cfo, clock_offset and more. ValueError
    for arrays of other sizes.
    """
    demodulator = _kernels.BurstDemodulator(burst_format(format).kernel)
    return demodulator.demodulate(
        np.asarray(samples, np.complex64),
        burst.cfo,
        burst.symbols,
        burst.user,
        *offsets,
        known=np.asarray(known, np.complex64),
    )
