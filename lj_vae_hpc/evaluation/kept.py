"""Scores that are kept: what was scored once is not scored again, whatever else is asked for."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import h5py

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.run.files import remove_unfinished
from lj_vae_hpc.store.plain import PlainFile
from lj_vae_hpc.store.segments import Together
from lj_vae_hpc.store.structure import Damaged
from lj_vae_hpc.store.tables import Layout, Piece, Table, write_table
from lj_vae_hpc.store.writer import write_small_hdf5

SHARED = ("scores", "conditional", "learned")
"""Folders in RUN_DIR/evaluation in which `evaluate` and `score` keep files, also at the same time."""
ABANDONED = 3600.0  # seconds after its last byte at which nobody writes a file any more


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

    def earlier(self) -> "Earlier | None":
        """Some of the scores of the same configurations with the same weights; None if there are none."""
        wanted, found = self.facts["scores"], []
        for path in self.folder.glob(f"{self.name}-{'?' * 24}.h5"):
            facts = _facts(path)
            there = facts.get("scores", {})
            if facts | {"scores": wanted} == self.facts and there | wanted == wanted | there:  # no version has changed
                right = wanted.keys() & there.keys()
                found.append(Earlier(Kept(self.folder, self.name, facts), right, there.keys() - right))
        return max(found, key=lambda one: len(one.right), default=None)

    def write(self, columns: Arrays) -> None:
        """Keeps what is small; one rank calls this."""

        def fill(file: h5py.File) -> None:
            file.attrs["facts"] = json.dumps(self.facts)
            for name, values in columns.items():
                file.create_dataset(name, data=values)

        write_small_hdf5(self.path, fill)

    def write_pieces(self, layout: Layout, pieces: Iterator[Piece], together: Together) -> None:
        """Keeps scores as they are computed; all ranks call this, as write_table."""
        write_table(self.path, layout, {"facts": json.dumps(self.facts)}, pieces, together)

    def read(self) -> Arrays:
        """Everything that is kept.

        Raises:
            UserError: the file is damaged.
        """
        with self.opened() as table:
            return dict(table.group())

    @contextmanager
    def opened(self, checked: bool = True) -> Iterator[Table]:
        """The file, opened.

        Args:
            checked: whether it is compared with its checksum.

        Raises:
            UserError: the file is damaged.
        """
        try:
            with Table(self.path, checked) as table:
                yield table
        except (OSError, Damaged) as error:
            raise UserError(f"cannot read {self.path}: {error}; delete it and run the command again") from None


class Earlier(NamedTuple):
    """Scores that were kept before others were asked for.

    Attributes:
        kept: their file.
        right: names of the scores that are still asked for, as are all columns that are no scores.
        others: names of those that are not.
    """

    kept: Kept
    right: set[str]
    others: set[str]


def remove_outdated(folder: Path, weights: str) -> None:
    """Removes the scores of other weights, which are no longer there.

    Args:
        folder: of the scores of every suite.
        weights: the digest to keep.
    """
    for path in folder.glob("*.h5"):
        if _facts(path).get("weights") != weights:
            path.unlink()


def remove_leftovers(evaluation: Path) -> None:
    """Removes what killed commands have left unfinished; only the holder of the run's lock calls this.

    `score` takes no lock and may be writing what it learns.

    Args:
        evaluation: RUN_DIR/evaluation.

    Raises:
        UserError: no permission.
    """
    remove_unfinished(evaluation, below=False)
    remove_unfinished(evaluation / "suites")
    for part in SHARED:
        remove_unfinished(evaluation / part, seconds=ABANDONED)


def _facts(path: Path) -> dict[str, Any]:
    try:
        with PlainFile(path) as file:
            facts: dict[str, Any] = json.loads(file.attributes.get("facts", "{}"))
            return facts
    except (OSError, Damaged, ValueError):
        return {}


def _age(path: Path) -> float:
    return path.stat().st_mtime
