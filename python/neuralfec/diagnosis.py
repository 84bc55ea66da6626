# SPDX-License-Identifier: GPL-3.0-or-later
"""What may be wrong with a file of soft bits or symbols: try it, and say what helps.

Each function returns hints, sentences for a person; none where all looks well.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Names of other types that a file may have been written in, as apps/decode.py calls them.
_DTYPES = {"f32": "<f4", "f64": "<f8", "i8": "i1", "i16": "<i2"}
_FRAMES = 16
# Codewords agree with more of the hard decisions than this where a receiver works.
_AGREE = 0.9
_SECONDS = 3.0


def of_soft_bits(
    raw: NDArray[Any],
    dtype: str,
    soft_bits: Callable[[NDArray[Any]], NDArray[np.float32]],
    code: Any,
    decoder: Any,
) -> list[str]:
    """Say why frames of soft bits may not decode.

    Parameters
    ----------
    raw : the file's first values, whole frames; dtype : "f32", "f64", "i8" or "i16"
    soft_bits : makes LLRs (F, n) of raw values
    code, decoder : as of `codes.code` and `decoders.decoder`

    Returns
    -------
    Hints; none where half of the frames converge, or, for a decoder that always finds a codeword,
    where the codewords agree with the hard decisions. All is tried on the first frames alone.
    """
    n = decoder.n
    raw = raw[: _FRAMES * n]
    llrs = soft_bits(raw)
    as_told = _score(llrs, code, decoder)
    if as_told is None or as_told >= (0.5 if _converges(decoder, llrs) else _AGREE):
        return []
    size = _size(llrs)
    tried: list[str] = []
    begin = time.monotonic()
    for what, advice, other in _variants(raw, dtype, soft_bits, llrs, n):
        if what not in tried:
            tried.append(what)
        score = _score(other, code, decoder)
        if score is not None and score > max(as_told + 0.04, _AGREE):
            return [f"few frames decode as told, but most do {advice}"]
        if time.monotonic() - begin > _SECONDS:
            break
    if as_told >= 0.01 and _converges(decoder, llrs):
        return []
    hint = (
        f"few frames decode, and none of this helps: {', '.join(tried)}. Left are another "
        "code or interleaver, a carrier frequency offset (neuralfec demap says so), or noise"
    )
    checks = _checks(code, llrs)
    if checks is not None:
        hint += (
            f"; the hard decisions meet {100 * checks:.0f} % of the parity checks "
            "(50 % is what chance gives)"
        )
    return [f"{hint}; half of the soft bits are above {size:.3g} in size"]


def _size(llrs: NDArray[np.float32]) -> float:
    """Return the median size of the soft bits that are finite, 0 where there are none."""
    finite = np.abs(llrs[np.isfinite(llrs)])
    return float(np.median(finite)) if finite.size else 0.0


def _converges(decoder: Any, llrs: NDArray[np.float32]) -> bool:
    return "converged" in decoder.decode(llrs[:1])[1]


def _score(llrs: NDArray[np.float32], code: Any, decoder: Any) -> float | None:
    """Share of frames that converge, or of hard decisions that the codewords agree with."""
    if not len(llrs):
        return None
    try:
        messages, stats = decoder.decode(np.ascontiguousarray(llrs))
    except ValueError:
        return None  # Soft bits that this decoder refuses: they are not what it wants.
    if "converged" in stats:
        return stats["converged"] / len(llrs)
    known = np.isfinite(llrs) & (llrs != 0)
    agree = (code.encode(messages) == (llrs > 0)) & known
    return float(agree.sum() / max(known.sum(), 1))


def _checks(code: Any, llrs: NDArray[np.float32]) -> float | None:
    if not hasattr(code, "syndrome"):
        return None
    return float(1 - np.mean(code.syndrome((llrs > 0).astype(np.uint8))))


def _variants(
    raw: NDArray[Any],
    dtype: str,
    soft_bits: Callable[[NDArray[Any]], NDArray[np.float32]],
    llrs: NDArray[np.float32],
    n: int,
) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """What is tried, what to say where it helps, and the LLRs that it gives."""
    yield "the other sign", "with the other --sign", -llrs
    size = _size(llrs)
    if size > 0:
        for wanted in (3.0, 10.0):
            factor = wanted / size
            text = f"with soft bits {factor:.2g} times as large (--scale)"
            yield "another scale", text, llrs * np.float32(factor)
    data = raw.tobytes()
    for name, kind in _DTYPES.items():
        if name != dtype:
            yield from _read_as(data, name, kind, f"--dtype {name}", soft_bits, n)
    swapped = np.dtype(raw.dtype).newbyteorder(">").str
    if raw.dtype.itemsize > 1:
        yield from _read_as(data, dtype, swapped, "the file in the other byte order", soft_bits, n)
    yield "frames reversed", "with each frame read backwards", llrs[:, ::-1]
    for bits in (2, 4, 6, 8, 10):
        if llrs.size % bits == 0:
            yield from _of_symbols(llrs, bits)
    flat = llrs.ravel()
    for offset in range(1, n):
        shifted = flat[offset : offset + (len(flat) - offset) // n * n].reshape(-1, n)[:4]
        text = f"with the first {offset} soft bits left out"
        yield "another first bit", text, shifted


def _read_as(
    data: bytes,
    name: str,
    kind: str,
    option: str,
    soft_bits: Callable[[NDArray[Any]], NDArray[np.float32]],
    n: int,
) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    item = np.dtype(kind)
    values = np.frombuffer(data[: len(data) // (item.itemsize * n) * item.itemsize * n], item)
    if values.size:
        values = values.astype(item.newbyteorder("="))
        with np.errstate(all="ignore"):
            read = np.nan_to_num(soft_bits(values))
            yield "other types", f"with {option}", read
            if (size := _size(read)) > 0:
                text = f"with {option} and soft bits {3 / size:.2g} times as large (--scale)"
                yield "other types", text, read * np.float32(3 / size)


def _of_symbols(
    llrs: NDArray[np.float32], bits: int
) -> Iterator[tuple[str, str, NDArray[np.float32]]]:
    """Rotated, mirrored and reordered symbols of Gray-labelled QAM: a rail's first bit is its
    sign, so a mirrored rail has that bit's sign changed and nothing else."""
    groups, half = llrs.reshape(-1, bits), bits // 2
    qam = f"{2**bits}-QAM symbols"
    mirrored = np.ones(half, np.float32)
    mirrored[0] = -1
    for interleaved in (False, True):
        if interleaved:
            if bits == 2:
                break
            i, q = groups[:, 0::2], groups[:, 1::2]
            order, note = "of 3GPP's order ", " (--constellation with -3gpp in demap)"
        else:
            i, q = groups[:, :half], groups[:, half:]
            order, note = "", ""

        def joined(i: NDArray, q: NDArray, interleaved: bool = interleaved) -> NDArray[np.float32]:
            if interleaved:
                return np.stack([i, q], axis=2).reshape(llrs.shape)
            return np.concatenate([i, q], axis=1).reshape(llrs.shape)

        for degrees, turned in (
            (180, (i * mirrored, q * mirrored)),
            (90, (q * mirrored, i)),
            (-90, (q, i * mirrored)),
        ):
            yield (
                "rotated symbols",
                f"where {order}{qam} are turned (neuralfec demap --rotate {degrees})",
                joined(*turned),
            )
        yield (
            "an inverted spectrum",
            f"where {order}{qam} are conjugated (neuralfec demap --conjugate)",
            joined(i, q * mirrored),
        )
        if interleaved:
            parted = np.concatenate([-i, -q], axis=1).reshape(llrs.shape)
            yield "3GPP's order of bits", f"in the order of qam{2**bits}{note}", parted
        else:
            text = f"in the order of qam{2**bits}-3gpp (choose it as demap's --constellation)"
            yield "3GPP's order of bits", text, np.stack([-i, -q], axis=2).reshape(llrs.shape)
    yield (
        "bits of a symbol reversed",
        f"with each {bits} bits in reverse",
        groups[:, ::-1].reshape(llrs.shape),
    )


def of_symbols(
    y: NDArray[np.complex64],
    modulation: Any,
    noise_var: float,
    h: NDArray[np.complex64] | None = None,
) -> list[str]:
    """Say where received symbols do not look like h x + n with what was told.

    Parameters
    ----------
    y : received symbols, some thousand; h : their gains, None for 1
    modulation : a `Constellation` of unit power; noise_var : N0

    Returns
    -------
    Hints on power, carrier frequency offset, rotation and noise variance. The offset and the
    rotation are the line of y^S, where the constellation is the same after a turn by 1/S.
    """
    good = np.isfinite(y)
    if h is not None:
        good &= np.isfinite(h) & (np.abs(h) > 1e-9)
    if good.sum() < 256:
        return []
    gain = np.ones(y.size) if h is None else np.where(good, np.abs(h), 1)
    x = np.where(good, y, 0)
    if h is not None:
        x = np.where(good, y * np.conj(h) / gain, 0)
    power = np.mean(np.abs(x[good]) ** 2, dtype=float)
    if power == 0:
        return ["all symbols are zero"]
    expected = float(np.mean(gain[good] ** 2)) + noise_var
    scale = (expected / power) ** 0.5
    hints = []
    if abs(20 * np.log10(scale)) > 0.5:
        hints.append(
            f"the symbols' mean power is {power:.3g}, where {expected:.3g} is expected: "
            f"--scale {scale:.4g} mends that, if the noise variance is right"
        )
    turn = _turn(x, modulation)
    if turn is None:
        return hints
    cycles, degrees = turn
    if cycles:
        hints.append(f"there is a carrier frequency offset: try --cfo {cycles:.4g}")
    elif abs(degrees) > 3:
        hints.append(
            f"the symbols are turned: try --rotate {-degrees:.1f} (or that and a multiple of "
            f"{360 / _symmetry(modulation):g} degrees, which look alike)"
        )
    if not hints:
        points = modulation.points
        some = np.flatnonzero(good)[:4096]
        errors = np.abs(x[some, None] - gain[some, None] * points).min(axis=1) ** 2
        measured = float(np.mean(errors))
        if measured > 2 * noise_var:
            hints.append(
                f"the symbols lie {measured:.3g} off the nearest points in square mean: more "
                f"than the noise variance {noise_var:.3g} that was told"
            )
    return hints


def _symmetry(modulation: Any) -> int:
    """Return the largest S for which a turn by 1/S leaves the points as they are."""
    points = modulation.points.astype(complex)
    for parts in range(len(points), 1, -1):
        turned = points * np.exp(2j * np.pi / parts)
        if np.abs(turned[:, None] - points).min(axis=1).max() < 1e-4:
            return parts
    return 1


def _turn(x: NDArray[np.complexfloating], modulation: Any) -> tuple[float, float] | None:
    """Return the cycles a symbol and the degrees that symbols are off by; None where y^S has no
    clear line."""
    parts = _symmetry(modulation)
    reference = np.mean(modulation.points.astype(complex) ** parts)
    if parts == 1 or abs(reference) < 1e-3:
        return None
    size = np.mean(np.abs(x) ** 2) ** 0.5
    lines = np.fft.fft((x / size) ** parts)
    strength = np.abs(lines)
    peak = int(np.argmax(strength))
    if strength[peak] < 8 * np.sqrt(np.mean(strength**2)):
        return None
    count = len(x)
    # Between two bins, by the turn from the first half to the second.
    offset = (peak + count // 2) % count - count // 2
    still = (x / size) ** parts * np.exp(-2j * np.pi * offset / count * np.arange(count))
    halves = np.sum(still[: count // 2]), np.sum(still[count // 2 :])
    cycles = offset + float(np.angle(halves[1] * np.conj(halves[0]))) / np.pi
    if peak in (0, 1, count - 1) and abs(cycles) < 0.6:
        angle = np.angle(np.sum((x / size) ** parts) / reference)
        return 0.0, float(np.degrees(angle)) / parts
    return float(cycles) / count / parts, 0.0
