"""All scores by name."""

from collections.abc import Sequence
from inspect import getfile

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.discovery import classes_in
from lj_vae_hpc.evaluation.scores.base import Score


def score_classes() -> dict[str, type[Score]]:
    """The scores by name, in order of their files."""
    found = list(classes_in("lj_vae_hpc.evaluation.scores", Score))  # type: ignore[type-abstract]
    for kind in found:
        if not hasattr(kind, "name"):
            raise UserError(f"{getfile(kind)}: the score {kind.__name__} needs a class attribute `name`")
    return {kind.name: kind for kind in found}


def chosen_scores(extra: Sequence[str]) -> list[Score]:
    """The scores that are computed.

    Args:
        extra: names of optional ones.

    Raises:
        UserError: there is no optional score of such a name.
    """
    classes = score_classes()
    optional = [name for name, kind in classes.items() if kind.optional]
    unknown = sorted(set(extra) - set(optional))
    if unknown:
        raise UserError(f"evaluation.extra_scores: there is no {', '.join(unknown)}; choose from {', '.join(optional)}")
    return [kind() for name, kind in classes.items() if not kind.optional or name in extra]
