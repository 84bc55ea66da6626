# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading and writing model files.

A file is TorchScript with the card inside as `model.json`. Only this module calls
`torch.jit`: where another engine joins or follows TorchScript, it is added here. Card and
parameters are read without torch, which is all that the C++ kernels need.
"""

import contextlib
import io
import os
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from .. import TORCH
from .archive import read_parameters
from .card import Card, Method

if TYPE_CHECKING:
    import torch

_CARD = "model.json"
_SHIPPED = Path(__file__).parent
# Stands for a dimension of any size; above 1, so that broadcasting hides no mistake.
_ANY_SIZE = 2


def shipped() -> list[str]:
    """Return the names of the shipped models, "quantization/qam256-15bit" for one."""
    return sorted(
        file.relative_to(_SHIPPED).with_suffix("").as_posix() for file in _SHIPPED.glob("*/*.pt")
    )


def path(name: str) -> Path:
    """Return the file of a shipped model.

    ValueError for another name, with those of its system, or with all where it names no system.
    """
    if name not in shipped():
        # A program of one system names that system's models, without the others'.
        system = name.rpartition("/")[0] + "/"
        of_system = [other for other in shipped() if other.startswith(system)]
        there = ", ".join(of_system or shipped()) or "none"
        raise ValueError(f"no model {name!r} is shipped; there are: {there}")
    return _SHIPPED / f"{name}.pt"


def save(file: str | os.PathLike, module: "torch.nn.Module", card: Card) -> None:
    """Write a module and its card into one file, whole or not at all.

    The module is scripted unless it is already, in evaluation mode and on the CPU, and its
    methods must be as the card says; ValueError where they are not.
    """
    torch = torch_or_error()
    with quiet_jit():
        module = module.eval().cpu()
        script = module if isinstance(module, torch.jit.ScriptModule) else torch.jit.script(module)
        _try(script, card)
        written = io.BytesIO()
        torch.jit.save(script, written, _extra_files={_CARD: card.to_json()})
    kept = io.BytesIO()
    with zipfile.ZipFile(written) as archive, zipfile.ZipFile(kept, "w") as compact:
        for entry in archive.infolist():
            # Debug records hold source paths of the machine, and nothing needs them.
            if not entry.filename.endswith(".debug_pkl"):
                compact.writestr(entry, archive.read(entry))
    replace(file, kept.getvalue())


def replace(file: str | os.PathLike, content: bytes) -> None:
    """Write a file, whole or not at all."""
    file = Path(file)
    part = file.with_name(f".{file.name}.{os.getpid()}")
    try:
        part.write_bytes(content)
        os.replace(part, file)
    finally:
        part.unlink(missing_ok=True)


def read_card(file: str | os.PathLike) -> Card:
    """Read the card of a model file or of a shipped name, without torch.

    FileNotFoundError where there is no file; ValueError for one that is no model, or damaged.
    """
    file = _file(file)
    if not file.exists():
        raise FileNotFoundError(f"no model file {file}")
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
            damaged = archive.testzip()
            cards = [name for name in names if name.endswith(f"/extra/{_CARD}")]
            text = archive.read(cards[0]) if len(cards) == 1 else None
    # zipfile raises a RuntimeError, or a kind of it, for encryption or an unknown compression,
    # which a flipped bit in a header asks for.
    except (zipfile.BadZipFile, EOFError, RuntimeError) as error:
        raise ValueError(f"{file}: not a model file, or a truncated one ({error})") from None
    if damaged:
        raise ValueError(f"{file}: damaged, the checksum of {damaged} is wrong")
    if text is None or not any("/code/" in name for name in names):
        kind = "TorchScript" if any("/code/" in name for name in names) else "a zip file"
        raise ValueError(
            f"{file}: {kind} without a card ({_CARD}); models are written by models.save"
        )
    try:
        return Card.from_json(text)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def load(
    file: str | os.PathLike, expect: Mapping[str, Any] | None = None, device: str = "cpu"
) -> tuple["torch.jit.ScriptModule", Card]:
    """Load the module, in evaluation mode, and the card of a file path or shipped name.

    Each method that the card names is called once. TorchScript compiles during a method's
    first calls, so what must answer in time calls it once or twice before.

    expect: what is asked of the card, see `Card.check`:
        {"system": "syndrome", "code": CodeIdentity.of(code)}, {"bits_per_symbol": 8}.
    Nothing of the file is run before its card has passed, and no Python of it ever:
    TorchScript is not pickle.

    FileNotFoundError where there is no file. ValueError for a file that is no model, is
    damaged, is of a newer format, is not what was asked for, or does not compute what its
    card says.
    """
    card = read_card(file)
    card.check(expect or {})
    with quiet_jit():
        script = _load(file, device)
        script.eval()
        _try(script, card, device)
    return script, card


def parameters(file: str | os.PathLike) -> dict[str, NDArray]:
    """Read parameters and buffers of a model as NumPy arrays by name, without torch.

    file: path or shipped name. Errors as `read_card`.
    """
    read_card(file)
    return read_parameters(_file(file))


def state_dict(file: str | os.PathLike) -> "dict[str, torch.Tensor]":
    """Read parameters and buffers of a model as tensors, to go on training from.

    file: path or shipped name. Errors as `read_card`.
    """
    torch = torch_or_error()
    return {name: torch.from_numpy(array) for name, array in parameters(file).items()}


def _file(file: str | os.PathLike) -> Path:
    return path(file) if isinstance(file, str) and not file.endswith(".pt") else Path(file)


def _load(file: str | os.PathLike, device: str) -> "torch.jit.ScriptModule":
    try:
        return torch_or_error().jit.load(str(_file(file)), map_location=device)
    except RuntimeError as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{_file(file)}: torch cannot read it: {reason}") from error


def _check_methods(script: "torch.jit.ScriptModule", card: Card) -> None:
    missing = [name for name in card.methods if not hasattr(script, name)]
    if missing:
        raise ValueError(f"model {card.name}: its card names methods {missing}, it has none such")


def _try(script: "torch.jit.ScriptModule", card: Card, device: str = "cpu") -> None:
    """Call each method with zeros and hold the outputs against the card."""
    torch = torch_or_error()
    _check_methods(script, card)
    for name, method in card.methods.items():
        tensors = [
            torch.zeros([_ANY_SIZE if size is None else size for size in shape], device=device)
            for shape in method.inputs.values()
        ]
        try:
            # Without the profiling executor, which takes ten times as long for one call.
            with torch.inference_mode(), torch.jit.optimized_execution(False):
                outputs = getattr(script, name)(*tensors)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            raise ValueError(
                f"model {card.name}: {name} does not take {_shapes(method.inputs)} "
                f"as its card says: {reason}"
            ) from error
        _check_outputs(outputs, method, f"model {card.name}: {name}")


def _check_outputs(outputs: Any, method: Method, where: str) -> None:
    found = list(outputs) if isinstance(outputs, tuple | list) else [outputs]
    wanted = list(method.outputs.values())
    fits = len(found) == len(wanted) and all(
        tensor.ndim == len(shape)
        and all(size in (None, actual) for size, actual in zip(shape, tensor.shape, strict=True))
        for tensor, shape in zip(found, wanted, strict=True)
    )
    if not fits:
        gives = ", ".join(str(tuple(tensor.shape)) for tensor in found)
        raise ValueError(f"{where} gives {gives}, its card says {_shapes(method.outputs)}")


def _shapes(tensors: Mapping[str, tuple]) -> str:
    return ", ".join(f"{name} {shape}" for name, shape in tensors.items())


def torch_or_error() -> Any:
    """Return the module torch; ImportError says how to get it."""
    try:
        import torch
    except ImportError as error:
        raise ImportError(
            f"running this network needs PyTorch, which does not import here ({error}); {TORCH}",
            name=error.name,
        ) from error
    return torch


@contextlib.contextmanager
def quiet_jit() -> Iterator[None]:
    """Hold back torch's word that TorchScript is deprecated."""
    # TorchScript is deprecated since torch 2.9 and stays until its successor does as well.
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r".*torch\.jit\.\w+` is deprecated", DeprecationWarning)
        yield
