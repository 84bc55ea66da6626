# SPDX-License-Identifier: GPL-3.0-or-later
"""Links of bit-interleaved coded modulation, whose schemes decode the same noise.

Where LLRs are stored, a scheme is "exact" (float32 LLRs), "max-log", or a model of
`LlrQuantizer`, with "/fast" behind its name for the network's codeword in place of the nearest
one, or "mixed-radix:BITS:LOW:HIGH", see `quantization.mixed_radix`. Where decoders are compared,
a scheme is a decoder's spec.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import _kernels
from ..codes import code as make_code
from ..decoders import decoder
from ..decoders.ordered_statistics import surely_wrong
from ..phy import channel
from ..phy.constellation import constellation as make_constellation
from ..phy.constellation import modulate
from ..phy.demapping import demap
from ..phy.finite_length import normal_approximation
from ..phy.snr import noise_variance
from ..quantization import LlrQuantizer, mixed_radix
from ..simulation import count_errors


@dataclass
class _Link:
    """Codewords through one fixed random interleaver, mapper, channel and demapper.

    code, decoder : specs; constellation : name; channel : "awgn", "rayleigh" or "etu"
    schemes : the first is the reference
    interferer : constellation of a known interferer, or None; its gain is CN(0, 1) times
        10^(interference_db / 20) for each symbol
    """

    code: str = "wifi-648"
    decoder: str = "bp:50"
    constellation: str = "qam256"
    channel: str = "rayleigh"
    schemes: tuple[str, ...] = ("exact",)
    interferer: str | None = None
    interference_db: float = 0.0
    interleaver_seed: int = 1

    def parameters(self) -> dict[str, Any]:
        """What the experiment is, for `simulation.run`."""
        return {**self.__getstate__(), "schemes": list(self.schemes)}

    def __getstate__(self) -> dict[str, Any]:
        # What is cached is built again in each worker.
        names = self.__dataclass_fields__
        return {name: value for name, value in vars(self).items() if name in names}

    @cached_property
    def _code(self) -> Any:
        return make_code(self.code)

    @cached_property
    def _decoder(self) -> Any:
        return decoder(self.decoder, self._code)

    @cached_property
    def _order(self) -> NDArray[np.uint32]:
        return _kernels.random_permutation(self._code.n, self.interleaver_seed)

    @cached_property
    def _quantizers(self) -> dict[str, LlrQuantizer | mixed_radix.MixedRadixQuantizer]:
        found: dict[str, LlrQuantizer | mixed_radix.MixedRadixQuantizer] = {}
        for scheme in self.schemes:
            if scheme.startswith("mixed-radix:"):
                found[scheme] = mixed_radix.from_spec(scheme, self.constellation)
            elif scheme not in ("exact", "max-log"):
                name, _, fast = scheme.partition("/")
                found[scheme] = LlrQuantizer(name, search=fast != "fast")
        return found

    def _draw(self, rng: np.random.Generator, blocks: int) -> tuple[NDArray, NDArray]:
        """Messages (blocks, k) and symbols (blocks, n / K)."""
        bits_per_symbol = make_constellation(self.constellation).bits_per_symbol
        if self._code.n % bits_per_symbol:
            raise ValueError(
                f"expected codewords of whole symbols of {bits_per_symbol} bits, "
                f"got n = {self._code.n}"
            )
        messages = rng.integers(0, 2, (blocks, self._code.k), dtype=np.uint8)
        codewords = self._code.encode(messages)[:, self._order]
        return messages, modulate(codewords, self.constellation)

    def _receive(
        self, rng: np.random.Generator, symbols: NDArray, snr_db: float, methods: set[str]
    ) -> dict[str, NDArray[np.float32]]:
        """LLRs (blocks, n) by method, interleaved, of one transmission."""
        noise_var = 10 ** (-snr_db / 10)
        y, h = getattr(channel, self.channel)(rng, symbols, noise_var)
        known: dict[str, Any] = {}
        if self.interferer is not None:
            points = make_constellation(self.interferer).points
            gain = channel.complex_normal(rng, y.shape, 10 ** (self.interference_db / 10))
            y = y + gain * points[rng.integers(len(points), size=y.shape)]
            known = {"interferer_csi": gain[None], "interferer": self.interferer}
        return {
            method: demap(y, self.constellation, noise_var, h, method, **known).reshape(
                len(symbols), -1
            )
            for method in methods
        }

    def _decode(self, llrs: NDArray[np.float32]) -> NDArray[np.uint8]:
        frames = np.empty_like(llrs)
        frames[:, self._order] = llrs
        return self._decoder.decode(frames)[0]


def scheme_name(scheme: str) -> str:
    """Return what a legend calls a scheme: "learned, 15 bits" for "qam256-15bit"."""
    if scheme in ("exact", "max-log"):
        return f"{scheme} LLRs, float32"
    if scheme.startswith("mixed-radix:"):
        return f"scalar, mixed radix, {scheme.split(':')[1]} bits"
    model, _, search = scheme.partition("/")
    kind, bits = "learned", model.rpartition("-")[2].removesuffix("bit")
    if "-scalar-" in model:
        kind = "scalar, each LLR alone"
    elif "-paper-" in model:
        kind = "published autoencoder"
    if bits == "float":
        return f"{kind}, latent not quantized"
    return f"{kind}, {bits} bits" + (", no search" if search else "")


class StorageLink(_Link):
    """Sends each frame once and decodes it from what is left of its LLRs after storage."""

    def __call__(self, rng: np.random.Generator, snr_db: float, blocks: int) -> dict:
        messages, symbols = self._draw(rng, blocks)
        methods = {"exact"} | ({"max-log"} & set(self.schemes))
        llrs = self._receive(rng, symbols, snr_db, methods)
        decided = {}
        for scheme in self.schemes:
            kept = llrs.get(scheme)
            if kept is None:
                kept = self._quantizers[scheme].reconstruct(llrs["exact"])
            decided[scheme] = self._decode(kept)
        return count_errors(messages, decided)


@dataclass
class HybridArqLink(_Link):
    """Sends frames by hybrid ARQ with chase combining, up to `transmissions` times in all.

    A frame that is not decoded is stored, and added to the LLRs of its next transmission, over
    new fading. It counts `transmissions`, frames sent, too; a frame still wrong after the last is
    an error. Decoding is checked against what was sent, as an ideal CRC would.
    """

    transmissions: int = 4

    def __call__(self, rng: np.random.Generator, snr_db: float, blocks: int) -> dict:
        messages, symbols = self._draw(rng, blocks)
        # All schemes see the same noise: all transmissions are drawn, needed or not.
        received = [
            self._receive(rng, symbols, snr_db, {"exact"})["exact"]
            for _ in range(self.transmissions)
        ]
        decided, sent = {}, {}
        for scheme in self.schemes:
            bits = np.empty_like(messages)
            waiting = np.arange(blocks)
            stored = np.zeros_like(received[0])
            sent[scheme] = 0
            for llrs in received:
                sent[scheme] += len(waiting)
                total = stored[waiting] + llrs[waiting]
                bits[waiting] = self._decode(total)
                wrong = (bits[waiting] != messages[waiting]).any(1)
                waiting, total = waiting[wrong], total[wrong]
                if not len(waiting):
                    break
                if scheme != "exact":
                    total = self._quantizers[scheme].reconstruct(total)
                stored[waiting] = total
            decided[scheme] = bits
        counts = count_errors(messages, decided)
        return {scheme: counts[scheme] | {"transmissions": sent[scheme]} for scheme in counts}


class DecoderLink:
    """Decoders on the same exact LLRs, with a fresh random interleaver for each frame.

    Random bits fill the last symbol; the noise is Gaussian, the SNR Eb/N0 of the message's bits.

    Parameters
    ----------
    code, constellation : specs
    decoders : specs of the schemes
    bound : also count the scheme "ml-bound", which bounds maximum likelihood's errors from
        below: only those of the first decoder's words count that are likelier than the one sent

    `seconds` and `frames` tell how long each decoder took in this process.
    """

    def __init__(
        self, code: str, constellation: str, decoders: Sequence[str], bound: bool = False
    ) -> None:
        self._setting = code, constellation, tuple(decoders), bound
        self._code = make_code(code)
        self._constellation = make_constellation(constellation)
        self._decoders = {spec: decoder(spec, self._code) for spec in decoders}
        self._bound = bound
        self.seconds = dict.fromkeys(decoders, 0.0)
        self.frames = 0

    def __reduce__(self) -> tuple:
        return DecoderLink, self._setting

    def __call__(self, rng: np.random.Generator, eb_n0_db: float, blocks: int) -> dict:
        """Count frames at an Eb/N0 in dB, by scheme."""
        n, k = self._code.n, self._code.k
        sent = rng.integers(0, 2, (blocks, k), dtype=np.uint8)
        codewords = self._code.encode(sent)
        order = rng.random((blocks, n)).argsort(1)
        bits = self._constellation.bits_per_symbol
        padding = rng.integers(0, 2, (blocks, -n % bits), dtype=np.uint8)
        interleaved = np.take_along_axis(codewords, order, 1)
        symbols = modulate(np.concatenate([interleaved, padding], 1), self._constellation)
        noise_var = self._noise_var(eb_n0_db)
        received, _ = channel.awgn(rng, symbols, noise_var)
        demapped = demap(received, self._constellation, noise_var).reshape(blocks, -1)[:, :n]
        llrs = np.empty((blocks, n), dtype=np.float32)
        np.put_along_axis(llrs, order, demapped, 1)
        decided = {}
        for spec, scheme in self._decoders.items():
            start = time.thread_time()
            decided[spec], _ = scheme.decode(llrs)
            self.seconds[spec] += time.thread_time() - start
        self.frames += blocks
        if self._bound:
            best = next(iter(decided.values()))
            surely = surely_wrong(self._code, sent, best, llrs)
            decided["ml-bound"] = np.where(surely[:, None], best, sent)
        return count_errors(sent, decided)

    def limit(self, eb_n0_db: float) -> float:
        """Estimate the least block error rate of any code of this length at an Eb/N0 in dB.

        See `phy.finite_length.normal_approximation`.
        """
        return normal_approximation(
            self._code.n, self._code.k, self._noise_var(eb_n0_db), self._constellation
        )

    def _noise_var(self, eb_n0_db: float) -> float:
        bits, rate = self._constellation.bits_per_symbol, self._code.k / self._code.n
        return noise_variance(eb_n0_db, "eb_n0_db", bits, rate)
