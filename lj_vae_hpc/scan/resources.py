"""What a job of a campaign gets, as far as options of sbatch tell: ranks, and the time limit."""

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lj_vae_hpc.errors import UserError

SHORT = {"n": "ntasks", "N": "nodes", "t": "time"}
NAMES = ("ntasks", "nodes", "ntasks-per-node", "time")
TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


@dataclass(frozen=True)
class Resources:
    """Of one array element.

    Attributes:
        ranks: MPI ranks.
        seconds: the time limit; None if none is given.
    """

    ranks: int
    seconds: float | None


def resources_of(script: Path, options: Sequence[str]) -> Resources:
    """From the #SBATCH lines of a script, SBATCH_TIMELIMIT, and options of sbatch, the last of which count most.

    Raises:
        UserError: an option that sbatch would not understand.
    """
    if options and not options[0].startswith("-"):
        raise UserError(f"{options[0]}: expected options of sbatch after --, such as -- --ntasks=64")
    lines = re.findall(r"^#SBATCH\s+(.*)$", script.read_text(encoding="utf-8"), re.M)
    found = _parse([word for line in lines for word in line.split()])
    if "SBATCH_TIMELIMIT" in os.environ:
        found["time"] = os.environ["SBATCH_TIMELIMIT"]
    given = _parse(options)
    if "ntasks-per-node" in given or "nodes" in given:  # they decide, unless ntasks is given beside them
        found.pop("ntasks", None)
    found |= given
    try:
        nodes, per_node = int(found.get("nodes", "1").split("-")[0]), int(found.get("ntasks-per-node", "1"))
        ranks = int(found.get("ntasks", str(nodes * per_node)))
    except ValueError:
        raise UserError(
            f"options of sbatch: {' '.join(options)} do not give whole numbers of nodes and tasks"
        ) from None
    return Resources(ranks, _seconds(found["time"]) if "time" in found else None)


def _parse(words: Sequence[str]) -> dict[str, str]:
    """Those of NAMES that are given: --name=value, --name value, -x value or -xvalue."""
    found: dict[str, str] = {}
    rest = iter(words)
    for word in rest:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            if name in NAMES:
                found[name] = value if equals else next(rest, "")
        elif word[:1] == "-" and word[1:2] in SHORT:
            found[SHORT[word[1:2]]] = word[2:] or next(rest, "")
    return found


def _seconds(text: str) -> float | None:
    """A time limit as Slurm reads it: MM, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS; 0 and UNLIMITED are none."""
    if text.upper() in ("UNLIMITED", "INFINITE"):
        return None
    match = TIME.fullmatch(text)
    if not match:
        raise UserError(f"--time={text}: expected minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM or D-HH:MM:SS")
    days, *parts = (int(part) if part else None for part in match.groups())
    given = [part for part in parts if part is not None]
    if days is not None:
        hours, minutes, seconds = [*given, 0, 0][:3]
    elif len(given) == 3:
        hours, minutes, seconds = given
    else:
        hours, (minutes, seconds) = 0, [*given, 0][:2]
    return (((days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds or None
