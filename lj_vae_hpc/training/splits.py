"""Which configurations train, choose the best epoch, calibrate the scores, and test."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.training import Training
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.store.schema import Layout

GOLDEN = 0x9E3779B97F4A7C15  # 2^64 divided by the golden ratio, to the nearest odd number


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of a data set: all samples of some chains, at every γ or at some.

    A slice gives row numbers chain after chain, and for each chain all γ, so that every slice is a fair mixture of γ.
    Only what a slice asks for is in memory.

    Attributes:
        layout: of the data set.
        chains: numbers of the chains, ascending.
        gammas: which γ; None for all.
    """

    layout: Layout
    chains: NDArray[np.int64]
    gammas: Sequence[float] | None = None

    def of(self, gammas: Sequence[float]) -> Self:
        """Those of some γ."""
        return replace(self, gammas=gammas)

    def __len__(self) -> int:
        return len(self.chains) * self._per_chain

    def __getitem__(self, which: slice) -> NDArray[np.int64]:
        place, rest = np.divmod(np.arange(*which.indices(len(self)), dtype=np.int64), self._per_chain)
        sample, gamma = np.divmod(rest, max(1, len(self._numbers)))
        samples = self.layout.samples_per_chain
        return self._numbers[gamma] * self.layout.configurations + self.chains[place] * samples + sample

    @property
    def _per_chain(self) -> int:
        """Rows of one chain number, all γ together."""
        return len(self._numbers) * self.layout.samples_per_chain

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        """Which of the layout's γ they are, ascending."""
        every = self.layout.gammas
        return np.arange(len(every)) if self.gammas is None else np.flatnonzero(np.isin(every, self.gammas))


@dataclass(frozen=True)
class Splits:
    """Disjoint parts of a data set, whole chains each. The split of a chain follows from its number alone."""

    training: Rows
    validation: Rows
    calibration: Rows
    test: Rows

    @classmethod
    def of(cls, layout: Layout, training: Training) -> "Splits":
        """Divides a data set by u = frac(c / golden ratio) of each chain c, the same for every γ.

        Test where u < test_fraction, calibration in the calibration_fraction above it, validation where
        u >= 1 - validation_fraction. The sequence u is as even as can be at every length (Knuth, The Art of Computer
        Programming 3, 6.4), so the shares are right for any number of chains, and more chains or more γ move nothing
        from one split to another.

        Raises:
            UserError: a split would be empty, or its errors could not be estimated.
        """
        chains = np.arange(layout.configurations // layout.samples_per_chain, dtype=np.int64)
        u = fractions(chains)
        bounds = [training.test_fraction, training.test_fraction + training.calibration_fraction]
        below = [u < np.uint64(int(bound * 2**64)) for bound in bounds]
        test, calibration = below[0], below[1] & ~below[0]
        validation = u > np.uint64(2**64 - 1 - int(training.validation_fraction * 2**64))
        parts = (~test & ~calibration & ~validation, validation, calibration, test)
        found = cls(*(Rows(layout, chains[which]) for which in parts))
        remedy = "; increase sampling.configurations or"
        if len(found.training.chains) < 2:
            raise UserError(
                f"training: {len(found.training.chains)} of the {len(chains)} chains of each γ is left for training, "
                f"which needs at least 2{remedy} lower training.validation_fraction, training.calibration_fraction and "
                "training.test_fraction"
            )
        for name, rows, least in (
            ("validation", found.validation, 1),
            ("calibration", found.calibration, 1),
            ("test", found.test, 2),
        ):
            if len(rows.chains) < least:
                raise UserError(
                    f"training.{name}_fraction: {len(rows.chains)} of {len(chains)} chains of each γ are in the {name} "
                    f"split, which needs at least {least}{remedy} training.{name}_fraction"
                )
        return found


def fractions(chains: NDArray[np.int64]) -> NDArray[np.uint64]:
    """2^64 frac(c / golden ratio) of each chain c, in integers: the same on every machine."""
    return chains.astype(np.uint64) * np.uint64(GOLDEN)
