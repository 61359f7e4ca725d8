"""Weights and full training state as safetensors: loading them executes nothing."""

import json
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn

from lj_vae_hpc.config.base import Section
from lj_vae_hpc.config.model import Model
from lj_vae_hpc.config.objective import Objective
from lj_vae_hpc.config.representation import Representation
from lj_vae_hpc.config.system import System
from lj_vae_hpc.errors import COMMAND, UserError
from lj_vae_hpc.run.files import publish
from lj_vae_hpc.run.provenance import differences

SECTIONS: dict[str, type[Section]] = {
    "system": System, "representation": Representation, "model": Model, "objective": Objective,
}  # fmt: skip


def save(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Writes tensors and JSON facts; the file appears by rename when complete.

    Raises:
        UserError: it cannot be written.
    """
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        partial.write_bytes(to_bytes(contiguous, metadata={"facts": json.dumps(facts)}))
        publish(partial, path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"cannot write {path}: {error}; the previous checkpoint is kept") from None


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Reads what save wrote.

    Raises:
        UserError: missing, damaged, or not written by this program.
    """
    return _read(path, tensors=True)


def _read(path: Path, tensors: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
    if not path.exists():
        raise UserError(f"{path} does not exist; run `{COMMAND} train -o {path.parents[1]}` first")
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {})["facts"])
            return {name: file.get_tensor(name) for name in file.keys() if tensors}, facts  # noqa: SIM118, not a dict
    except (OSError, SafetensorError, KeyError, json.JSONDecodeError) as error:
        raise UserError(
            f"cannot read {path}: damaged or not written by lj-vae ({error!r:.100}); move {path.parent} away and run "
            f"`{COMMAND} train -o {path.parents[1]}`"
        ) from None


def load_facts(path: Path) -> dict[str, Any]:
    """Reads only the facts of what save wrote.

    Raises:
        UserError: as load.
    """
    return _read(path, tensors=False)[1]


def check_facts(stored: dict[str, Any], facts: dict[str, Any], path: Path) -> None:
    """Refuses weights that were trained for another system, representation or network.

    Sections are compared after they are validated, so a key that was added since with a default changes nothing.

    Args:
        stored: facts of the weights.
        facts: the sections that they must agree with (setup.model_facts).
        path: of the weights.

    Raises:
        UserError: naming the keys that differ.
    """
    different = []
    for name, section in facts.items():
        try:
            valid = SECTIONS[name].model_validate(stored.get(name, {})).model_dump(mode="json")
        except ValidationError as error:
            different += [f"{name}.{e['loc'][0]}: {e['msg'].lower()}" for e in error.errors()]
        else:
            different += differences(valid, section, name)
    if different:
        raise UserError(
            f"{path} is a checkpoint of another architecture or system: {'; '.join(different)}. Set these keys as they "
            "were there, or choose another -o"
        )


def arithmetic_note(stored: dict[str, Any], now: dict[str, Any]) -> str | None:
    """What to tell where a run continues in another arithmetic than that of its checkpoint; None where it is the same.

    Args:
        stored: the checkpoint's facts.
        now: what the rounding of sums depends on, by name.
    """
    before = stored.get("arithmetic", {})
    changes = [f"{name} from {before[name]} to {now[name]}" for name in now if before.get(name, now[name]) != now[name]]
    if not changes:
        return None
    return (
        f"changed since the checkpoint: {', '.join(changes)}. Samples and batches stay the same, but sums are rounded "
        "otherwise: from here on the weights are not bit-identical to those of an uninterrupted run"
    )


def training_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Model and optimizer as one flat dictionary."""
    state = {f"model.{name}": tensor for name, tensor in module.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        state |= {f"optimizer.{index}.{slot}": tensor for slot, tensor in slots.items()}
    return state


def restore(state: dict[str, Tensor], module: nn.Module, optimizer: torch.optim.Optimizer | None, path: Path) -> None:
    """Puts a training state, or bare weights, back.

    Raises:
        UserError: it belongs to another architecture.
    """
    weights = {name.removeprefix("model."): t for name, t in state.items() if not name.startswith("optimizer.")}
    expected = {name: tuple(t.shape) for name, t in module.state_dict().items()}
    found = {name: tuple(t.shape) for name, t in weights.items()}
    if expected != found:
        different = sorted(n for n in expected.keys() | found.keys() if expected.get(n) != found.get(n))
        name = different[0]
        raise UserError(
            f"{path} is a checkpoint of another architecture: {name} has shape {found.get(name)}, expected "
            f"{expected.get(name)}; set model.* and representation.* as they were, or choose another -o"
        )
    module.load_state_dict(weights)
    if optimizer:
        slots: dict[int, dict[str, Tensor]] = {}
        for name, tensor in state.items():
            if name.startswith("optimizer."):
                _, index, slot = name.split(".")
                slots.setdefault(int(index), {})[slot] = tensor
        optimizer.load_state_dict(optimizer.state_dict() | {"state": slots})
        for parameter, own in optimizer.state.items():  # fused steps go through memory: the same order of it everywhere
            for slot, tensor in own.items():
                if tensor.shape == parameter.shape:
                    own[slot] = torch.empty_like(parameter).copy_(tensor)
