"""What every study is."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.conditional.model import ConditionalModel
from lj_vae_hpc.evaluation.order import OrderParameter
from lj_vae_hpc.evaluation.sources import RunData
from lj_vae_hpc.training.network import Network

MOST_PARTICLES = 200
MOST_GAMMAS = 8  # whose structure is looked at


def some_gammas(gammas: Sequence[float]) -> list[float]:
    """At most MOST_GAMMAS of some γ, evenly chosen."""
    return list(gammas[:: -(-len(gammas) // MOST_GAMMAS)])


@dataclass(frozen=True, eq=False)
class Context:
    """What a study may use.

    Attributes:
        config: the run's configuration.
        network: with its best weights.
        data: the run's configurations.
        order: the order parameter.
        conditional: the conditional model.
        suites: folder of the configurations that were sampled for the suites.
    """

    config: RunConfig
    network: Network
    data: RunData
    order: OrderParameter
    conditional: ConditionalModel
    suites: Path


class Study(ABC):
    """A set of results on a trained model, in studies.json under its name."""

    name: ClassVar[str]
    version: ClassVar[int] = 1
    """To be raised with every change of what is computed."""
    weight: ClassVar[float] = 1.0
    """About how long a part takes, in the same units for all studies."""

    def follows_from(self, config: RunConfig) -> dict[str, Any]:
        """What it follows from beside what all studies do: keys of the configuration, by name."""
        return {}

    def objection(self, context: Context) -> str | None:
        """Why it cannot be done with a run, if so."""
        return None

    def parts(self, context: Context) -> Sequence[str]:
        """Names of the parts that it has, which the ranks share; one without a name if it has none."""
        return ("",)

    def part_title(self, part: str) -> str:
        """What a part is called while it is computed."""
        return self.name

    @abstractmethod
    def run(self, context: Context, part: str) -> dict[str, Any]:
        """The results of a part: nested dictionaries, lists and numbers."""


def too_many_particles(context: Context) -> str | None:
    """The objection of a study that looks at all pairs of many configurations."""
    count = context.config.system.n_particles
    return f"it is for at most {MOST_PARTICLES} particles" if count > MOST_PARTICLES else None


def needs_coordinates(context: Context) -> str | None:
    """The objection of a study that decodes positions."""
    if not context.network.module.gives_positions:
        return "the decoder gives no coordinates"
    return too_many_particles(context)
