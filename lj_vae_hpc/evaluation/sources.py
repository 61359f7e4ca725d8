"""Rows of data sets, read where they are needed."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.run.files import writing
from lj_vae_hpc.store.foreign import read_configurations
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import Layout
from lj_vae_hpc.training.batches import Configurations, read_rows
from lj_vae_hpc.training.splits import Rows, Splits

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World

NUMBERS_AT_ONCE = 1 << 16  # particles of a file of the user's


@dataclass(frozen=True, eq=False)
class Source:
    """Some rows of a data set, in a given order.

    Attributes:
        data: the data set, open.
        rows: n row numbers, which slices give.
    """

    data: Dataset
    rows: Rows | range

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def n_particles(self) -> int:
        """N."""
        return int(self.data.n_particles)

    def read(self, part: range) -> Configurations:
        """The configurations at some places of `rows`."""
        return read_rows(self.data, np.asarray(self.rows[part.start : part.stop]))

    def of(self, gamma: float) -> "Source":
        """The configurations of one γ, of a split."""
        assert isinstance(self.rows, Rows)
        return Source(self.data, self.rows.of([gamma]))

    def origins(self, part: range) -> NDArray[np.int64]:
        """(n, 3) what each configuration is, wherever it stands: number of its ensemble, chain, sample of the chain."""
        which, row = np.divmod(np.asarray(self.rows[part.start : part.stop]), self._layout.configurations)
        chain, sample = np.divmod(row, self._layout.samples_per_chain)
        return np.stack([self._numbers[which], chain, sample], axis=1)

    @cached_property
    def _layout(self) -> Layout:
        return self.data.layout

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        """The number of every ensemble of the data set."""
        return self.data.ensembles()["ensemble"].astype(np.int64)


@dataclass(frozen=True, eq=False)
class Given:
    """Configurations in memory.

    Attributes:
        positions: (n, N, 2), in σ.
        gamma: (n,) γ of each, where it is known.
    """

    positions: NDArray[np.float32]
    gamma: NDArray[np.float64] | None = None

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def n_particles(self) -> int:
        """N."""
        return int(self.positions.shape[1])

    def read(self, part: range) -> Configurations:
        """Some of them; γ is NaN where it is not known."""
        gamma = np.full(len(part), np.nan) if self.gamma is None else self.gamma[part.start : part.stop]
        return Configurations(self.positions[part.start : part.stop], gamma)

    def origins(self, part: range) -> NDArray[np.int64]:
        """(n, 3) their numbers."""
        return _numbered(part)


def _numbered(part: range) -> NDArray[np.int64]:
    """(n, 3) what configurations are that are no one's ensemble: their numbers."""
    return np.stack([np.zeros(len(part), np.int64), np.arange(part.start, part.stop), np.zeros(len(part), np.int64)], 1)


def checked_configurations(
    path: Path, config: RunConfig, center: bool = False
) -> Iterator[tuple[NDArray[np.float32], NDArray[np.float64]]]:
    """Positions (k, N, 2) in σ and γ (k,) of the configurations of a file of the user's, some at a time.

    γ is NaN where the network does not need it.

    Args:
        path: the file; `-` is the standard input.
        config: the run's configuration.
        center: whether coordinates lie in [-L/2, L/2].

    Raises:
        UserError: the file cannot be read, or holds a configuration that is not one of the model's system; a
            conditional model does not find γ there.
    """
    system = config.system
    configurations = read_configurations(path, system.n_particles, system.box_side, center)
    at_once = max(1, NUMBERS_AT_ONCE // system.n_particles)
    while block := list(islice(configurations, at_once)):
        gammas = np.full(len(block), np.nan)
        for k, one in enumerate(block):
            if config.model.conditional:
                gammas[k] = _gamma(path, one.place, one.gamma)
        yield np.stack([one.positions for one in block]).astype(np.float32), gammas


def _gamma(path: Path, place: str, gamma: object) -> float:
    """γ of a configuration, for a conditional model."""
    try:
        value = float(gamma)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value):
        raise UserError(
            f"{path}, {place}: no gamma, which a conditional model needs; .npz, HDF5, .xyz and .gsd can hold it"
        )
    return value


@dataclass(frozen=True, eq=False)
class Copied:
    """Configurations of a file of the user's, in a copy of which any part can be read.

    Attributes:
        path: the copy: γ and positions of each configuration, as they are in memory.
        n_particles: N.
    """

    path: Path
    n_particles: int

    def __len__(self) -> int:
        return self.path.stat().st_size // self._record.itemsize

    def read(self, part: range) -> Configurations:
        """Some of them; γ is NaN where it is not known."""
        found = np.fromfile(self.path, self._record, len(part), offset=part.start * self._record.itemsize)
        return Configurations(np.ascontiguousarray(found["positions"]), np.ascontiguousarray(found["gamma"]))

    def origins(self, part: range) -> NDArray[np.int64]:
        """(n, 3) their numbers."""
        return _numbered(part)

    def copy(self, path: Path, config: RunConfig) -> None:
        """Makes the copy, some configurations at a time; one rank calls this.

        Raises:
            UserError: as of checked_configurations; the copy cannot be written.
        """
        with writing(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            file = self.path.open("wb")
        with file:
            for positions, gamma in checked_configurations(path, config):
                records = np.empty(len(gamma), self._record)
                records["positions"], records["gamma"] = positions, gamma
                with writing(self.path):
                    file.write(records.tobytes())
                    file.flush()

    @property
    def _record(self) -> np.dtype[np.void]:
        return np.dtype([("gamma", "<f8"), ("positions", "<f4", (self.n_particles, 2))])


AnySource = Source | Given | Copied


def everything(data: Dataset) -> Source:
    """All rows of a data set, in their order."""
    return Source(data, range(data.rows))


def of_gammas(data: Dataset, rows: Rows, gammas: Sequence[float]) -> Source:
    """Those of some rows whose γ is among the given ones.

    Raises:
        UserError: there are none.
    """
    own = rows.of(gammas)
    if not len(own):
        listed = ", ".join(f"{gamma:g}" for gamma in gammas)
        raise UserError(f"{data.path} holds none of the γ that the model was trained on: {listed}")
    return Source(data, own)


def pieces(rows: int, size: int) -> list[range]:
    """Some rows in order, `size` at a time."""
    return [range(start, min(start + size, rows)) for start in range(0, rows, size)]


def batches(world: "World", rows: int, size: int) -> list[range]:
    """The batches of some rows that are this rank's.

    The batches do not depend on the ranks, so that no sum over a batch is rounded otherwise with more of them.
    """
    every = pieces(rows, size)
    mine = world.shard(len(every))
    return every[mine.start : mine.stop]


@dataclass(frozen=True, eq=False)
class RunData:
    """The splits of a run's data set, of the γ that the model was trained on.

    Attributes:
        training, validation, calibration, test: the splits.
        gammas: those values of γ, ascending.
        facts: what the splits follow from, by value.
    """

    training: Source
    validation: Source
    calibration: Source
    test: Source
    gammas: Sequence[float]
    facts: dict[str, Any]

    @classmethod
    def of(cls, data: Dataset, config: RunConfig, trained: Sequence[float]) -> "RunData":
        """The splits of an open data set.

        Raises:
            UserError: the data set holds none of these γ.
        """
        splits = Splits.of(data.layout, config.training)
        parts = (splits.training, splits.validation, splits.calibration, splits.test)
        training, validation, calibration, test = (of_gammas(data, rows, trained) for rows in parts)
        gammas = [gamma for gamma in data.layout.gammas if gamma in trained]
        names = dict(zip(data.layout.gammas, data.names(), strict=True))
        facts = {
            "ensembles": [names[gamma] for gamma in gammas],
            "configurations": data.layout.configurations,
            "content": str(data.attributes["content"]),
            "test_fraction": config.training.test_fraction,
            "calibration_fraction": config.training.calibration_fraction,
            "validation_fraction": config.training.validation_fraction,
        }
        return cls(training, validation, calibration, test, gammas, facts)
