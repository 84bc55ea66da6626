# SPDX-License-Identifier: GPL-3.0-or-later
"""Links of decoders and receivers; stored counts can be added to."""

import importlib.util
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from gnuradio.neuralfec.links.bicm import DecoderLink
from gnuradio.neuralfec.links.convolutional import CHANNELS, ReceiverLink
from gnuradio.neuralfec.simulation import Results

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "results"


def app(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / "apps" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    # Dataclasses look their module up.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_stored_counts_of_sequences_can_be_added_to(monkeypatch):
    """The program asks for the very experiments that are stored."""
    module = app("sequence_decoding")
    asked = {}
    monkeypatch.setattr(
        module, "simulate", lambda *_, name, parameters, **__: asked.update({name: parameters})
    )
    arguments = module.parser().parse_args(["simulate"])
    for experiment in module.EXPERIMENTS:
        module.count(experiment, arguments)
    stored = {file.stem for file in RESULTS.glob("sequence-*.csv")}
    assert stored and stored <= asked.keys()
    for name in stored:
        assert Results.load(name, RESULTS).about["parameters"] == asked[name]


def test_stored_counts_of_quantizers_can_be_added_to():
    module = app("llr_quantization")
    for name, link, _ in module.CURVES.values():
        assert Results.load(name, RESULTS).about["parameters"] == link.parameters()


@pytest.mark.parametrize("constellation, snr_db", [("qam16", 5.0), ("psk8", 4.0)])
def test_decoders_err_as_often_as_is_stored(constellation, snr_db):
    """Within five standard deviations; 8-PSK fills its last symbol."""
    (name,) = {file.stem for file in RESULTS.glob(f"syndrome-polar-nr-64-32*{constellation}.csv")}
    stored = Results.load(name, RESULTS)
    link = DecoderLink("polar-nr:64,32", constellation, ["osd:2", "sc"], bound=True)
    link = pickle.loads(pickle.dumps(link))
    counts = link(np.random.default_rng(1), snr_db, 2000)
    for scheme in ("osd:2", "sc"):
        rate = stored.rate(snr_db, scheme).value
        deviation = (rate * (1 - rate) / 2000) ** 0.5
        assert abs(counts[scheme]["block_errors"] / 2000 - rate) < 5 * deviation
    assert counts["ml-bound"]["block_errors"] <= counts["osd:2"]["block_errors"]
    assert link.frames == 2000 and all(seconds > 0 for seconds in link.seconds.values())


@pytest.mark.parametrize("channel", CHANNELS)
def test_receivers_that_know_more_err_less(channel):
    schemes = [
        (receiver, receiver, "viterbi")
        for receiver in ("gaussian", "clipped", "erased", "model", "genie")
    ]
    if channel == "awgn":
        schemes = schemes[:3]
    link = pickle.loads(pickle.dumps(ReceiverLink("conv:7,5:100:zero", channel, schemes)))
    counts = link(np.random.default_rng(1), 2.0 if channel == "awgn" else 4.0, 400)
    errors = {name: values["bit_errors"] for name, values in counts.items()}
    assert 0 < min(errors.values())
    if channel != "awgn":
        assert errors["genie"] <= errors["model"] < errors["gaussian"]
        assert errors["clipped"] < errors["gaussian"]


@pytest.mark.statistics
def test_windows_lose_nothing_that_counts():
    schemes = [
        (f"{kind}, {overlap}", "gaussian", f"{kind}, overlap {overlap}")
        for kind in ("viterbi", "rnn")
        for overlap in ("whole", 32)
    ]
    link = ReceiverLink("conv:7,5:2000", "awgn", schemes)
    counts = link(np.random.default_rng(1), 2.0, 20)
    for kind in ("viterbi", "rnn"):
        whole, windows = (counts[f"{kind}, {o}"]["bit_errors"] for o in ("whole", 32))
        assert 0 < abs(windows - whole) + 1 < 0.02 * whole + 2


def test_a_joint_receiver_knows_that_pulses_last():
    pytest.importorskip("torch")
    schemes = [("model", "model", "bcjr"), ("best", "best", "sign")]
    link = ReceiverLink("conv:7,5:100:zero", "pulses", schemes)
    counts = link(np.random.default_rng(1), 6.0, 300)
    assert counts["best"]["bit_errors"] < 0.8 * counts["model"]["bit_errors"]
