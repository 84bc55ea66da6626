# SPDX-License-Identifier: GPL-3.0-or-later
"""The loop device through the module's own SoapySDR blocks, against plain NumPy."""

import os
import shutil
import signal
import subprocess
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import numpy as np
import pmt
import pytest
from gnuradio import blocks, gr, neuralfec

pytestmark = pytest.mark.skipif(
    not isinstance(neuralfec.soapy_source, type),
    reason="the loop device is a plug-in of SoapySDR, without whose headers it is not built",
)

PLUGINS = Path(sys.prefix, "lib/SoapySDR/modules0.8")


def burst_of(top, kept, level):
    """The samples above a level, once 2000 of them are there or 20 s are over; ends the graph."""
    deadline = time.monotonic() + 20
    while np.count_nonzero(np.abs(kept.data()) > level) < 2000 and time.monotonic() < deadline:
        time.sleep(0.02)
    top.stop()
    top.wait()
    on = np.array(kept.data())
    return on[np.abs(on) > level]


@pytest.fixture
def name():
    made = f"test-{uuid.uuid4().hex[:12]}"
    yield made
    Path("/dev/shm", f"neuralfec-loop-{made}").unlink(missing_ok=True)


def device(name, **arguments):
    return ",".join(["driver=neuralfec-loop", f"name={name}",
                     *[f"{key}={value}" for key, value in arguments.items()]])  # fmt: skip


def tag(offset, key, value):
    made = gr.tag_t()
    made.offset, made.key, made.value = offset, pmt.intern(key), value
    return made


def time_tag(offset, seconds):
    value = pmt.make_tuple(pmt.from_uint64(int(seconds)), pmt.from_double(seconds % 1))
    return tag(offset, "tx_time", value)


def through(name, bursts, times=None, rate=2e5, seconds=1.0, **arguments):
    """Send bursts, untimed or so many seconds from the start; what was received, and both."""
    top = gr.top_block()
    source = neuralfec.soapy_source(device(name, **arguments), rate)
    sink = neuralfec.soapy_sink(device(name, **arguments), rate)
    tags, offset = [], 0
    # Long enough for a time in the past.
    time.sleep(0 if times is None else 0.3)
    begin = sink.time() + 0.2
    for index, burst in enumerate(bursts):
        tags.append(tag(offset, "packet_len", pmt.from_long(len(burst))))
        if times is not None:
            tags.append(time_tag(offset, begin + times[index]))
        offset += len(burst)
    samples = np.concatenate(bursts).tolist()
    kept = blocks.vector_sink_c()
    top.connect(source, kept)
    top.start()
    time.sleep(0.2 if times is None else 0)
    # In a graph of its own: its end must not stop the receiver.
    sender = gr.top_block()
    sender.connect(blocks.vector_source_c(samples, False, 1, tags), sink)
    sender.run()
    deadline = time.monotonic() + seconds + 20
    need = source.stats()["samples"] + seconds * rate
    while source.stats()["samples"] < need and time.monotonic() < deadline:
        time.sleep(0.01)
    top.stop()
    top.wait()
    assert source.error() == "" and sink.error() == ""
    return np.array(kept.data()), kept.tags(), source, sink, begin


def test_its_channel_is_what_it_says(name):
    """Taps, carrier and delay of a burst, by NumPy."""
    rng = np.random.default_rng(1)
    burst = 0.1 * (rng.normal(size=4000) + 1j * rng.normal(size=4000))
    taps = np.array([0.5, 0, -0.2j, 0.1 + 0.1j])
    received, *_ = through(
        name, [burst], seconds=0.2, taps="0.5;0;-0.2j;0.1+0.1j", cfo=3000, delay=0.001
    )
    (at,) = np.flatnonzero(np.abs(received) > 1e-4)[:1]
    expected = np.convolve(burst, taps)
    found = received[at : at + expected.size]
    turned = expected * np.exp(2j * np.pi * 3000 / 2e5 * np.arange(expected.size))
    phase = np.vdot(turned, found) / np.vdot(turned, turned)
    assert abs(abs(phase) - 1) < 1e-3
    np.testing.assert_allclose(found, phase * turned, atol=2e-4)
    assert np.abs(received[at + expected.size :]).max() < 1e-6


def test_noise_image_and_dc(name):
    received, *_ = through(name, [np.zeros(100)], seconds=0.5, snr=10, dc=0.01)
    rails = received.view(float)
    assert received.size > 1e5
    assert abs(received.mean() - 0.01) < 2e-3
    variance = np.var(received)
    assert abs(variance / (0.04 / 10) - 1) < 0.03
    # The fourth and the sixth moment of a Gaussian, and how much lies beyond 3 sigma.
    x = (rails - rails.mean()) / rails.std()
    x = x[np.abs(x) < 10]
    assert abs(np.mean(x**4) - 3) < 0.1 and abs(np.mean(x**6) - 15) < 1.5
    assert abs(np.mean(np.abs(x) > 3) / 0.0027 - 1) < 0.2


def test_its_clock_is_off(name):
    """A tone of a tenth of the rate comes out by so many ppm too low."""
    tone = 0.1 * np.exp(2j * np.pi * 0.1 * np.arange(100_000))
    received, *_ = through(name, [tone], seconds=0.8, ppm=500)
    inside = received[np.abs(received) > 0.09][1000:90_000]
    step = np.angle(np.mean(inside[1:] * inside[:-1].conj())) / 2 / np.pi
    assert abs(step / 0.1 - 1 / (1 + 500e-6)) < 2e-6
    assert np.abs(np.abs(inside) - 0.1).max() < 1e-3


def test_bursts_come_at_their_times(name):
    bursts = [np.full(n, 0.2) for n in (3000, 1, 5000)]
    times = [0.1, 0.2, 0.3]
    received, tags, _, sink, begin = through(name, bursts, times, seconds=0.6)
    first = next(t for t in tags if pmt.symbol_to_string(t.key) == "rx_time")
    zero = pmt.to_uint64(pmt.tuple_ref(first.value, 0)) + pmt.to_double(
        pmt.tuple_ref(first.value, 1)
    )
    on = np.flatnonzero(np.abs(received) > 0.1)
    starts = on[np.flatnonzero(np.diff(on, prepend=-2) > 1)]
    assert len(starts) == 3 and on.size == 8001
    np.testing.assert_allclose(zero + starts / 2e5, begin + np.array(times), atol=1.5 / 2e5)
    stats = sink.stats()
    assert (stats["bursts"], stats["late"], stats["underflows"]) == (3, 0, 0)


def test_late_bursts_are_refused_and_counted(name):
    bursts = [np.full(1000, 0.2), np.full(1000, 0.3)]
    received, _, _, sink, _ = through(name, bursts, [-0.4, 0.1], seconds=0.5)
    assert sink.stats()["late"] == 1
    assert np.count_nonzero(np.abs(received) > 0.1) == 1000
    assert np.abs(received).max() > 0.25


def test_a_burst_that_is_cut_is_not_sent(name):
    top = gr.top_block()
    sink = neuralfec.soapy_sink(device(name), 2e5)
    tags = [tag(0, "packet_len", pmt.from_long(500)), tag(200, "packet_len", pmt.from_long(300))]
    top.connect(blocks.vector_source_c([0.1] * 500, False, 1, tags), sink)
    top.run()
    stats = sink.stats()
    assert (stats["bursts"], stats["cut_bursts"], stats["samples"]) == (1, 1, 300)


def test_overflows_are_counted_and_tagged(name):
    _, tags, source, *_ = through(name, [np.zeros(10)], seconds=1.0, overflows=10, seed=3)
    stats = source.stats()
    assert 3 <= stats["overflows"] <= 30 and stats["gaps"] == stats["overflows"]
    times = [t for t in tags if pmt.symbol_to_string(t.key) == "rx_time"]
    assert len(times) == 1 + stats["gaps"]
    # The times tell how much is missing.
    seconds = [
        pmt.to_uint64(pmt.tuple_ref(t.value, 0)) + pmt.to_double(pmt.tuple_ref(t.value, 1))
        for t in times
    ]
    missing = np.diff(seconds) * 2e5 - np.diff([t.offset for t in times])
    assert (missing > 150).all() and (missing < 2100).all()


def test_frequencies_apart_do_not_hear_each_other(name):
    top = gr.top_block()
    source = neuralfec.soapy_source(device(name), 2e5, 100e6)
    kept = blocks.vector_sink_c()
    top.connect(source, kept)
    top.start()
    for frequency, amplitude in ((100e6 + 300e3, 0.3), (100e6 + 1e3, 0.1)):
        sender = gr.top_block()
        sink = neuralfec.soapy_sink(device(name), 2e5, frequency)
        burst = [tag(0, "packet_len", pmt.from_long(2000))]
        sender.connect(blocks.vector_source_c([amplitude] * 2000, False, 1, burst), sink)
        sender.run()
        del sender, sink
    on = burst_of(top, kept, 0.05)
    assert on.size == 2000 and np.abs(on).max() < 0.11
    step = np.angle(np.mean(on[1:] * on[:-1].conj())) / 2 / np.pi
    assert abs(step - 1e3 / 2e5) < 1e-5


def test_busy(name):
    first = neuralfec.soapy_sink(device(name, seed=1))
    second = neuralfec.soapy_sink(device(name, seed=2))
    with pytest.raises(RuntimeError, match="busy: both transmitters"):
        neuralfec.soapy_sink(device(name, seed=3))
    with pytest.raises(RuntimeError, match="busy"):
        neuralfec.soapy_sink(device(name, seed=2))
    del first
    third = neuralfec.soapy_sink(device(name, seed=3))
    del second, third


def test_wrong_rate(name):
    first = neuralfec.soapy_source(device(name, seed=1), 1e6)
    with pytest.raises(RuntimeError, match=r"wrong rate: .* run at 1000000 samples/s"):
        neuralfec.soapy_source(device(name, seed=2), 2e6)
    del first
    neuralfec.soapy_source(device(name, seed=2), 2e6)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"snr": "much"}, "number for snr"),
        ({"taps": "1;x"}, "taps like"),
        ({"ppm": 1e5}, "ppm"),
        ({"delay": -1}, "delay"),
        ({"nonsense": 1}, "no argument 'nonsense'"),
        ({"fading": 1000}, "fading"),
    ],
)
def test_wrong_arguments(name, arguments, said):
    with pytest.raises(RuntimeError, match=said):
        neuralfec.soapy_source(device(name, **arguments))
    with pytest.raises(RuntimeError, match="name of 1 to 60"):
        neuralfec.soapy_source("driver=neuralfec-loop,name=a/b")


@pytest.mark.parametrize("direction", ["source", "sink"])
def test_unplugged(name, direction):
    """The shared memory is taken away: the block ends and tells."""
    top = gr.top_block()
    if direction == "source":
        radio = neuralfec.soapy_source(device(name), 2e5)
        top.connect(radio, blocks.null_sink(8))
    else:
        radio = neuralfec.soapy_sink(device(name), 2e5)
        top.connect(blocks.null_source(8), radio)
    top.start()
    time.sleep(0.3)
    assert radio.error() == ""
    Path("/dev/shm", f"neuralfec-loop-{name}").unlink()
    deadline = time.monotonic() + 20
    while radio.error() == "" and time.monotonic() < deadline:
        time.sleep(0.02)
    assert "unplugged" in radio.error()
    top.stop()
    top.wait()


PEER = """
import sys, time
from gnuradio import blocks, gr, neuralfec
import pmt
tag = gr.tag_t()
tag.offset, tag.key, tag.value = 0, pmt.intern("packet_len"), pmt.from_long(5000)
sink = neuralfec.soapy_sink(sys.argv[1], 2e5)
top = gr.top_block()
top.connect(blocks.vector_source_c([0.25] * 5000, False, 1, [tag]), sink)
top.run()
print("sent", flush=True)
time.sleep(60)
"""


def test_two_processes_and_a_killed_peer(name):
    top = gr.top_block()
    source = neuralfec.soapy_source(device(name), 2e5)
    kept = blocks.vector_sink_c()
    top.connect(source, kept)
    top.start()
    for _ in range(3):
        # Each takes a transmitter and is killed with it; there are two.
        peer = subprocess.Popen(
            [sys.executable, "-c", PEER, device(name)], stdout=subprocess.PIPE, text=True
        )
        assert peer.stdout.readline() == "sent\n"
        peer.send_signal(signal.SIGKILL)
        peer.wait()
    deadline = time.monotonic() + 20
    while np.count_nonzero(np.abs(kept.data()) > 0.2) < 15_000 and time.monotonic() < deadline:
        time.sleep(0.05)
    top.stop()
    top.wait()
    assert np.count_nonzero(np.abs(kept.data()) > 0.2) == 15_000
    assert source.error() == ""


@pytest.mark.skipif(not shutil.which("SoapySDRUtil"), reason="needs soapysdr-tools")
def test_any_soapy_program_opens_it(name):
    environment = os.environ | {"SOAPY_SDR_PLUGIN_PATH": str(PLUGINS)}
    done = subprocess.run(
        ["SoapySDRUtil", f"--probe={device(name)}"],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "driver=neuralfec-loop" in done.stdout and "Timestamps: YES" in done.stdout


def test_fading_is_new_for_each_burst_and_has_unit_energy(name):
    rng = np.random.default_rng(5)
    bursts = [0.05 * (rng.normal(size=3000) + 1j * rng.normal(size=3000)) for _ in range(6)]
    times = 0.05 * np.arange(6)
    received, *_ = through(name, bursts, times, seconds=0.6, fading=4, seed=2)
    on = np.flatnonzero(np.abs(received) > 0)
    starts = on[np.flatnonzero(np.diff(on, prepend=-100) > 50)]
    assert len(starts) == 6
    taps = []
    for start, burst in zip(starts, bursts, strict=True):
        shifted = [np.concatenate([np.zeros(k), burst, np.zeros(3 - k)]) for k in range(4)]
        found = received[start : start + 3003]
        solution, *_ = np.linalg.lstsq(np.array(shifted).T, found, rcond=None)
        assert np.abs(np.array(shifted).T @ solution - found).max() < 1e-5
        taps.append(solution)
    taps = np.array(taps)
    np.testing.assert_allclose(np.sum(np.abs(taps) ** 2, 1), 1, atol=1e-4)
    correlation = np.abs(taps @ taps.conj().T) - np.eye(6)
    assert correlation.max() < 0.999 and taps[:, 0].std() > 0.1


def test_a_device_may_not_hear_itself(name):
    received, *_ = through(name, [np.full(2000, 0.2)], seconds=0.2, own=0)
    assert not received.any()


@pytest.mark.parametrize("kind", ["fc32", "sc16"])
def test_gnu_radios_own_soapy_source_receives_from_it(name, kind):
    soapy = pytest.importorskip("gnuradio.soapy")
    # Opening one of ours has loaded the plug-in.
    sink = neuralfec.soapy_sink(device(name, seed=2), 2e5)
    source = soapy.source(device(name), kind, 1, "", "", [""], [""])
    source.set_sample_rate(0, 2e5)
    top = gr.top_block()
    kept = blocks.vector_sink_c()
    if kind == "sc16":
        convert = blocks.interleaved_short_to_complex(True, False, 32767)
        top.connect(source, convert, kept)
    else:
        top.connect(source, kept)
    top.start()
    time.sleep(0.3)
    burst = [tag(0, "packet_len", pmt.from_long(2000))]
    sender = gr.top_block()
    sender.connect(blocks.vector_source_c([0.25 - 0.5j] * 2000, False, 1, burst), sink)
    sender.run()
    on = burst_of(top, kept, 0.2)
    assert on.size == 2000
    np.testing.assert_allclose(on, 0.25 - 0.5j, atol=1e-4)


def test_bursts_are_lost_doubled_and_late(name):
    """Of 60 bursts about as many as was asked for, each kind where it belongs."""
    rng = np.random.default_rng(7)
    bursts = [np.full(200, 0.2 * np.exp(2j * np.pi * rng.random())) for _ in range(60)]
    received, *_ = through(
        name, bursts, 0.02 * np.arange(60), seconds=1.5,
        lost=0.2, doubled=0.2, late=0.2, lag=0.01,
    )  # fmt: skip
    on = np.flatnonzero(np.abs(received) > 0.1)
    starts = on[np.flatnonzero(np.diff(on, prepend=-100) > 50)]
    # A burst's phase tells which it is.
    heard = [[s - 4000 * i for s in starts if abs(received[s + 100] - burst[0]) < 1e-3]
             for i, burst in enumerate(bursts)]  # fmt: skip
    first = min(min(each, default=2**62) for each in heard)
    kinds = Counter(tuple(s - first for s in each) for each in heard)
    assert kinds.keys() == {(), (0,), (0, 2000), (2000,)}
    assert min(kinds.values()) >= 4 and kinds[0,] >= 12


def test_phase_noise_is_what_it_says(name):
    """A tone's phase has the variance and the correlation of one pole at 50 kHz."""
    tone = np.full(100_000, 0.2)
    received, *_ = through(name, [tone], seconds=0.8, phase_noise=-75)
    inside = received[np.abs(received) > 0.19][1000:90_000]
    phase = np.angle(inside)
    variance = np.pi * 50e3 * 10**-7.5
    assert abs(phase.var() / variance - 1) < 0.1
    correlation = np.mean(phase[1:] * phase[:-1]) / phase.var()
    assert abs(correlation - np.exp(-2 * np.pi * 50e3 / 2e5)) < 0.03
