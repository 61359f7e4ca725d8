"""Runs the studies of a model that are missing; the ranks share their parts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lj_vae_hpc.evaluation.structure import plain
from lj_vae_hpc.evaluation.studies.base import Context, Study
from lj_vae_hpc.run.files import write_text

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World


def run_studies(
    world: "World", path: Path, studies: Sequence[Study], context: Context, facts: dict[str, Any]
) -> dict[str, Any]:
    """The results of all studies by name, written to a file; only what is missing is computed.

    A study that cannot be done with this network has only the reason, as left_out.

    Args:
        world: the ranks.
        path: studies.json.
        studies: what to run.
        context: what they use; the same on every rank.
        facts: what every study follows from, by value.
    """
    stored = world.on_root(lambda: _stored(path))
    wanted = {study.name: json.loads(json.dumps(facts | {"version": study.version})) for study in studies}
    kept = {name: stored[name] for name, its in wanted.items() if stored.get(name, {}).get("facts") == its}
    missing = [study for study in studies if study.name not in kept]
    if world.is_root and missing:
        print(f"evaluation: studies of {', '.join(study.name for study in missing)}", flush=True)
    reasons = {study.name: study.objection(context) for study in missing}
    tasks = [(study, part) for study in missing if not reasons[study.name] for part in study.parts(context)]
    mine = {(study.name, part): plain(study.run(context, part)) for study, part in tasks[world.rank :: world.size]}
    found = {key: result for rank in world.gather(mine) for key, result in rank.items()}
    for study in missing:
        reason = reasons[study.name]
        own = {part: found[study.name, part] for one, part in tasks if one is study}
        kept[study.name] = {"facts": wanted[study.name]} | ({"left_out": reason} if reason else own.pop("", own))
    ordered = {study.name: kept[study.name] for study in studies}
    if missing or list(stored) != list(ordered):
        world.on_root(lambda: write_text(path, json.dumps(ordered)))
    return ordered


def _stored(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return found
    except (OSError, json.JSONDecodeError):
        return {}
