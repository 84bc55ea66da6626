# SPDX-License-Identifier: GPL-3.0-or-later
"""Models in other formats: the same numbers, and the same network in ONNX's own engine."""

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from gnuradio.neuralfec import codes, models  # noqa: E402
from gnuradio.neuralfec.syndrome.network import CancellationNetwork  # noqa: E402
from gnuradio.neuralfec.syndrome.training import export  # noqa: E402


def networks():
    for name in models.shipped():
        # TorchScript's loops over lists are none of ONNX's, see below.
        if "cancellation_network" in models.read_card(name).parameters:
            continue
        yield name, "forward"
        if "decode" in models.read_card(name).methods:
            yield name, "decode"


def inputs_of(method):
    """Seven frames of what the network takes; other sizes than those it was exported with."""
    rng = np.random.default_rng(1)
    for name, shape in method.inputs.items():
        x = rng.standard_normal([7 if size is None else size for size in shape])
        if name == "syndrome":
            x = x > 0
        if name in ("reliabilities", "round"):
            x = np.abs(x)
        yield torch.from_numpy(np.asarray(x, dtype=np.float32))


@pytest.mark.parametrize("name, method", list(networks()))
def test_onnx_is_the_network(name, method, tmp_path):
    holds_the_network(name, method, None, tmp_path / "m.onnx")


def test_onnx_is_the_cancellation_network(tmp_path):
    """Traced from the network itself; of a small one, as it takes a minute at n = 128."""
    torch.manual_seed(1)
    code = codes.code("polar-nr:32,16")
    network = CancellationNetwork(code, features=3, hidden=8, leaf_hidden=8, passes=2)
    file = tmp_path / "m.pt"
    export(network, code, file, parameters={})
    again = CancellationNetwork.from_model(file)
    holds_the_network(file, "forward", again, tmp_path / "m.onnx")
    with pytest.raises(ValueError, match="is none"):
        CancellationNetwork.from_model("sequence/conv-7-5")


def holds_the_network(name, method, whole, file):
    onnxruntime = pytest.importorskip("onnxruntime", reason="runs the file that is tested")
    pytest.importorskip("onnx", reason="torch needs it to write ONNX")
    module, card = models.load(name)
    models.export(name, file, method=method, module=whole)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    assert json.loads(session.get_modelmeta().custom_metadata_map["model.json"]) == json.loads(
        card.to_json()
    )
    inputs = list(inputs_of(card.methods[method]))
    with torch.inference_mode():
        expected = getattr(module, method)(*inputs)
    expected = expected if isinstance(expected, tuple) else (expected,)
    named = dict(zip(card.methods[method].inputs, map(torch.Tensor.numpy, inputs), strict=True))
    # An input that the network does not use is none of the file's.
    wanted = {one.name for one in session.get_inputs()}
    found = session.run(None, {key: x for key, x in named.items() if key in wanted})
    for ours, theirs in zip(found, expected, strict=True):
        theirs = theirs.numpy()
        if method == "decode":
            # As soft bits: in an LLR of 17 one step of its soft bit is 0.7.
            ours, theirs = np.tanh(ours / 2), np.tanh(theirs / 2)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", models.shipped())
def test_npz_holds_the_parameters(name, tmp_path):
    models.export(name, tmp_path / "m.npz")
    with np.load(tmp_path / "m.npz") as file:
        parameters = models.parameters(name)
        assert set(file) == set(parameters)
        for key, array in parameters.items():
            assert np.array_equal(file[key], array)


def test_lists_and_shows_what_is_shipped():
    cards = models.list()
    assert list(cards) == models.shipped()
    assert set(models.list("syndrome")) == {n for n in cards if n.startswith("syndrome/")}
    with pytest.raises(ValueError, match="expected a system of feedback, "):
        models.list("radio")
    for name, card in cards.items():
        text = models.show(name)
        assert card.name in text and card.operating_point in text
        for key in card.measured:
            assert key in text


def test_tells_what_there_is_to_export(tmp_path):
    with pytest.raises(ValueError, match=r"\*.onnx or \*.npz"):
        models.export("sequence/conv-7-5", tmp_path / "m.txt")
    with pytest.raises(ValueError, match="has the methods forward, not 'decode'"):
        models.export("sequence/conv-7-5", tmp_path / "m.onnx", method="decode")
    with pytest.raises(ValueError, match="ONNX cannot express index"):
        models.export("quantization/qam256-15bit", tmp_path / "m.onnx", method="index")
    assert not list(tmp_path.iterdir())
