# SPDX-License-Identifier: GPL-3.0-or-later
import numpy as np
import pytest
import torch
from gnuradio.neuralfec.phy import channel
from gnuradio.neuralfec.phy.constellation import constellation, modulate
from gnuradio.neuralfec.phy.demapping_torch import demap
from phy import llr_oracle

NAMES = ("qam4", "qam16", "qam256", "qam64-3gpp", "psk2", "psk8", "apsk16")


def _received(rng, name, n, noise_var):
    bits = rng.integers(0, 2, n * constellation(name).bits_per_symbol)
    return channel.rayleigh(rng, modulate(bits, name), noise_var)


@pytest.mark.parametrize("method", ["exact", "max-log"])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("snr_db", [-5, 12, 30])
def test_agrees_with_the_oracle(name, method, snr_db):
    noise_var = 10 ** (-snr_db / 10)
    y, h = _received(np.random.default_rng(1), name, 500, noise_var)
    got = demap(
        torch.from_numpy(y).to(torch.complex128), name, noise_var, torch.from_numpy(h), method
    )
    expected = llr_oracle.llrs(y, constellation(name), noise_var, h, method)
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("method", ["exact", "max-log"])
@pytest.mark.parametrize("interferers", [1, 2])
def test_known_interferers(method, interferers):
    rng = np.random.default_rng(2)
    y, h = _received(rng, "qam16", 100, 0.1)
    gains = 0.5 * channel.complex_normal(rng, (interferers, 100))
    z = modulate(rng.integers(0, 2, (interferers, 200)), "qam4")
    y = y + (gains * z).sum(0)
    got = demap(
        torch.from_numpy(y).to(torch.complex128),
        "qam16",
        0.1,
        torch.from_numpy(h),
        method,
        interferer_csi=torch.from_numpy(gains),
        interferer="qam4",
    )
    expected = llr_oracle.llrs(
        y, constellation("qam16"), 0.1, h, method, gains, constellation("qam4")
    )
    np.testing.assert_allclose(got.numpy(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["qam16", "psk8"])
def test_gradient(name):
    y = torch.randn(6, dtype=torch.complex128, requires_grad=True)
    noise_var = torch.full((6,), 0.3, dtype=torch.float64, requires_grad=True)
    h = torch.randn(6, dtype=torch.complex128, requires_grad=True)
    assert torch.autograd.gradcheck(lambda *a: demap(a[0], name, a[1], a[2]), (y, noise_var, h))


def test_what_is_not_known_is_zero():
    y = torch.tensor([0.3 + 0.4j, np.nan, 1.0, 1.0, np.inf], dtype=torch.complex64)
    h = torch.tensor([1.0, 1.0, np.nan, 0.0, 1.0], dtype=torch.complex64)
    for name in ("qam16", "psk8"):
        got = demap(y, name, 0.1, h)
        assert (got[1:] == 0).all() and (got[0] != 0).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"noise_var": 0.0}, "noise variance"),
        ({"noise_var": float("nan")}, "noise variance"),
        ({"method": "maxlog"}, "max-log"),
        ({"interferer": "qam4"}, "together"),
    ],
)
def test_refusals(arguments, message):
    with pytest.raises(ValueError, match=message):
        demap(torch.ones(3, dtype=torch.complex64), "qam16", **{"noise_var": 0.1, **arguments})
