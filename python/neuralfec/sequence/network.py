# SPDX-License-Identifier: GPL-3.0-or-later
"""The recurrent decoder of convolutional codes.

H. Kim, Y. Jiang, R. Rana, S. Kannan, S. Oh, P. Viswanath, "Communication Algorithms via Deep
Learning", ICLR 2018: two bidirectional GRU layers of 50 units a direction, batch normalisation
after each, one sigmoid for each message bit.
"""

import torch
from torch import nn


class RecurrentNetwork(nn.Module):
    """LLRs of a coded sequence in, logits of its message bits out, for any length.

    Input: float32 (F, T, n), n coded LLRs for each of T trellis steps, scaled to mean |x| = 1 over
    what was received. Known states are told in the input (``decoder.RnnDecoder``): without
    that the sequence starts and ends in an unknown state.
    Output: float32 (F, T), log P(u=1) - log P(u=0) of the message bits; the paper's sigmoid is
    left to the loss.
    """

    def __init__(self, outputs: int = 2, hidden: int = 50):
        super().__init__()
        self.first = nn.GRU(outputs, hidden, bidirectional=True)
        self.first_norm = nn.BatchNorm1d(2 * hidden)
        self.second = nn.GRU(2 * hidden, hidden, bidirectional=True)
        self.second_norm = nn.BatchNorm1d(2 * hidden)
        self.output = nn.Linear(2 * hidden, 1)
        for name, parameter in self.named_parameters():
            if "weight_ih" in name:
                nn.init.xavier_uniform_(parameter)
            elif "weight_hh" in name:
                nn.init.orthogonal_(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Compute logits float32 (F, T) of inputs (F, T, n)."""
        steps, frames = x.shape[1], x.shape[0]
        h = self.first(x.transpose(0, 1).contiguous())[0]
        h = self.first_norm(h.reshape(steps * frames, -1)).reshape(steps, frames, -1)
        h = self.second(h)[0]
        h = self.second_norm(h.reshape(steps * frames, -1))
        return self.output(h).reshape(steps, frames).transpose(0, 1)
