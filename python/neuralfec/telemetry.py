# SPDX-License-Identifier: GPL-3.0-or-later
"""What a flow graph's blocks count, told while it runs: as JSON lines, or on a small page.

>>> with telemetry.told(args.stats, lambda: telemetry.of_blocks(graph)):
...     python_block.run(graph, *graph.python_blocks)
"""

from __future__ import annotations

import contextlib
import html
import json
import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_INTERVAL = 1.0


def add_option(parser: Any) -> None:
    """Add --stats to a program's parser."""
    parser.add_argument(
        "--stats",
        metavar="json|http:PORT",
        help="tell what the blocks count while the program runs: as a line of JSON on stdout each "
        "second (all other text goes to stderr then), or on a page at http://localhost:PORT, "
        "with /stats.json for programs",
    )


def of_blocks(graph: Any) -> dict[str, dict[str, Any]]:
    """Return the `stats()` of all blocks that are attributes of a flow graph, by their names."""
    return {
        name: dict(block.stats())
        for name, block in vars(graph).items()
        if callable(getattr(block, "stats", None))
    }


@contextlib.contextmanager
def told(where: str | None, stats: Callable[[], dict[str, dict[str, Any]]]) -> Iterator[None]:
    """Tell the stats of blocks, {block: {name: number}}, until the work inside is done.

    where : "json" or "http:PORT" as --stats takes it; None for nowhere. ValueError for something
        else, OSError for a port that is taken.
    """
    if where is None:
        yield
        return
    begin = time.time()

    def record() -> dict[str, Any]:
        now = time.time()
        return {
            "time": round(now, 3),
            "seconds": round(now - begin, 3),
            "blocks": {name: _plain(values) for name, values in stats().items()},
        }

    if where == "json":
        stream = getattr(sys.stdout, "data", None) or sys.stdout
        over = threading.Event()

        def write() -> None:
            print(json.dumps(record()), file=stream, flush=True)

        def repeat() -> None:
            while not over.wait(_INTERVAL):
                write()

        thread = threading.Thread(target=repeat, daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
            # However short it was, there is one line, and the last one has the final counts.
            write()
        return
    with _server(check(where), record) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def check(where: str | None) -> int:
    """Return the port of "http:PORT", 0 for "json"; ValueError for something else."""
    if where == "json":
        return 0
    kind, _, port = (where or "").partition(":")
    if kind != "http" or not port.isdigit() or not 0 < int(port) < 65536:
        raise ValueError(f"--stats: expected json or http:PORT, got {where!r}")
    return int(port)


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """Numbers as JSON has them."""
    plain = {}
    for name, value in values.items():
        number = value.item() if hasattr(value, "item") else value
        finite = not isinstance(number, float) or math.isfinite(number)
        known = isinstance(number, int | float | str)
        plain[name] = number if known and finite else str(number)
    return plain


def _server(port: int, record: Callable[[], dict[str, Any]]) -> ThreadingHTTPServer:
    class Page(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            found = record()
            if self.path == "/stats.json":
                kind, text = "application/json", json.dumps(found)
            elif self.path == "/":
                kind, text = "text/html; charset=utf-8", _page(found)
            else:
                self.send_error(404)
                return
            body = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    # This machine alone: the counts are nobody else's.
    server = ThreadingHTTPServer(("127.0.0.1", port), Page)
    server.daemon_threads = True
    return server


def _page(found: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><th>{html.escape(block)}<td>{html.escape(name)}<td>{html.escape(str(value))}"
        for block, values in found["blocks"].items()
        # A block that has counted nothing yet is named, too.
        for name, value in (values or {"": "nothing yet"}).items()
    )
    return (
        "<!doctype html><meta charset=utf-8><meta http-equiv=refresh content=1>"
        "<title>gr-neuralfec</title><style>body{font-family:sans-serif}"
        "td,th{text-align:left;padding:0 1em}</style>"
        f"<p>{found['seconds']:.0f} s<table>{rows}</table>"
    )
