# SPDX-License-Identifier: GPL-3.0-or-later
"""The published checkpoints of DeepVLF as codes of this package.

The files (github.com/hku-icl/DeepVLF) hold the weights of both networks and nothing else:
what kind of code they are, K, Q, m and tau_max follow from names and shapes; the
statistics of the power normalisation are not in them and are estimated again. Where the
published networks depart from the paper, they are followed.
"""

import math
import pickle
import re
import zipfile
from pathlib import Path

import torch
from torch import Tensor

from .network import FeedbackCode
from .parameters import CodeParameters, NetworkShape

# Our name of each part, by the kind of code. Layers are numbered; see _rename.
_NAMES = {
    "R": {
        r"encoder\.FC1": "extract1",
        r"encoder\.FC2": "extract2",
        r"encoder\.FC3": "extract3",
        r"encoder\.FC4": "embed",
        r"encoder\.norm": "norm",
        r"encoder\.layers\.(\d+)\.(norm[12])": r"layers.\1.\2",
        r"encoder\.layers\.(\d+)\.self_attn\.q_linear": r"layers.\1.query",
        r"encoder\.layers\.(\d+)\.self_attn\.k_linear": r"layers.\1.key",
        r"encoder\.layers\.(\d+)\.self_attn\.v_linear": r"layers.\1.value",
        r"encoder\.layers\.(\d+)\.self_attn\.FC": r"layers.\1.merge",
        r"encoder\.layers\.(\d+)\.ffNet\.linear_1": r"layers.\1.expand",
        r"encoder\.layers\.(\d+)\.ffNet\.linear_2": r"layers.\1.contract",
        r"out1?": "head.0",
        r"out2": "head.1",
    },
    "T": {
        r"linear_input1": "extract1",
        r"linear_input2": "extract2",
        r"linear_input3": "embed",
        r"norm": "norm",
        r"attention_layers\.(\d+)\.(norm[12])": r"layers.\1.\2",
        r"attention_layers\.(\d+)\.self_attn\.q_linear": r"layers.\1.query",
        r"attention_layers\.(\d+)\.self_attn\.k_linear": r"layers.\1.key",
        r"attention_layers\.(\d+)\.self_attn\.v_linear": r"layers.\1.value",
        r"attention_layers\.(\d+)\.self_attn\.FC": r"layers.\1.merge",
        r"attention_layers\.(\d+)\.linear1": r"layers.\1.expand",
        r"attention_layers\.(\d+)\.linear2": r"layers.\1.contract",
        r"linear_output1": "head.0",
        r"linear_output2": "head.1",
        r"linear_output3": "head.2",
    },
}
_POWER_WEIGHT = "total_power_reloc.weight1"


def read_state(path: str | Path) -> dict[str, Tensor]:
    """Read the state dictionary of a checkpoint file without running anything in it.

    ValueError if the file is no checkpoint, is damaged, or holds numbers that are not finite.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                # torch does not look at the checksums.
                if part := archive.testzip():
                    raise ValueError(f"the checksum of {part} is wrong")
        content = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise
    except (
        pickle.UnpicklingError,
        zipfile.BadZipFile,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        AttributeError,
        TypeError,
        IndexError,
        OSError,
    ) as error:
        reason = str(error).strip().splitlines()
        raise ValueError(
            f"{path} is no checkpoint or a damaged one: {reason[0] if reason else type(error)}"
        ) from error
    state = content.get("model", content) if isinstance(content, dict) else content
    if (
        not isinstance(state, dict)
        or not state
        or not all(isinstance(value, Tensor) for value in state.values())
    ):
        raise ValueError(f"{path} holds no state dictionary, but {_describe(state)}")
    state = {str(name).removeprefix("module."): value for name, value in state.items()}
    for name, value in state.items():
        if not value.is_floating_point() or not torch.isfinite(value).all():
            raise ValueError(f"{path}: expected finite floating point numbers in {name}")
    return {name: value.float() for name, value in state.items()}


def _describe(content) -> str:
    if isinstance(content, dict):
        return f"a dictionary of {len(content)} entries ({', '.join(map(str, list(content)[:3]))})"
    return f"a {type(content).__name__}"


def _rename(kind: str, name: str) -> str:
    """Our name of one tensor of one network; ValueError if the family has no such part."""
    part, _, leaf = name.rpartition(".")
    for pattern, ours in _NAMES[kind].items():
        match = re.fullmatch(pattern, part)
        if match and leaf in ("weight", "bias"):
            return f"{match.expand(ours)}.{leaf}"
    raise ValueError(f"unknown part {name!r} in a DeepVLF-{kind} network")


def _network(kind: str, state: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    tensors = {
        _rename(kind, name.removeprefix(prefix)): value
        for name, value in state.items()
        if name.startswith(prefix) and not name.endswith("pe.pe")
    }
    if not tensors:
        raise ValueError(f"no DeepVLF checkpoint: it has no {prefix.rstrip('.')}")
    return tensors


def _shape(kind: str, tensors: dict[str, Tensor], network: str) -> NetworkShape:
    def size(name: str, axis: int) -> int:
        if name not in tensors or tensors[name].ndim != 2:
            raise ValueError(f"no matrix {name} in the {network} network")
        return tensors[name].shape[axis]

    layers = {int(match[1]) for name in tensors if (match := re.match(r"layers\.(\d+)\.", name))}
    heads = sorted(name for name in tensors if re.fullmatch(r"head\.\d+\.weight", name))
    if layers != set(range(len(layers))) or not layers or not heads:
        raise ValueError(f"the {network} network has layers {sorted(layers)} and heads {heads}")
    return NetworkShape(
        inputs=size("extract1.weight", 1),
        features=size("extract1.weight", 0),
        width=size("embed.weight", 0),
        hidden=size("layers.0.expand.weight", 0),
        layers=len(layers),
        head=tuple(size(name, 0) for name in heads),
        activation={"R": "gelu", "T": "relu"}[kind],
        head_activation={"R": "identity", "T": "relu"}[kind],
        # The third layer works from the fifth round on.
        deep_after=4 if "extract3.weight" in tensors else None,
    )


def first_decision(snr_db: float, group_bits: int, threshold: float, rounds: int) -> int:
    """Return tau^+ of Sec. III-C3 as published: rounded half to even, the paper has a floor."""
    mu = 5 if threshold <= 1 - 1e-5 else 6 if threshold <= 1 - 1e-6 else 7
    shannon = 2 * group_bits / math.log2(1 + 10 ** (snr_db / 10))
    return min(max(mu, round(shannon)), rounds)


def published_positions(positions: int, width: int) -> Tensor:
    """Return the position table of the published code: sin or cos of p / 10000^(2c / width).

    c is the number of the channel, where the usual formula has its pair's.
    """
    channel = torch.arange(width)
    angle = torch.arange(positions)[:, None] / 10000 ** (2 * channel / width)
    return torch.where(channel % 2 == 0, angle.sin(), angle.cos())


def import_checkpoint(
    path: str | Path, snr_db: float, threshold: float, groups: int | None = None
) -> FeedbackCode:
    """Read the networks of a checkpoint; their statistics are still to be estimated.

    snr_db, threshold: the point it was trained for, which tau^+ of an R code depends on.
    groups: Q, 16 unless given; only the files of T codes tell it. ValueError with the reason
    for a file that is no checkpoint of the family.
    """
    state = read_state(path)
    try:
        return _build(state, snr_db, threshold, groups)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _build(
    state: dict[str, Tensor], snr_db: float, threshold: float, groups: int | None
) -> FeedbackCode:
    kind = "R" if any(name.startswith("Tmodel.encoder.") for name in state) else "T"
    prefixes = ("Tmodel.", "Rmodel.")
    tensors = [_network(kind, state, prefix) for prefix in prefixes]
    foreign = [
        name
        for name in state
        if not name.startswith(prefixes) and name != _POWER_WEIGHT and not name.endswith("pe.pe")
    ]
    if foreign:
        raise ValueError(f"unknown part {foreign[0]!r} in a DeepVLF-{kind} checkpoint")
    transmitter = _shape(kind, tensors[0], "transmitter")
    receiver = _shape(kind, tensors[1], "receiver")
    patterns = receiver.head[-1]
    group_bits = patterns.bit_length() - 1
    if patterns != 1 << group_bits or group_bits < 1:
        raise ValueError(f"expected a power of two of patterns a group, got {patterns}")
    belief_input = kind == "R"
    rounds = receiver.inputs - patterns * belief_input
    weight = None
    if kind == "T" and _POWER_WEIGHT in state:
        weight = state[_POWER_WEIGHT].abs().flatten()
        if groups not in (None, len(weight)):
            raise ValueError(f"the checkpoint has {len(weight)} groups, got {groups}")
        groups = len(weight)
    groups = groups or 16
    if rounds < 1:
        raise ValueError(f"{receiver.inputs} inputs of the receiver leave no room for rounds")
    module = FeedbackCode(
        CodeParameters(
            message_bits=groups * group_bits,
            groups=groups,
            rounds=rounds,
            transmitter=transmitter,
            receiver=receiver,
            message_input="signs" if kind == "R" else "one-hot",
            feedback_input="noise" if kind == "R" else "received",
            belief_input=belief_input,
            termination="receiver" if kind == "R" else "transmitter",
            first_decision=(
                first_decision(snr_db, group_bits, threshold, rounds) if kind == "R" else 1
            ),
            decision="probability",
        )
    )
    for ours, theirs in zip((module.transmitter, module.receiver), tensors, strict=True):
        width = ours.shape.width
        table = state.get("pe.pe", published_positions(groups, width)[None])
        if table.ndim != 3 or table.shape[1] < groups or table.shape[2] != width:
            raise ValueError(
                f"expected positions of shape (1, at least {groups}, {width}), "
                f"got {tuple(table.shape)}"
            )
        theirs["positions"] = table[0, :groups].clone()
        try:
            ours.load_state_dict(theirs)
        except RuntimeError as error:
            raise ValueError(" ".join(str(error).split())) from error
    if weight is not None:
        module.weight.copy_(weight * math.sqrt(groups / weight.square().sum().item()))
    return module
