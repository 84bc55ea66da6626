# SPDX-License-Identifier: GPL-3.0-or-later
"""The gradient of the fused networks, against torch's."""

import dataclasses

import pytest
import torch
from gnuradio.neuralfec.feedback.deepvlf import rollout
from gnuradio.neuralfec.feedback.deepvlf.fused import fused
from gnuradio.neuralfec.feedback.deepvlf.network import FeedbackCode, GroupTransformer
from gnuradio.neuralfec.feedback.deepvlf.parameters import NetworkShape, design

PLAIN = NetworkShape(inputs=7, features=20, width=12, hidden=28, layers=2, head=(5,))
SHAPES = {
    "transmitter of R": (design("R").transmitter, 16),
    "receiver of R": (design("R").receiver, 16),
    "transmitter of T": (design("T").transmitter, 16),
    "sizes of no vector": (PLAIN, 5),
    "rectifiers, a head of three layers": (
        dataclasses.replace(PLAIN, activation="relu", head_activation="relu", head=(9, 6, 3)),
        17,
    ),
}


def network_of(shape, groups, dtype=torch.float32):
    torch.manual_seed(3)
    network = GroupTransformer(shape, groups)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            # Norms that are not those of a fresh network.
            if "norm" in name:
                parameter += 0.3 * torch.randn_like(parameter)
    return network.to(dtype)


def gradients(network, run, inputs, weights, round):
    network.zero_grad()
    inputs = inputs.clone().requires_grad_()
    (run(inputs, round) * weights).sum().backward()
    found = {name: p.grad.double().clone() for name, p in network.named_parameters()
             if p.grad is not None}  # fmt: skip
    return inputs.grad.double(), found


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("blocks", [1, 7])
@pytest.mark.parametrize("round", [0, 9])
def test_gradient_is_that_of_torch(name, blocks, round):
    shape, groups = SHAPES[name]
    network = network_of(shape, groups)
    inputs = torch.randn(blocks, groups, shape.inputs)
    weights = torch.randn(blocks, groups, shape.head[-1])
    run = fused(network)
    torch.testing.assert_close(run(inputs, round), network(inputs, round), rtol=1e-4, atol=1e-4)
    by_inputs, by_parameters = gradients(network, run, inputs, weights, round)
    # In double precision: what both differ by is the kernel's.
    exact = network_of(shape, groups, torch.float64)
    true_inputs, true = gradients(exact, exact, inputs.double(), weights.double(), round)
    for key in by_parameters.keys() | true.keys():
        if key not in true:
            # A layer that the round leaves out.
            assert key.startswith("extract3") and (by_parameters[key] == 0).all()
            continue
        error = (by_parameters[key] - true[key]).norm() / (true[key].norm() + 1e-3)
        assert error < 1e-4, key
    assert (by_inputs - true_inputs).norm() < 1e-4 * true_inputs.norm()


@pytest.mark.parametrize("scheme", ["R", "T"])
def test_rollout_with_the_kernel_is_that_with_torch(scheme):
    torch.manual_seed(1)
    module = FeedbackCode(design(scheme, rounds=5, first_decision=2 if scheme == "R" else 1))
    termination = {"R": "receiver", "T": "transmitter"}[scheme]
    point = rollout.Point(6.0, None, termination, 1.0, 5)
    found = []
    for kernel in (False, True):
        module.zero_grad()
        rng = torch.Generator().manual_seed(5)
        figures = rollout.rollout(module, point, 1.5, 40, rng, kernel)
        figures.loss.backward()
        grads = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
        found.append((float(figures.loss.detach()), figures.symbols, grads))
    (loss, symbols, grads), (fused_loss, fused_symbols, fused_grads) = found
    assert fused_loss == pytest.approx(loss, rel=1e-4)
    assert fused_symbols == symbols
    assert (fused_grads - grads).norm() < 1e-3 * grads.norm()


def test_refuses_sizes_that_do_not_fit():
    from gnuradio.neuralfec.feedback.deepvlf.code import group_transformer

    network = network_of(PLAIN, 5)
    state = dict(network.named_parameters()) | dict(network.named_buffers())
    kernel, _ = group_transformer(PLAIN, {k: v.detach().numpy() for k, v in state.items()})
    good = torch.zeros(2, 5, 7).numpy()
    for inputs, weights in (
        (good, torch.zeros(2, 5, 4).numpy()),
        (good[:, :, :6], torch.zeros(2, 5, 5).numpy()),
        (good[0], torch.zeros(1, 5, 5).numpy()),
    ):
        with pytest.raises(ValueError, match="group_transformer: expected"):
            kernel.gradient(inputs, False, weights)
    with pytest.raises(ValueError, match="group_transformer: expected a gradient of"):
        kernel.parameter_gradient(good)
