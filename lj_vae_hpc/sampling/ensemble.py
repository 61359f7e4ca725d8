"""An ensemble: one γ of one fluid under one protocol."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from lj_vae_hpc.config.sampling import Sampling
from lj_vae_hpc.config.system import System
from lj_vae_hpc.sampling.equilibration import CHAINS
from lj_vae_hpc.sampling.streams import Stream, stream

STEPS = {
    "reference": ("sweeps", "step"),
    "equilibrated": ("sweeps", "step", "target_acceptance", "long_every", "samples_per_chain"),
    "imported": (),
}
"""The keys of `sampling` that determine a configuration under each protocol, besides γ."""


@dataclass(frozen=True)
class Ensemble:
    """All that determines its configurations; how many of them there are is not part of it.

    Whatever else is sampled, on however many ranks: an ensemble with the same attributes has the same configurations.

    Attributes:
        seed: the run's seed.
        system: the fluid.
        gamma: γ = m g σ / ε.
        sampling: the protocol; only the keys in STEPS count.
    """

    seed: int
    system: System
    gamma: float
    sampling: Sampling

    @cached_property
    def identity(self) -> str:
        """What the ensemble is, as JSON; equal for equal ensembles and only for them."""
        protocol = {name: getattr(self.sampling, name) for name in STEPS[self.sampling.protocol]}
        facts: dict[str, Any] = {
            "seed": self.seed, "gamma": self.gamma, "n_particles": self.system.n_particles,
            "box_side": self.system.box_side, "temperature": self.system.temperature,
            "potential": repr(self.system.pair_potential), "protocol": self.sampling.protocol, **protocol,
        }  # fmt: skip
        return json.dumps(facts, sort_keys=True)

    @cached_property
    def key(self) -> str:
        """A hash of the identity, which names the ensemble's folder."""
        return hashlib.sha256(self.identity.encode()).hexdigest()[:24]

    @property
    def number(self) -> int:
        """The same as a number below 2^31, the column `ensemble` of a data set."""
        return int(self.key[:8], 16) >> 1

    @property
    def stream(self) -> Stream:
        """Key of the random numbers of all its chains."""
        return stream(self.identity)

    @property
    def samples_per_chain(self) -> int:
        """Configurations that each of its chains gives."""
        return self.sampling.samples_per_chain

    @property
    def long_every(self) -> int:
        """Each sweep of that number makes long moves; 0: none does."""
        return self.sampling.long_every if self.sampling.protocol == "equilibrated" else 0

    @property
    def pilot_identity(self) -> str:
        """Equal for two ensembles whose pilots are the same."""
        s = self.sampling
        return json.dumps([self.identity, s.step, s.target_acceptance, s.long_every, CHAINS])


def ensembles_of(seed: int, system: System, sampling: Sampling) -> tuple[Ensemble, ...]:
    """The ensembles of a configuration, in order of γ."""
    return tuple(Ensemble(seed, system, gamma, sampling) for gamma in sorted(sampling.gamma_values))


def fingerprint(ensembles: Sequence[Ensemble], configurations: int, content: str = "") -> str:
    """Equal for two data sets if and only if they hold the same configurations, wherever equilibrium was proved.

    Where it was not, they also follow from how far the pilot was allowed to go (Dataset.names).

    Args:
        ensembles: in order of γ.
        configurations: of each.
        content: a digest of imported configurations.
    """
    facts = [[ensemble.key for ensemble in ensembles], configurations, content]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
