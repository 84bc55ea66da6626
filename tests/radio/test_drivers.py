# SPDX-License-Identifier: GPL-3.0-or-later
"""What UHD's and IIO's blocks are told, by stand-ins for them: there is no such radio here."""

import sys
import types

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr
from gnuradio.neuralfec.radio.front_end import Settings, Unavailable, front_end

SETTINGS = Settings(
    1e6, 433e6, gain=20, antenna="RX2", bandwidth=2e6, lo_offset=3e6, clock_source="external",
    time_source="gpsdo", ppm=10, tx_gain=5,
)  # fmt: skip


class Sink(gr.sync_block):
    """A USRP's transmitter or a Pluto's: what came, and what it was told."""

    made = None

    def __init__(self, *words):
        gr.sync_block.__init__(self, "stand_in", [np.complex64], None)
        self.words, self.told, self.rate = words, {}, 1e6
        self.message_port_register_out(pmt.intern("async_msgs"))
        self.samples, self.found, self.calls = [], [], []
        type(self).made = self

    def work(self, input_items, output_items):
        self.samples.extend(input_items[0].tolist())
        self.calls.append(len(input_items[0]))
        self.found.extend(self.get_tags_in_window(0, 0, len(input_items[0])))
        return len(input_items[0])

    def get_samp_rate(self):
        return self.rate

    def get_time_now(self):
        return types.SimpleNamespace(get_real_secs=lambda: 5.0)


class Source(Sink):
    def __init__(self, *words):
        gr.sync_block.__init__(self, "stand_in", None, [np.complex64])
        self.words, self.told, self.rate = words, {}, 1e6
        type(self).made = self

    def work(self, input_items, output_items):
        output_items[0][:] = 0.5
        return len(output_items[0])


def setter(name):
    """A method that keeps its arguments."""

    def keep(self, *words):
        self.told[name] = words

    return keep


for method in (
    *("samp_rate", "center_freq", "gain", "antenna", "bandwidth", "clock_source", "time_source"),
    *("samplerate", "frequency", "gain_mode", "attenuation", "filter_params"),
):
    setattr(Sink, f"set_{method}", setter(method))


@pytest.fixture
def drivers(monkeypatch):
    uhd = types.SimpleNamespace(
        usrp_sink=type("UsrpSink", (Sink,), {}),
        usrp_source=type("UsrpSource", (Source,), {}),
        stream_args=lambda **words: words,
        tune_request=lambda *words: words,
    )
    iio = types.SimpleNamespace(
        fmcomms2_sink_fc32=type("IioSink", (Sink,), {}),
        fmcomms2_source_fc32=type("IioSource", (Source,), {}),
    )
    import gnuradio

    for name, module in (("uhd", uhd), ("iio", iio)):
        monkeypatch.setitem(sys.modules, f"gnuradio.{name}", module)
        monkeypatch.setattr(gnuradio, name, module, raising=False)
    return types.SimpleNamespace(uhd=uhd, iio=iio)


def test_a_usrp_is_set(drivers):
    radio = front_end("uhd:type=b200", SETTINGS)
    radio.source()
    made = drivers.uhd.usrp_source.made
    assert made.words == ("type=b200", {"cpu_format": "fc32", "channels": [0]}, True)
    told = made.told
    assert told["samp_rate"] == (1e6,) and told["gain"] == (20, 0)
    assert told["antenna"] == ("RX2", 0) and told["bandwidth"] == (2e6, 0)
    assert told["clock_source"] == ("external", 0) and told["time_source"] == ("gpsdo", 0)
    (frequency, offset), channel = told["center_freq"]
    assert abs(frequency - 433e6 / (1 + 10e-6)) < 1 and offset == 3e6 and channel == 0
    assert "timed bursts" in radio.describe()


def test_a_usrp_gets_whole_bursts_that_all_have_times(drivers):
    radio = front_end("uhd:type=b200", SETTINGS)
    sink = radio.sink(20_000)
    made = drivers.uhd.usrp_sink.made
    assert made.words[2] == "packet_len" and made.told["gain"] == (5, 0)
    lengths, tags, offset = [20_000, 300, 9000], [], 0
    for length in lengths:
        tag = gr.tag_t()
        tag.offset, tag.key, tag.value = offset, pmt.intern("packet_len"), pmt.from_long(length)
        tags.append(tag)
        offset += length
    x = np.random.default_rng(1).normal(size=offset).astype(np.complex64)
    top = gr.top_block()
    top.connect(blocks.vector_source_c(x.tolist(), False, 1, tags), sink)
    top.run()
    np.testing.assert_array_equal(np.array(made.samples, np.complex64), x)
    times = [pmt.to_python(t.value) for t in made.found if str(t.key) == "tx_time"]
    found = [pmt.to_python(t.value) for t in made.found if str(t.key) == "packet_len"]
    assert found == lengths and len(times) == 3
    at = np.array([sum(time) for time in times])
    # Ten milliseconds from the device's now, and then one behind the other.
    np.testing.assert_allclose(at, 5.01 + np.array([0, 20_000, 20_300]) / 1e6)
    assert radio.stats()["bursts"] == 3 and radio.error() == ""


def test_a_usrp_at_another_rate(drivers):
    drivers.uhd.usrp_source.get_samp_rate = lambda self: 1.1e6
    with pytest.raises(Unavailable, match="wrong rate: it runs at 1100000 samples/s"):
        front_end("uhd:type=b200", SETTINGS).source()


def test_a_pluto_is_set_and_padded(drivers):
    radio = front_end("iio:ip:192.168.2.1", Settings(1e6, 433e6, gain=30, tx_gain=-20))
    radio.source()
    told = drivers.iio.fmcomms2_source_fc32.made.told
    assert drivers.iio.fmcomms2_source_fc32.made.words[0] == "ip:192.168.2.1"
    assert told["samplerate"] == (1_000_000,) and told["frequency"] == (433_000_000,)
    assert told["gain_mode"] == (0, "manual") and told["gain"] == (0, 30)
    radio.sink()
    assert drivers.iio.fmcomms2_sink_fc32.made.told["attenuation"] == (0, 20)
    with pytest.raises(Unavailable, match="wrong rate: it runs at 521e3"):
        front_end("iio:ip:192.168.2.1", Settings(1e5)).source()
