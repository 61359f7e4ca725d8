"""Scores that are kept: what was scored once is not scored again, whatever else is asked for."""

import hashlib
import json
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.store.plain import PlainFile
from lj_vae_hpc.store.structure import Damaged
from lj_vae_hpc.store.writer import read_small_hdf5, write_small_hdf5


@dataclass(frozen=True)
class Kept:
    """The scores of one suite, in a file named after everything that they follow from.

    Attributes:
        folder: of the scores of every suite.
        name: of the suite.
        facts: what they follow from, by value: weights, splits, scores, suite.
    """

    folder: Path
    name: str
    facts: dict[str, Any]

    @property
    def path(self) -> Path:
        """The file."""
        key = hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()[:24]
        return self.folder / f"{self.name}-{key}.h5"

    def why_missing(self) -> str | None:
        """Why the suite has to be scored; None where it is not."""
        if self.path.exists():
            return None
        others = sorted(self.folder.glob(f"{self.name}-{'?' * 24}.h5"), key=_age)
        if not others:
            return "there are no scores yet"
        before = _facts(others[-1])
        changed = [name for name in self.facts if before.get(name) != self.facts[name]]
        return f"something has changed since ({', '.join(changed)})"

    def write(self, columns: Arrays) -> None:
        """Keeps the scores; one rank calls this."""
        write_small_hdf5(self.path, _Group([("", columns)], {"facts": json.dumps(self.facts)}))

    def write_if_possible(self, columns: Arrays) -> None:
        """Keeps what only saves time; in a folder of somebody else's it is computed anew every time."""
        with suppress(UserError):
            self.write(columns)

    def read(self) -> Arrays:
        """The scores.

        Raises:
            UserError: the file is damaged.
        """
        try:
            return read_small_hdf5(self.path)[1]
        except (OSError, Damaged) as error:
            raise UserError(f"cannot read {self.path}: {error}; delete it and run the command again") from None


def remove_outdated(folder: Path, weights: str) -> None:
    """Removes the scores of other weights, which are no longer there.

    Args:
        folder: of the scores of every suite.
        weights: the digest to keep.
    """
    for path in folder.glob("*.h5"):
        if _facts(path).get("weights") != weights:
            path.unlink()


def write_columns(path: Path, groups: Iterable[tuple[str, Arrays]]) -> None:
    """Writes one HDF5 group per suite and one data set per column, a group at a time; one rank calls this."""
    write_small_hdf5(path, _Group(groups, {}))


@dataclass(frozen=True)
class _Group:
    """Puts groups of columns and attributes into an open file."""

    groups: Iterable[tuple[str, Arrays]]
    attributes: dict[str, str]

    def __call__(self, file: h5py.File) -> None:
        file.attrs.update(self.attributes)
        for group, columns in self.groups:
            for name, values in columns.items():
                file.create_dataset(f"{group}/{name}", data=values)


def _facts(path: Path) -> dict[str, Any]:
    try:
        with PlainFile(path) as file:
            facts: dict[str, Any] = json.loads(file.attributes.get("facts", "{}"))
            return facts
    except (OSError, Damaged, ValueError):
        return {}


def _age(path: Path) -> float:
    return path.stat().st_mtime
