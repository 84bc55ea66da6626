# SPDX-License-Identifier: GPL-3.0-or-later
"""What posterior matching would send, which a transmitter's network learns first.

Each group is a point of pulse-amplitude modulation, and the transmitter sends how far the
receiver's mean estimate is from it,

    x = (a_l - E[a]) / s,

a_l the amplitude of the group's pattern l, the mean over the receiver's belief, and s what
brings the power to 1 over all symbols sent. For a Gaussian a this is the scheme of Schalkwijk
and Kailath (1966), and it is in the spirit of Shayevitz and Feder (2011, arXiv:0909.4828). The
belief is that of the receiver's network as it stands, so that both networks learn together.
"""

import math

import torch
from torch import Tensor


def amplitudes(patterns: int) -> Tensor:
    """Return the amplitude of each pattern by its number, mean 0 and power 1: (patterns,)."""
    levels = 2.0 * torch.arange(patterns) - (patterns - 1)
    return levels / levels.square().mean().sqrt()


def symbols(belief: Tensor, labels: Tensor, sent: Tensor) -> Tensor:
    """Compute the symbol x of each group.

    Parameters
    ----------
    belief : (blocks, Q, patterns), each group's adds up to 1
    labels : (blocks, Q), the true patterns
    sent : (blocks, Q) bool, the groups over which the power is 1

    Returns
    -------
    (blocks, Q) float32
    """
    levels = amplitudes(belief.shape[2]).to(belief.device)
    error = levels[labels] - belief.float() @ levels
    return error / error[sent].square().mean().sqrt().clamp(min=1e-6)


def log_odds(logits: Tensor) -> Tensor:
    """Compute the log-odds of the likeliest pattern against all others, over the last axis."""
    best = logits.max(-1, keepdim=True)
    rest = logits.scatter(-1, best.indices, -math.inf).logsumexp(-1)
    return best.values[..., 0] - rest
