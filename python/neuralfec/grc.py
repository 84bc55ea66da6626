# SPDX-License-Identifier: GPL-3.0-or-later
"""What the block definitions of GNU Radio Companion call: fields of a dialog to arguments.

The companion evaluates these at each change of a field, so codes and decoders that were made are
kept. What is wrong raises ValueError with the reason, which the dialog shows.
"""

import functools
from collections.abc import Callable
from typing import Any

from .codes import code as make_code
from .decoders import decoder as make_decoder
from .phy.constellation import constellation as make_constellation
from .phy.snr import noise_variance as convert_noise
from .radio.front_end import Settings, front_end


@functools.lru_cache(maxsize=64)
def _made(spec: str) -> Any:
    return make_code(spec)


@functools.lru_cache(maxsize=64)
def _made_decoder(decoder: str, code: str) -> Any:
    return make_decoder(decoder, _made(code))


class Code(str):
    """The spec of a code, which also has what the code has: `n`, `k`, `rate`, ...

    It is a text, so that a field takes the id of a Channel Code and a spec alike.
    """

    @property
    def made(self) -> Any:
        """The code itself."""
        return _made(str(self))

    @property
    def rate(self) -> float:
        """Message bits by code bits, k / n."""
        return self.made.k / self.made.n

    def __getattr__(self, name: str) -> Any:
        return getattr(self.made, name)

    def encode(self, messages: Any) -> Any:  # type: ignore[override]
        """Encode messages uint8 (F, k) to uint8 (F, n), as the code does."""
        return self.made.encode(messages)


def channel_code(spec: str) -> Code:
    """Return the value of a Channel Code. ValueError, with the known specs, for another text."""
    code(spec)
    return Code(spec.strip())


def code(value: Any) -> Any:
    """Return the code that a field names: a spec, a `Code`, or a code itself.

    ValueError, with the known specs, for another text.
    """
    if isinstance(value, str):
        return _made(value.strip())
    if hasattr(value, "n") and hasattr(value, "k"):
        return value
    raise ValueError(f"expected a code's spec, such as wifi-648, got {value!r}")


def frame_bits(value: Any) -> int:
    """Return the message bits a frame of a field that names a code, or is the number itself.

    ValueError for anything else.
    """
    text = str(value).strip()
    bits = int(text) if text.isdecimal() else code(value).k
    if bits < 1:
        raise ValueError(f"expected frames of at least 1 bit, got {bits}")
    return bits


def auto_decoder(decoder: str, of_code: Any) -> str:
    """Return the spec of a decoder; "auto" becomes the usual one of the code's family."""
    if decoder != "auto":
        return decoder
    family = str(of_code).partition(":")[0]
    usual = {"conv": "viterbi", "polar-nr": "scl:8", "polar-rptu": "scl:8", "rm": "osd:2"}
    return usual.get(family, "osd:2" if family == "bch" else "bp:50")


def decoder(spec: str, of_code: Any) -> Any:
    """Make the decoder that a field names, "auto" for the usual one of the code.

    ValueError for an unknown decoder, or one that does not fit the code.
    """
    if not isinstance(of_code, str):
        return make_decoder(spec, of_code)
    return _made_decoder(auto_decoder(spec, of_code), of_code.strip())


def bits_per_symbol(constellation: Any) -> int:
    """Return K of a constellation that a field names. ValueError for an unknown name."""
    return make_constellation(constellation).bits_per_symbol


@functools.lru_cache(maxsize=256)
def _taken(block: str, arguments: tuple) -> None:
    """Make a block and let go of it; only what raises nothing is remembered."""
    from gnuradio import neuralfec

    getattr(neuralfec, block)(*arguments)


def refused(block: str, *arguments: Any) -> bool:
    """Return False if the block of that name takes the arguments; its own error is raised if not.

    The companion shows what a port's `optional` raises, with the reason, and nothing of why an
    assert raises. So the first port of a definition is not optional if its block is refused.
    """
    try:
        hash(arguments)
    except TypeError:
        _taken.__wrapped__(block, arguments)
    else:
        _taken(block, arguments)
    return False


def refused_front_end(spec: str, sample_rate: float, gain: float | None) -> bool:
    """Return False, as `refused` does, for a front end that can be; nothing is opened."""
    if gain is not None:
        float(gain)
    front_end(spec, Settings(sample_rate))
    return False


def noise_variance(value: float, unit: str, constellation: Any, of_code: Any) -> float:
    """Return N0 of a field's number, whose meaning is the field beside it.

    value, unit: as of `phy.snr.noise_variance`. constellation, of_code: asked for by Eb/N0 alone.
    ValueError for a number that gives no finite N0 above 0.
    """
    if unit != "eb_n0_db":
        return convert_noise(value, unit)
    made = code(of_code)
    return convert_noise(value, unit, bits_per_symbol(constellation), made.k / made.n)


def live(setter: Callable, *values: Any) -> None:
    """Call a setter while the graph runs. A value that it refuses is told, and the old one stays.

    An exception would end the whole program: a slider calls this from its window.
    """
    from gnuradio import gr

    try:
        setter(*values)
    except (ValueError, TypeError, RuntimeError, OverflowError) as error:
        gr.logger("neuralfec").warn(f"the old value stays: {error}")


class Noise:
    """Sets the N0 of a block by a number in the unit that its dialog says.

    block: has `set_noise_var`. The rest as of `noise_variance`.
    """

    def __init__(self, block: Any, unit: str, constellation: Any, of_code: Any) -> None:
        self._set = block.set_noise_var
        self._arguments = unit, constellation, of_code

    def __call__(self, value: float) -> None:
        live(lambda: self._set(noise_variance(value, *self._arguments)))
