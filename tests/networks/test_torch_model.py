# SPDX-License-Identifier: GPL-3.0-or-later
"""Anybody's network as a block: against the network called by itself."""

import re
from pathlib import Path

import numpy as np
import pytest
from gnuradio import blocks, gr, neuralfec
from gnuradio.neuralfec.python_block import run

torch = pytest.importorskip("torch")

DOCS = Path(__file__).parents[2] / "docs" / "your-own-network.md"


def saved(network, folder, name="network.pt"):
    torch.jit.script(network).save(folder / name)
    return folder / name


class Modulus(torch.nn.Module):
    def forward(self, x):
        return x.abs()


class Decide(torch.nn.Module):
    def forward(self, x):
        return (x[:, :2] > 0).to(torch.uint8)


class First(torch.nn.Module):
    """It looks only at one vector of the batch."""

    def forward(self, x):
        return x[:1]


class Pair(torch.nn.Module):
    def forward(self, x):
        return x, x


def graph(block, values, vlen, out_vlen, kinds=("f", "f")):
    top = gr.top_block()
    source = getattr(blocks, f"vector_source_{kinds[0]}")(values.ravel().tolist(), False, vlen)
    sink = getattr(blocks, f"vector_sink_{kinds[1]}")(out_vlen)
    top.connect(source, block, sink)
    run(top, block)
    return np.array(sink.data()).reshape(-1, out_vlen)


@pytest.mark.parametrize("threads", [1, 2])
def test_it_is_the_network(tmp_path, threads):
    torch.manual_seed(1)
    network = torch.nn.Sequential(torch.nn.Linear(6, 20), torch.nn.Tanh(), torch.nn.Linear(20, 3))
    x = np.random.default_rng(1).normal(size=(1003, 6)).astype(np.float32)
    block = neuralfec.torch_model(saved(network, tmp_path), 6, 3, batch=100, threads=threads)
    with torch.inference_mode():
        expected = network(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(graph(block, x, 6, 3), expected, atol=1e-6)
    stats = block.stats()
    assert stats["vectors"] == 1003 and 1 < stats["batch_max"] <= 100
    assert 0 < stats["latency_mean_ms"] <= stats["latency_max_ms"]


def test_types(tmp_path):
    x = np.random.default_rng(1).normal(size=(40, 4)) * (1 + 1j)
    file = saved(Modulus(), tmp_path)
    block = neuralfec.torch_model(file, 4, 4, input_type="complex")
    np.testing.assert_allclose(graph(block, x, 4, 4, "cf"), np.abs(x), rtol=1e-6)
    block = neuralfec.torch_model(saved(Decide(), tmp_path), 4, 2, output_type="byte")
    assert np.array_equal(graph(block, x.real, 4, 2, "fb"), x.real[:, :2] > 0)


def test_what_does_not_fit_is_refused(tmp_path):
    linear = saved(torch.nn.Linear(6, 3), tmp_path)
    (tmp_path / "text.pt").write_text("no network")
    (tmp_path / "text.onnx").write_text("no network")
    for arguments, message in (
        ((linear, 6, 4), r"expected a network that gives an array of shape \(1, 4\)"),
        ((linear, 5, 3), r"expected a network that takes float32 of shape \(1, 5\)"),
        ((linear, 6, 3, "float", "byte"), "gives uint8, got float32"),
        ((linear, 6, 3, "double"), "expected a type of complex, float, int, byte"),
        ((linear, 0, 3), "at least 1 element, got 0 in"),
        ((linear, 6, 3, "float", "float", 0), "batch of at least 1, got 0"),
        (
            (saved(First(), tmp_path, "first.pt"), 6, 6),
            r"shape \(3, 6\) for \(3, 6\), got \(1, 6\)",
        ),
        ((saved(Pair(), tmp_path, "pair.pt"), 6, 6), "got tuple"),
        ((tmp_path / "none.pt", 6, 3), "no such file"),
        ((tmp_path / "text.pt", 6, 3), "expected a TorchScript file"),
    ):
        with pytest.raises(ValueError, match=message):
            neuralfec.torch_model(*arguments)


class Trap(torch.nn.Module):
    def forward(self, x):
        assert bool((x < 100).all()), "too large for me"
        return x


def test_a_network_that_raises_ends_the_graph(tmp_path):
    block = neuralfec.torch_model(saved(Trap(), tmp_path), 2, 2)
    with pytest.raises(RuntimeError, match=r"torch_model.*(.|\n)*too large for me"):
        graph(block, np.array([[1.0, 2.0], [200.0, 1.0]]), 2, 2)


def test_onnx(tmp_path):
    pytest.importorskip("onnxruntime", reason="ONNX files run in onnxruntime")
    onnx = pytest.importorskip("onnx", reason="the test writes an ONNX file")
    weight = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    from onnx import TensorProto, helper, numpy_helper

    made = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(weight, "w")],
    )
    file = tmp_path / "linear.onnx"
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(made, opset_imports=[opset], ir_version=8), file)
    x = np.random.default_rng(2).normal(size=(500, 6)).astype(np.float32)
    block = neuralfec.torch_model(file, 6, 3)
    np.testing.assert_allclose(graph(block, x, 6, 3), x @ weight, atol=1e-5)
    with pytest.raises(ValueError, match=r"linear.onnx: expected a network that takes"):
        neuralfec.torch_model(file, 7, 3)
    with pytest.raises(ValueError, match="device cpu for an ONNX file"):
        neuralfec.torch_model(file, 6, 3, device="cuda")


def test_the_page_says_what_works(tmp_path, monkeypatch, capsys):
    """Its two pieces of code run as they stand, and the network decodes."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(1)
    namespace = {}
    for piece in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.S):
        exec(piece, namespace)
    link = namespace["link"]
    assert link.counter.counts["blocks"] == 20_000
    assert link.decoder.stats()["vectors"] == 20_000
    # Hard decisions of the four message bits are wrong in 1 - (1 - p)^4 of the frames, with
    # p = Q(sqrt(2 / N0)) = 0.0228.
    assert link.counter.counts["block_errors"] < 0.35 * 20_000 * (1 - (1 - 0.0228) ** 4)
    assert "frames are wrong" in capsys.readouterr().out
