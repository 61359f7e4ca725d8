"""What of a run can be refused before anything is sampled, trained or scored."""

from collections.abc import Sequence

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.scores.registry import chosen_scores
from lj_vae_hpc.evaluation.studies.registry import chosen_studies
from lj_vae_hpc.evaluation.suites.registry import suites_of
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.run.space import check_space
from lj_vae_hpc.training.memory import check_memory
from lj_vae_hpc.training.setup import check_networks, check_splits


def check_run(run: RunDir, config: RunConfig, ranks: tuple[int, int] | None) -> None:
    """Whatever training and evaluation can refuse without data.

    Args:
        run: the run.
        config: its configuration.
        ranks: that train, and those of them that share this machine; None if others train elsewhere, with memory that
            is not known.

    Raises:
        UserError: naming the key, what is wrong and what is accepted.
    """
    check_networks(config)
    check_splits(config)
    if ranks:
        check_memory(config, *ranks)
    check_evaluation(run, config, sorted(config.sampling.gamma_values))


def check_evaluation(run: RunDir, config: RunConfig, trained: Sequence[float]) -> None:
    """Names, files, and room for the suites.

    Args:
        run: the run.
        config: its configuration.
        trained: γ that the model is trained on.

    Raises:
        UserError: naming the key, what is wrong and what is accepted.
    """
    chosen_studies(config.evaluation.studies)
    chosen_scores(config.evaluation.extra_scores)
    suites, _ = suites_of(config, trained)
    count, rows = config.evaluation.configurations, 0
    for suite in suites:
        if suite.file and not suite.file.is_file():
            raise UserError(f"evaluation.files.{suite.name}: there is no file {suite.file}")
        if len(suite.ensembles) > count:
            raise UserError(
                f"evaluation.configurations: {count} are too few for the suite {suite.name}, which has "
                f"{len(suite.ensembles)} values of γ"
            )
        rows += count if suite.ensembles else 0
    check_space(run.evaluation, rows, config.system.n_particles, "evaluation.configurations")
