# SPDX-License-Identifier: GPL-3.0-or-later
"""What the estimators minimise, and its gradient by torch or by the C++ kernel."""

import contextlib
from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from .data import Batch
from .network import CancellationNetwork, RecurrentEstimator

CODEWORD_WEIGHT = 0.3
EARLY_WEIGHT = 0.5


def loss_of(network: nn.Module, batch: Batch) -> torch.Tensor:
    """Compute the loss of a batch, a scalar tensor.

    It is the binary cross-entropy of the message's flips plus 0.3 times the codeword's; a
    cancellation network's passes before the last count half. A GRU's is that of the codeword's
    flips, which hold the message's, after each time step t = 1 .. T with the weight t, all
    weights adding up to one.
    """
    entropy = nn.functional.binary_cross_entropy_with_logits
    if isinstance(network, RecurrentEstimator):
        outputs = network.after_each_step(batch.reliabilities, batch.syndrome)
        weights = 2 / (len(outputs) * (len(outputs) + 1))
        return sum(
            (t * weights * entropy(output, batch.flips) for t, output in enumerate(outputs, 1)),
            start=torch.zeros((), device=batch.flips.device),
        )
    if isinstance(network, CancellationNetwork):
        passes = network.after_each_pass(batch.reliabilities, batch.syndrome)
        estimates = list(zip(*passes, strict=True))
    else:
        estimates = [network(batch.reliabilities, batch.syndrome)]
    total = torch.zeros((), device=batch.flips.device)
    for i, (message, codeword) in enumerate(estimates):
        weight = 1.0 if i == len(estimates) - 1 else EARLY_WEIGHT
        of_message = entropy(message, batch.message_flips)
        total = total + weight * (of_message + CODEWORD_WEIGHT * entropy(codeword, batch.flips))
    return total


def gradient_of(
    network: nn.Module, precision: torch.dtype = torch.float32
) -> Callable[[Batch], float]:
    """Make what computes `loss_of` a batch and leaves its gradient in the parameters.

    It is the C++ kernel for a cancellation network on the CPU, and torch for everything else
    and in a source tree where nothing is built. With torch.bfloat16 for a precision torch's
    matrix products are taken in it; parameters, states and sums stay float32.
    """
    low = precision != torch.float32
    if isinstance(network, CancellationNetwork) and network.weights.device.type == "cpu":
        if low:
            raise ValueError("expected float32: the kernel of a cancellation network has no other")
        with contextlib.suppress(ImportError):
            return _kernel_gradient(network)

    def by_torch(batch: Batch) -> float:
        with torch.autocast(batch.flips.device.type, precision, enabled=low):
            loss = loss_of(network, batch)
        network.zero_grad(set_to_none=True)
        loss.backward()
        return loss.item()

    return by_torch


def _kernel_gradient(network: CancellationNetwork) -> Callable[[Batch], float]:
    from .. import _kernels

    kernel = _kernels.CancellationNetwork(
        network.n,
        network.unfrozen.tolist(),
        network.features,
        network.hidden,
        network.leaf_hidden,
    )
    frozen, unfrozen = network.frozen.numpy(), network.unfrozen.numpy()

    def gradient(batch: Batch) -> float:
        u = np.zeros(batch.flips.shape, dtype=np.uint8)
        u[:, frozen] = batch.syndrome.numpy()
        u[:, unfrozen] = batch.message_flips.numpy()
        loss, found = kernel.gradient(
            network.weights.detach().numpy(),
            batch.reliabilities.numpy(),
            u,
            batch.flips.numpy().astype(np.uint8),
            network.passes,
            CODEWORD_WEIGHT,
            EARLY_WEIGHT,
        )
        network.weights.grad = torch.from_numpy(found)
        return loss

    return gradient
