# SPDX-License-Identifier: GPL-3.0-or-later
"""Both ends of a feedback code as batch state machines: numpy in, numpy out.

An end keeps one row of state per block in a table of fixed capacity; every call names the
rows ("slots") that it concerns, and they may be in different rounds. What travels between
the ends is the caller's business: ``evaluation`` puts noise between them, ``session`` puts
a network there.
"""

import zlib
from collections.abc import Callable

import numpy as np
import torch

from . import stopping as termination
from .network import CodeParameters, FeedbackCode, GroupTransformer

# One network as a function: (blocks, Q, inputs) float32 and the round tau - 1 to
# (blocks, Q, outputs) float32.
Network = Callable[[np.ndarray, int], np.ndarray]

_STATISTICS = ("mean", "deviation", "weight", "received_deviation")


def kernel_network(network: GroupTransformer) -> Network:
    """The network in the compiled kernel, several times as fast as torch on one core."""
    from ... import _kernels

    shape, state = network.shape, network.state_dict()
    affine = ("weight", "bias")
    names = [f"{part}.{leaf}" for part in ("extract1", "extract2") for leaf in affine]
    if shape.deep_after is not None:
        names += ["extract3.weight", "extract3.bias"]
    names += ["embed.weight", "embed.bias", "positions"]
    for i in range(shape.layers):
        names += [f"layers.{i}.{norm}.{leaf}" for norm in ("norm1", "norm2") for leaf in affine]
        names += [f"layers.{i}.{part}.weight" for part in ("query", "key", "value")]
        names += [
            f"layers.{i}.{part}.{leaf}"
            for part in ("merge", "expand", "contract")
            for leaf in affine
        ]
    names += ["norm.weight", "norm.bias"]
    names += [f"head.{i}.{leaf}" for i in range(len(shape.head)) for leaf in affine]
    kernel = _kernels.group_transformer(
        inputs=shape.inputs,
        groups=len(state["positions"]),
        features=shape.features,
        width=shape.width,
        hidden=shape.hidden,
        layers=shape.layers,
        head=shape.head,
        activation=shape.activation,
        head_activation=shape.head_activation,
        variable_depth=shape.deep_after is not None,
        parameters=torch.cat([state.pop(name).flatten() for name in names]).numpy(),
    )
    assert not state, f"parameters that the kernel does not know: {list(state)}"
    deep_after = np.inf if shape.deep_after is None else shape.deep_after
    return lambda inputs, round: kernel.run(inputs, round >= deep_after)


def torch_network(network: GroupTransformer, chunk: int = 1024) -> Network:
    """The network in torch, inference only; for machines without the compiled kernels."""

    def run(inputs: np.ndarray, round: int) -> np.ndarray:
        with torch.inference_mode():
            parts = [network(part, round) for part in torch.from_numpy(inputs).split(chunk)]
            return torch.cat(parts).numpy()

    return run


class Code:
    """A feedback code ready for use: parameters, statistics and both networks.

    mean, deviation: float32 (tau_max, Q); weight, received_deviation: float32 (Q,); see
    ``FeedbackCode``. identity: 16 bits that differ from those of another code.
    """

    def __init__(
        self, module: FeedbackCode, engine: Callable[[GroupTransformer], Network] = torch_network
    ):
        module.eval()
        self.parameters: CodeParameters = module.code
        weights = b"".join(t.numpy().tobytes() for t in module.state_dict().values())
        self.identity = zlib.crc32(weights + repr(self.parameters).encode()) & 0xFFFF
        self.transmitter = engine(module.transmitter)
        self.receiver = engine(module.receiver)
        self.termination = module.termination if self.parameters.termination_hidden else None
        self.mean, self.deviation, self.weight, self.received_deviation = (
            getattr(module, name).numpy().copy() for name in _STATISTICS
        )

    def store_statistics(self, module: FeedbackCode) -> None:
        """Writes the statistics back into the module that this code was made from."""
        for name in _STATISTICS:
            getattr(module, name).copy_(torch.from_numpy(getattr(self, name)))

    def encoder(self, capacity: int) -> "Encoder":
        return Encoder(self, capacity)

    def decoder(self, capacity: int) -> "Decoder":
        return Decoder(self, capacity)

    def labels(self, messages: np.ndarray) -> np.ndarray:
        """Bits (n, K) uint8 to the pattern of each group, (n, Q); first bit least significant."""
        p = self.parameters
        messages = np.asarray(messages)
        if messages.ndim != 2 or messages.shape[1] != p.message_bits or (messages > 1).any():
            raise ValueError(
                f"expected messages of {p.message_bits} bits 0 or 1, got an array of "
                f"shape {messages.shape}, largest value {messages.max(initial=0)}"
            )
        bits = messages.reshape(-1, p.groups, p.group_bits).astype(np.int64)
        return bits @ (1 << np.arange(p.group_bits))

    def bits(self, labels: np.ndarray) -> np.ndarray:
        """Inverse of ``labels``."""
        p = self.parameters
        bits = labels[:, :, None] >> np.arange(p.group_bits) & 1
        return bits.reshape(-1, p.message_bits).astype(np.uint8)


def _by_round(network: Network, inputs: np.ndarray, rounds: np.ndarray, deep_after: int | None):
    """Runs blocks of different rounds in at most two calls, by the extractor's depth."""
    deep = rounds >= (np.inf if deep_after is None else deep_after)
    if deep.all() or not deep.any():
        return network(inputs, int(rounds[0]))
    out = np.empty(0)
    for part in (deep, ~deep):
        result = network(inputs[part], int(rounds[part][0]))
        if out.size == 0:
            out = np.empty((len(inputs), *result.shape[1:]), np.float32)
        out[part] = result
    return out


class Encoder:
    """The transmitter: one row a block.

    rounds: (capacity,) rounds encoded so far. decoded: (capacity, Q) bool, groups that the
    receiver has decoded; their symbols are not sent and their part of the state is frozen
    (eq. 4). symbols: (capacity, Q) of the last round.
    """

    def __init__(self, code: Code, capacity: int):
        p = code.parameters
        self.code = code
        self.rounds = np.zeros(capacity, np.int64)
        self.labels = np.zeros((capacity, p.groups), np.int64)
        self.decoded = np.zeros((capacity, p.groups), bool)
        self.symbols = np.zeros((capacity, p.groups), np.float32)
        # [message][x of rounds 1 .. tau_max - 1][feedback of rounds 1 .. tau_max - 1]
        self.inputs = np.zeros((capacity, p.groups, p.transmitter.inputs), np.float32)
        if code.termination is not None:
            self.witness = termination.Witness(capacity, p.groups)

    def start(self, slots: np.ndarray, messages: np.ndarray) -> None:
        """messages: (n, K) uint8 bits."""
        p = self.code.parameters
        labels = self.code.labels(messages)
        self.rounds[slots] = 0
        self.labels[slots] = labels
        self.decoded[slots] = False
        inputs = np.zeros((len(labels), p.groups, p.transmitter.inputs), np.float32)
        if p.message_input == "signs":
            inputs[:, :, : p.group_bits] = 2 * (labels[:, :, None] >> np.arange(p.group_bits) & 1)
            inputs[:, :, : p.group_bits] -= 1
        else:
            np.put_along_axis(inputs, labels[:, :, None], 1, axis=2)
        self.inputs[slots] = inputs
        if self.code.termination is not None:
            self.witness.start(slots)

    def outputs(self, slots: np.ndarray) -> np.ndarray:
        """o of the next round before normalisation, (n, Q), of decoded groups too."""
        p = self.code.parameters
        return _by_round(
            self.code.transmitter, self.inputs[slots], self.rounds[slots], p.transmitter.deep_after
        )[:, :, 0]

    def encode(self, slots: np.ndarray) -> np.ndarray:
        """Symbols x of the next round, (n, Q) float32; 0 for groups that are decoded."""
        return self.normalise(slots, self.outputs(slots))

    def normalise(self, slots: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        code, rounds = self.code, self.rounds[slots]
        x = (outputs - code.mean[rounds]) / (code.deviation[rounds] + np.float32(1e-8))
        x *= code.weight
        if code.parameters.peak is not None:
            np.clip(x, -code.parameters.peak, code.parameters.peak, out=x)
        x[self.decoded[slots]] = 0
        self.symbols[slots] = x
        self.rounds[slots] += 1
        return x

    def observe(self, slots: np.ndarray, feedback: np.ndarray, decoded: np.ndarray) -> None:
        """Takes what came back of the last round.

        feedback: (n, Q) float32 as received, values of groups not sent are ignored.
        decoded: (n, Q) bool, groups decoded after that round.
        """
        p = self.code.parameters
        self.decoded[slots] |= decoded
        x = self.symbols[slots]
        seen = feedback / np.float32(p.feedback_gain)
        if p.feedback_input == "noise":
            seen = seen - x
        column = p.message_inputs + self.rounds[slots] - 1
        # What the last round brought back is of no use to anyone.
        used = self.rounds[slots] < p.rounds
        row, group = np.nonzero(~self.decoded[slots] & used[:, None])
        slot, column = slots[row], column[row]
        self.inputs[slot, group, column] = x[row, group]
        self.inputs[slot, group, column + p.rounds - 1] = seen[row, group]

    def agrees(self, slots: np.ndarray, samples: np.ndarray, threshold: float) -> np.ndarray:
        """Whether to stop, (n,) bool, by what came back of the beliefs.

        samples: (n, Q, 2^m), see ``Decoder.belief_samples``. threshold: of Definition 8, or,
        for a code with a learned rule, the probability that all groups are decided rightly.
        """
        if self.code.termination is None:
            return self.agrees_above(slots, samples, threshold)
        inputs = self.witness.observe(
            slots, self.beliefs_of(samples), self.labels[slots], self.rounds[slots]
        )
        probability = termination.log_probability(self.code.termination, inputs)
        return probability > (np.log(threshold) if threshold > 0 else -np.inf)

    def agrees_above(self, slots: np.ndarray, samples: np.ndarray, threshold: float) -> np.ndarray:
        """Definition 8: every group's likeliest pattern is the true one, above the threshold."""
        beliefs = self.beliefs_of(samples)
        right = beliefs.argmax(2) == self.labels[slots]
        return right.all(1) & (beliefs.max(2).min(1) > np.float32(threshold))

    def beliefs_of(self, samples: np.ndarray) -> np.ndarray:
        """Beliefs as they came back, (n, Q, 2^m)."""
        p = self.code.parameters
        beliefs = samples / _belief_gain(p.patterns)
        if p.termination == "receiver":
            # Hybrid makes distributions of them again, as published.
            beliefs = np.maximum(beliefs, np.float32(1e-6))
            beliefs /= beliefs.sum(2, keepdims=True)
        return beliefs


class Decoder:
    """The receiver: one row a block.

    rounds: (capacity,) rounds decoded so far. decoded: (capacity, Q) bool. beliefs:
    (capacity, Q, 2^m) float32.
    """

    def __init__(self, code: Code, capacity: int):
        p = code.parameters
        self.code = code
        self.rounds = np.zeros(capacity, np.int64)
        self.decoded = np.zeros((capacity, p.groups), bool)
        self.beliefs = np.zeros((capacity, p.groups, p.patterns), np.float32)
        # [y of rounds 1 .. tau_max][belief]
        self.inputs = np.zeros((capacity, p.groups, p.receiver.inputs), np.float32)

    def start(self, slots: np.ndarray) -> None:
        p = self.code.parameters
        self.rounds[slots] = 0
        self.decoded[slots] = False
        self.beliefs[slots] = 1 / p.patterns
        self.inputs[slots, :, : p.rounds] = 0
        self.inputs[slots, :, p.rounds :] = 1 / p.patterns

    def decode(
        self, slots: np.ndarray, received: np.ndarray, threshold: float | None
    ) -> np.ndarray:
        """Takes the received symbols y of one round, (n, Q) float32, 0 where none was sent.

        threshold: gamma of Definition 5, above which a group is decoded and frozen; None
        decodes nothing. Returns decoded, (n, Q) bool.
        """
        p = self.code.parameters
        rounds = self.rounds[slots]
        row, group = np.nonzero(~self.decoded[slots])
        slot = slots[row]
        self.inputs[slot, group, rounds[row]] = received[row, group]
        logits = _by_round(self.code.receiver, self.inputs[slots], rounds, p.receiver.deep_after)
        logits = logits[row, group]
        beliefs = softmax(logits)
        self.beliefs[slot, group] = beliefs
        self.rounds[slots] += 1
        if threshold is not None:
            late = self.rounds[slot] >= p.first_decision
            if p.decision == "probability":
                confident = beliefs.max(1) > np.float32(threshold)
            else:
                confident = log_odds(logits) > np.log(threshold / (1 - threshold))
            self.decoded[slot, group] = late & confident
        if p.belief_input:
            active = ~self.decoded[slot, group]
            self.inputs[slot[active], group[active], p.rounds :] = beliefs[active]
        return self.decoded[slots]

    def feedback(self, slots: np.ndarray, received: np.ndarray) -> np.ndarray:
        """What goes back for y of the last round, (n, Q) float32."""
        if self.code.parameters.feedback_input == "received":
            received = received / self.code.received_deviation
        return received * np.float32(self.code.parameters.feedback_gain)

    def belief_samples(self, slots: np.ndarray) -> np.ndarray:
        """C_b P (eq. 9): beliefs at the power of a feedback symbol, (n, Q, 2^m) float32."""
        return self.beliefs[slots] * _belief_gain(self.code.parameters.patterns)

    def decisions(self, slots: np.ndarray) -> np.ndarray:
        """The likeliest pattern of each group, (n, Q)."""
        return self.beliefs[slots].argmax(2)


def _belief_gain(patterns: int) -> np.float32:
    """C_b = 2^m / sqrt(2^m - 1), Sec. IV-A."""
    return np.float32(patterns / np.sqrt(patterns - 1))


def softmax(logits: np.ndarray) -> np.ndarray:
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_odds(logits: np.ndarray) -> np.ndarray:
    """log(p / (1 - p)) of the largest softmax probability, without forming it."""
    ordered = np.sort(logits, axis=-1)
    largest, second = ordered[..., -1], ordered[..., -2]
    rest = np.exp(ordered[..., :-1] - second[..., None]).sum(-1)
    return largest - second - np.log(rest)
