"""How much better another code would have been."""

from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats, Score


class LikelihoodRegret(Score):
    """Negative ELBO at the encoder's mean, minus that at the best mean that 20 steps find, in nats.

    After Xiao, Yan and Amit, arXiv:2003.02977, who also adapt the variances.
    """

    name = "likelihood_regret"
    optional = True

    def __call__(self, one: Pass) -> Floats:
        """The scores."""
        return one.likelihood_regret
