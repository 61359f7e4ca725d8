"""Scores configurations of any origin with a run's trained network."""

import csv
import os
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.calibration import DEFAULT_SCORE
from lj_vae_hpc.evaluation.detector import Detector, folder_to_keep_in, odd_particles
from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.evaluation.sources import RunData, checked_configurations
from lj_vae_hpc.evaluation.weights import load_network
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.files import check_target, new_file
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.writer import fill_hdf5
from lj_vae_hpc.training.setup import check_data

LEVELS = (0.01, 0.05)  # p-values below which configurations are counted
ODDEST = 10  # configurations that are shown
SHOWN = 6  # of their odd particles
AT_ONCE = 1 << 16  # configurations that every rank holds


def score(
    world: World, run: RunDir, config: RunConfig, files: tuple[Path, ...], target: Path | None = None,
    center: bool = False, overwrite: bool = False,
) -> None:  # fmt: skip
    """The command: scores every configuration of some files, into one table.

    Args:
        world: the ranks.
        run: the run whose model scores.
        config: its configuration.
        files: of configurations; `-` is the standard input.
        target: a new .csv or .h5; None for none.
        center: whether coordinates lie in [-L/2, L/2].
        overwrite: whether a target that exists is replaced.

    Raises:
        UserError: no trained model; a file that cannot be read, or holds a configuration that is not one of the model's
            system; a target that exists or cannot be written.
    """
    world.on_root(lambda: _check(run, config, target, overwrite))
    network, weights = load_network(world, run, config)
    given = Files(files)
    rows = world.on_root(lambda: given.read(config, center))
    with Dataset(run.dataset) as data, folder_to_keep_in(run) as folder:
        own = RunData.of(data, config, weights.gammas)
        detector = Detector.of(world, folder, config, network, weights, own)
        parts = []
        with Progress("scoring", rows, "configurations", world.is_root) as progress:
            for start in range(0, rows, AT_ONCE):
                positions, gamma = world.on_root(lambda start=start: given.block(start))  # type: ignore[misc]
                parts.append(detector.score(positions, gamma, progress.advance))
        calibrated_on = len(own.calibration)
    columns = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    world.on_root(lambda: _write(given, columns, target, overwrite))
    world.on_root(lambda: _sum_up(run, given, columns, calibrated_on, target))


class Files:
    """What some files hold; on rank 0, which alone reads.

    Args:
        files: of configurations.

    Attributes:
        files: their names.
        file: (n,) which of them each configuration is from.
        row: (n,) which of its file it is, from 0.
        positions: (n, N, 2), in σ.
        gamma: (n,) γ as the files tell it, else NaN.
    """

    def __init__(self, files: tuple[Path, ...]) -> None:
        self.files = files
        self.file: NDArray[np.int64]
        self.row: NDArray[np.int64]
        self.positions: NDArray[np.float32]
        self.gamma: NDArray[np.float64]

    def read(self, config: RunConfig, center: bool) -> int:
        """Reads and checks all of them; returns n.

        Raises:
            UserError: a file cannot be read, or holds a configuration that is not one of the system.
        """
        blocks, counts = [], []
        for path in self.files:
            here = list(checked_configurations(path, config, center))
            blocks += here
            counts.append(sum(len(gamma) for _, gamma in here))
        self.positions, self.gamma = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
        self.file = np.repeat(np.arange(len(counts)), counts)
        self.row = np.concatenate([np.arange(count) for count in counts])
        return len(self.row)

    def block(self, start: int) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
        """Positions and γ of AT_ONCE configurations."""
        return self.positions[start : start + AT_ONCE], self.gamma[start : start + AT_ONCE]


def _check(run: RunDir, config: RunConfig, target: Path | None, overwrite: bool) -> None:
    check_data(run, config, 1)
    if target is not None:
        if target.suffix.lower() not in WRITERS:
            raise UserError(f"--to {target}: the suffix must be one of {', '.join(WRITERS)}")
        check_target(target, overwrite)


def _write(given: Files, columns: Arrays, target: Path | None, overwrite: bool) -> None:
    if target is not None:
        with new_file(target, overwrite) as partial:
            WRITERS[target.suffix.lower()](partial, given, columns)


def _write_csv(path: Path, given: Files, columns: Arrays) -> None:
    """A row per configuration; numbers read back as the same floats."""
    single = {name: values for name, values in columns.items() if values.ndim == 1}
    with path.open("w", encoding="utf-8", errors="surrogateescape", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(["file", "row", *list(single)[:2], "odd_particles", *list(single)[2:]])
        for start in range(0, len(given.row), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            names = [str(given.files[k]) for k in given.file[part]]
            odd = [" ".join(map(str, odd_particles(ratio))) for ratio in columns["particle_score"][part]]
            score, p_value, *others = (values[part].astype(str).tolist() for values in single.values())
            table.writerows(zip(names, given.row[part].tolist(), score, p_value, odd, *others, strict=True))


def _write_hdf5(path: Path, given: Files, columns: Arrays) -> None:
    """A data set per column."""
    names = np.array([os.fsencode(file) for file in given.files])

    def fill(file: h5py.File) -> None:
        kind = h5py.string_dtype("utf-8", names.dtype.itemsize)
        file.create_dataset("file", data=names[given.file].astype(kind))
        for name, values in {"row": given.row, **columns}.items():
            file.create_dataset(name, data=values)

    fill_hdf5(path, fill)


WRITERS = {".csv": _write_csv, ".h5": _write_hdf5}


def _sum_up(run: RunDir, given: Files, columns: Arrays, calibrated_on: int, target: Path | None) -> None:
    """Tells how many configurations are odd, how many by chance, and which are the oddest."""
    rows, p_value = len(given.row), columns["p_value"]
    print(f"scored: {rows} configurations with the model in {run.path}; score `{DEFAULT_SCORE}`, larger is odder")
    for level in LEVELS:
        print(f"p < {level}: {(p_value < level).sum()} configurations; {level * rows:.4g} expected by chance")
    if 1 / (calibrated_on + 1) >= min(LEVELS):
        print(f"no p-value can be below {1 / (calibrated_on + 1):.2g}: there are {calibrated_on} normal configurations")
    oddest = np.argsort(-columns["score"], kind="stable")[:ODDEST]
    names = [str(given.files[given.file[k]]) for k in oddest]
    width = max(map(len, [*names, "file"]))
    print(f"{'oddest':>6}  {'file':{width}} {'row':>8} {'score':>9} {'p-value':>9}  odd particles")
    for place, (k, name) in enumerate(zip(oddest, names, strict=True), 1):
        odd = odd_particles(columns["particle_score"][k]).tolist()
        text = " ".join(map(str, odd[:SHOWN])) + (f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else "")
        print(
            f"{place:6d}  {name:{width}} {given.row[k]:8d} {columns['score'][k]:9.4g} {p_value[k]:9.2g}  {text or '-'}"
        )
    if target is not None:
        print(f"every configuration: {target}")
