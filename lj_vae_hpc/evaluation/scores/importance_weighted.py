"""A tighter bound on the likelihood."""

from lj_vae_hpc.evaluation.passes import Pass
from lj_vae_hpc.evaluation.scores.base import Floats, Score


class ImportanceWeighted(Score):
    """-log of the mean of p(x|z) p(z) / q(z|x) over 16 z of q(z|x), in nats (Burda et al., arXiv:1509.00519)."""

    name = "importance_weighted"
    two_sided = True
    optional = True

    def __call__(self, one: Pass) -> Floats:
        """The scores."""
        return one.importance_weighted
