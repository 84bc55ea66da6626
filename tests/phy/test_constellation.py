# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
from gnuradio.neuralfec.phy.constellation import NAMES, Constellation, constellation, modulate
from hypothesis import given
from hypothesis import strategies as st

gr_digital = pytest.importorskip("gnuradio.digital", reason="needs GNU Radio")


@pytest.mark.parametrize("name", NAMES)
def test_unit_power_distinct_labels(name):
    c = constellation(name)
    assert c.points.dtype == np.complex64 and c.labels.dtype == np.uint32
    assert c.order == 2**c.bits_per_symbol
    assert np.mean(np.abs(c.points.astype(complex)) ** 2) == pytest.approx(1, abs=1e-6)
    assert constellation(c) is c


@pytest.mark.parametrize("name", [n for n in NAMES if not n.startswith("apsk32")])
def test_nearest_neighbours_differ_in_one_bit(name):
    c = constellation(name)
    distance = np.abs(c.points[:, None] - c.points)
    np.fill_diagonal(distance, np.inf)
    # Gray along the rings; between them the ring ratio decides who is near.
    if name.startswith("apsk16"):
        ring = np.abs(c.points) > 0.7
        distance[ring[:, None] != ring] = np.inf
    near = distance < distance.min(axis=1, keepdims=True) * 1.001
    differing = (c.bits[:, None] != c.bits).sum(-1)
    assert (differing[near] == 1).all()


@pytest.mark.parametrize("order", [4, 16, 64, 256, 1024])
def test_qam_labels_as_documented(order):
    c = constellation(f"qam{order}")
    side = int(order**0.5)
    # A float64 scalar would make the points complex128 under NumPy 2.
    scale = np.float32(np.sqrt(2 * (order - 1) / 3))
    level = np.rint((c.points_by_label * scale).view(np.float32).reshape(-1, 2) + side - 1) / 2
    gray = level.astype(int) ^ (level.astype(int) >> 1)
    assert np.array_equal(gray[:, 0] * side + gray[:, 1], np.arange(order))


def test_3gpp_by_the_formulas_of_the_standard():
    b = np.array(np.meshgrid(*[[0, 1]] * 8, indexing="ij")).reshape(8, -1)
    s = 1 - 2 * b
    for order, rails, scale in (
        (4, (s[0], s[1]), 2),
        (16, (s[0] * (2 - s[2]), s[1] * (2 - s[3])), 10),
        (64, (s[0] * (4 - s[2] * (2 - s[4])), s[1] * (4 - s[3] * (2 - s[5]))), 42),
        (
            256,
            (
                s[0] * (8 - s[2] * (4 - s[4] * (2 - s[6]))),
                s[1] * (8 - s[3] * (4 - s[5] * (2 - s[7]))),
            ),
            170,
        ),
    ):
        k = order.bit_length() - 1
        expected = (rails[0] + 1j * rails[1]) / np.sqrt(scale)
        got = modulate(b[:k].T, f"qam{order}-3gpp")[:, 0]
        np.testing.assert_allclose(got, expected, atol=1e-6)


def test_psk_labels_as_documented():
    c = constellation("psk8")
    for level in range(8):
        point = c.points_by_label[level ^ (level >> 1)]
        assert point == pytest.approx(np.exp(2j * np.pi * level / 8), abs=1e-6)


DVB_S2 = [
    ("apsk16", "MOD_16APSK", "C3_4"),
    ("apsk32", "MOD_32APSK", "C3_4"),
    ("psk8-dvb-s2", "MOD_8PSK", "C3_5"),
    *(
        (name, f"MOD_{name[4:6]}APSK", "C" + name.split("-")[-1].replace("/", "_"))
        for name in NAMES
        if name.startswith("apsk") and "dvb-s2" in name
    ),
]


@pytest.mark.parametrize("name, const, rate", DVB_S2)
def test_agrees_with_gnuradio_dvbs2(name, const, rate):
    dtv = pytest.importorskip("gnuradio.dtv", reason="needs gr-dtv")
    from gnuradio import blocks, gr

    k = constellation(name).bits_per_symbol
    symbols = np.arange(64800 // k) % 2**k
    source = blocks.vector_source_b(symbols.astype(np.uint8).tolist())
    modulator = dtv.dvbs2_modulator_bc(
        dtv.FECFRAME_NORMAL,
        getattr(dtv, rate),
        getattr(dtv, const),
        dtv.INTERPOLATION_OFF,
    )
    sink = blocks.vector_sink_c()
    graph = gr.top_block()
    graph.connect(source, modulator, sink)
    graph.run()
    sent = np.array(sink.data())[: 2**k]
    sent /= np.sqrt(np.mean(np.abs(sent) ** 2))
    np.testing.assert_allclose(constellation(name).points_by_label, sent, atol=2e-6)


def test_every_rate_of_dvb_s2_has_a_name():
    # ETSI EN 302 307-1, tables 9 and 10.
    assert len([name for name in NAMES if name.startswith("apsk16-")]) == 6
    assert len([name for name in NAMES if name.startswith("apsk32-")]) == 5


@pytest.mark.parametrize(
    "text",
    [
        "1 0 0\n0 1 1\n-1 0 3\n0 -1 2\n",
        "# QPSK, turned\n0, 1, 01\n\n0, -1, 10  # third label\n-1, 0, 11\n1, 0, 00\n",
        "1 0\r\n0 1\r\n0 -1\r\n-1\t0\r\n",
        "1e0 0 0\n0 1 1\n0 -1 2\n-1 0 3",
    ],
)
def test_points_and_labels_of_a_file(tmp_path, text):
    path = tmp_path / "points.txt"
    path.write_text(text, newline="")
    c = constellation(f"file:{path}")
    assert c.points_by_label.tolist() == [1, 1j, -1j, -1]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "2, 4, 8"),
        ("1 0\n0 1\n-1 0\n", "2, 4, 8"),
        ("1 0 0\n0 1\n", "line 2: expected I Q LABEL"),
        ("1 0\n0 1 1\n", "line 2"),
        ("1 0 0 0\n", "line 1: expected I Q"),
        ("1\n", "line 1: expected I Q or I Q LABEL .*got '1'"),
        ("x 0\n", "line 1"),
        ("1 0 a\n-1 0 b\n", "labels of digits"),
        ("1 0 0\n-1 0 0\n", "each of 0 .. 1 once"),
        ("1 0 0\nnan 0 1\n", "finite"),
        ("1 0 0\n1 0 1\n", "distinct"),
    ],
)
def test_files_that_are_no_constellation(tmp_path, text, message):
    path = tmp_path / "points.txt"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        constellation(f"file:{path}")


@pytest.mark.parametrize(
    "make",
    ["constellation_bpsk", "constellation_qpsk", "constellation_8psk", "constellation_16qam"],
)
def test_from_digital(make):
    obj = getattr(gr_digital, make)()
    c = constellation(obj)
    sent = [obj.map_to_points_v(v)[0] for v in range(obj.arity())]
    np.testing.assert_allclose(c.points_by_label, sent, atol=1e-6)


def test_from_digital_follows_the_pre_differential_code():
    points = [1, 1j, -1, -1j, 2, 2j, -2, -2j]
    code = [3, 0, 1, 2, 7, 6, 5, 4]
    obj = gr_digital.constellation_calcdist(points, code, 4, 1)
    obj.set_pre_diff_code(True)
    c = constellation(obj)
    # generic_mod maps a value through the code, then takes the point of that number.
    for value in range(8):
        expected = obj.map_to_points_v(code[value])[0]
        assert modulate([value >> 2, value >> 1 & 1, value & 1], c)[0] == pytest.approx(expected)


@given(
    spec=st.sampled_from(NAMES),
    frames=st.integers(0, 3),
    symbols=st.integers(0, 50),
    seed=st.integers(0, 2**32 - 1),
)
def test_modulate_maps_each_group_of_bits(spec, frames, symbols, seed):
    c = constellation(spec)
    k = c.bits_per_symbol
    bits = np.random.default_rng(seed).integers(0, 2, (frames, symbols * k), dtype=np.uint8)
    x = modulate(bits, spec)
    assert x.shape == (frames, symbols) and x.dtype == np.complex64
    index = np.abs(x[..., None] - c.points).argmin(-1)
    assert np.array_equal(c.bits[index].reshape(bits.shape), bits)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: constellation("qam255"), "qam256.*'qam255'"),
        (lambda: constellation(7), "got int"),
        (lambda: modulate(np.zeros(7, np.uint8), "qam16"), "multiple of 4"),
        (lambda: modulate(np.full(4, 2), "qam16"), "0 or 1"),
        (lambda: Constellation("x", [1, 2, 3], [0, 1, 2]), "shape"),
        (lambda: Constellation("x", [1, -1], [0, 0]), "labels"),
        (lambda: Constellation("x", [1, 1], [0, 1]), "distinct"),
        (lambda: Constellation("x", [1, np.nan], [0, 1]), "finite"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call()
