# SPDX-License-Identifier: GPL-3.0-or-later
"""What models cost, against counts of the products that torch makes."""

import pytest
import torch
from gnuradio.neuralfec import models
from gnuradio.neuralfec.syndrome.network import CancellationNetwork
from torch.utils.flop_counter import FlopCounterMode


def counted(call):
    """Multiply-adds of a call."""
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        call()
    # It calls a multiply-add two operations.
    return counter.get_total_flops() / 2


@pytest.mark.parametrize("name", models.shipped())
def test_every_shipped_model_says_what_it_costs(name):
    cost = models.cost(name)
    assert cost.multiply_adds >= 0 and cost.unit
    # Tables have no products, all else has some.
    assert (cost.multiply_adds == 0) == ("scalar" in name)
    assert f"cost: {cost}" in models.show(name).splitlines()


def test_belief_code_costs_what_torch_multiplies():
    module, _ = models.load("feedback/belief-4bit-1dB")
    groups, rounds = 12, 12
    inputs = torch.zeros(groups, 16), torch.ones(groups, 4), torch.tensor(1.0)
    each = counted(lambda: module(*inputs))
    assert models.cost("feedback/belief-4bit-1dB").multiply_adds == 2 * rounds * each


@pytest.mark.parametrize("name", ["feedback/deepvlf-r-1dB", "feedback/deepvlf-t-1dB-noiseless"])
def test_deepvlf_costs_what_torch_multiplies(name):
    from gnuradio.neuralfec.feedback.deepvlf.model import load_module

    module, _ = load_module(name)
    p = module.code
    inputs = (
        torch.zeros(1, p.groups, p.transmitter.inputs),
        torch.zeros(1, p.groups, p.receiver.inputs),
    )
    total = sum(counted(lambda i=i: module(*inputs, torch.tensor([i]))) for i in range(p.rounds))
    assert models.cost(name).multiply_adds == total


@pytest.mark.parametrize("name", ["quantization/qam256-15bit", "quantization/qam256-float"])
def test_quantizer_costs_what_torch_multiplies(name):
    module, card = models.load(name)
    bits = card.parameters["bits_per_symbol"]
    llrs = torch.randn(1, bits)
    total = counted(lambda: module.decode(module(llrs)))
    assert models.cost(name).multiply_adds == pytest.approx(total / bits)


def test_cancellation_network_costs_what_its_layers_multiply(monkeypatch):
    network = CancellationNetwork.from_model("syndrome/polar-nr-64-32")
    total = 0
    plain = torch.nn.functional.linear

    def linear(x, weight, bias):
        nonlocal total
        total += x[..., 0].numel() * weight.numel()
        return plain(x, weight, bias)

    monkeypatch.setattr(torch.nn.functional, "linear", linear)
    with torch.inference_mode():
        network(torch.ones(1, 64), torch.zeros(1, 32))
    assert models.cost("syndrome/polar-nr-64-32").multiply_adds == total


def test_a_network_of_somebodys_own_is_shown_without_a_cost(tmp_path):
    module = torch.nn.Linear(2, 2)
    method = models.Method({"x": (None, 2)}, {"y": (None, 2)})
    card = models.Card(system="own", name="x", methods={"forward": method})
    models.save(tmp_path / "x.pt", module, card)
    with pytest.raises(ValueError, match="x: nothing is known"):
        models.cost(tmp_path / "x.pt")
    assert "cost" not in models.show(tmp_path / "x.pt")
