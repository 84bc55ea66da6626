# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks, and the C++ kernel against its torch twin."""

import numpy as np
import pytest
import torch
from gnuradio.neuralfec import _kernels, codes
from gnuradio.neuralfec.syndrome.data import BicmChain
from gnuradio.neuralfec.syndrome.form import systematic_form
from gnuradio.neuralfec.syndrome.loss import CODEWORD_WEIGHT, EARLY_WEIGHT, gradient_of, loss_of
from gnuradio.neuralfec.syndrome.network import (
    CancellationNetwork,
    RecurrentEstimator,
    TransformerEstimator,
)
from gnuradio.neuralfec.training.muon import StackedMuon

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
    loss = loss_of(network, batch)
    loss.backward()
    got_loss, gradient = kernel.gradient(
        network.weights.detach().numpy(),
        batch.reliabilities.numpy(),
        u_of(code, batch),
        batch.flips.numpy().astype(np.uint8),
        2,
        CODEWORD_WEIGHT,
        EARLY_WEIGHT,
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
    """They take any linear code in systematic form, and learn."""
    code = systematic_form(codes.code("bch:15,7"))
    torch.manual_seed(5)
    small = (
        {"layers": 1, "width": 16, "heads": 2} if make is TransformerEstimator else {"width": 24}
    )
    network = make(code, **small)
    batch = BicmChain(code, "qam16", seed=6)(4.0, 64)
    message, codeword = network(batch.reliabilities, batch.syndrome)
    assert message.shape == (64, code.k) and codeword.shape == (64, code.n)
    before = loss_of(network, batch)
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        loss_of(network, batch).backward()
        optimizer.step()
    assert loss_of(network, batch) < 0.8 * before


def test_recurrent_estimator_by_step_is_torchs_gru():
    """`forward` runs torch.nn.GRU, whose equations `after_each_step` writes out."""
    code = systematic_form(codes.code("bch:15,7"))
    torch.manual_seed(8)
    network = RecurrentEstimator(code, layers=3, steps=4, width=20)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    batch = BicmChain(code, "qam16", seed=9)(4.0, 50)
    message, codeword = network(batch.reliabilities, batch.syndrome)
    by_step = network.after_each_step(batch.reliabilities, batch.syndrome)
    assert len(by_step) == 4
    torch.testing.assert_close(by_step[-1], codeword, rtol=1e-4, atol=1e-5)
    assert torch.equal(message, codeword[:, code.information_set.copy()])
    assert len(network.gates()) == 5


def test_systematic_form_has_the_same_words():
    for spec in ("polar-nr:64,32", "bch:15,7", "rm:1,4"):
        code = codes.code(spec)
        form = systematic_form(code)
        assert (form.n, form.k) == (code.n, code.k) and form.systematic
        assert code.is_codeword(form.generator).all()
        assert form.parity_check.shape[0] == code.n - code.k
        others = np.setdiff1d(np.arange(code.n), form.information_set)
        assert np.array_equal(form.parity_check[:, others], np.eye(code.n - code.k))
        # A message's flips are the flips at its positions.
        assert np.array_equal(np.flatnonzero(form.pseudo_inverse.any(1)), form.information_set)


def test_systematic_form_refuses_the_network_another():
    with pytest.raises(ValueError, match="systematic form"):
        RecurrentEstimator(codes.code("polar-nr:64,32"))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_stacked_muon_steps_along_the_orthogonal_factor(precision):
    """Against the singular value decomposition of each matrix; the quintic is good to 0.3."""
    torch.manual_seed(10)
    start, gradient = torch.randn(12, 4), torch.randn(12, 4)
    parameter = torch.nn.Parameter(start.clone())
    parameter.grad = gradient.clone()
    StackedMuon([parameter], lr=0.1, weight_decay=0.0, precision=precision).step()
    for moved, part in zip((start - parameter.detach()).split(4), gradient.split(4), strict=True):
        u, _, v = torch.linalg.svd(part)
        size = torch.linalg.svdvals(moved / 0.1)
        assert ((size > 0.6) & (size < 1.3)).all()
        assert (u.T @ (moved / 0.1) @ v.T - torch.diag(torch.ones(4))).abs().max() < 0.45
    with pytest.raises(ValueError, match="one below the other"):
        StackedMuon([torch.zeros(5, 4)])


def test_gradient_in_bfloat16_points_where_that_in_float32_does():
    code = systematic_form(codes.code("polar-nr:64,32"))
    torch.manual_seed(4)
    network = RecurrentEstimator(code, steps=2, width=32)
    batch = BicmChain(code, "qam16", seed=5)(torch.full((64,), 6.0), 64)
    found = []
    for precision in (torch.float32, torch.bfloat16):
        loss = gradient_of(network, precision)(batch)
        found.append((loss, torch.cat([p.grad.flatten() for p in network.parameters()])))
    (loss, exact), (low_loss, low) = found
    assert low_loss == pytest.approx(loss, rel=0.01) and low_loss != loss
    assert low.dtype == torch.float32
    assert torch.cosine_similarity(low, exact, dim=0) > 0.99
    small = CancellationNetwork(codes.code("polar-nr:64,32"))
    with pytest.raises(ValueError, match="float32"):
        gradient_of(small, torch.bfloat16)


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
    network = RecurrentEstimator(systematic_form(code), layers=2, width=6 * 96)
    # The inputs are |L|, e^(-|L| / 2) and the syndrome; the paper has no second function of |L|.
    width, inputs = 6 * 96, 160
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
