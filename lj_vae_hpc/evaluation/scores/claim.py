"""Whether a configuration belongs to the γ that it claims."""

from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats, Score


class Claim(Score):
    """-log of the probability of the claimed γ given the latent mean, among the trained ones and one on either side."""

    name = "claim"
    needs_claim = True

    def __call__(self, one: Pass) -> Floats:
        """The scores; infinite for a γ that is none of the trained ones."""
        return -one.learned.order.log_probability_of(one.gamma, one.latent_mean)
