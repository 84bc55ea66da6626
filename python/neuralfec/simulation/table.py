# SPDX-License-Identifier: GPL-3.0-or-later
"""The table of a simulation, live or at its end."""

import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from ..app import duration
from .results import Estimate, Results

if TYPE_CHECKING:
    from rich.table import Table

_COLOURS = {"done": "green", "limit": "yellow", "running": "cyan", "waiting": "dim"}


def table(results: Results, status: Mapping[float, str] | None = None) -> "Table":
    """Make a rich table of error rates with intervals: `rich.print(table(results))`.

    status : a word for each SNR
    """
    from rich.table import Table

    status = status or {}
    drawn = Table(
        title=results.name,
        title_justify="left",
        box=None,
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    named = any(results.schemes)
    for heading in ("SNR dB", "scheme", "blocks", "errors", "BLER", "95 %", "BER", "95 %"):
        if named or heading != "scheme":
            text = heading == "scheme"
            drawn.add_column(
                heading, justify="left" if text else "right", no_wrap=not text, overflow="fold"
            )
    if status:
        drawn.add_column("status")
    measured = {snr for _, snr, _ in results.rows}
    for snr in sorted(measured | status.keys()):
        word = status.get(snr, "")
        cells = [f"[{_COLOURS.get(word, '')}]{word}"] if status and word else [""] * bool(status)
        if snr not in measured:
            drawn.add_row(f"{snr:g}", *[""] * (6 + named), *cells)
        for scheme in results.schemes:
            counts = results.counts(snr, scheme)
            if counts["blocks"]:
                drawn.add_row(
                    f"{snr:g}",
                    *[scheme] * named,
                    f"{counts['blocks']}",
                    f"{counts['block_errors']}",
                    *_cells(results.rate(snr, scheme, "bler")),
                    *_cells(results.rate(snr, scheme, "ber")),
                    *cells,
                )
    return drawn


def _cells(rate: Estimate) -> tuple[str, str]:
    return f"{rate.value:.3g}", f"{rate.low:.2g} to {rate.high:.2g}"


@contextmanager
def live_table(results: Results, points: list, quiet: bool | None) -> Iterator[Callable[[], None]]:
    """Give a function that redraws the table on a terminal, or prints a line now and then.

    points: `_Point` objects of the engine. quiet: show nothing.
    """
    if quiet:
        yield lambda: None
        return
    if quiet is None and not sys.stderr.isatty():
        yield _lines(results, points)
        return
    from rich.console import Console
    from rich.live import Live

    start, before = time.monotonic(), _blocks(results)

    def draw() -> "Table":
        elapsed = time.monotonic() - start
        drawn = table(results, {point.snr_db: point.status for point in points})
        speed = (_blocks(results) - before) / max(elapsed, 1e-9)
        drawn.caption = f"{elapsed:.0f} s, {speed:.0f} blocks/s{_left(points, speed)}"
        return drawn

    with Live(draw(), console=Console(stderr=True), refresh_per_second=4) as live:
        yield lambda: live.update(draw())


def _lines(results: Results, points: list) -> Callable[[], None]:
    """A function that prints how far the simulation is, at most every ten seconds."""
    start, before = time.monotonic(), _blocks(results)
    shown = start

    def line() -> None:
        nonlocal shown
        now = time.monotonic()
        if now - shown < 10:
            return
        shown = now
        speed = (_blocks(results) - before) / (now - start)
        done = sum(point.finished for point in points)
        running = next((point for point in points if point.status == "running"), None)
        where = ""
        if running:
            where = f", {running.block_errors} errors in {running.blocks} at {running.snr_db:g} dB"
        print(
            f"{results.name}: {done} of {len(points)} points{where}, "
            f"{speed:.0f} blocks/s{_left(points, speed)}",
            file=sys.stderr,
            flush=True,
        )

    return line


def _left(points: list, speed: float) -> str:
    """How long the points that are not finished are expected to take."""
    if speed <= 0:
        return ""
    return f", about {duration(sum(point.missing_blocks for point in points) / speed)} left"


def _blocks(results: Results) -> float:
    first = results.schemes[:1]
    return sum(row["blocks"] for (scheme, _, _), row in results.rows.items() if scheme in first)
