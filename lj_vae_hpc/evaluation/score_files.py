"""The tables that `lj-vae score` writes, some rows at a time."""

import csv
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

import h5py
import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.evaluation.detector import odd_particles
from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.store.writer import opened_hdf5


class Scored(NamedTuple):
    """Some configurations with their scores."""

    file: NDArray[np.int64]
    """(n,) which of the files each is from."""
    row: NDArray[np.int64]
    """(n,) which of its file it is, from 0."""
    columns: Arrays
    """Of Detector.score."""

    def part(self, which: slice) -> "Scored":
        """Some of these."""
        columns = {name: values[which] for name, values in self.columns.items()}
        return Scored(self.file[which], self.row[which], columns)


Write = Callable[[Scored], None]


@contextmanager
def _csv_table(path: Path, files: Sequence[Path]) -> Iterator[Write]:
    """A row per configuration; numbers read back as the same floats."""
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as text:
        table = csv.writer(text, lineterminator="\n")

        def write(some: Scored) -> None:
            single = {name: values for name, values in some.columns.items() if values.ndim == 1}
            if not text.tell():
                table.writerow(["file", "row", *list(single)[:2], "odd_particles", *list(single)[2:]])
            names = [str(files[k]) for k in some.file]
            odd = [" ".join(map(str, odd_particles(ratio))) for ratio in some.columns["particle_score"]]
            score, p_value, *others = (values.astype(str).tolist() for values in single.values())
            table.writerows(zip(names, some.row.tolist(), score, p_value, odd, *others, strict=True))

        yield write


@contextmanager
def _hdf5_table(path: Path, files: Sequence[Path]) -> Iterator[Write]:
    """A data set per column, which grows."""
    names = np.array([os.fsencode(file) for file in files])
    kind = h5py.string_dtype("utf-8", names.dtype.itemsize)
    with opened_hdf5(path) as file:

        def write(some: Scored) -> None:
            columns = {"file": names[some.file].astype(kind), "row": some.row, **some.columns}
            for name, values in columns.items():
                if name in file:
                    file[name].resize(len(file[name]) + len(values), axis=0)
                    file[name][-len(values) :] = values
                else:
                    file.create_dataset(name, data=values, maxshape=(None, *values.shape[1:]), chunks=values.shape)

        yield write


TABLES: dict[str, Callable[[Path, Sequence[Path]], AbstractContextManager[Write]]] = {
    ".csv": _csv_table, ".h5": _hdf5_table,
}  # fmt: skip
"""By suffix: opens a new file for the scores of configurations from some files, and gives what writes more of them."""
