# SPDX-License-Identifier: GPL-3.0-or-later
"""Run a compiled graph and watch its window: drive_window.py PROGRAM PICTURE CHANGES SECONDS.

Waits for the first results, sets variables as sliders do, waits until no error is left, and prints
a line RESULT with what was read. grc_harness.drive_window starts it.
"""

import importlib.util
import json
import sys
import time

from gnuradio import gr
from gnuradio.neuralfec.python_block import PythonBlock
from gnuradio.neuralfec.qt_blocks import ber_sink
from PyQt5 import Qt


def main(program, picture, changes, seconds):
    spec = importlib.util.spec_from_file_location("graph", program)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    application = Qt.QApplication(sys.argv[:1])
    kinds = [
        kind
        for kind in vars(module).values()
        if isinstance(kind, type) and issubclass(kind, gr.top_block) and kind is not gr.top_block
    ]
    (kind,) = kinds
    graph = kind()
    graph.start()
    graph.resize(1280, 800)
    graph.show()

    def until(true, what):
        deadline = time.monotonic() + seconds
        while not true():
            application.processEvents()
            time.sleep(0.02)
            assert time.monotonic() < deadline, f"{what} within {seconds} s"

    own = vars(graph).values()
    sinks = [block for block in own if isinstance(block, ber_sink)]
    others = [block for block in own if isinstance(block, PythonBlock)]
    if sinks:
        until(
            lambda: all(s.totals(i).get("blocks", 0) >= 20 for s in sinks for i in curves(s)),
            "frames",
        )
    else:
        until(lambda: any(map(counted, others)) if others else seen(own), "results")
    before = [readings(sink) for sink in sinks]
    for name, value in changes.items():
        getattr(graph, f"set_{name}")(value)
    if changes:
        until(lambda: all(right(s, i) for s in sinks for i in curves(s)), "no errors")
    # The pictures draw themselves a few times a second.
    end = time.monotonic() + 1.5
    while time.monotonic() < end:
        application.processEvents()
        time.sleep(0.02)
    assert graph.grab().save(picture)
    bars = [graph.top_scroll.horizontalScrollBar(), graph.top_scroll.verticalScrollBar()]
    found = {
        "before": before,
        "after": [readings(sink) for sink in sinks],
        "size": [graph.width(), graph.height()],
        "scrolls": [bar.isVisible() for bar in bars],
        "errors": [str(block.error) for block in others if block.error is not None],
    }
    graph.stop()
    graph.wait()
    print("RESULT", json.dumps(found), flush=True)


def curves(sink):
    return range(len(sink.labels))


def readings(sink):
    return {
        label: [*sink.rate("ber", i), *sink.rate("bler", i)] for i, label in enumerate(sink.labels)
    }


def right(sink, curve):
    rate = sink.rate("bler", curve)
    return rate.value == 0 and rate.high < 0.5


def counted(block):
    return any(block.stats().values())


def seen(blocks):
    """Whether a block that counts symbols has counted some."""
    return any(sum(block.stats().values()) > 1000 for block in blocks if hasattr(block, "stats"))


main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]), float(sys.argv[4]))
