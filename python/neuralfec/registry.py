# SPDX-License-Identifier: GPL-3.0-or-later
"""Things that are made by a short spec: ``bp:50``, ``wifi-648``, ``alist:FILE``."""

import importlib
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """What stands behind a name."""

    module: str
    """Where the factory is, relative to the package of the registry: ".polar"."""
    factory: str
    """The function that makes it, of the text after the colon where there may be one."""
    takes: str = ""
    """What may stand after the name: ":FILE", "[:ITERATIONS]", "" for nothing."""
    given: str = ""
    """What the factory gets in its place where nothing may: several names of one factory."""


class Registry:
    """Makes the things that specs name; their modules load when they are asked for.

    kind: what they are, for messages ("code"). package: the `__name__` of the package that
    modules are relative to. entries: by name, each an `Entry` or its values.
    """

    def __init__(self, kind: str, package: str, entries: dict[str, tuple[str, ...]]) -> None:
        self.kind, self._package = kind, package
        self.entries = {name: Entry(*entry) for name, entry in entries.items()}

    def specs(self) -> list[str]:
        """Return the specs that `make` understands, in the entries' order."""
        return [name + entry.takes for name, entry in self.entries.items()]

    def make(self, spec: str, *arguments: Any) -> Any:
        """Make what a spec names by factory([text after the colon or given,] *arguments).

        ValueError, with the known specs, for a name that is not known, and for a text where
        none is taken, or none where one is.
        """
        name, colon, text = str(spec).partition(":")
        entry = self.entries.get(name)
        if entry is None or (colon and not entry.takes) or (not text and entry.takes[:1] == ":"):
            raise ValueError(f"expected a {self.kind} of {', '.join(self.specs())}, got {spec!r}")
        factory = getattr(importlib.import_module(entry.module, self._package), entry.factory)
        text = text if entry.takes else entry.given
        return factory(*([text] if text or entry.takes else []), *arguments)
