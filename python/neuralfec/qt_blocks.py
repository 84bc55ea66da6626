# SPDX-License-Identifier: GPL-3.0-or-later
"""Bit and block error rates of a running link: numbers, and a window with their curves."""

import csv
import math
import time
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
from gnuradio import gr

from .python_block import PythonBlock
from .simulation.results import Estimate
from .simulation.window import ErrorWindow, error_rate

_COLUMNS = (
    "seconds",
    "curve",
    *("blocks", "block_errors", "bits", "bit_errors"),
    *("ber", "ber_low", "ber_high", "bler", "bler_low", "bler_high"),
)
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#9467bd")


class ber_sink(PythonBlock, gr.sync_block):
    """Bit and block error rates of one or more decoders over time.

    Inputs: uint8 bits, those sent and then those of each decoder; of each byte the lowest bit
    counts. They are streams, or vectors of a frame. A message on `reset`, whatever it says, and the
    window's button begin anew. `widget` is the window: curves over the last minute with 95 %
    intervals, numbers, and a button that saves the curves.

    k: bits a frame. labels: what the decoders are called, one each. window: seconds over which the
    rates are taken, 0 for all since the start or the last reset. vectors: whether an item is a
    frame. history: seconds that the curves show. floor: the lowest rate on the axis. csv_file:
    where each point is written while the graph runs, "" for nowhere. ValueError for others.

    stats: by curve, "decoded blocks", "decoded ber", ... of the window.
    """

    def __init__(
        self,
        k: int,
        labels: Any = ("decoded",),
        window: float = 1.0,
        vectors: bool = False,
        history: float = 60.0,
        floor: float = 1e-6,
        csv_file: str = "",
    ):
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self.labels = [str(label) for label in labels]
        if not self.labels or len(set(self.labels)) < len(self.labels):
            raise ValueError(f"expected labels that differ, one a decoder, got {self.labels}")
        if not history > 0:
            raise ValueError(f"expected a history above 0 seconds, got {history}")
        if not 0 < floor < 1:
            raise ValueError(f"expected a floor between 0 and 1, got {floor}")
        self._windows = [ErrorWindow(window) for _ in self.labels]
        self._k, self.history, self.floor = k, history, floor
        ports = [(np.uint8, k) if vectors else np.uint8] * (1 + len(self.labels))
        super().__init__("ber_sink", ports, None)
        if not vectors:
            self.set_output_multiple(k)
        #: What was read at each moment: seconds, and the counts of each curve's window.
        self.readings: deque[tuple[float, list[dict[str, int]]]] = deque(maxlen=200_000)
        self.interval = 0.2
        self._began = self._last = time.monotonic()
        self._csv = Path(csv_file) if csv_file else None
        if self._csv is not None:
            try:
                self._csv.write_text(",".join(_COLUMNS) + "\n")
            except OSError as error:
                raise ValueError(f"cannot write {csv_file}: {error.strerror}") from None
        self._widget: Any = None
        self.message_port("reset", lambda message: self.reset())

    @property
    def widget(self) -> Any:
        """The QT widget, made when it is first asked for. It needs a QApplication."""
        if self._widget is None:
            self._widget = _make_widget(self)
        return self._widget

    def process(self, input_items: list, output_items: list) -> int:
        """Count the errors of all frames that have come."""
        items = min(map(len, input_items))
        frames = [(bits[:items] & 1).reshape(-1, self._k) for bits in input_items]
        now = time.monotonic()
        for window, decoded in zip(self._windows, frames[1:], strict=True):
            window.add(frames[0], decoded, now)
        if now - self._last >= self.interval:
            self._last = now
            self._record(now - self._began)
        return items

    def _record(self, seconds: float) -> None:
        counts = [window.counts() for window in self._windows]
        self.readings.append((seconds, counts))
        if self._csv is not None:
            with self._csv.open("a", newline="") as file:
                csv.writer(file).writerows(self._rows(seconds, counts))

    def _rows(self, seconds: float, counts: list[dict[str, int]]) -> list[list]:
        return [
            [
                f"{seconds:.2f}",
                label,
                *(count.get(name, 0) for name in _COLUMNS[2:6]),
                *(f"{x:.4g}" for x in (*error_rate(count, "ber"), *error_rate(count, "bler"))),
            ]
            for label, count in zip(self.labels, counts, strict=True)
        ]

    def save(self, path: str) -> None:
        """Write all readings since the start or the last reset to a CSV file."""
        with open(path, "w", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(_COLUMNS)
            for seconds, counts in list(self.readings):
                writer.writerows(self._rows(seconds, counts))

    def rate(self, metric: str = "ber", curve: int = 0) -> Estimate:
        """Estimate "ber" or "bler" of a curve in the window, with its 95 % interval."""
        return self._windows[curve].rate(metric)

    def totals(self, curve: int = 0) -> dict[str, int]:
        """Return the counts of a curve since the start or the last reset."""
        return dict(self._windows[curve].total)

    def stats(self) -> dict[str, int | float]:
        """Return what the windows count, by curve; see the class."""
        found = super().stats()
        for label, window in zip(self.labels, self._windows, strict=True):
            counts = window.counts()
            found |= {f"{label} {name}": counts.get(name, 0) for name in _COLUMNS[2:6]}
            if counts:
                found[f"{label} ber"] = counts["bit_errors"] / counts["bits"]
                found[f"{label} bler"] = counts["block_errors"] / counts["blocks"]
        return found

    def set_window(self, seconds: float) -> None:
        """Choose another length of the window in seconds, 0 for all since the start."""
        for window in self._windows:
            window.set_window(seconds)

    def reset(self) -> None:
        """Forget all counts and readings."""
        for window in self._windows:
            window.reset()
        self.readings.clear()


def _text(rate: Estimate) -> str:
    """A rate with its interval, "1.2e-03 (1.0e-03 to 1.4e-03)"."""
    if math.isnan(rate.value):
        return "no frames yet"
    if rate.value == 0:
        return f"0 (below {rate.high:.1e})"
    return f"{rate.value:.2e} ({rate.low:.1e} to {rate.high:.1e})"


def qt_modules() -> tuple[Any, Any, Any]:
    """Import pyqtgraph, QtCore and QtWidgets. ImportError, with who brings them, without."""
    try:
        import pyqtgraph
        from PyQt5 import QtCore, QtWidgets
    except ImportError as error:
        raise ImportError(
            f"the window of this block needs PyQt5 and pyqtgraph ({error}); Debian's "
            "gnuradio brings both"
        ) from error
    return pyqtgraph, QtCore, QtWidgets


def white_plot(bottom: str, left: str) -> Any:
    """Make an empty plot, black on white, with these labels of its axes."""
    made = qt_modules()[0].PlotWidget(background="w")
    for axis, label in (("left", left), ("bottom", bottom)):
        made.setLabel(axis, label)
        made.getAxis(axis).setPen("k")
        made.getAxis(axis).setTextPen("k")
    made.showGrid(x=True, y=True, alpha=0.3)
    return made


def _make_widget(sink: ber_sink) -> Any:
    pyqtgraph, QtCore, QtWidgets = qt_modules()
    lowest = math.log10(sink.floor)

    def level(value: float) -> float:
        return math.log10(value) if value > sink.floor else lowest

    class Panel(QtWidgets.QWidget):
        def __init__(self) -> None:
            super().__init__()
            layout = QtWidgets.QVBoxLayout(self)
            layout.setContentsMargins(4, 4, 4, 4)
            top = QtWidgets.QHBoxLayout()
            self.numbers = QtWidgets.QLabel()
            self.numbers.setTextFormat(QtCore.Qt.RichText)
            self.numbers.setSizePolicy(
                QtWidgets.QSizePolicy.Ignored, QtWidgets.QSizePolicy.Preferred
            )
            top.addWidget(self.numbers, 1)
            self.reset_button = QtWidgets.QPushButton("Reset")
            self.reset_button.clicked.connect(sink.reset)
            self.save_button = QtWidgets.QPushButton("Save CSV...")
            self.save_button.clicked.connect(self.save)
            top.addWidget(self.reset_button, 0, QtCore.Qt.AlignTop)
            top.addWidget(self.save_button, 0, QtCore.Qt.AlignTop)
            layout.addLayout(top)
            # The numbers above tell the colours; a legend would lie over the curves.
            self.plot = white_plot("Time (s); solid: BER, dashed: BLER", "Error rate")
            self.plot.getAxis("left").setLogMode(True)
            self.plot.setYRange(lowest, 0, padding=0.02)
            self.plot.setMouseEnabled(x=False, y=True)
            layout.addWidget(self.plot, 1)
            self.curves = []
            for index in range(len(sink.labels)):
                for metric, style in (("bler", QtCore.Qt.DashLine), ("ber", QtCore.Qt.SolidLine)):
                    colour = _COLOURS[index % len(_COLOURS)]
                    pen = pyqtgraph.mkPen(colour, width=2, style=style)
                    line = self.plot.plot(pen=pen)
                    edge = pyqtgraph.mkPen(None)
                    low, high = self.plot.plot(pen=edge), self.plot.plot(pen=edge)
                    band = pyqtgraph.FillBetweenItem(low, high, brush=colour + "30")
                    self.plot.addItem(band)
                    self.curves.append((index, metric, line, low, high))
            self.setMinimumSize(420, 220)
            self.timer = QtCore.QTimer(self)
            self.timer.timeout.connect(self.draw)
            self.timer.start(250)
            self.draw()

        def sizeHint(self) -> Any:
            return QtCore.QSize(640, 360)

        def save(self) -> None:
            path, _ = QtWidgets.QFileDialog.getSaveFileName(
                self, "Save the error rates", "error-rates.csv", "CSV (*.csv)"
            )
            if path:
                try:
                    sink.save(path)
                except OSError as error:
                    QtWidgets.QMessageBox.warning(self, "BER Sink", str(error))

        def draw(self) -> None:
            lines = []
            for index, label in enumerate(sink.labels):
                ber, bler = (sink.rate(metric, index) for metric in ("ber", "bler"))
                colour = _COLOURS[index % len(_COLOURS)]
                lines.append(
                    f'<span style="color:{colour}"><b>{label}</b></span>&nbsp; '
                    f"<b>BER</b> {_text(ber)}&nbsp; <b>BLER</b> {_text(bler)}"
                )
            self.numbers.setText("<br>".join(lines))
            readings = list(sink.readings)
            # pyqtgraph cannot draw a line of one point.
            if len(readings) < 2:
                for _, _, *items in self.curves:
                    for item in items:
                        item.setData([], [])
                return
            end = readings[-1][0]
            readings = [entry for entry in readings if entry[0] >= end - sink.history]
            # A window has some hundred pixels: more points would only cost time.
            readings = readings[:: max(1, len(readings) // 300)]
            seconds = [entry[0] for entry in readings]
            for index, metric, line, low, high in self.curves:
                rates = [error_rate(counts[index], metric) for _, counts in readings]
                line.setData(seconds, [level(rate.value) for rate in rates])
                low.setData(seconds, [level(rate.low) for rate in rates])
                high.setData(seconds, [level(rate.high) for rate in rates])
            self.plot.setXRange(max(end - sink.history, 0), max(end, 5), padding=0)

    return Panel()
