# SPDX-License-Identifier: GPL-3.0-or-later
"""The BCJR algorithm in torch: the posteriors that the recurrent decoder learns from."""

import contextlib
from collections.abc import Iterator

import torch

from ..phy.impulsive import Pulses


@contextlib.contextmanager
def denormals_flushed() -> Iterator[None]:
    """Flush denormal numbers to zero for a while: paths that are given up leave them behind.

    They are slow. Whoever calculates later in the process gets them back.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class Trellis:
    """The shift register w behind a rate 1/n code: c_j = g_j * w, u = feedback * w (modulo 2).

    Feedforward codes have feedback 1, so u = w. A recursive code with generators g_j and feedback
    g_0 has the same codewords with other messages: c_j = (g_j / g_0) u.

    generators, feedback: octal as integers, the newest bit most significant.
    """

    def __init__(self, generators: list[int], feedback: int | None):
        self.length = max(g.bit_length() for g in generators)
        self.memory = self.length - 1
        self.generators = torch.tensor([self._taps(g) for g in generators])
        one = 1 << self.memory
        self.feedback = torch.tensor([self._taps(one if feedback is None else feedback)])
        states = 1 << self.memory
        # Edge e = (w_t, w_t-1, ..., w_t-m) leads from its low m bits to its high m bits.
        register = torch.arange(2 * states)
        self.source = register % states
        self.target = register // 2
        bits = (register[:, None] >> torch.arange(self.memory, -1, -1)) & 1
        self.outputs = bits @ self.generators.T % 2
        self.message = (bits @ self.feedback.T % 2)[:, 0]

    def _taps(self, generator: int) -> list[int]:
        return [(generator >> i) & 1 for i in range(self.memory, -1, -1)]

    def convolve(self, w: torch.Tensor, taps: torch.Tensor) -> torch.Tensor:
        """Convolve bits w (F, m + T), m of them history, with taps (n, m + 1): (F, T, n)."""
        windows = w.unfold(1, self.length, 1).flip(2)
        return windows.float() @ taps.T.float() % 2

    def posterior_in_pulses(
        self, y: torch.Tensor, noise_var: torch.Tensor, known: torch.Tensor, pulses: Pulses
    ) -> torch.Tensor:
        """Compute P(u = 1 | y), (F, T), by BCJR on the states of the code and of the pulses.

        It works in the linear domain, with alpha and beta normalised.

        Parameters
        ----------
        y : received values (F, T, n)
        noise_var : (F, 1, 1)
        known : (F, T, 1), true at steps of zeros that nothing was received for
        """
        chain, stationary = map(torch.from_numpy, pulses.chain())
        hidden, (frames, steps, outputs) = len(stationary), y.shape
        # P(y_j, r' | r, c_j) for c_j = 0 and 1, (F, T, n, 2, r, r'), relative to the largest.
        variance = noise_var + pulses.power * (torch.arange(hidden) > 0)
        distance = (y[..., None] - torch.tensor([-1.0, 1.0]))[..., None]
        density = (
            -(distance**2) / (2 * variance[:, :, None, None]) - variance.log()[:, :, None, None] / 2
        )
        density = (density - density.amax((3, 4), keepdim=True)).exp()
        clean = torch.tensor([1.0, 0.0])[:, None].expand(2, hidden)
        density = torch.where(known[..., None, None], clean, density)
        bits = chain * density[..., None, :]
        patterns = torch.arange(2**outputs)
        weight = bits[:, :, 0, patterns % 2]
        for j in range(1, outputs):
            weight = weight @ bits[:, :, j, (patterns >> j) % 2]

        states = 1 << self.memory
        pattern = (self.outputs << torch.arange(outputs)).sum(1)
        into, outof = (
            torch.argsort(self.target, stable=True),
            torch.argsort(self.source, stable=True),
        )
        alpha = torch.empty(steps + 1, frames, states, 1, hidden)
        beta = torch.empty(steps + 1, frames, states, hidden, 1)
        alpha[0], beta[steps] = stationary, 1.0
        joint = torch.empty(steps, frames, 2 * states)
        for t in range(steps):
            a = alpha[t][:, self.source] @ weight[:, t, pattern]
            a = a[:, into].view(frames, states, 2, 1, hidden).sum(2)
            alpha[t + 1] = a / a.sum((1, 2, 3), keepdim=True)
        for t in reversed(range(steps)):
            b = weight[:, t, pattern] @ beta[t + 1][:, self.target]
            joint[t] = (alpha[t][:, self.source] @ b)[:, :, 0, 0]
            b = b[:, outof].view(frames, states, 2, hidden, 1).sum(2)
            beta[t] = b / b.sum((1, 2, 3), keepdim=True)
        one = joint[:, :, self.message == 1].sum(2)
        return (one / joint.sum(2)).T

    def posterior(self, llrs: torch.Tensor) -> torch.Tensor:
        """Compute LLRs (F, T) of the message from LLRs (F, T, n), between unknown states."""
        frames, steps, _ = llrs.shape
        states = 1 << self.memory
        branch = (llrs @ (self.outputs.T - 0.5)).permute(1, 2, 0).contiguous()
        into = torch.argsort(self.target, stable=True)  # two edges into each state, in turn
        outof = torch.argsort(self.source, stable=True)
        alpha = torch.zeros(steps, states, frames)
        beta = torch.zeros(steps, states, frames)
        for t in range(1, steps):
            m = (alpha[t - 1, self.source[into]] + branch[t - 1, into]).view(states, 2, frames)
            a = torch.logaddexp(m[:, 0], m[:, 1])
            torch.sub(a, a[0], out=alpha[t])
            r = steps - t
            m = (beta[r, self.target[outof]] + branch[r, outof]).view(states, 2, frames)
            b = torch.logaddexp(m[:, 0], m[:, 1])
            torch.sub(b, b[0], out=beta[r - 1])
        joint = alpha[:, self.source] + branch + beta[:, self.target]
        one = self.message == 1
        return (torch.logsumexp(joint[:, one], 1) - torch.logsumexp(joint[:, ~one], 1)).T
