# SPDX-License-Identifier: GPL-3.0-or-later
import importlib.util
from pathlib import Path

import numpy as np
import pytest
from gnuradio.neuralfec.phy.impulsive import Pulses, StudentT, gaussian_llrs
from scipy import stats

APP = Path(__file__).parents[2] / "apps" / "sequence_decoding.py"


@pytest.fixture(scope="module")
def app():
    spec = importlib.util.spec_from_file_location("sequence_decoding", APP)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_simulate_table_and_draw(app, tmp_path, capsys):
    folders = ["--results", str(tmp_path), "--output", str(tmp_path / "figures")]
    for experiment in ("awgn", "length-1000"):
        command = ["simulate", experiment, "--snr", "2", "--errors", "50", "--blocks", "120"]
        assert app.main([*command, *folders]) == 0
    assert "rnn" in capsys.readouterr().out
    assert app.main(["draw", *folders]) == 0
    drawn = {file.name for file in (tmp_path / "figures").iterdir()}
    assert drawn == {"sequence-awgn.png", "sequence-length.png"}
    assert app.main(["simulate", "nothing"]) == 2
    for action in ("table", "draw"):
        assert app.main([action, "pulses", *folders]) == 2
        assert "simulate first" in capsys.readouterr().err


@pytest.mark.parametrize("channel", [Pulses(), Pulses(0.2, 1, 4.0), StudentT(), StudentT(5.0)])
def test_noise(channel):
    """Samples against the density that the LLRs are made from, and its variance."""
    rng = np.random.default_rng(1)
    noise_var = 0.5
    variances = channel.variances(rng, (400, 500), noise_var)
    noise = np.sqrt(variances) * rng.standard_normal(variances.shape)
    if isinstance(channel, Pulses):
        hit = variances > noise_var
        assert hit.mean() == pytest.approx(channel.fraction, rel=0.1)
        wide = (noise_var + channel.power) ** 0.5

        def cdf(x):
            part = channel.fraction
            return (1 - part) * stats.norm.cdf(x, 0, noise_var**0.5) + part * stats.norm.cdf(
                x, 0, wide
            )
    else:
        scale = (noise_var * (channel.freedom - 2) / channel.freedom) ** 0.5

        def cdf(x):
            return stats.t.cdf(x / scale, channel.freedom)

    # Pulses make neighbours alike: every 20th symbol.
    assert stats.kstest(noise[:, ::20].ravel(), cdf).pvalue > 1e-3
    y = np.linspace(-4, 4, 41)
    step = 1e-4

    def density(x):
        return (cdf(x + step) - cdf(x - step)) / (2 * step)

    expected = np.log(density(y - 1) / density(y + 1))
    np.testing.assert_allclose(channel.llrs(y, noise_var), expected, atol=2e-3)


def test_noise_refuses():
    for make in (lambda: Pulses(0.0), lambda: Pulses(length=0), lambda: StudentT(2.0)):
        with pytest.raises(ValueError, match="expected"):
            make()
    with pytest.raises(ValueError, match="variances"):
        StudentT().variances(np.random.default_rng(1), (2, 2), -1.0)
    assert gaussian_llrs(np.array([1.0]), 0.5) == np.float32(4)
