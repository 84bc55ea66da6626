# SPDX-License-Identifier: GPL-3.0-or-later
"""What a model file says of itself."""

import dataclasses
import hashlib
import json
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

FORMAT_VERSION = 1
LLR_SIGN = "positive means bit 1"

Shape = tuple[int | None, ...]


def parity_check_sha256(parity_check: np.ndarray) -> str:
    """Return the SHA-256 in hex of a parity-check matrix, 0/1 (m, n).

    It runs over m and n as little-endian uint32, then the rows, each packed to whole bytes, most
    significant bit first. ValueError for a matrix of other values.
    """
    matrix = np.asarray(parity_check)
    if matrix.ndim != 2 or not np.isin(matrix, (0, 1)).all():
        raise ValueError(f"expected a 0/1 matrix (m, n), got shape {matrix.shape}")
    packed = np.packbits(matrix.astype(np.uint8), axis=1)
    return hashlib.sha256(np.array(matrix.shape, "<u4").tobytes() + packed.tobytes()).hexdigest()


@dataclass(frozen=True)
class CodeIdentity:
    """Names the code that a model belongs to; the hash of H is None for a code without one."""

    n: int
    k: int
    parity_check_sha256: str | None = None

    @classmethod
    def of(cls, code: Any) -> "CodeIdentity":
        """Return the identity of a code with `n`, `k` and, if it has one, `parity_check`."""
        matrix = getattr(code, "parity_check", None)
        return cls(code.n, code.k, None if matrix is None else parity_check_sha256(matrix))


@dataclass(frozen=True)
class Method:
    """Describes the float32 tensors of a module's method by name, in the order of the call.

    A dimension of any size (batch, length) is None.
    """

    inputs: dict[str, Shape]
    outputs: dict[str, Shape]


@dataclass(frozen=True)
class Training:
    """Says how a model was trained; see `provenance` for command and commit."""

    command: str = ""
    commit: str | None = None
    seed: int | None = None
    steps: int | None = None
    device: str = ""


@dataclass(frozen=True, kw_only=True)
class Card:
    """What a model is, what it wants and how it came to be.

    system: "quantization", "syndrome", "sequence" or "feedback".
    name: as the model is called in files and specs.
    methods: what can be called, "forward" included; `load` tries each.
    code: where the model belongs to one.
    llr_sign, normalisation: of the model's input.
    operating_point: what it was trained for, with the SNR's definition.
    measured: figures of merit by name, with unit and conditions in the name or the value.
    parameters: all else that its users must know (JSON-able), bits a symbol for instance.
    """

    system: str
    name: str
    methods: dict[str, Method]
    code: CodeIdentity | None = None
    llr_sign: str = LLR_SIGN
    normalisation: str = "none"
    operating_point: str = ""
    training: Training = field(default_factory=Training)
    measured: dict[str, Any] = field(default_factory=dict)
    parameters: dict[str, Any] = field(default_factory=dict)
    format_version: int = FORMAT_VERSION

    def __post_init__(self) -> None:
        _check_types(self, "card")
        if not self.system or not self.name:
            raise ValueError("card: expected a system and a name, got an empty one")
        if not self.methods:
            raise ValueError("card: expected the inputs and outputs of at least one method")
        if self.llr_sign != LLR_SIGN:
            raise ValueError(f"card: expected llr_sign {LLR_SIGN!r}, got {self.llr_sign!r}")
        for what in ("measured", "parameters"):
            try:
                json.dumps(getattr(self, what), allow_nan=False)
            except (TypeError, ValueError) as error:
                raise ValueError(f"card: {what} is not JSON-able: {error}") from None

    def to_json(self) -> str:
        """Return the card as JSON text, as it stands in a model file."""
        return json.dumps(dataclasses.asdict(self), indent=2, allow_nan=False)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Card":
        """Make a card from JSON text; ValueError where it is none, or one of a newer format."""
        try:
            data = json.loads(text)
        except ValueError as error:
            raise ValueError(f"card is not JSON: {error}") from None
        if not isinstance(data, dict):
            raise ValueError(f"card: expected a JSON object, got {type(data).__name__}")
        version = data.get("format_version")
        if not isinstance(version, int) or version < 1:
            raise ValueError(f"card: expected a format_version, got {version!r}")
        if version > FORMAT_VERSION:
            raise ValueError(
                f"card: format version {version} is newer than {FORMAT_VERSION}, "
                "which this version of gr-neuralfec reads; update it"
            )
        return _build(cls, data, "card")

    def check(self, expect: Mapping[str, Any]) -> None:
        """Hold the card against what is asked for; ValueError with all differences.

        expect : by key, where a key is a field of the card, of its code (`n`, `k`,
            `parity_check_sha256`), or one of `parameters`. `code` may be a `CodeIdentity`.
        """
        known = (
            self.parameters
            | (dataclasses.asdict(self.code) if self.code else {})
            | {key: getattr(self, key) for key in ("system", "name", "code", "normalisation")}
        )
        wrong = [
            f"{key} {_brief(value)} was asked for, the model "
            + (f"has {_brief(known[key])}" if key in known else f"says nothing of {key}")
            for key, value in expect.items()
            if key not in known or known[key] != value
        ]
        if wrong:
            raise ValueError(f"model {self.system}/{self.name}: " + "; ".join(wrong))


def _brief(value: Any) -> str:
    return f"{value[:12]!r}..." if isinstance(value, str) and len(value) > 40 else repr(value)


def _build(cls: type, data: Any, where: str) -> Any:
    """A dataclass from JSON, whose types `__post_init__` or `_check_types` checks."""
    if not isinstance(data, dict):
        raise ValueError(f"{where}: expected an object, got {data!r}")
    names = {entry.name for entry in dataclasses.fields(cls)}
    required = {
        entry.name
        for entry in dataclasses.fields(cls)
        if entry.default is entry.default_factory is dataclasses.MISSING
    }
    if not required <= data.keys() <= names:
        raise ValueError(
            f"{where}: missing {sorted(required - data.keys())}, "
            f"unknown {sorted(data.keys() - names)}"
        )
    data = dict(data)
    if cls is Card:
        if data.get("code") is not None:
            data["code"] = _build(CodeIdentity, data["code"], f"{where}.code")
        if "training" in data:
            data["training"] = _build(Training, data["training"], f"{where}.training")
        if isinstance(data["methods"], dict):
            data["methods"] = {
                name: _build(Method, method, f"{where}.methods.{name}")
                for name, method in data["methods"].items()
            }
    if cls is Method:
        for side in ("inputs", "outputs"):
            if isinstance(data[side], dict):
                data[side] = {
                    name: tuple(shape) if isinstance(shape, list) else shape
                    for name, shape in data[side].items()
                }
    return cls(**data)


def _check_types(value: Any, where: str) -> None:
    """ValueError where a field of a dataclass, or of one in it, is not of its type."""
    for name, expected in typing.get_type_hints(type(value)).items():
        found = getattr(value, name)
        if not _is(found, expected):
            raise ValueError(f"{where}: expected {name} of type {expected}, got {found!r}")
        parts = found.items() if isinstance(found, dict) else [("", found)]
        for key, part in parts:
            if dataclasses.is_dataclass(part):
                _check_types(part, f"{where}.{name}" + f".{key}" * bool(key))


def _is(value: Any, expected: Any) -> bool:
    origin, arguments = typing.get_origin(expected), typing.get_args(expected)
    if expected is Any:
        return True
    if origin in (types.UnionType, typing.Union):
        return any(_is(value, one) for one in arguments)
    if origin is dict:
        return isinstance(value, dict) and all(
            _is(key, arguments[0]) and _is(entry, arguments[1]) for key, entry in value.items()
        )
    if origin is tuple:
        return isinstance(value, tuple) and all(_is(entry, arguments[0]) for entry in value)
    return isinstance(value, expected) and not (expected is int and isinstance(value, bool))
