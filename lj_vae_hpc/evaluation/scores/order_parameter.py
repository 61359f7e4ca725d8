"""The place along the axis that separates the trained γ."""

from lj_vae_hpc.evaluation.nearest_class import NearestClassScore
from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats


class OrderParameterScore(NearestClassScore):
    """Squared distance of the order parameter from that of the nearest trained γ, in its standard deviations."""

    name = "order_parameter"
    transform = True

    def features(self, one: Pass) -> Floats:
        """The order parameter."""
        return one.order[:, None]
