"""Which row of a data set is which chain of which ensemble."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.sampling import Sampling
from lj_vae_hpc.config.system import System

# Of sampling: change no configuration that is there.
FREE_KEYS = frozenset({"max_pilot_sweeps", "allow_unconverged", "device"})


@dataclass(frozen=True)
class Plan:
    """Everything that determines the configurations of a data set.

    Rows interleave the ensembles (row = (chain * samples + sample) * ensembles + ensemble), so that any contiguous part
    of the data is a fair mixture of every γ.

    Attributes:
        seed: the run's seed.
        system: the fluid.
        sampling: the protocol.
        first_ensemble: identity of the first ensemble; data sets of one run that must be independent differ in it.
        device: where its chains run, `cpu` or `cuda`, with the same result.
    """

    seed: int
    system: System
    sampling: Sampling
    first_ensemble: int = 0
    device: str = "cpu"

    @property
    def gammas(self) -> tuple[float, ...]:
        """γ of each ensemble."""
        return self.sampling.gamma_values

    @property
    def rows(self) -> int:
        """Configurations in all."""
        return len(self.gammas) * self.sampling.configurations

    def identity(
        self, rows: range
    ) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """(ensemble, chain, sample of the chain, γ) of each row."""
        turn, local = np.divmod(np.arange(rows.start, rows.stop, dtype=np.int64), len(self.gammas))
        chain, sample = np.divmod(turn, self.sampling.samples_per_chain)
        return (local + self.first_ensemble).astype(np.int32), chain, sample, np.array(self.gammas)[local]

    @property
    def unit(self) -> int:
        """Rows that no segment and no rank divides: those of one chain of every γ where a chain has several."""
        return self.sampling.turn if self.sampling.samples_per_chain > 1 else 1

    def segments(self) -> list[range]:
        """The rows of each segment file; as equal as can be."""
        units = self.rows // self.unit
        count = -(-units // max(1, self.sampling.segment_rows // self.unit))
        return [range(units * k // count * self.unit, units * (k + 1) // count * self.unit) for k in range(count)]

    def fingerprint(self) -> str:
        """Equal for two plans if and only if they describe the same rows in the same segments."""
        sampling = self.sampling.model_dump_json(exclude=set(FREE_KEYS))
        return _digest(f"{self.seed} {self.first_ensemble} {self.system.model_dump_json()} {sampling}")

    def facts(self, config: RunConfig) -> dict[str, str]:
        """What is stored with a data set."""
        return {
            "config": config.to_yaml(), "system": self.system.model_dump_json(), "protocol": self.sampling.protocol,
            "fingerprint": self.fingerprint(),
        }  # fmt: skip

    def pilot_fingerprint(self, ensemble: int) -> str:
        """Equal if and only if the ensemble's pilot takes the same course, however far."""
        s = self.sampling
        return _digest(
            f"{self.seed} {self.first_ensemble + ensemble} {self.system.model_dump_json()} {self.gammas[ensemble]} "
            f"{s.step} {s.target_acceptance}"
        )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
