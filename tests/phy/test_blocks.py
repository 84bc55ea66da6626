# SPDX-License-Identifier: GPL-3.0-or-later
"""Mapper, channel and soft demapper in flow graphs, against GNU Radio's own and the NumPy doors."""

import time

import numpy as np
import pmt
import pytest
from gnuradio import blocks, digital, gr, neuralfec
from gnuradio.neuralfec.phy import channel
from gnuradio.neuralfec.phy.constellation import constellation, modulate
from gnuradio.neuralfec.phy.demapping import METHODS, demap
from scipy import stats


def run(block, *inputs, outputs=1, dtype=np.float32, limit=None, tags=()):
    """What a block makes of arrays; limit: at most so many items a call."""
    graph = gr.top_block()
    for port, data in enumerate(inputs):
        data = np.asarray(data)
        if data.dtype == np.uint8:
            source = blocks.vector_source_b(data.tolist())
        else:
            source = blocks.vector_source_c(data.tolist(), False, 1, tags if port == 0 else [])
        graph.connect(source, (block, port))
    sinks = [
        blocks.vector_sink_f() if dtype == np.float32 else blocks.vector_sink_c()
        for _ in range(outputs)
    ]
    for port, sink in enumerate(sinks):
        graph.connect((block, port), sink)
    if limit:
        graph.run(limit)
    else:
        graph.run()
    data = [np.array(sink.data(), dtype) for sink in sinks]
    return data[0] if outputs == 1 else data


def symbols(rng, name, n, noise_var):
    return channel.rayleigh(rng, rng.choice(constellation(name).points, n), noise_var)


def noise_tag(offset, value):
    tag = gr.tag_t()
    tag.offset, tag.key, tag.value = offset, pmt.intern("noise_var"), value
    return tag


@pytest.mark.parametrize("limit", [None, 64, 1000])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["qam16", "qam256", "psk8"])
def test_soft_demapper_is_its_kernel(name, method, limit):
    y, h = symbols(np.random.default_rng(1), name, 5003, 0.05)
    y[17] = np.nan
    block = neuralfec.soft_demapper(name, 0.05, method, csi=True)
    got = run(block, y, h, limit=limit)
    np.testing.assert_array_equal(got.reshape(5003, -1), demap(y, name, 0.05, h, method))
    assert block.stats() == {
        "symbols": 5003,
        "bad_symbols": 1,
        "bad_noise_vars": 0,
        "bad_packets": 0,
    }


@pytest.mark.parametrize("csi", [False, True])
@pytest.mark.parametrize("count", [1, 2])
def test_interferers(count, csi):
    rng = np.random.default_rng(2)
    y, h = symbols(rng, "qam16", 200, 0.05)
    gains = channel.complex_normal(rng, (count, 200))
    block = neuralfec.soft_demapper("qam16", 0.05, csi=csi, interferers=count, interferer="psk2")
    got = run(block, y, *([h] if csi else []), *gains)
    expected = demap(y, "qam16", 0.05, h if csi else None, interferer_csi=gains, interferer="psk2")
    np.testing.assert_array_equal(got.reshape(200, 4), expected)


@pytest.mark.parametrize("limit", [None, 64])
def test_noise_var_tags_hold_from_their_very_symbol_on(limit):
    y, _ = symbols(np.random.default_rng(3), "qam64", 3000, 0.1)
    changes = {0: 0.3, 1: 0.2, 1000: 0.1, 1001: 1.0, 2999: 0.4}
    tags = [noise_tag(offset, pmt.from_double(v)) for offset, v in changes.items()]
    refused = [pmt.from_double(-1), pmt.from_double(float("nan")), pmt.intern("x")]
    tags += [noise_tag(2000 + i, value) for i, value in enumerate(refused)]
    block = neuralfec.soft_demapper("qam64", 5.0)
    got = run(block, y, limit=limit, tags=tags)
    noise_var = np.empty(3000)
    for offset, value in changes.items():
        noise_var[offset:] = value
    np.testing.assert_allclose(
        got.reshape(-1, 6), demap(y, "qam64", noise_var), rtol=1e-5, atol=1e-5
    )
    assert block.stats()["bad_noise_vars"] == 3
    assert block.noise_var() == pytest.approx(0.4)


def test_noise_var_by_setter_and_message():
    block = neuralfec.soft_demapper("qam16", 1.0)
    block.set_noise_var(0.5)
    assert block.noise_var() == 0.5
    port = pmt.intern("noise_var")
    graph = gr.top_block()
    graph.connect(blocks.null_source(8), block, blocks.null_sink(4))
    graph.start()
    dictionary = pmt.dict_add(pmt.make_dict(), port, pmt.from_double(0.125))
    for message, expected in (
        (pmt.from_double(0.25), 0.25),
        (dictionary, 0.125),
        (pmt.cons(port, pmt.from_double(2)), 2.0),
        (pmt.from_double(0), 2.0),
        (pmt.PMT_T, 2.0),
    ):
        before = block.stats()["bad_noise_vars"]
        block.to_basic_block()._post(port, message)
        for _ in range(1000):
            if block.noise_var() == expected and (
                expected != 2.0 or block.stats()["bad_noise_vars"] > before or pmt.is_pair(message)
            ):
                break
            time.sleep(0.01)
        assert block.noise_var() == expected
    graph.stop()
    graph.wait()
    assert block.stats()["bad_noise_vars"] == 2


@pytest.mark.parametrize(
    "make", ["constellation_bpsk", "constellation_8psk", "constellation_16qam"]
)
def test_agrees_with_gnuradio_both_ways(make):
    """GNU Radio's encoder into our demapper, and our mapper into its soft decoder."""
    obj = getattr(digital, make)()
    k = obj.bits_per_symbol()
    rng = np.random.default_rng(4)
    values = rng.integers(0, 2**k, 2000)
    bits = (values[:, None] >> np.arange(k - 1, -1, -1) & 1).astype(np.uint8).ravel()
    sent = run(digital.constellation_encoder_bc(obj), values.astype(np.uint8), dtype=np.complex64)
    ours = run(neuralfec.mapper(obj), bits, dtype=np.complex64)
    np.testing.assert_allclose(ours, sent, atol=1e-6)

    noise_var = 0.003
    y, _ = channel.awgn(rng, sent, noise_var)
    llrs = run(neuralfec.soft_demapper(obj, noise_var), y)
    assert np.array_equal(llrs > 0, bits)
    # GNU Radio 3.10.5 weighs points by exp(-|d| / npwr) without the square, so that only
    # signs can be compared, with a scale at which the nearest point decides.
    obj.gen_soft_dec_lut(8, 0.03)
    theirs = run(digital.constellation_soft_decoder_cf(obj), y)
    assert np.array_equal(theirs > 0, llrs > 0)


@pytest.mark.parametrize("limit", [None, 64])
@pytest.mark.parametrize("name", ["psk2", "psk8", "qam256", "qam1024-3gpp"])
def test_mapper_is_modulate(name, limit):
    bits = np.random.default_rng(5).integers(
        0, 2, 1001 * constellation(name).bits_per_symbol, dtype=np.uint8
    )
    got = run(neuralfec.mapper(name), bits, dtype=np.complex64, limit=limit)
    np.testing.assert_array_equal(got, modulate(bits, name))


@pytest.mark.parametrize("model", ["awgn", "rayleigh", "etu"])
def test_channel(model):
    n = 40_500
    x = np.random.default_rng(6).choice(constellation("qam16").points, n)
    make = {"model": model, "noise_var": 0.2, "seed": 7}
    y, h = run(neuralfec.channel(**make), x, outputs=2, dtype=np.complex64)
    pieces = run(neuralfec.channel(**make), x, outputs=2, dtype=np.complex64, limit=100)
    assert np.array_equal(pieces, [y, h])
    other = run(neuralfec.channel(**{**make, "seed": 8}), x, outputs=2, dtype=np.complex64)
    assert not np.array_equal(other[0], y)
    noise = y - h * x
    for rail in (noise.real, noise.imag):
        assert stats.kstest(rail, "norm", args=(0, 0.1**0.5)).pvalue > 1e-4
    assert abs(np.mean(noise.real * noise.imag)) < 5 * 0.1 / n**0.5
    if model == "awgn":
        assert (h == 1).all()
    elif model == "rayleigh":
        assert stats.kstest(np.abs(h) ** 2, "expon").pvalue > 1e-4
    else:
        h = h.reshape(-1, 81)
        power = 10 ** (channel.ETU_POWERS_DB / 10)
        power /= power.sum()
        for spacing in (0, 3, 20):
            turn = np.exp(-2j * np.pi * spacing * 10e6 / 81 * channel.ETU_DELAYS_NS * 1e-9)
            measured = np.mean(h[:, spacing] * h[:, 0].conj())
            assert abs(measured - np.sum(power * turn)) < 5 / len(h) ** 0.5


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: neuralfec.soft_demapper("qam17"), "qam17"),
        (lambda: neuralfec.soft_demapper("qam16", 0.0), "noise variance > 0"),
        (lambda: neuralfec.soft_demapper("qam16", float("nan")), "noise variance > 0"),
        (lambda: neuralfec.soft_demapper("qam16", 1.0, "maxlog"), "max-log"),
        (lambda: neuralfec.soft_demapper("qam16", interferers=3), "interferers"),
        (lambda: neuralfec.soft_demapper("qam16").set_noise_var(-1), "noise variance > 0"),
        (lambda: neuralfec.mapper("qam17"), "qam17"),
        (lambda: neuralfec.mapper(3), "got int"),
        (lambda: neuralfec.channel("rician"), "rician"),
        (lambda: neuralfec.channel("awgn", -1.0), "noise variance"),
        (lambda: neuralfec.channel("etu", subcarriers=0), "subcarrier"),
        (lambda: neuralfec.channel("etu", bandwidth=0.0), "bandwidth"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
