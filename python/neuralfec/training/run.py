# SPDX-License-Identifier: GPL-3.0-or-later
"""A training that can be stopped at any step and goes on as if it had not been."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from .. import models, provenance
from .options import Stopped, identity

# Seconds from one checkpoint to the next, and from one line of progress to the next.
_SAVE = 60.0
_REPORT = 30.0

Value = TypeVar("Value")


class Stateful(Protocol):
    """Is what a checkpoint keeps: a network, an optimizer, a schedule, an average."""

    def state_dict(self) -> dict[str, Any]:
        """Return all that must be kept."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> Any:
        """Take up what was kept."""
        ...


def averaged(network: nn.Module, decay: float = 0.999) -> AveragedModel:
    """Make the exponential moving average of a network's parameters.

    Parameters
    ----------
    network : the network as it is before the first step
    decay : weight of the past; after n steps it is at most n / (n + 10), so that the first
        steps are soon forgotten

    Returns
    -------
    The average; call its `update_parameters(network)` after each step. `average.module` is the
    network to use.
    """

    def update(average: Any, now: Any, count: Any) -> None:
        keep = min(decay, int(count) / (int(count) + 10))
        torch._foreach_lerp_(average, now, 1 - keep)

    average = AveragedModel(network, multi_avg_fn=torch.no_grad()(update))
    # The first call copies.
    average.update_parameters(network)
    return average


def default_generator(device: str) -> torch.Generator:
    """Return the generator that torch draws from on a device where none is named."""
    if torch.device(device).type == "cpu":
        return torch.default_generator
    torch.cuda.init()
    return torch.cuda.default_generators[torch.cuda.current_device()]


def start_from(network: nn.Module, model: str | os.PathLike, expect: Mapping[str, Any]) -> None:
    """Give a network the parameters of a model file or a shipped model.

    expect : what the model's card must say, see `models.Card.check`. ValueError for a model of
    something else or of another size.
    """
    models.read_card(model).check(expect)
    try:
        network.load_state_dict(models.state_dict(model))
    except RuntimeError as error:
        raise ValueError(f"{model}: {' '.join(str(error).split())}") from error


class Run:
    """One training: where it stands, how long it may go on, what it is.

    Parameters
    ----------
    checkpoint : file that the run is kept in and goes on from
    identity : whatever makes another training of it; a checkpoint of another identity is
        refused
    minutes : wall-clock minutes that this call may take, None for as many as it needs
    finish : go no step further, so that the model is written as far as the training has come
    device : of the tensors in the checkpoint
    generators : random generators of the data; a run goes on with the numbers that would have
        come
    seed : for the card; where a run goes on on another device, generators start anew from it

    Raises
    ------
    ValueError : for a checkpoint of another training or of something else
    """

    def __init__(
        self,
        checkpoint: str | os.PathLike,
        identity: Mapping[str, Any],
        *,
        minutes: float | None = None,
        finish: bool = False,
        device: str = "cpu",
        generators: Mapping[str, torch.Generator] | None = None,
        seed: int | None = None,
    ) -> None:
        self.checkpoint, self.finish = Path(checkpoint), finish
        self.device, self.seed = device, seed
        self.generators = dict(generators or {})
        self._identity = dict(identity)
        self._began = time.monotonic()
        self._end = math.inf if minutes is None else self._began + 60 * minutes
        self._state: dict[str, Any] = {"done": {}, "kept": {}, "steps": 0, "seconds": 0.0}
        self._state["current"] = None
        self._figures: dict[str, float] = {}
        self._stage, self._count, self._step, self._interrupted = "", 0, 0, False
        self._resumed: str | None = None
        if self.checkpoint.exists():
            self._load()
        elif finish:
            raise ValueError(f"{self.checkpoint}: there is no training to finish")
        self._before = self._state["seconds"]
        self._first_step = self._state["steps"]
        self._reported = self._saved = self._timed = self._began

    @classmethod
    def of(cls, options: argparse.Namespace, **more: Any) -> Run:
        """Make the run that the common options ask for; more : further arguments of `Run`."""
        return cls(
            options.checkpoint,
            identity(options),
            minutes=options.minutes,
            finish=options.finish,
            device=options.device,
            seed=options.seed,
            **more,
        )

    @property
    def taken(self) -> int:
        """The steps so far, of all stages and calls."""
        return int(self._state["steps"])

    @property
    def seconds(self) -> float:
        """The wall-clock seconds so far, of all calls."""
        return self._before + time.monotonic() - self._began

    def record(self) -> models.Training:
        """Return what a model's card says of its training."""
        return models.Training(
            command=provenance.command(),
            commit=provenance.commit(),
            seed=self.seed,
            steps=self.taken,
            device=f"{self.device}, {self.seconds / 60:.0f} minutes",
        )

    def keep(self, name: str, make: Callable[[], Value]) -> Value:
        """Return a result that is computed once, by make, and kept in the checkpoint."""
        kept = self._state["kept"]
        if name not in kept:
            kept[name] = make()
            self.save()
        return kept[name]

    def steps(
        self, count: int, parts: Mapping[str, Stateful], stage: str = "training"
    ) -> Iterator[int]:
        """Count the steps of a stage, 0 .. count - 1, from where the checkpoint left it.

        Saves once a minute, at the end, and when it stops: by Ctrl-C (or SIGTERM) after the
        step it is in, a second Ctrl-C at once, or when the minutes are over.

        Parameters
        ----------
        count : steps of the stage in all
        parts : what the steps change; its state is taken from the checkpoint first
        stage : a name, for a training with several stages one after the other

        Raises
        ------
        Stopped : where it stops before the last step
        """
        at = self._state["done"].setdefault(stage, {"step": 0, "parts": None})
        if at["parts"] is not None:
            for name, part in parts.items():
                part.load_state_dict(at["parts"][name])
            if 0 < at["step"] < count:
                print(f"{self.checkpoint}: goes on from step {at['step']} of {count}", flush=True)
        if stage == self._resumed:
            self._restore_generators()
        elif at["parts"] is None:
            self.save(stage, parts)
        self._figures.clear()
        with self._listening():
            while at["step"] < count and not self.finish:
                if self._interrupted or time.monotonic() > self._end:
                    self.save(stage, parts)
                    why = "interrupted" if self._interrupted else "the minutes are over"
                    raise Stopped(f"{stage}: {why} after step {at['step']} of {count}")
                self._stage, self._step, self._count = stage, at["step"], count
                yield at["step"]
                at["step"] += 1
                self._state["steps"] += 1
                if at["step"] == count or time.monotonic() - self._saved > _SAVE:
                    self.save(stage, parts)

    def report(self, **figures: float | Callable[[], float]) -> None:
        """Note figures of a step; a line with their running means is printed now and then.

        A figure that is a function is called for a line alone. ValueError for one that is not
        finite: no further step mends a network that has diverged, and the last checkpoint is
        from before.
        """
        for name, value in figures.items():
            if callable(value):
                continue
            if not math.isfinite(value):
                raise ValueError(
                    f"{self._stage}: {name} is {value} in step {self._step + 1}: the training has "
                    "diverged; start it again with a lower --rate"
                )
            before = self._figures.get(name)
            self._figures[name] = value if before is None else before + 0.02 * (value - before)
        now = time.monotonic()
        first, left = self.taken == self._first_step, self._count - self._step - 1
        if now - self._reported < _REPORT and left and not first:
            return
        self._reported = now
        asked = {name: value() for name, value in figures.items() if callable(value)}
        text = "  ".join(f"{name} {value:.5g}" for name, value in (self._figures | asked).items())
        if first:
            # The first step of a call takes longer than others and tells nothing of them.
            self._timed = now
            ahead = ""
        else:
            seconds = left * (now - self._timed) / (self.taken - self._first_step)
            ahead = f", {min(seconds, max(self._end - now, 0)):.0f} s left"
        print(
            f"{self._stage}: step {self._step + 1} of {self._count}  {text}  "
            f"{self.seconds:.0f} s{ahead}",
            flush=True,
        )

    def save(self, stage: str | None = None, parts: Mapping[str, Stateful] | None = None) -> None:
        """Write the checkpoint, whole or not at all."""
        if stage is not None and parts is not None:
            self._state["current"] = stage
            self._state["done"][stage]["parts"] = {
                name: part.state_dict() for name, part in parts.items()
            }
        self._state["identity"] = self._identity
        self._state["seconds"] = self.seconds
        self._state["generators"] = {
            name: (generator.device.type, generator.get_state())
            for name, generator in self.generators.items()
        }
        part_file = self.checkpoint.with_name(f".{self.checkpoint.name}.{os.getpid()}")
        try:
            torch.save(self._state, part_file)
            os.replace(part_file, self.checkpoint)
        except RuntimeError as error:
            # What torch makes of a full disk.
            raise OSError(f"{self.checkpoint}: cannot be written: {error}") from error
        finally:
            part_file.unlink(missing_ok=True)
        self._saved = time.monotonic()

    def _load(self) -> None:
        try:
            state = torch.load(self.checkpoint, map_location=self.device, weights_only=True)
            theirs = dict(state["identity"])
        except Exception as error:
            # torch raises what it likes for a file that is none of its own.
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ValueError(
                f"{self.checkpoint}: no checkpoint of a training: {reason[0]}"
            ) from error
        wrong = [
            f"{name} {theirs.get(name)!r}, not {self._identity.get(name)!r}"
            for name in dict.fromkeys([*theirs, *self._identity])
            if theirs.get(name) != self._identity.get(name)
        ]
        if wrong:
            raise ValueError(
                f"{self.checkpoint} is of another training, with {'; '.join(wrong)}: give the "
                "options it was started with, or another --checkpoint"
            )
        self._state, self._resumed = state, state["current"]

    def _restore_generators(self) -> None:
        """Let the generators go on; not before the stage, as making its parts draws numbers."""
        self._resumed = None
        for name, generator in self.generators.items():
            device, numbers = self._state["generators"][name]
            if device == generator.device.type:
                generator.set_state(numbers.cpu())
            else:
                generator.manual_seed((self.seed or 0) + 1000 * self.taken)

    @contextlib.contextmanager
    def _listening(self) -> Iterator[None]:
        """Let the first Ctrl-C or SIGTERM end the step, and the second do what it did before."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.getsignal(number) or signal.SIG_DFL for number in numbers}

        def stop(number: int, _: Any) -> None:
            self._interrupted = True
            signal.signal(number, before[signal.Signals(number)])
            print("stops after this step; once more stops at once", file=sys.stderr, flush=True)

        for number in before:
            signal.signal(number, stop)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
