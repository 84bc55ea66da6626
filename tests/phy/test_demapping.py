# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
from gnuradio.neuralfec import _kernels
from gnuradio.neuralfec.phy import channel
from gnuradio.neuralfec.phy.constellation import NAMES, Constellation, constellation, modulate
from gnuradio.neuralfec.phy.demapping import METHODS, demap
from hypothesis import given, settings
from hypothesis import strategies as st
from phy import llr_oracle
from scipy.special import erfc

TARGETS = _kernels.simd_targets()


@pytest.fixture(params=TARGETS)
def simd_target(request):
    _kernels.set_simd_target(request.param)
    yield request.param
    _kernels.set_simd_target("")


def natural_qam16():
    """Separable, evenly spaced, but not Gray."""
    level = (np.arange(4) - 1.5) / 2.5**0.5
    return Constellation("natural", (level[:, None] + 1j * level).ravel(), np.arange(16))


def rectangular_qam8():
    """A 4 by 2 rail pair of unequal spacing, off center."""
    level = np.array([-3, -1, 1, 3]) / 4 + 0.1
    return Constellation(
        "rectangular",
        (level[:, None] + 1j * np.array([-0.7, 0.7])).ravel(),
        [0, 1, 2, 3, 6, 7, 4, 5],
    )


def uneven_pam4():
    return Constellation("uneven", [-1.5, -0.4, 0.5, 1.2], [0, 1, 3, 2])


def random_points(order):
    rng = np.random.default_rng(order)
    return Constellation(
        f"random{order}", channel.complex_normal(rng, (order,)), rng.permutation(order)
    )


MODULATIONS = {
    **{name: constellation(name) for name in NAMES},
    **{
        c.name: c
        for c in (
            natural_qam16(),
            rectangular_qam8(),
            uneven_pam4(),
            random_points(2),
            random_points(128),
        )
    },
}


def received(rng, modulation, snr_db, fading):
    """Random symbols through the channel, each at its own SNR in dB."""
    n = np.size(snr_db)
    x = modulate(rng.integers(0, 2, n * modulation.bits_per_symbol), modulation)
    h = channel.complex_normal(rng, (n,)) if fading else np.ones(n, np.complex64)
    noise_var = np.float32(10 ** (-np.asarray(snr_db) / 10))
    y = h * x + np.sqrt(noise_var) * channel.complex_normal(rng, (n,))
    return y, h, noise_var


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", MODULATIONS)
def test_accuracy(name, method):
    """-5 to 40 dB, with and without fading, per-symbol and common noise variance."""
    rng = np.random.default_rng(1)
    modulation = MODULATIONS[name]
    snr_db = rng.uniform(-5, 40, 3001 if modulation.order < 512 else 1001)
    for fading in (False, True):
        y, h, noise_var = received(rng, modulation, snr_db, fading)
        got = demap(y, modulation, noise_var, h if fading else None, method)
        assert got.dtype == np.float32
        llr_oracle.assert_close(got, llr_oracle.llrs(y, modulation, noise_var, h, method))
        got = demap(y[:777], modulation, noise_var[0], h[:777], method)
        llr_oracle.assert_close(
            got, llr_oracle.llrs(y[:777], modulation, noise_var[0], h[:777], method)
        )


@pytest.mark.statistics
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", NAMES)
def test_accuracy_on_many_symbols(name, method):
    """Errors peak where a symbol falls next to the border of a decision, which is rare."""
    rng = np.random.default_rng(8)
    modulation = constellation(name)
    square = name.startswith("qam")
    oracle = llr_oracle.rail_llrs if square else llr_oracle.llrs
    for _ in range(50 if name == "qam256" else 5 if square else 1):
        y, h, noise_var = received(rng, modulation, rng.uniform(-5, 40, 20_000), True)
        got = demap(y, modulation, noise_var, h, method)
        llr_oracle.assert_close(got, oracle(y, modulation, noise_var, h, method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["qam4", "qam16", "qam256", "qam1024-3gpp", "psk8", "apsk32"])
def test_accuracy_on_every_simd_target(name, method, simd_target):
    rng = np.random.default_rng(2)
    modulation = constellation(name)
    y, h, noise_var = received(rng, modulation, rng.uniform(-5, 40, 1003), True)
    got = demap(y, name, noise_var, h, method)
    llr_oracle.assert_close(got, llr_oracle.llrs(y, modulation, noise_var, h, method))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "name, interferer, count",
    [("qam16", "qam16", 1), ("qam256", "qam4", 1), ("psk8", "psk4", 2), ("qam16", "psk2", 2)],
)
def test_known_interferers(name, interferer, count, method):
    rng = np.random.default_rng(3)
    modulation, other = constellation(name), constellation(interferer)
    y, h, noise_var = received(rng, modulation, rng.uniform(-5, 40, 203), True)
    gains = rng.uniform(0, 1, (count, 1)) * channel.complex_normal(rng, (count, 203))
    y = y + (gains * rng.choice(other.points, (count, 203))).sum(0)
    got = demap(
        y, name, noise_var, h, method, interferer_csi=gains.astype(np.complex64), interferer=other
    )
    expected = llr_oracle.llrs(
        y, modulation, noise_var, h, method, gains.astype(np.complex64), other
    )
    llr_oracle.assert_close(got, expected)


@pytest.mark.parametrize("name", ["qam4", "qam256", "qam1024", "qam64-3gpp"])
def test_deep_inside_runs_of_equal_bits(name):
    """Where the nearest levels of the other class are at both ends, and between levels."""
    modulation = constellation(name)
    levels = np.unique(modulation.points.real)
    fine = np.concatenate([(levels[1:] + levels[:-1]) / 2, levels])
    y = (fine[:, None] + np.array([-1e-2, -1e-4, 0, 1e-4, 1e-2]) * levels[-1]).ravel()
    y = np.concatenate([y, 3 * y, 30 * y]).astype(np.complex64) * np.complex64(1 + 0.3j)
    for snr_db in (10, 15, 20, 25, 30, 35, 40):
        noise_var = np.float32(10 ** (-snr_db / 10))
        expected = llr_oracle.llrs(y, modulation, noise_var)
        got = demap(y, modulation, noise_var)
        np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["qam16", "qam256", "psk8", "random128"])
@given(
    values=st.lists(
        st.tuples(*[st.floats(width=32)] * 4, st.floats(-20, 60)), min_size=1, max_size=40
    )
)
@settings(max_examples=60, deadline=None)
def test_any_input_gives_finite_llrs(name, method, values):
    v = np.array(values, dtype=np.float64)
    y = (v[:, 0].astype(np.float32) + 0j).astype(np.complex64)
    y.imag = v[:, 1]
    h = (v[:, 2].astype(np.float32) + 0j).astype(np.complex64)
    h.imag = v[:, 3]
    noise_var = 10 ** (-v[:, 4] / 10)
    stats = {}
    got = demap(y, MODULATIONS[name], noise_var, h, method, stats=stats)
    assert np.isfinite(got).all()
    bad = ~(np.isfinite(y) & np.isfinite(h))
    assert stats == {"symbols": len(v), "bad_symbols": bad.sum()}
    assert (got[bad | (h == 0)] == 0).all()
    # The definition in double precision, where it does not overflow or cancel itself.
    size = np.abs(h.astype(complex))
    plain = ~bad & (size > 1e-3) & (size < 1e3) & (np.abs(y.astype(complex)) < 1e3 * size)
    plain &= size**2 / noise_var < 1e4
    if plain.any():
        expected = llr_oracle.llrs(
            y[plain], MODULATIONS[name], np.float32(noise_var[plain]), h[plain], method
        )
        np.testing.assert_allclose(got[plain], expected, rtol=3e-4, atol=2e-3)


def test_far_outliers_keep_their_sign():
    y = np.array([1e30, -1e30, 1e30j, 3e38 + 3e38j, 1e20 - 1e5j], np.complex64)
    for name in ("qam16", "qam256", "psk8"):
        points = constellation(name)
        nearest = np.argmax((y[:, None].astype(complex) * points.points.conj()).real, axis=1)
        llrs = demap(y, name, 1e-6)
        assert np.isfinite(llrs).all()
        strong = np.abs(llrs) > 1e6
        assert strong.any(axis=1).all()
        assert np.array_equal((llrs > 0)[strong], points.bits[nearest].astype(bool)[strong])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["qam256", "psk8", "random128"])
def test_neighbours_do_not_touch_a_symbol(name, method):
    rng = np.random.default_rng(4)
    y, h, noise_var = received(rng, MODULATIONS[name], rng.uniform(-5, 40, 200), True)
    together = demap(y, MODULATIONS[name], noise_var, h, method)
    for i in range(200):
        alone = demap(y[i], MODULATIONS[name], noise_var[i], h[i], method)
        np.testing.assert_array_equal(alone, together[i])


@given(shape=st.lists(st.integers(0, 5), max_size=3), seed=st.integers(0, 1000))
@settings(deadline=None)
def test_shapes(shape, seed):
    rng = np.random.default_rng(seed)
    y = channel.complex_normal(rng, tuple(shape))
    h = channel.complex_normal(rng, tuple(shape))
    got = demap(y, "qam64", 0.1, h)
    assert got.shape == (*shape, 6)
    one_by_one = [demap(a, "qam64", 0.1, b) for a, b in zip(y.ravel(), h.ravel(), strict=True)]
    np.testing.assert_array_equal(got.reshape(-1, 6), np.reshape(one_by_one, (y.size, 6)))


@pytest.mark.parametrize(
    "name, ber",
    [
        # Proakis, "Digital Communications": Gray labels, symbol SNR s = Es/N0.
        ("psk2", lambda s: erfc(s**0.5) / 2),
        ("qam4", lambda s: erfc((s / 2) ** 0.5) / 2),
        # The exact rail error of 4-level Gray PAM: Cho and Yoon, "On the general BER
        # expression of one- and two-dimensional amplitude modulations", equation (9).
        (
            "qam16",
            lambda s: (
                (
                    3 * erfc((s / 10) ** 0.5)
                    + 2 * erfc(3 * (s / 10) ** 0.5)
                    - erfc(5 * (s / 10) ** 0.5)
                )
                / 8
            ),
        ),
    ],
)
@pytest.mark.parametrize("method", METHODS)
def test_uncoded_bit_error_rate_in_closed_form(name, ber, method):
    rng = np.random.default_rng(5)
    modulation = constellation(name)
    snr = 10**0.6
    sent = rng.integers(0, 2, 200_000 * modulation.bits_per_symbol, dtype=np.uint8)
    y, _ = channel.awgn(rng, modulate(sent, name), 1 / snr)
    errors = np.mean((demap(y, name, 1 / snr, method=method).ravel() > 0) != sent)
    expected = ber(snr)
    # Hard decisions of exact LLRs may differ from the nearest point's bits, rarely.
    tolerance = 5 * (expected / sent.size) ** 0.5
    assert abs(errors - expected) < tolerance


@pytest.mark.parametrize("name", ["qam64", "qam256", "psk8", "apsk16"])
def test_llrs_are_calibrated(name):
    """Of bits with LLR L, the fraction 1 / (1 + exp(-L)) is 1: no other scale does that."""
    rng = np.random.default_rng(6)
    modulation = constellation(name)
    sent = rng.integers(0, 2, 100_000 * modulation.bits_per_symbol, dtype=np.uint8)
    noise_var = 0.05
    y, h = channel.rayleigh(rng, modulate(sent, name), noise_var)
    llrs = demap(y, name, noise_var, h).ravel()
    for low, high in ((-4, -2), (-2, -0.5), (-0.5, 0.5), (0.5, 2), (2, 4)):
        inside = (llrs > low) & (llrs < high)
        expected = np.mean(1 / (1 + np.exp(-llrs[inside])))
        error = np.mean(sent[inside]) - expected
        assert abs(error) < 5 * (expected * (1 - expected) / inside.sum()) ** 0.5


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"noise_var": 0.0}, "noise variance > 0, got 0"),
        ({"noise_var": -1.0}, "noise variance > 0"),
        ({"noise_var": np.nan}, "noise variance > 0"),
        ({"noise_var": np.inf}, "noise variance > 0"),
        ({"noise_var": np.array([1, 0, 1])}, "noise variance > 0"),
        ({"noise_var": np.ones(2)}, r"noise_var.*\(3,\).*\(2,\)"),
        ({"csi": np.ones(4)}, r"csi.*\(3,\).*\(4,\)"),
        ({"method": "maxlog"}, "max-log"),
        ({"spec": "qam17"}, "qam17"),
        ({"interferer": "qam4"}, "together"),
        ({"interferer": "qam4", "interferer_csi": np.ones((3, 3))}, "0, 1 or 2 interferers"),
    ],
)
def test_refusals(arguments, message):
    spec = arguments.pop("spec", "qam16")
    with pytest.raises(ValueError, match=message):
        demap(np.ones(3, np.complex64), spec, **{"noise_var": 0.1, **arguments})


@pytest.mark.parametrize("method", ["exact", "max-log"])
@pytest.mark.parametrize("size", [12, 30, 300, 1e4, 1e5])
@pytest.mark.parametrize("name", ["psk2", "psk4", "psk8", "apsk16", "apsk32", "qam64", "turned"])
def test_samples_far_outside_the_constellation(name, size, method):
    """As from a receiver without gain control."""
    rng = np.random.default_rng(9)
    if name == "turned":
        grid = np.array([a + 1j * b for a in (-3, -1, 1, 3) for b in (-3, -1, 1, 3)]) / np.sqrt(10)
        made = Constellation("turned", grid * np.exp(0.3j), rng.permutation(16))
    else:
        made = constellation(name)
    y = size * (rng.normal(size=400) + 1j * rng.normal(size=400)).astype(np.complex64)
    for noise_var in (0.01, 1.0, 100.0):
        found = demap(y, made, noise_var, method=method)
        expected = llr_oracle.llrs(y, made, np.float32(noise_var), method=method)
        allowed = 1e-4 + 1e-4 * np.abs(expected) + 4e-6 * np.abs(y)[:, None] / noise_var
        assert (np.abs(found - expected) <= allowed).all()
    if size < 1e4:
        return
    gains = np.full((1, y.size), 0.3 - 0.1j, np.complex64)
    other = constellation("psk4")
    found = demap(y, made, 1.0, method=method, interferer_csi=gains, interferer=other)
    expected = llr_oracle.llrs(y, made, 1.0, 1.0, method, gains, other)
    llr_oracle.assert_close(found, expected)
