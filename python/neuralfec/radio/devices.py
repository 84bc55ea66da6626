# SPDX-License-Identifier: GPL-3.0-or-later
"""The kinds of front ends that `front_end` knows."""

from __future__ import annotations

import re
from typing import Any

from .front_end import FrontEnd, Settings


class RawFile(FrontEnd):
    """Raw complex64 samples, as GNU Radio's file source and sink have them."""

    kind = "file"
    live = False

    def __init__(self, argument: str, settings: Settings) -> None:
        from . import recordings

        super().__init__(argument, settings)
        recordings.parse(self.spec)
        self._sink: Any = None
        self._keeps = False

    def _open(self, transmitter: bool, settings: dict[str, Any], *more: int) -> Any:
        from . import recordings, streams

        if not transmitter:
            source = recordings.Source(self.spec)
            self.sample_rate = source.sample_rate or settings["sample_rate"]
            return streams.recording_source(source)
        self._sink = recordings.Sink(self.spec, settings["sample_rate"], settings["frequency"])
        return streams.recording_sink(self._sink, self._keeps)

    def stats(self) -> dict[str, int]:
        """Count nothing: no sample of a recording is late or lost."""
        return {}

    def keep_at_end(self) -> None:
        """Let the sink give its files their names when the graph ends."""
        self._keeps = True

    def close(self, keep: bool) -> None:
        """Give the written files their names, or remove them."""
        if self._sink is None:
            return
        try:
            if keep:
                self._sink.keep()
        finally:
            self._sink.discard()
            self._sink = None


class SigMF(RawFile):
    """A SigMF recording; written with an annotation a burst."""

    kind = "sigmf"


class Uhd(FrontEnd):
    """A USRP."""

    kind = "uhd"
    timed = full_duplex = True

    def _open(self, transmitter: bool, settings: dict[str, Any], *more: int) -> Any:
        import os

        os.environ.setdefault("UHD_LOG_CONSOLE_LEVEL", "fatal")
        from . import streams

        if transmitter:
            return streams.uhd_sink(self.argument, settings, *more)
        return streams.uhd_source(self.argument, settings)

    def _missing(self, error: ImportError) -> str:
        return f"needs GNU Radio's uhd blocks ({error}): apt install gnuradio brings them"

    def _reason(self, said: str) -> str:
        if "No devices found" in said:
            return "no USRP found; uhd_find_devices lists those there are"
        return said


class Soapy(FrontEnd):
    """Any device that SoapySDR has a module for."""

    kind = "soapy"
    timed = full_duplex = True
    # What receives only, and what keeps no time.
    _RECEIVERS = ("rtlsdr", "airspy", "airspyhf", "sdrplay", "miri")
    _UNTIMED = ("rtlsdr", "airspy", "hackrf", "plutosdr", "redpitaya", "airspyhf")
    _HALF_DUPLEX = ("rtlsdr", "airspy", "hackrf", "airspyhf")

    def __init__(self, argument: str, settings: Settings) -> None:
        super().__init__(argument, settings)
        found = re.search(r"(?:^|,)\s*driver\s*=\s*([^,\s]+)", argument)
        self._driver = found.group(1) if found else ""
        self.transmits = self._driver not in self._RECEIVERS
        self.timed = self._driver not in self._UNTIMED
        self.full_duplex = self._driver not in self._HALF_DUPLEX
        self._device = argument

    def _open(self, transmitter: bool, settings: dict[str, Any], *more: int) -> Any:
        # By the package: what is not built says so.
        from .. import neuralfec_python as built

        make = built.soapy_sink if transmitter else built.soapy_source
        block = make(self._device, **settings, **({"max_burst": more[0]} if more else {}))
        self.timed = block.timed()
        return block

    def _missing(self, error: ImportError) -> str:
        return str(error)

    def _reason(self, said: str) -> str:
        said = said.removeprefix(f"SoapySDR device '{self._device}': ")
        if "no match" in said and self._driver:
            return (
                f"no such device, or no module for it: SoapySDRUtil --find lists devices, "
                f"soapysdr-module-{self._driver} or the like brings a module"
            )
        return said.replace("SoapySDR::Device::make() no match", "no device found")


class Loop(Soapy):
    """The loop device: what one sends, all others of the name receive, without hardware."""

    kind = "loop"

    def __init__(self, argument: str, settings: Settings) -> None:
        super().__init__(argument, settings)
        name, comma, more = argument.partition(",")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,60}", name):
            raise ValueError(
                "expected loop:NAME[,KEY=VALUE] with a name of letters, digits, - and _, "
                f"got {self.spec!r}"
            )
        self._driver = "neuralfec-loop"
        self.timed = self.full_duplex = self.transmits = True
        self._device = f"driver=neuralfec-loop,name={name}{comma}{more}"


class Iio(FrontEnd):
    """An AD936x by the Industrial I/O library, as in the Pluto. It keeps no time."""

    kind = "iio"
    full_duplex = True

    def _open(self, transmitter: bool, settings: dict[str, Any], *more: int) -> Any:
        from . import streams

        if transmitter:
            return streams.iio_sink(self.argument, settings)
        return streams.iio_source(self.argument, settings)

    def _missing(self, error: ImportError) -> str:
        return f"needs GNU Radio's iio blocks ({error}): apt install gnuradio brings them"

    def _reason(self, said: str) -> str:
        if "context" in said:
            return "no device answers there; iio_info -s lists those there are"
        return said


class Zmq(FrontEnd):
    """A socket between programs; it keeps neither time nor gain."""

    kind = "zmq"

    def __init__(self, argument: str, settings: Settings) -> None:
        super().__init__(argument, settings)
        self._to, _, other = argument.partition(",")
        self._from = other or self._to
        self.full_duplex = bool(other)
        for address in (self._to, self._from):
            if not re.match(r"(tcp|ipc|inproc)://.", address):
                raise ValueError(
                    f"expected zmq:ADDRESS[,FROM] with addresses like tcp://127.0.0.1:5555, "
                    f"got {self.spec!r}"
                )

    def _open(self, transmitter: bool, settings: dict[str, Any], *more: int) -> Any:
        from . import streams

        if transmitter:
            return streams.zmq_sink(self._to)
        return streams.zmq_source(self._from)

    def _missing(self, error: ImportError) -> str:
        return f"needs GNU Radio's zeromq blocks ({error}): apt install gnuradio brings them"

    def _reason(self, said: str) -> str:
        if "in use" in said:
            return "busy: another program transmits there"
        return said
