# SPDX-License-Identifier: GPL-3.0-or-later
"""Front ends by one spec string: radios, recordings, sockets, and the loop device.

=========================  =============================================================
spec                       what it is
=========================  =============================================================
``uhd:ARGS``               a USRP by UHD's device arguments: ``uhd:type=b200``
``soapy:ARGS``             any SoapySDR device: ``soapy:driver=rtlsdr``
``iio:URI``                an AD936x, as in the Pluto: ``iio:ip:192.168.2.1``
``zmq:ADDRESS[,FROM]``     a socket: a transmitter binds ADDRESS, a receiver connects to FROM
``file:PATH``              raw complex64 samples
``sigmf:NAME.sigmf-meta``  a SigMF recording
``loop:NAME[,KEY=VALUE]``  the loop device, a radio without hardware, with impairments
=========================  =============================================================

`front_end` makes one, which does nothing yet; `FrontEnd.source` and `FrontEnd.sink` open it and
give blocks of GNU Radio.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import Any

from ..registry import Registry

REGISTRY = Registry(
    "front end",
    __package__,
    {
        "uhd": (".devices", "Uhd", ":ARGS"),
        "soapy": (".devices", "Soapy", ":ARGS"),
        "iio": (".devices", "Iio", ":URI"),
        "zmq": (".devices", "Zmq", ":ADDRESS[,FROM]"),
        "file": (".devices", "RawFile", ":PATH"),
        "sigmf": (".devices", "SigMF", ":NAME.sigmf-meta"),
        "loop": (".devices", "Loop", ":NAME[,KEY=VALUE]"),
    },
)


class Unavailable(OSError):
    """A front end that is not there, is busy, or lacks its package."""


@dataclass(frozen=True)
class Settings:
    """How a front end is set; what is 0, None or empty stays as the device has it.

    Parameters
    ----------
    sample_rate : samples/s
    frequency : of the carrier, Hz
    gain : dB
    antenna : by the device's name
    bandwidth : of the analog filter, Hz
    lo_offset : of the oscillator from the carrier, Hz, to move DC out of the band
    clock_source, time_source : by the device's names, "external", "gpsdo"
    ppm : what the oscillator is known to be too fast by
    tx_frequency, tx_gain : of the transmitter, where they are not those of the receiver

    ValueError for a rate that is not above 0.
    """

    sample_rate: float = 1e6
    frequency: float = 0.0
    gain: float | None = None
    antenna: str = ""
    bandwidth: float = 0.0
    lo_offset: float = 0.0
    clock_source: str = ""
    time_source: str = ""
    ppm: float = 0.0
    tx_frequency: float | None = None
    tx_gain: float | None = None

    def __post_init__(self) -> None:
        if not (math.isfinite(self.sample_rate) and self.sample_rate > 0):
            raise ValueError(f"expected a rate of more than 0 samples/s, got {self.sample_rate}")

    def of(self, transmitter: bool) -> dict[str, Any]:
        """Return the settings of one direction, by name, without those of the other."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        frequency, gain = values.pop("tx_frequency"), values.pop("tx_gain")
        if transmitter:
            values["frequency"] = self.frequency if frequency is None else frequency
            values["gain"] = self.gain if gain is None else gain
        return values


class FrontEnd:
    """What samples come from and go to.

    Parameters
    ----------
    argument : the spec's text behind the kind
    settings : rate, frequency and so on

    Attributes
    ----------
    kind : first word of the spec
    transmits, receives : whether it can
    timed : whether bursts go out at the time of their tag "tx_time"
    full_duplex : whether it receives while it transmits
    live : whether samples come by the clock; recordings do not, and end

    ValueError for an argument that cannot be.
    """

    kind = ""
    transmits = receives = True
    timed = full_duplex = False
    live = True

    def __init__(self, argument: str, settings: Settings) -> None:
        self.spec = f"{self.kind}:{argument}"
        self.argument, self.settings = argument, settings
        self._blocks: list[Any] = []

    def describe(self) -> str:
        """Return what it can in one line."""
        can = [
            *["transmits"] * self.transmits,
            *["receives"] * self.receives,
            *["full duplex"] * self.full_duplex,
            "timed bursts" if self.timed else "bursts without times",
        ]
        return f"{self.spec}: {', '.join(can)}"

    def source(self) -> Any:
        """Open it to receive: a block with one output of complex samples.

        A tag "rx_time" stands on the first sample and behind each gap. `Unavailable` where it is
        not there, with what is missing.
        """
        if not self.receives:
            raise ValueError(f"{self.spec}: transmits only")
        return self._opened(False)

    def sink(self, max_burst: int = 1 << 20) -> Any:
        """Open it to transmit: a block with one input of complex samples.

        A tag "packet_len" begins a burst of at most `max_burst` samples. `Unavailable` where it is
        not there, with what is missing.
        """
        if not self.transmits:
            raise ValueError(f"{self.spec}: receives only")
        return self._opened(True, max_burst)

    def _opened(self, transmitter: bool, *more: int) -> Any:
        try:
            with _quiet():
                block = self._open(transmitter, self.settings.of(transmitter), *more)
        except ImportError as error:
            raise Unavailable(f"{self.spec}: {self._missing(error)}") from error
        except RuntimeError as error:
            raise Unavailable(
                f"{self.spec}: {self._reason(' '.join(str(error).split()))}"
            ) from error
        self._blocks.append(block)
        return block

    def _open(self, transmitter: bool, settings: dict[str, Any], *more: int) -> Any:
        raise AssertionError("each front end has its own")

    def _missing(self, error: ImportError) -> str:
        return f"{error}; GNU Radio's package brings it (apt install gnuradio)"

    def _reason(self, said: str) -> str:
        return said

    def keep_at_end(self) -> None:
        """Finish what is written when the graph ends, without `close`; of recordings."""

    def close(self, keep: bool) -> None:
        """Finish what is written, or throw it away; of recordings."""

    def stats(self) -> dict[str, int]:
        """Count overflows, late bursts and so on, by what the device tells."""
        found: dict[str, int] = {}
        for block in self._blocks:
            for key, value in block.stats().items() if hasattr(block, "stats") else ():
                found[key] = found.get(key, 0) + value
        return found

    def error(self) -> str:
        """Return why it has ended by itself, "" where it has not."""
        for block in self._blocks:
            said = getattr(block, "error", None)
            said = said() if callable(said) else said
            if said:
                return f"{self.spec}: {said}"
        return ""


def front_end(spec: str, settings: Settings | None = None) -> FrontEnd:
    """Make the front end of a spec; see the module.

    ValueError for a kind that there is not, with those there are, and for a wrong argument.
    """
    return REGISTRY.make(spec, settings or Settings())


def add_options(made: argparse.ArgumentParser) -> None:
    """Add --rate, --frequency, --gain and the other options that all radios have."""
    group = made.add_argument_group("radio")
    group.add_argument("--rate", type=float, default=1e6, help="samples/s")
    group.add_argument("--frequency", type=float, default=0.0, help="carrier, Hz")
    group.add_argument(
        "--gain", type=float, metavar="DB", help="gain; the device's where not given"
    )
    group.add_argument("--antenna", default="", help="by the device's name")
    group.add_argument("--bandwidth", type=float, default=0.0, help="analog filter, Hz")
    group.add_argument(
        "--lo-offset", type=float, default=0.0, help="oscillator off the carrier, Hz: DC moves away"
    )
    group.add_argument("--clock-source", default="", help="internal, external, gpsdo")
    group.add_argument("--time-source", default="", help="internal, external, gpsdo")
    group.add_argument("--ppm", type=float, default=0.0, help="how much the oscillator is too fast")
    group.add_argument("--tx-frequency", type=float, help="the transmitter's, where it is another")
    group.add_argument("--tx-gain", type=float, metavar="DB", help="likewise")


def settings_of(args: argparse.Namespace) -> Settings:
    """Return the settings that the options of `add_options` say.

    ValueError for a rate that is not above 0.
    """
    if not (math.isfinite(args.rate) and args.rate > 0):
        raise ValueError(f"--rate: expected more than 0 samples/s, got {args.rate}")
    names = [field.name for field in fields(Settings) if field.name != "sample_rate"]
    return Settings(args.rate, **{name: getattr(args, name) for name in names})


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep drivers from writing to stderr while a device is opened: errors are raised."""
    if os.environ.get("NEURALFEC_TRACEBACK"):
        yield
        return
    before, null = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(null)
