# SPDX-License-Identifier: GPL-3.0-or-later
"""Error rates of a running link: the window, and the blocks over it."""

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, neuralfec
from gnuradio.neuralfec.python_block import run
from gnuradio.neuralfec.simulation.window import ErrorWindow


def frames(count, wrong):
    sent = np.zeros((count, 10), np.uint8)
    decided = sent.copy()
    decided[:wrong, 0] = 1
    return sent, decided


def test_the_window_forgets():
    window = ErrorWindow(1.0)
    window.add(*frames(100, 50), now=0.0)
    assert window.rate("bler").value == 0.5
    # A jump at 1 s: within the window after it the old errors are gone.
    for now in np.arange(1.0, 2.05, 0.1):
        window.add(*frames(10, 1), now=now)
    assert window.rate("bler").value == pytest.approx(0.1)
    assert window.rate("ber").value == pytest.approx(0.01)
    low, high = window.rate("bler")[1:]
    assert low < 0.1 < high
    assert window.total["blocks"] == 210
    window.reset()
    assert np.isnan(window.rate("bler").value)
    everything = ErrorWindow(0)
    everything.add(*frames(10, 10), now=0.0)
    everything.add(*frames(10, 0), now=100.0)
    assert everything.rate("bler").value == 0.5
    for seconds in (-1.0, float("nan")):
        with pytest.raises(ValueError, match="window of 0 seconds or more"):
            ErrorWindow(seconds)


class Pair(gr.top_block):
    def __init__(self, sent, decided, block, vlen=1, outputs=0):
        super().__init__()
        self.block = block
        for port, bits in enumerate((sent, decided)):
            source = blocks.vector_source_b(bits.ravel().tolist(), False, vlen)
            self.connect(source, (block, port))
        self.sinks = [blocks.vector_sink_f() for _ in range(outputs)]
        for port, sink in enumerate(self.sinks):
            self.connect((block, port), sink)


def test_the_error_counter_gives_streams_and_resets():
    counter = neuralfec.error_counter(10, window=0)
    graph = Pair(*frames(40, 10), counter, 10, outputs=2)
    run(graph, counter)
    ber, bler = (np.array(sink.data()) for sink in graph.sinks)
    assert len(ber) == len(bler) == 40
    assert ber[-1] == pytest.approx(0.025) and bler[-1] == pytest.approx(0.25)
    assert counter.stats()["bler"] == 0.25
    counter._handle_reset(pmt.PMT_T)
    assert counter.block_error_rate() == 0 and "blocks" not in counter.stats()


def test_the_ber_sink_counts_and_writes(tmp_path):
    sink = neuralfec.ber_sink(10, csv_file=str(tmp_path / "rates.csv"), window=0)
    sink.interval = 0.0
    run(Pair(*frames(40, 10), sink), sink)
    assert sink.rate("bler").value == 0.25 and sink.rate("ber").value == 0.025
    assert sink.totals()["blocks"] == 40
    last = (tmp_path / "rates.csv").read_text().splitlines()
    assert last[0].startswith("seconds,curve,blocks")
    assert last[-1].split(",")[1:6] == ["decoded", "40", "10", "400", "10"]
    sink.save(str(tmp_path / "saved.csv"))
    assert (tmp_path / "saved.csv").read_text().splitlines()[1:] == last[1:]
    sink.reset()
    assert np.isnan(sink.rate("ber").value)


def test_the_ber_sink_refuses(tmp_path):
    for arguments, message in (
        ({"k": 0}, "at least 1, got 0"),
        ({"k": 4, "labels": ("a", "a")}, "labels that differ"),
        ({"k": 4, "floor": 2}, "floor between 0 and 1"),
        ({"k": 4, "history": 0}, "history above 0"),
        ({"k": 4, "csv_file": str(tmp_path / "no" / "file")}, "cannot write"),
    ):
        with pytest.raises(ValueError, match=message):
            neuralfec.ber_sink(**arguments)


@pytest.mark.parametrize("interleaver", ["random", "rows-columns", "none"])
@pytest.mark.parametrize(
    ("code", "decoder"),
    [("wifi-648", "auto"), ("polar-nr:128,64,crc11", "auto"), ("conv:7,5:1000:zero", "viterbi")],
)
def test_a_transmitter_and_a_receiver_fit(code, decoder, interleaver):
    """Over a clear channel, with 64-QAM, into whose symbols no frame of these codes fits."""
    k = neuralfec.grc.frame_bits(code)
    bits = np.random.default_rng(1).integers(0, 2, 30 * k, np.uint8)
    top = gr.top_block()
    source, sink = blocks.vector_source_b(bits.tolist()), blocks.vector_sink_b()
    transmitter = neuralfec.bicm_transmitter(code, "qam64", interleaver)
    receiver = neuralfec.bicm_receiver(code, "qam64", interleaver, decoder, 30.0)
    top.connect(source, transmitter, neuralfec.channel("awgn", 1e-3), receiver, sink)
    top.run()
    found = np.array(sink.data(), np.uint8)
    # The last symbol may not be whole.
    assert len(found) >= 29 * k
    assert np.array_equal(found, bits[: len(found)])


def test_units_of_noise():
    from gnuradio.neuralfec.phy.snr import noise_variance

    assert noise_variance(0.25, "n0") == 0.25
    assert noise_variance(10, "es_n0_db") == pytest.approx(0.1)
    # Es = K R Eb.
    assert noise_variance(10, "eb_n0_db", 4, 0.5) == pytest.approx(0.05)
    for value, unit in ((0, "n0"), (float("nan"), "es_n0_db"), (-1e9, "es_n0_db")):
        with pytest.raises(ValueError, match="finite noise variance above 0"):
            noise_variance(value, unit)
    with pytest.raises(ValueError, match="expected a unit of n0, es_n0_db, eb_n0_db"):
        noise_variance(1, "dB")


def test_a_refused_value_of_a_slider_stays_out():
    channel = neuralfec.channel("awgn", 0.5)
    setter = neuralfec.grc.Noise(channel, "eb_n0_db", "qam16", "wifi-648")
    setter(10.0)
    assert channel.noise_var() == pytest.approx(0.05)
    for bad in (float("nan"), -1e9, None, "text"):
        setter(bad)
        assert channel.noise_var() == pytest.approx(0.05)
