"""Scores any configurations with a trained network, calibrated on the normal configurations of its run."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.calibration import DEFAULT_SCORE, Calibration
from lj_vae_hpc.evaluation.kept import SHARED
from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.evaluation.scores.displacement import ODD
from lj_vae_hpc.evaluation.scoring import Advance, Scorer, Scoring
from lj_vae_hpc.evaluation.session import Session
from lj_vae_hpc.evaluation.sources import AnySource, Given, RunData
from lj_vae_hpc.evaluation.splits import Asked, Split
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.evaluation.weights import Weights
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.training.network import Network

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World


@dataclass(frozen=True, eq=False)
class Detector:
    """What tells odd configurations from the normal ones of a run.

    Attributes:
        world: the ranks.
        config: the run's configuration.
        scorer: after it has learned from the training split.
        calibration: on the validation and the calibration split; on rank 0 only.
    """

    world: "World"
    config: RunConfig
    scorer: Scorer
    calibration: Calibration | None

    @classmethod
    def of(
        cls, world: "World", folder: Path, config: RunConfig, network: Network, weights: Weights, data: RunData
    ) -> "Detector":
        """Learns from a run's own configurations, or takes what has been kept of that; all ranks call this.

        Args:
            world: the ranks.
            folder: RUN_DIR/evaluation, where the scores of the splits and what is learned are kept.
            config: the run's configuration.
            network: with its best weights.
            weights: which they are.
            data: the run's own configurations.

        Raises:
            UserError: scores cannot be kept in the folder.
            Stopped: a signal or deadline came; what was scored is kept.
        """
        splits: dict[Suite, AnySource] = {
            Split(config, "validation"): data.validation,
            Split(config, "calibration"): data.calibration,
        }
        session = Session(world, folder / "scores", config, network, weights, data, splits, quiet=True)
        scores = session.score_suites()
        scorer = session.fitted_scorer()
        return cls(world, config, scorer, scores.calibration() if world.is_root else None)

    def score(
        self, positions: NDArray[np.float32], gamma: NDArray[np.float64] | None = None,
        advance: Advance = lambda amount: None,
    ) -> Arrays:  # fmt: skip
        """Every score of n configurations, on rank 0; an empty dictionary elsewhere. All ranks call this alike.

        Args:
            positions: (n, N, 2), in σ, inside the box.
            gamma: (n,) γ of each, which only a conditional network needs.
            advance: told the number of configurations done.

        Returns:
            score: (n,) the default score, the larger the more anomalous. p_value: (n,) share of the normal
            configurations of the calibration split that are at least as anomalous, with the +1 correction.
            particle_score: (n, N) log likelihood ratio of each particle being out of place, in the order given. Then
            every other score, (n,); pair_energy in ε under the run's potential, height_sum and smallest_distance in σ;
            order, the order parameter; latent_mean (n, d).
        """
        pieces = Scoring(self.world, self.scorer, advance).score(Asked(self.config), Given(positions, gamma))
        parts = [piece.columns for rank in self.world.gather_to_root(list(pieces)) for piece in rank]
        if self.calibration is None:
            return {}
        columns = self.calibration.add({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})
        first = {"score": columns.pop(DEFAULT_SCORE), "p_value": columns.pop("p_value")}
        return first | {name: values for name, values in columns.items() if name not in LEFT_OUT}


LEFT_OUT = ("row", "origin", "gamma", "outside")


def odd_particles(ratio: NDArray[np.float32]) -> NDArray[np.int64]:
    """Numbers of the particles of one configuration that are more likely out of place than not, the oddest first.

    One particle in ten counts as out of place beforehand.

    Args:
        ratio: (N,) its particle_score.
    """
    order = np.argsort(-ratio, kind="stable")
    return order[ratio[order] > ODD]


@contextmanager
def folder_to_keep_in(world: "World", run: RunDir) -> Iterator[Path]:
    """The folder in which what is learned is kept; one for the time being where the run cannot be written.

    All ranks call this; rank 0 makes and removes that folder, with a copy of what is there.
    """
    scratch = world.on_root(lambda: _scratch(run))
    try:
        yield scratch or run.evaluation
    finally:
        if scratch and world.is_root:
            shutil.rmtree(scratch)


def _scratch(run: RunDir) -> Path | None:
    folder = run.evaluation
    if os.access(folder if folder.exists() else run.path, os.W_OK | os.X_OK):
        return None
    scratch = Path(tempfile.mkdtemp(prefix="lj-vae-"))
    try:
        for part in SHARED:
            (scratch / part).mkdir()
            for file in (folder / part).glob("*.h5"):
                shutil.copyfile(file, scratch / part / file.name)  # not its mode, which may be read-only
    except BaseException as error:
        shutil.rmtree(scratch)
        if isinstance(error, OSError):
            reason = f"{error.filename}: {error.strerror}"
            raise UserError(f"cannot copy {folder} to {scratch.parent} (TMPDIR): {reason}") from None
        raise
    return scratch
