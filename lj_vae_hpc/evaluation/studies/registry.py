"""All studies, and those of a run."""

from collections.abc import Sequence

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.discovery import classes_in
from lj_vae_hpc.evaluation.studies.base import Study


def study_classes() -> dict[str, type[Study]]:
    """The studies by name, in order of their files."""
    return {found.name: found for found in classes_in("lj_vae_hpc.evaluation.studies", Study)}  # type: ignore[type-abstract]


def chosen_studies(names: Sequence[str]) -> list[Study]:
    """The studies of these names.

    Raises:
        UserError: there is no study of such a name.
    """
    classes = study_classes()
    if unknown := sorted(set(names) - set(classes)):
        raise UserError(f"evaluation.studies: there is no {', '.join(unknown)}; choose from {', '.join(classes)}")
    return [classes[name]() for name in names]
