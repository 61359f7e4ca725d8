"""Scores configurations of any origin with a run's trained network."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.calibration import DEFAULT_SCORE
from lj_vae_hpc.evaluation.detector import Detector, folder_to_keep_in, odd_particles
from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.evaluation.score_files import TABLES, Scored, Write
from lj_vae_hpc.evaluation.scoring import batch_size
from lj_vae_hpc.evaluation.sources import RunData, checked_configurations, pieces
from lj_vae_hpc.evaluation.weights import load_network
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.files import new_file
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training.setup import check_data

LEVELS = (0.01, 0.05)  # p-values below which configurations are counted
ODDEST = 10  # configurations that are shown
SHOWN = 6  # of their odd particles
BATCHES = 4  # of every rank, which are read, scored and written before the next are read


def score(
    world: World, run: RunDir, config: RunConfig, files: tuple[Path, ...], target: Path | None = None,
    center: bool = False, overwrite: bool = False,
) -> None:  # fmt: skip
    """The command: scores every configuration of some files, into one table. Memory does not grow with the files.

    Args:
        world: the ranks.
        run: the run whose model scores.
        config: its configuration.
        files: of configurations; `-` is the standard input.
        target: a new .csv or .h5, which appears when it is complete; None for none.
        center: whether coordinates lie in [-L/2, L/2].
        overwrite: whether a target that exists is replaced.

    Raises:
        UserError: no trained model; a file that cannot be read, or holds a configuration that is not one of the model's
            system; a target that exists or cannot be written.
    """
    world.on_root(lambda: _check(run, config, target))
    network, weights = load_network(world, run, config)
    at_once = BATCHES * batch_size(config.system.n_particles)
    given, found = Given(files, config, center, at_once * world.size), Findings(files, at_once, config.system.box_side)
    with Dataset(run.dataset) as data, folder_to_keep_in(world, run) as folder, ExitStack() as closing:
        some = world.on_root(given.next)  # before anything is learned: a file may be none
        detector = Detector.of(world, folder, config, network, weights, RunData.of(data, config, weights.gammas))
        world.on_root(lambda: found.open(target, overwrite, closing))
        with Progress("scoring", None, "configurations", world.is_root) as progress:
            while some is not None:
                columns = detector.score(some.positions, some.gamma, progress.advance)
                world.on_root(partial(found.add, some, columns))
                some = world.on_root(given.next)
        world.on_root(closing.close)  # gives the table its name
        world.on_root(lambda: found.sum_up(run, detector, target))


class Some(NamedTuple):
    """Some configurations of the user's."""

    file: NDArray[np.int64]
    """(n,) which of the files each is from."""
    row: NDArray[np.int64]
    """(n,) which of its file it is, from 0."""
    positions: NDArray[np.float32]
    """(n, N, 2), in σ."""
    gamma: NDArray[np.float64]
    """(n,) γ as the file tells it, else NaN."""

    def part(self, which: slice) -> "Some":
        """Some of these."""
        return Some(self.file[which], self.row[which], self.positions[which], self.gamma[which])


class Given:
    """The configurations of some files; on rank 0, which alone reads.

    Args:
        files: of configurations.
        config: the run's configuration.
        center: whether coordinates lie in [-L/2, L/2].
        at_once: how many are given at once.
    """

    def __init__(self, files: Sequence[Path], config: RunConfig, center: bool, at_once: int) -> None:
        self._at_once, self._waiting = at_once, list[Some]()
        self._more = self._read(files, config, center)

    def next(self) -> Some | None:
        """The next of them; None after the last.

        Raises:
            UserError: a file cannot be read, or holds a configuration that is not one of the system.
        """
        while sum(len(some.row) for some in self._waiting) < self._at_once and (more := next(self._more, None)):
            self._waiting.append(more)
        if not self._waiting:
            return None
        every = Some(*map(np.concatenate, zip(*self._waiting, strict=True)))
        now, later = every.part(slice(self._at_once)), every.part(slice(self._at_once, None))
        self._waiting = [later] if len(later.row) else []
        return now

    @staticmethod
    def _read(files: Sequence[Path], config: RunConfig, center: bool) -> Iterator[Some]:
        for number, path in enumerate(files):
            row = 0
            for positions, gamma in checked_configurations(path, config, center):
                rows = np.arange(row, row + len(gamma))
                yield Some(np.full(len(gamma), number), rows, positions, gamma)
                row += len(gamma)


class Findings:
    """Writes scores as they come, counts, and remembers the oddest configurations; on rank 0.

    Args:
        files: of configurations.
        at_once: how many are written at once, whatever the number of ranks.
        box_side: L of the model's system, in σ.
    """

    def __init__(self, files: Sequence[Path], at_once: int, box_side: float) -> None:
        self._files, self._at_once, self._box_side = files, at_once, box_side
        self._write: Write | None = None
        self._rows, self._below = 0, dict.fromkeys(LEVELS, 0)
        self._oddest: list[tuple[float, float, int, int, list[int]]] = []
        self._extent = np.array([[np.inf], [-np.inf]]) * np.ones(len(files))  # least and largest x of each file

    def open(self, target: Path | None, overwrite: bool, closing: ExitStack) -> None:
        """Opens the table, which `closing` closes; it gets its name if no error ends it."""
        if target is not None:
            partial = closing.enter_context(new_file(target, overwrite))
            self._write = closing.enter_context(TABLES[target.suffix.lower()](partial, self._files))

    def add(self, some: Some, columns: Arrays) -> None:
        """More configurations with their scores."""
        scored = Scored(some.file, some.row, columns)
        if self._write:
            for part in pieces(len(some.row), self._at_once):
                self._write(scored.part(slice(part.start, part.stop)))
        self._rows += len(some.row)
        np.minimum.at(self._extent[0], some.file, some.positions[:, :, 0].min(axis=1))
        np.maximum.at(self._extent[1], some.file, some.positions[:, :, 0].max(axis=1))
        for level in LEVELS:
            self._below[level] += int((columns["p_value"] < level).sum())
        for k in np.argsort(-columns["score"], kind="stable")[:ODDEST]:
            odd = odd_particles(columns["particle_score"][k]).tolist()
            numbers = (float(columns["score"][k]), float(columns["p_value"][k]))
            self._oddest.append((*numbers, int(some.file[k]), int(some.row[k]), odd))
        self._oddest = sorted(self._oddest, key=lambda one: -one[0])[:ODDEST]

    def sum_up(self, run: RunDir, detector: Detector, target: Path | None) -> None:
        """Tells how many configurations are odd, how many by chance, and which are the oddest."""
        assert detector.calibration is not None
        rows, normal = self._rows, detector.calibration.count
        print(f"scored: {rows} configurations with the model in {run.path}; score `{DEFAULT_SCORE}`, larger is odder")
        for level, below in self._below.items():
            print(f"p < {level}: {below} configurations; {level * rows:.4g} expected by chance of all γ together")
        print(f"smallest possible p: {1 / (normal + 1):.2g}, from {normal:,} calibration configurations")
        width = max(len(str(name)) for name in (*(self._files[one[2]] for one in self._oddest), "file"))
        print(f"{'oddest':>6}  {'file':{width}} {'row':>8} {'score':>9} {'p-value':>9}  odd particles")
        for place, (value, p_value, file, row, odd) in enumerate(self._oddest, 1):
            text = " ".join(map(str, odd[:SHOWN])) + (f" and {len(odd) - SHOWN} more" if len(odd) > SHOWN else "")
            print(f"{place:6d}  {self._files[file]!s:{width}} {row:8d} {value:9.4g} {p_value:9.2g}  {text or '-'}")
        if any(one[4] for one in self._oddest):
            print(
                "odd particles are more likely out of place than not; the neighbours of a moved one may be among them"
            )
        for path, (least, largest) in zip(self._files, self._extent.T, strict=True):
            if largest - least < self._box_side / 2:  # of N particles at random 1 in 2^N
                print(
                    f"warning: {path}: every x is between {least:.3g} and {largest:.3g} σ, and the box is "
                    f"{self._box_side:g} σ wide; if the unit is another, such as the box side, convert them to σ"
                )
        if target is not None:
            print(f"every configuration: {target}")


def _check(run: RunDir, config: RunConfig, target: Path | None) -> None:
    check_data(run, config, 1)
    if target is not None and target.suffix.lower() not in TABLES:
        raise UserError(f"--to {target}: the suffix must be one of {', '.join(TABLES)}")
