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

    @classmethod
    def objection(cls, network: Network) -> str | None:
        """Why it cannot be done with a network, if so."""
        return None

    def parts(self, context: Context) -> Sequence[str]:
        """Names of the parts that it has, which the ranks share; one without a name if it has none."""
        return ("",)

    @abstractmethod
    def run(self, context: Context, part: str) -> dict[str, Any]:
        """The results of a part: nested dictionaries, lists and numbers."""


def needs_coordinates(network: Network) -> str | None:
    """The objection of a study that decodes positions."""
    return None if network.module.gives_positions else "the decoder gives no coordinates"
