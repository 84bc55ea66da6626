# SPDX-License-Identifier: GPL-3.0-or-later
"""Objects that pickle by what they were made of, for process pools."""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")


class Remade:
    """Base class: pickles, and copies, by the arguments that the object was made with.

    For objects that hold what cannot be pickled, such as a compiled kernel. What happened to them
    since they were made is not kept.
    """

    _made_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *arguments: Any, **options: Any) -> Any:
        self = super().__new__(cls)
        self._made_with = arguments, options
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        arguments, options = self._made_with
        return functools.partial(type(self), **options), arguments


class _Call:
    """A function that a factory returned, and the factory's arguments."""

    def __init__(self, made: Callable[..., Any], recipe: tuple[Any, ...]) -> None:
        self._made, self._recipe = made, recipe

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        return self._made(*arguments, **options)

    def __reduce__(self) -> tuple[Any, ...]:
        factory, arguments, options = self._recipe
        return functools.partial(factory, **options), arguments


def remade(factory: Callable[..., Callable[..., T]]) -> Callable[..., Callable[..., T]]:
    """Decorate a factory of functions, so that they pickle by its arguments.

    factory : a function of a module that returns a function
    """

    @functools.wraps(factory)
    def make(*arguments: Any, **options: Any) -> Callable[..., T]:
        return _Call(factory(*arguments, **options), (make, arguments, options))

    return make
