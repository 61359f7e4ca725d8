"""Finds the classes that the files of a folder define, so that adding one touches no other file."""

from collections.abc import Iterator
from importlib import import_module
from inspect import isabstract
from pkgutil import iter_modules
from typing import TypeVar

T = TypeVar("T")


def classes_in(package: str, kind: type[T]) -> Iterator[type[T]]:
    """The subclasses of a kind that a package's files define, by file name; abstract ones are left out."""
    for found in iter_modules(import_module(package).__path__):
        module = import_module(f"{package}.{found.name}")
        for value in vars(module).values():
            own = isinstance(value, type) and value.__module__ == module.__name__
            if own and issubclass(value, kind) and not isabstract(value):
                yield value
