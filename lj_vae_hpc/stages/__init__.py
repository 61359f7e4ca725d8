"""One module per command: they wire the layers together and hold no science."""

from importlib import import_module
from typing import Any


def call(name: str, *arguments: Any, module: str = "", **named: Any) -> None:
    """Runs the function of a command, from the module in stages/ of the same name unless another is given."""
    getattr(import_module(f"lj_vae_hpc.stages.{module or name}"), name)(*arguments, **named)
