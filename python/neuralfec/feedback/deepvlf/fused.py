# SPDX-License-Identifier: GPL-3.0-or-later
"""The networks of DeepVLF in training, by the compiled kernel: outputs and gradients."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .code import group_transformer
from .network import GroupTransformer

# Inputs (blocks, Q, inputs) and the round tau - 1 to outputs (blocks, Q, outputs).
Trained = Callable[[Tensor, int], Tensor]


class _Products(torch.autograd.Function):
    """Stands for the matrices that a kernel multiplies, made of its parameters `flat`.

    The kernel has them, so that only their gradients pass here: one each call, all of which
    torch adds up before they are taken back to the parameters.
    """

    @staticmethod
    def forward(ctx: Any, kernel: Any, flat: Tensor) -> Tensor:
        ctx.kernel = kernel
        return flat.new_zeros(kernel.product_count)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor]:
        return None, torch.from_numpy(ctx.kernel.parameter_gradient(grads[0].numpy()))


class _Outputs(torch.autograd.Function):
    """Outputs of a kernel."""

    @staticmethod
    def forward(ctx: Any, kernel: Any, deep: bool, inputs: Tensor, products: Tensor) -> Tensor:
        ctx.kernel, ctx.deep = kernel, deep
        ctx.save_for_backward(inputs)
        return torch.from_numpy(kernel.run(inputs.detach().numpy(), deep))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, Tensor, Tensor]:
        (inputs,) = ctx.saved_tensors
        by_inputs, by_products = ctx.kernel.gradient(
            inputs.numpy(), ctx.deep, grads[0].contiguous().numpy()
        )
        return None, None, torch.from_numpy(by_inputs), torch.from_numpy(by_products)


def fused(network: GroupTransformer) -> Trained:
    """Return a network as it stands, to be called and differentiated by the kernel.

    On a CPU alone; whoever changes the parameters asks for another.
    """
    state = dict(network.named_parameters()) | dict(network.named_buffers())
    arrays = {name: tensor.detach().numpy() for name, tensor in state.items()}
    kernel, names = group_transformer(network.shape, arrays)
    products = _Products.apply(kernel, torch.cat([state[name].flatten() for name in names]))
    shape = network.shape

    def run(inputs: Tensor, round: int) -> Tensor:
        deep = shape.deep_after is not None and round >= shape.deep_after
        return _Outputs.apply(kernel, deep, inputs.contiguous(), products)

    return run
