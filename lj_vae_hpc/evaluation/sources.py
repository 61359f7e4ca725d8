"""Rows of data sets, read where they are needed."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.store.schema import Layout
from lj_vae_hpc.training.batches import Configurations, read_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lj_vae_hpc.training.splits import Rows


@dataclass(frozen=True, eq=False)
class Source:
    """Some rows of a data set, in a given order.

    Attributes:
        data: the data set, open.
        rows: (n,) row numbers.
    """

    data: Dataset
    rows: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    def read(self, part: range) -> Configurations:
        """The configurations at some places of `rows`."""
        return read_rows(self.data, self.rows[part.start : part.stop])

    def origins(self, part: range) -> NDArray[np.int64]:
        """(n, 3) what each configuration is, wherever it stands: number of its ensemble, chain, sample of the chain."""
        which, row = np.divmod(self.rows[part.start : part.stop], self._layout.configurations)
        chain, sample = np.divmod(row, self._layout.samples_per_chain)
        return np.stack([self._numbers[which], chain, sample], axis=1)

    @cached_property
    def _layout(self) -> Layout:
        return self.data.layout

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        """The number of every ensemble of the data set."""
        return self.data.ensembles()["ensemble"].astype(np.int64)


def everything(data: Dataset) -> Source:
    """All rows of a data set, in their order."""
    return Source(data, np.arange(data.rows, dtype=np.int64))


def of_gammas(data: Dataset, rows: "Rows", gammas: "Sequence[float]") -> Source:
    """Those of some rows whose γ is among the given ones.

    Raises:
        UserError: there are none.
    """
    numbers = rows[0 : len(rows)]
    kept = np.isin(np.array(data.layout.gammas)[numbers // data.layout.configurations], gammas)
    if not kept.any():
        listed = ", ".join(f"{gamma:g}" for gamma in gammas)
        raise UserError(f"{data.path} holds none of the γ that the model was trained on: {listed}")
    return Source(data, numbers[kept])
