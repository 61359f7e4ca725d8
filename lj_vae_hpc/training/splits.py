"""Which rows train, choose the best epoch, and test."""

from dataclasses import dataclass

from lj_vae_hpc.config.training import Training


@dataclass(frozen=True)
class Splits:
    """Disjoint contiguous rows. Chains are independent and rows interleave γ, so this split is a random one."""

    training: range
    validation: range
    test: range

    @classmethod
    def of(cls, rows: int, turn: int, training: Training) -> "Splits":
        """Divides the rows in multiples of a turn, one chain of every γ: whole chains, every γ equally often.

        At least two rows are for tests, or errors could not be told.
        """
        chains = rows // turn
        test = chains - max(-(-2 // turn), round(training.test_fraction * chains))
        validation = test - max(1, round(training.validation_fraction * chains))
        return cls(range(validation * turn), range(validation * turn, test * turn), range(test * turn, rows))
