# SPDX-License-Identifier: GPL-3.0-or-later
"""The parameters of DeepVLF's codes and networks (arXiv:2602.07881)."""

import dataclasses
import json

ACTIVATIONS = ("relu", "gelu", "identity")


@dataclasses.dataclass(frozen=True)
class NetworkShape:
    """Sizes of one network.

    inputs: numbers per group going in. features: width of the extractor's hidden layers.
    width: width of a token. hidden: width inside the feed-forward parts. layers: attention
    layers. head: widths of the head's linear layers, the last one is the output.
    activation: of the feed-forward parts; head_activation: between the head's layers.
    deep_after: the variable-depth extractor (Sec. III-C1) has one layer more after this
    many rounds; None has it never.
    """

    inputs: int
    head: tuple[int, ...]
    layers: int
    features: int = 96
    width: int = 32
    hidden: int = 128
    activation: str = "gelu"
    head_activation: str = "gelu"
    deep_after: int | None = 4

    def __post_init__(self):
        object.__setattr__(self, "head", tuple(self.head))
        sizes = (self.inputs, self.layers, self.features, self.width, self.hidden, *self.head)
        if min(sizes) < 1 or not self.head:
            raise ValueError(f"expected sizes of at least 1 in a network, got {self}")
        for name in (self.activation, self.head_activation):
            if name not in ACTIVATIONS:
                raise ValueError(f"expected an activation of {ACTIVATIONS}, got {name!r}")


@dataclasses.dataclass(frozen=True)
class CodeParameters:
    """What both ends must agree on to speak a code.

    message_bits K, groups Q, rounds tau_max. m = K / Q; bit j of a group has weight 2^j in
    the number of its pattern.

    message_input: the transmitter sees its message as "signs" (m numbers -1 or 1) or
    "one-hot" (2^m numbers). feedback_input: it sees the "noise" (what came back minus what
    it sent) or the "received" symbol, standardised at the receiver before it goes back.
    belief_input: the receiver's network sees its last belief. termination: who the code was
    trained to be stopped by: "receiver" group by group (DeepVLF-R, and hybrid), "transmitter"
    block by block (DeepVLF-T), or "none" (fixed length). first_decision: tau^+, the first
    round after which the receiver may decide. peak: limit of |x|, None for none.
    feedback_gain: C_s, the amplifier of the feedback symbol, undone by the transmitter.
    decision: a group is decoded when its largest belief exceeds gamma in float32
    ("probability", as published), or when its log-odds exceed gamma's ("log-odds"), which
    still resolves beliefs that float32 rounds to 1. termination_hidden: width of the network
    that tells the transmitter when to stop (``termination``); 0 for the fixed rule.
    """

    message_bits: int
    groups: int
    rounds: int
    transmitter: NetworkShape
    receiver: NetworkShape
    message_input: str = "signs"
    feedback_input: str = "noise"
    belief_input: bool = True
    termination: str = "receiver"
    first_decision: int = 1
    peak: float | None = None
    feedback_gain: float = 1.0
    decision: str = "log-odds"
    termination_hidden: int = 0

    def __post_init__(self):
        for name in ("transmitter", "receiver"):
            shape = getattr(self, name)
            if isinstance(shape, dict):
                object.__setattr__(self, name, NetworkShape(**shape))
        choices = {
            "message_input": ("signs", "one-hot"),
            "feedback_input": ("noise", "received"),
            "termination": ("receiver", "transmitter", "none"),
            "decision": ("probability", "log-odds"),
        }
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ValueError(f"expected {name} of {known}, got {getattr(self, name)!r}")
        if self.groups < 1 or self.message_bits < self.groups or self.message_bits % self.groups:
            raise ValueError(
                "expected message bits in groups of equal size, "
                f"got {self.message_bits} bits in {self.groups} groups"
            )
        if not 1 <= self.first_decision <= self.rounds:
            raise ValueError(
                f"expected the first decision after round 1 to {self.rounds}, "
                f"got {self.first_decision}"
            )
        expected = {
            "transmitter": (self.message_inputs + 2 * (self.rounds - 1), 1),
            "receiver": (self.rounds + self.patterns * self.belief_input, self.patterns),
        }
        for name, (inputs, outputs) in expected.items():
            shape = getattr(self, name)
            if (shape.inputs, shape.head[-1]) != (inputs, outputs):
                raise ValueError(
                    f"expected a {name} network of {inputs} inputs and {outputs} outputs a group, "
                    f"got {shape.inputs} and {shape.head[-1]}"
                )

    @property
    def group_bits(self) -> int:
        """Bits a group, m."""
        return self.message_bits // self.groups

    @property
    def places(self) -> int:
        """Places for symbols in a round, one a group."""
        return self.groups

    @property
    def patterns(self) -> int:
        """Patterns of a group, 2^m."""
        return 1 << self.group_bits

    @property
    def message_inputs(self) -> int:
        """Numbers in which the transmitter's network sees a group of the message."""
        return self.group_bits if self.message_input == "signs" else self.patterns

    def to_card(self) -> dict:
        """Return what a model's card keeps."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_card(cls, card: dict) -> "CodeParameters":
        """Read what `to_card` gave; ValueError for something else."""
        try:
            return cls(**card)
        except TypeError as error:
            raise ValueError(f"no parameters of a feedback code: {error}") from error


def design(
    scheme: str,
    *,
    message_bits: int = 48,
    groups: int = 16,
    rounds: int | None = None,
    first_decision: int = 1,
    peak: float | None = None,
    feedback_gain: float = 1.0,
) -> CodeParameters:
    """Return the parameters of the paper's codes: "R", "T" (Table I), or the fixed-length "GBAF".

    rounds: tau_max, 10 for R, 20 for T and 9 for GBAF unless given. Departures from the
    published networks, each measured to train faster: R and T alike give the transmitter
    the noise and read logits (see docs/deepvlf.md).
    """
    if scheme not in ("R", "T", "GBAF"):
        raise ValueError(f"expected scheme R, T or GBAF, got {scheme!r}")
    rounds = rounds or {"R": 10, "T": 20, "GBAF": 9}[scheme]
    bits = message_bits // groups
    belief_input = scheme == "R"
    deep_after = 4 if scheme == "R" else None
    return CodeParameters(
        message_bits=message_bits,
        groups=groups,
        rounds=rounds,
        transmitter=NetworkShape(
            inputs=bits + 2 * (rounds - 1), head=(8, 1), layers=2, deep_after=deep_after
        ),
        receiver=NetworkShape(
            inputs=rounds + (belief_input << bits),
            head=(1 << bits,),
            layers=3,
            deep_after=deep_after,
        ),
        belief_input=belief_input,
        termination={"R": "receiver", "T": "transmitter", "GBAF": "none"}[scheme],
        first_decision=rounds if scheme == "GBAF" else first_decision,
        peak=peak,
        feedback_gain=feedback_gain,
    )
