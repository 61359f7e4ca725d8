"""The configurations of an anomaly suite."""

from collections.abc import Sequence
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import COMMAND, UserError
from lj_vae_hpc.evaluation.sources import AnySource, Given, RunData, checked_configurations, everything
from lj_vae_hpc.evaluation.suite_data import suite_file, with_seed_of_data
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.evaluation.suites.registry import configurations_each, suites_of
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling.production import holds
from lj_vae_hpc.store.reader import Dataset


class SuiteConfigurations(NamedTuple):
    """The configurations of an anomaly suite.

    Attributes:
        positions: (n, N, 2) float32, in σ.
        gamma: (n,) γ of each: where it claims one, that; NaN where it has none.
        moved: (n, N) which particles were put elsewhere; None for suites that move none.
    """

    positions: NDArray[np.float32]
    gamma: NDArray[np.float64]
    moved: NDArray[np.bool_] | None


def read_suite(run: RunDir, config: RunConfig, trained: Sequence[float], name: str) -> SuiteConfigurations:
    """The configurations of a suite, as `lj-vae evaluate` scores them.

    Args:
        run: the run.
        config: its configuration.
        trained: γ that its model was trained on.
        name: of the suite, as in summary.json.

    Raises:
        ValueError: the run has no suite of that name.
        UserError: it is not sampled yet, or cannot be read.
    """
    suites, left_out = suites_of(with_seed_of_data(run, config), trained)
    of_name = {suite.name: suite for suite in suites}
    if name not in of_name:
        reason = f"it is left out, as {left_out[name]}" if name in left_out else f"choose one of {', '.join(of_name)}"
        raise ValueError(f"there is no suite {name!r}; {reason}")
    suite = of_name[name]
    with ExitStack() as files:
        source = _source(run, config, trained, suite, files)
        rows = range(suite.count(source))
        own = suite.read(source, rows)
        return SuiteConfigurations(*own, suite.culprits(source, rows, own))


def _source(run: RunDir, config: RunConfig, trained: Sequence[float], suite: Suite, files: ExitStack) -> AnySource:
    """What the configurations of a suite are read from."""
    if suite.file:
        positions, gamma = map(np.concatenate, zip(*checked_configurations(suite.file, config), strict=True))
        return Given(positions, gamma)
    if not suite.ensembles:
        data = files.enter_context(Dataset(run.dataset))
        return RunData.of(data, config, trained).test
    path = suite_file(run, suite)
    if not holds(path, suite.ensembles, configurations_each(suite, config)):
        raise UserError(f"the suite {suite.name} is not sampled; run `{COMMAND} evaluate -o {run.path}` first")
    return everything(files.enter_context(Dataset(path)))
