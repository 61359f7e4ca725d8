"""The place along the axis that separates the trained γ."""

from lj_vae_hpc.evaluation.nearest_class import NearestClass
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats, Score


class OrderParameterScore(Score):
    """Squared distance of the order parameter from that of the nearest trained γ, in its standard deviations."""

    name = "order_parameter"

    def features(self, one: Pass) -> Floats:
        """The order parameter."""
        return one.order[:, None]

    def fit(self, features: Floats, gamma: Floats) -> None:
        """The distribution of each γ."""
        self._nearest = NearestClass(features, gamma, transform=True)

    def __call__(self, one: Pass) -> Floats:
        """The scores."""
        return self._nearest(self.features(one))
