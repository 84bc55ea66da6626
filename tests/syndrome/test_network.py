# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks, and the C++ kernel against its torch twin."""

import numpy as np
import pytest
import torch
from gnuradio.neuralfec import _kernels, codes
from gnuradio.neuralfec.syndrome import training
from gnuradio.neuralfec.syndrome.data import BicmChain
from gnuradio.neuralfec.syndrome.network import (
    CancellationNetwork,
    RecurrentEstimator,
    TransformerEstimator,
)

SHAPES = [("polar-nr:32,16", 3, 8, 12), ("polar-nr:64,32", 7, 32, 64), ("rm:2,6", 2, 4, 4)]


def network_and_kernel(spec, features, hidden, leaf_hidden, passes=2):
    code = codes.code(spec)
    torch.manual_seed(1)
    network = CancellationNetwork(code, features, hidden, leaf_hidden, passes)
    with torch.no_grad():
        # Small changes of all parameters, so that each has a say.
        network.weights += 0.05 * torch.randn(network.weights.shape)
    kernel = _kernels.CancellationNetwork(
        code.n, code.unfrozen.tolist(), features, hidden, leaf_hidden
    )
    return code, network, kernel


def u_of(code, batch):
    transform = codes.polar.transform_matrix(code.n)
    return (batch.flips.numpy().astype(np.uint8) @ transform % 2).astype(np.uint8)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape[0])
def test_kernel_estimates_as_the_twin(shape):
    code, network, kernel = network_and_kernel(*shape)
    assert kernel.parameters == network.weights.numel()
    names = ("inputs", "outputs", "biases", "weight_starts", "bias_starts")
    layers = list(zip(*(getattr(network, name) for name in names), strict=True))
    assert layers == kernel.layers
    batch = BicmChain(code, "qam16", seed=2)(5.0, 83)
    weights = network.weights.detach().numpy()
    with torch.no_grad():
        expected = network(batch.reliabilities, batch.syndrome)
    everything = _kernels.simd_targets()
    try:
        for target in everything:
            _kernels.set_simd_target(target)
            got = kernel.estimate(weights, batch.reliabilities.numpy(), u_of(code, batch), 2)
            for ours, theirs in zip(got, expected, strict=True):
                np.testing.assert_allclose(ours, theirs.numpy(), rtol=2e-3, atol=2e-3)
    finally:
        _kernels.set_simd_target("")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape[0])
def test_kernel_gradient_is_autograds(shape):
    code, network, kernel = network_and_kernel(*shape)
    # Noisy enough for small LLRs; 70 frames are no whole number of vectors.
    batch = BicmChain(code, "psk8", seed=3)(3.0, 70)
    loss = training.loss_of(network, batch)
    loss.backward()
    got_loss, gradient = kernel.gradient(
        network.weights.detach().numpy(),
        batch.reliabilities.numpy(),
        u_of(code, batch),
        batch.flips.numpy().astype(np.uint8),
        2,
        training.CODEWORD_WEIGHT,
        training.EARLY_WEIGHT,
    )
    expected = network.weights.grad.numpy()
    assert got_loss == pytest.approx(loss.item(), rel=1e-4)
    assert np.abs(gradient - expected).max() < 2e-3 * np.abs(expected).max()
    assert np.count_nonzero(expected) > 0.5 * expected.size


def test_untrained_it_is_belief_propagation():
    """With second layers of zeros no network adds anything: a frame without noise passes."""
    code = codes.code("polar-nr:64,32")
    network = CancellationNetwork(code)
    batch = BicmChain(code, "qam16", seed=4)(20.0, 50)
    assert batch.flips.sum() == 0
    message, codeword = network(batch.reliabilities, batch.syndrome)
    assert (message < 0).all() and (codeword < 0).all()


@pytest.mark.parametrize("make", [RecurrentEstimator, TransformerEstimator])
def test_estimators_of_the_paper(make):
    """They take any linear code, do not mind the LLRs' scale, and learn."""
    code = codes.code("bch:15,7")
    torch.manual_seed(5)
    small = {"layers": 1, "width": 16, "heads": 2} if make is TransformerEstimator else {"scale": 1}
    network = make(code, **small)
    batch = BicmChain(code, "qam16", seed=6)(4.0, 64)
    message, codeword = network(batch.reliabilities, batch.syndrome)
    assert message.shape == (64, code.k) and codeword.shape == (64, code.n)
    scaled, _ = network(7 * batch.reliabilities, batch.syndrome)
    torch.testing.assert_close(scaled, message, rtol=1e-4, atol=1e-4)
    before = training.loss_of(network, batch)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        training.loss_of(network, batch).backward()
        optimizer.step()
    assert training.loss_of(network, batch) < 0.8 * before


def test_transformer_attends_along_the_checks_only():
    code = codes.code("bch:15,7")
    torch.manual_seed(7)
    network = TransformerEstimator(code, layers=1, width=16, heads=2)
    joined = ~network.masked
    h = torch.tensor(code.parity_check, dtype=torch.bool)
    assert torch.equal(joined[code.n :, : code.n], h)
    assert torch.equal(joined, joined.T)
    assert joined.diagonal().all()


def test_layers_and_size_as_in_the_paper():
    # Equation (16): a GRU cell of w units and i inputs has 3 w (w + i + 2) parameters.
    code = codes.code("polar-nr:64,32")
    network = RecurrentEstimator(code, layers=2)
    width, inputs = 6 * 96, 96
    assert sum(p.numel() for p in network.cells.parameters()) == 3 * width * (
        (inputs + width + 2) + (2 * width + 2)
    )


def test_refuses():
    with pytest.raises(ValueError, match="polar code"):
        CancellationNetwork(codes.code("bch:63,45"))
    with pytest.raises(ValueError, match="without a CRC"):
        CancellationNetwork(codes.code("polar-nr:64,32,crc6"))
    with pytest.raises(ValueError, match="multiples of 4"):
        CancellationNetwork(codes.code("polar-nr:64,32"), hidden=30)
    for arguments in ((8, [3], 1, 4, 4), (64, [], 1, 4, 4), (64, [3], 0, 4, 4), (64, [3], 1, 5, 4)):
        with pytest.raises(ValueError, match="expected"):
            _kernels.CancellationNetwork(*arguments)
    kernel = _kernels.CancellationNetwork(16, [15], 1, 4, 4)
    right = np.zeros(kernel.parameters, np.float32), np.zeros((2, 16), np.float32)
    u = np.zeros((2, 16), np.uint8)
    for arguments in ((right[0][1:], right[1], u, 1), (*right, u[:1], 1), (*right, u, 0)):
        with pytest.raises(ValueError, match="expected"):
            kernel.estimate(*arguments)
