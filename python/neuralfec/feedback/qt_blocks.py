# SPDX-License-Identifier: GPL-3.0-or-later
"""The rate of a feedback code against its SNR while it runs: numbers, and a window."""

import time
from collections import deque
from typing import Any

import numpy as np
import pmt
from gnuradio import gr

from .. import vectors
from ..python_block import PythonBlock
from ..qt_blocks import qt_modules, white_plot

# Messages that were under way at a change of the SNR have ended after so many seconds.
_SETTLED = 0.5


def capacity(snr_db: Any) -> Any:
    """Return the capacity of a real Gaussian channel, 1/2 log2(1 + SNR) bits a use."""
    return 0.5 * np.log2(1 + 10 ** (np.asarray(snr_db) / 10))


class feedback_rate_sink(PythonBlock, gr.basic_block):
    """Measure the rate of a feedback code in bits a channel use, at each SNR that was set.

    The rate is K times the messages delivered, by all symbols sent, those sent again included.
    Message port `outcomes`: that of the transmitter. `widget` is the window: the rate at each SNR
    so far beside the channel's capacity, and the rounds that messages took at the present one.

    message_bits: K. snr_db: 1 / sigma^2 of a real symbol in dB, as the link has it. last: messages
    that the rate is taken over. ValueError for others.

    stats: messages, delivered, symbols and rate of the last messages at the present SNR.
    """

    def __init__(self, message_bits: int = 48, snr_db: float = 1.0, last: int = 500):
        if message_bits < 1 or last < 1:
            raise ValueError(
                f"expected message bits and messages of at least 1, got {message_bits}, {last}"
            )
        super().__init__("feedback_rate_sink", None, None)
        self._bits = message_bits
        # Of each message: whether it was delivered, its symbols, its rounds.
        self._ended: deque[tuple[bool, int, float]] = deque(maxlen=last)
        #: The rate by SNR in dB.
        self.rates: dict[float, float] = {}
        self._settled = 0.0
        self.set_snr_db(snr_db)
        self._widget: Any = None
        self.message_port("outcomes", self._take)

    @property
    def widget(self) -> Any:
        """The QT widget, made when it is first asked for. It needs a QApplication."""
        if self._widget is None:
            self._widget = _make_widget(self)
        return self._widget

    def set_snr_db(self, snr_db: float) -> None:
        """Begin anew at another SNR. ValueError for one that is not finite."""
        if not np.isfinite(snr_db):
            raise ValueError(f"expected a finite SNR in dB, got {snr_db}")
        self.snr_db = float(snr_db)
        self._ended.clear()
        self._settled = time.monotonic() + _SETTLED

    def stats(self) -> dict[str, int | float]:
        """Return what the last messages at the present SNR make; see the class."""
        ended = list(self._ended)
        delivered, symbols = sum(one[0] for one in ended), sum(one[1] for one in ended)
        found = {"messages": len(ended), "delivered": delivered, "symbols": symbols}
        rate = self._bits * delivered / symbols if symbols else 0.0
        return super().stats() | found | {"rate": rate}

    def rounds(self) -> np.ndarray:
        """Return the rounds of each of the last messages at the present SNR."""
        return np.array([one[2] for one in list(self._ended)])

    def _take(self, message: Any) -> None:
        if time.monotonic() < self._settled:
            return
        meta = pmt.car(message)
        delivered, symbols, repeated = (
            vectors.to_array(pmt.dict_ref(meta, pmt.intern(name), pmt.PMT_NIL))
            for name in ("delivered", "symbols", "repeated")
        )
        rounds = vectors.to_array(pmt.cdr(message)).tolist()
        sent = (symbols + repeated).tolist()
        self._ended.extend(zip(delivered.astype(bool).tolist(), sent, rounds, strict=True))
        self.rates[self.snr_db] = self.stats()["rate"]


def _make_widget(sink: feedback_rate_sink) -> Any:
    pyqtgraph, QtCore, QtWidgets = qt_modules()

    class Panel(QtWidgets.QWidget):
        def __init__(self) -> None:
            super().__init__()
            layout = QtWidgets.QVBoxLayout(self)
            layout.setContentsMargins(4, 4, 4, 4)
            self.numbers = QtWidgets.QLabel()
            layout.addWidget(self.numbers)
            plots = QtWidgets.QHBoxLayout()
            layout.addLayout(plots, 1)
            self.rates = white_plot("Forward SNR (dB)", "Rate (bits a channel use)")
            self.rates.addLegend(offset=(10, 10), labelTextColor="k", brush="#ffffffc0")
            self.limit = self.rates.plot(pen=pyqtgraph.mkPen("#888888", width=2), name="capacity")
            self.points = self.rates.plot(
                pen=None, symbol="o", symbolBrush="#1f77b4", symbolPen=None, name="measured"
            )
            self.now = self.rates.plot(
                pen=None, symbol="o", symbolSize=13, symbolBrush="#d62728", name="now"
            )
            plots.addWidget(self.rates, 1)
            self.rounds = white_plot("Rounds of a message", "Share of messages")
            self.bars = pyqtgraph.BarGraphItem(x=[0], height=[0], width=0.8, brush="#1f77b4")
            self.rounds.addItem(self.bars)
            plots.addWidget(self.rounds, 1)
            self.setMinimumSize(600, 220)
            self.timer = QtCore.QTimer(self)
            self.timer.timeout.connect(self.draw)
            self.timer.start(250)
            self.draw()

        def draw(self) -> None:
            found, limit = sink.stats(), float(capacity(sink.snr_db))
            self.numbers.setText(
                f"<b>{sink.snr_db:g} dB</b>: rate <b>{found['rate']:.3f}</b> of {limit:.3f} bits a "
                f"channel use; {found['delivered']} of the last {found['messages']} messages "
                "delivered"
            )
            rates = dict(sink.rates)
            ends = [*rates, sink.snr_db]
            axis = np.linspace(min(ends) - 1, max(ends) + 1, 50)
            self.limit.setData(axis, capacity(axis))
            self.points.setData(list(rates), list(rates.values()))
            now = [snr for snr in rates if snr == sink.snr_db]
            self.now.setData(now, [rates[snr] for snr in now])
            # From 0, so that a distance from the capacity looks as large as it is.
            self.rates.setYRange(0, 1.1 * float(capacity(axis[-1])), padding=0)
            values, counts = np.unique(sink.rounds(), return_counts=True)
            if len(values):
                self.bars.setOpts(x=values, height=counts / counts.sum())

    return Panel()
