# SPDX-License-Identifier: GPL-3.0-or-later
"""Both ends of DeepVLF (arXiv:2602.07881) as batch state machines, see ``feedback.code``."""

import zlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .. import code as feedback
from . import witness
from .parameters import CodeParameters, NetworkShape

# One network as a function: (blocks, Q, inputs) float32 and the round tau - 1 to
# (blocks, Q, outputs) float32.
Network = Callable[[NDArray, int], NDArray]
# What makes one of a shape and parameters by name.
Engine = Callable[[NetworkShape, Mapping[str, NDArray]], Network]

_STATISTICS = ("mean", "deviation", "weight", "received_deviation")


def group_transformer(shape: NetworkShape, state: Mapping[str, NDArray]) -> tuple[Any, list[str]]:
    """Make the compiled kernel of a network, and name its parameters in the kernel's order."""
    from ... import _kernels

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
    assert set(names) == set(state), f"parameters that the kernel does not know: {list(state)}"
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
        parameters=np.concatenate([state[name].ravel() for name in names]),
    )
    return kernel, names


def kernel_network(shape: NetworkShape, state: Mapping[str, NDArray]) -> Network:
    """Make a network of the compiled kernel, several times as fast as torch on one core."""
    kernel, _ = group_transformer(shape, state)
    deep_after = np.inf if shape.deep_after is None else shape.deep_after
    return lambda inputs, round: kernel.run(inputs, round >= deep_after)


def torch_network(shape: NetworkShape, state: Mapping[str, NDArray], chunk: int = 1024) -> Network:
    """Make a network of torch, inference only; for machines without the compiled kernels."""
    import torch

    from .network import GroupTransformer

    network = GroupTransformer(shape, len(state["positions"])).eval()
    network.load_state_dict({name: torch.from_numpy(value) for name, value in state.items()})

    def run(inputs: NDArray, round: int) -> NDArray:
        with torch.inference_mode():
            parts = [network(part, round) for part in torch.from_numpy(inputs).split(chunk)]
            return torch.cat(parts).numpy()

    return run


def default_engine() -> Engine:
    """Return the compiled kernel where there is one, else torch."""
    try:
        from ... import _kernels  # noqa: F401
    except ImportError:
        return torch_network
    return kernel_network


class DeepvlfCode(feedback.Code):
    """A DeepVLF code ready for use.

    Parameters
    ----------
    parameters : what both ends must agree on
    state : parameters and buffers of a `network.FeedbackCode` by name, in its order
    engine : what runs the networks; the compiled kernel where there is one

    Attributes
    ----------
    mean, deviation : (rounds, Q) float32; weight, received_deviation : (Q,) float32:
        statistics of the power normalisation, see `network.FeedbackCode`
    """

    def __init__(
        self,
        parameters: CodeParameters,
        state: Mapping[str, NDArray],
        engine: Engine | None = None,
    ) -> None:
        self._parameters = parameters
        weights = b"".join(np.ascontiguousarray(value).tobytes() for value in state.values())
        self.identity = zlib.crc32(weights + repr(parameters).encode()) & 0xFFFF
        engine = engine or default_engine()
        self.transmitter = engine(parameters.transmitter, _part(state, "transmitter"))
        self.receiver = engine(parameters.receiver, _part(state, "receiver"))
        self.stopping = _part(state, "termination")
        self.mean, self.deviation, self.weight, self.received_deviation = (
            np.array(state[name]) for name in _STATISTICS
        )

    @classmethod
    def of(cls, module: Any, engine: Engine | None = None) -> "DeepvlfCode":
        """Make a code of a `network.FeedbackCode`."""
        state = {name: tensor.detach().numpy() for name, tensor in module.state_dict().items()}
        return cls(module.code, state, engine)

    @property
    def parameters(self) -> CodeParameters:
        """Numbers that both ends must agree on."""
        return self._parameters

    def statistics(self) -> dict[str, NDArray]:
        """Return the statistics of the power normalisation by name."""
        return {name: getattr(self, name) for name in _STATISTICS}

    def encoder(self, capacity: int) -> "DeepvlfEncoder":
        """Make a transmitter for `capacity` blocks."""
        return DeepvlfEncoder(self, capacity)

    def decoder(self, capacity: int) -> "DeepvlfDecoder":
        """Make a receiver for `capacity` blocks."""
        return DeepvlfDecoder(self, capacity)


def _part(state: Mapping[str, NDArray], name: str) -> dict[str, NDArray]:
    """The parameters below a name."""
    return {
        key.removeprefix(f"{name}."): value
        for key, value in state.items()
        if key.startswith(f"{name}.")
    }


def _by_round(network: Network, inputs: np.ndarray, rounds: np.ndarray, deep_after: int | None):
    """Run blocks of different rounds in at most two calls, by the extractor's depth."""
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


class DeepvlfEncoder(feedback.AskedEncoder):
    """The transmitter.

    rounds: (capacity,) rounds encoded so far. decoded: (capacity, Q) bool, groups that the
    receiver has decoded; their symbols are not sent and their part of the state is frozen
    (eq. 4). symbols: (capacity, Q) of the last round.
    """

    def __init__(self, code: DeepvlfCode, capacity: int):
        p = code.parameters
        self.code = code
        self.rounds = np.zeros(capacity, np.int64)
        self.labels = np.zeros((capacity, p.groups), np.int64)
        self.decoded = np.zeros((capacity, p.groups), bool)
        self.sent = np.zeros((capacity, p.groups), bool)
        self.symbols = np.zeros((capacity, p.groups), np.float32)
        # [message][x of rounds 1 .. tau_max - 1][feedback of rounds 1 .. tau_max - 1]
        self.inputs = np.zeros((capacity, p.groups, p.transmitter.inputs), np.float32)
        if code.stopping:
            self.witness = witness.Witness(capacity, p.groups)

    def start(self, slots: np.ndarray, messages: np.ndarray) -> None:
        """Begin blocks anew with messages, (n, K) uint8 bits."""
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
        if self.code.stopping:
            self.witness.start(slots)

    def outputs(self, slots: np.ndarray) -> np.ndarray:
        """Return o of the next round before normalisation, (n, Q), of decoded groups too."""
        p = self.code.parameters
        return _by_round(
            self.code.transmitter, self.inputs[slots], self.rounds[slots], p.transmitter.deep_after
        )[:, :, 0]

    def encode(self, slots: np.ndarray) -> np.ndarray:
        """Return the symbols x of the next round, (n, Q) float32; 0 for groups that are decoded."""
        return self.normalise(slots, self.outputs(slots))

    def normalise(self, slots: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """Return the symbols of outputs o, (n, Q), and count them as sent."""
        code, rounds = self.code, self.rounds[slots]
        x = (outputs - code.mean[rounds]) / (code.deviation[rounds] + np.float32(1e-8))
        x *= code.weight
        if code.parameters.peak is not None:
            np.clip(x, -code.parameters.peak, code.parameters.peak, out=x)
        sent = self.sent[slots] = ~self.decoded[slots]
        x[~sent] = 0
        self.symbols[slots] = x
        self.rounds[slots] += 1
        return x

    def observe(self, slots: np.ndarray, feedback: np.ndarray, decoded: np.ndarray) -> None:
        """Take what came back of the last round.

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
        """Return whether to stop, (n,) bool, by what came back of the beliefs.

        samples: (n, Q, 2^m), see ``Decoder.belief_samples``. threshold: of Definition 8, or,
        for a code with a learned rule, the probability that all groups are decided rightly.
        """
        if not self.code.stopping:
            return self.agrees_above(slots, samples, threshold)
        inputs = self.witness.observe(
            slots, self.beliefs_of(samples), self.labels[slots], self.rounds[slots]
        )
        probability = witness.log_probability(self.code.stopping, inputs)
        return probability > (np.log(threshold) if threshold > 0 else -np.inf)

    def agrees_above(self, slots: np.ndarray, samples: np.ndarray, threshold: float) -> np.ndarray:
        """Definition 8: every group's likeliest pattern is the true one, above the threshold."""
        beliefs = self.beliefs_of(samples)
        right = beliefs.argmax(2) == self.labels[slots]
        return right.all(1) & (beliefs.max(2).min(1) > np.float32(threshold))

    def beliefs_of(self, samples: np.ndarray) -> np.ndarray:
        """Return the beliefs as they came back, (n, Q, 2^m)."""
        p = self.code.parameters
        beliefs = samples / _belief_gain(p.patterns)
        if p.termination == "receiver":
            # Hybrid makes distributions of them again, as published.
            beliefs = np.maximum(beliefs, np.float32(1e-6))
            beliefs /= beliefs.sum(2, keepdims=True)
        return beliefs


class DeepvlfDecoder(feedback.AskingDecoder):
    """The receiver.

    rounds: (capacity,) rounds decoded so far. decoded: (capacity, Q) bool. beliefs:
    (capacity, Q, 2^m) float32.
    """

    def __init__(self, code: DeepvlfCode, capacity: int):
        p = code.parameters
        self.code = code
        self.rounds, self.limit = np.zeros(capacity, np.int64), p.rounds
        self.decoded = np.zeros((capacity, p.groups), bool)
        self.beliefs = np.zeros((capacity, p.groups, p.patterns), np.float32)
        # [y of rounds 1 .. tau_max][belief]
        self.inputs = np.zeros((capacity, p.groups, p.receiver.inputs), np.float32)

    def start(self, slots: np.ndarray) -> None:
        """Begin blocks anew."""
        p = self.code.parameters
        self.rounds[slots] = 0
        self.decoded[slots] = False
        self.beliefs[slots] = 1 / p.patterns
        self.inputs[slots, :, : p.rounds] = 0
        self.inputs[slots, :, p.rounds :] = 1 / p.patterns

    def decode(
        self, slots: np.ndarray, received: np.ndarray, threshold: float | None = None
    ) -> np.ndarray:
        """Take the received symbols y of one round, (n, Q) float32, 0 where none was sent.

        threshold : log-odds of gamma of Definition 5, above which a group is decoded and
        frozen; None decodes nothing. Returns decoded, (n, Q) bool.
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
                confident = beliefs.max(1) > np.float32(1 / (1 + np.exp(-threshold)))
            else:
                confident = log_odds(logits) > threshold
            self.decoded[slot, group] = late & confident
        if p.belief_input:
            active = ~self.decoded[slot, group]
            self.inputs[slot[active], group[active], p.rounds :] = beliefs[active]
        return self.decoded[slots]

    def feedback(self, slots: np.ndarray, received: np.ndarray) -> np.ndarray:
        """Return what goes back for y of the last round, (n, Q) float32."""
        if self.code.parameters.feedback_input == "received":
            received = received / self.code.received_deviation
        return received * np.float32(self.code.parameters.feedback_gain)

    def belief_samples(self, slots: np.ndarray) -> np.ndarray:
        """Return C_b P (eq. 9): beliefs at the power of a feedback symbol, (n, Q, 2^m) float32."""
        return self.beliefs[slots] * _belief_gain(self.code.parameters.patterns)

    def decisions(self, slots: np.ndarray) -> np.ndarray:
        """Return the likeliest pattern of each group, (n, Q)."""
        return self.beliefs[slots].argmax(2)


def _belief_gain(patterns: int) -> np.float32:
    """C_b = 2^m / sqrt(2^m - 1), Sec. IV-A."""
    return np.float32(patterns / np.sqrt(patterns - 1))


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return exp(logits) over its sum along the last axis."""
    e = np.exp(logits - logits.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def log_odds(logits: np.ndarray) -> np.ndarray:
    """Return log(p / (1 - p)) of the largest softmax probability, without forming it."""
    ordered = np.sort(logits, axis=-1)
    largest, second = ordered[..., -1], ordered[..., -2]
    rest = np.exp(ordered[..., :-1] - second[..., None]).sum(-1)
    return largest - second - np.log(rest)
