"""The suites that a run is evaluated on."""

from collections import Counter
from collections.abc import Sequence

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.discovery import classes_in
from lj_vae_hpc.evaluation.splits import SPLITS
from lj_vae_hpc.evaluation.suites.base import Suite


def suite_classes() -> list[type[Suite]]:
    """The kinds of suites, in order of their files."""
    return list(classes_in("lj_vae_hpc.evaluation.suites", Suite))  # type: ignore[type-abstract]


def suites_of(config: RunConfig, trained: Sequence[float]) -> tuple[list[Suite], dict[str, str]]:
    """The suites that a configuration asks for; and those that are left out, with the reason, by name.

    Args:
        config: the run's configuration.
        trained: γ that the model was trained on.

    Raises:
        UserError: two suites have the same name.
    """
    # Data may have gained or lost a γ since.
    present = set(config.sampling.gamma_values)
    normal = config.sampling.model_copy(update={"gammas": tuple(gamma for gamma in trained if gamma in present)})
    normal_config = config.model_copy(update={"sampling": normal})
    asked = [suite for kind in suite_classes() for suite in kind.of(normal_config)]
    names = [*SPLITS, *(suite.name for suite in asked)]
    repeated = sorted(name for name, count in Counter(names).items() if count > 1)
    if repeated:
        raise UserError(
            f"evaluation: more than one suite would be named {', '.join(repeated)}; rename what "
            "evaluation.corruptions, fluids or files name so"
        )
    reasons = {suite.name: suite.why_left_out(trained) for suite in asked}
    left_out = {name: reason for name, reason in reasons.items() if reason}
    return [suite for suite in asked if suite.name not in left_out], left_out


def configurations_each(suite: Suite, config: RunConfig) -> int:
    """Configurations of each ensemble of a suite that has some."""
    return config.evaluation.configurations // len(suite.ensembles)
