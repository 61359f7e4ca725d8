"""All scores, and the one to use where a single one is wanted."""

from lj_vae_hpc.evaluation.discovery import classes_in
from lj_vae_hpc.evaluation.scores.base import Score

DEFAULT_SCORE = "mahalanobis"
"""Chosen by its definition, before any anomaly was seen: it depends on neither the units of the representation nor the
weights of the objective, and what it learns comes from the training split alone."""


def score_classes() -> dict[str, type[Score]]:
    """The scores by name, in order of their files."""
    return {found.name: found for found in classes_in("lj_vae_hpc.evaluation.scores", Score)}  # type: ignore[type-abstract]
