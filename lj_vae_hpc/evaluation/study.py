"""Runs the studies of a model that are missing; the ranks share their parts."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import Stopped
from lj_vae_hpc.evaluation.studies.base import Context, Study
from lj_vae_hpc.evaluation.studies.registry import study_classes
from lj_vae_hpc.progress import Steps
from lj_vae_hpc.run.files import write_text

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World


def run_studies(
    world: "World",
    path: Path,
    studies: Sequence[Study],
    prepare: Callable[[], Context],
    config: RunConfig,
    facts: dict[str, Any],
) -> dict[str, Any]:
    """The results of all studies by name, written to a file; only what is missing is computed.

    A study that cannot be done with this network has only the reason, as left_out.

    Args:
        world: the ranks.
        path: studies.json.
        studies: what to run.
        prepare: makes what they use, the same on every rank; called only if something is missing.
        config: the run's configuration.
        facts: what every study follows from, by value.

    Raises:
        Stopped: a signal or deadline came; the studies that were complete are kept.
    """
    stored = world.on_root(lambda: _stored(path))
    right = {
        name: json.loads(json.dumps(facts | {"version": kind.version} | kind().follows_from(config)))
        for name, kind in study_classes().items()
    }
    # Those that are not asked for stay, too, so that they can be asked for again.
    kept = {name: its for name, its in stored.items() if name in right and its.get("facts") == right[name]}
    missing = [study for study in studies if study.name not in kept]
    if world.is_root and missing:
        names = ", ".join(study.name for study in missing)
        print(f"evaluation: studies of {names}; -s evaluation.studies=[] skips them", flush=True)
    if missing:
        kept |= _results(world, missing, prepare())
    ordered = [name for name in dict.fromkeys([*(study.name for study in studies), *right]) if name in kept]
    found = {name: kept[name] | {"facts": right[name]} for name in ordered}
    if found != stored:
        world.on_root(lambda: write_text(path, json.dumps(found)))
    if (done := sum(study.name in kept for study in studies)) < len(studies):
        raise Stopped(f"{done} of {len(studies)} studies are in {path}")
    return found


def _results(world: "World", studies: Sequence[Study], context: Context) -> dict[str, Any]:
    """The results of some studies by name, on every rank; those that a stop left incomplete are not there."""
    reasons = {study.name: study.objection(context) for study in studies}
    tasks = [(study, part) for study in studies if not reasons[study.name] for part in study.parts(context)]
    longest_first = sorted(tasks, key=lambda task: -task[0].weight)
    own_tasks, mine = longest_first[world.rank :: world.size], {}
    steps = Steps("studies", [study.weight for study, _ in own_tasks], world.is_root)
    world.stop.start_piece()
    for study, part in own_tasks:
        steps.begin(study.part_title(part))
        mine[study.name, part] = plain(study.run(context, part))
        if world.stop.due():
            break
    done = {key: result for rank in world.gather(mine) for key, result in rank.items()}
    found: dict[str, Any] = {}
    for study in studies:
        parts = [part for one, part in tasks if one is study]
        own = {part: done[study.name, part] for part in parts if (study.name, part) in done}
        if reason := reasons[study.name]:
            found[study.name] = {"left_out": reason}
        elif len(own) == len(parts):
            found[study.name] = own.pop("", own)
    return found


def plain(value: Any) -> Any:
    """Nested dictionaries of arrays as lists, for JSON; what is not finite as null."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, np.ndarray | list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float | np.floating):
        return float(value) if np.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def _stored(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    except (OSError, json.JSONDecodeError):
        return {}
