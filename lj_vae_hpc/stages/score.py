"""Scores configurations of any data set with a run's trained network."""

from pathlib import Path

import h5py

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.calibration import DEFAULT_SCORE
from lj_vae_hpc.evaluation.kept import write_columns
from lj_vae_hpc.evaluation.scoring import Scoring
from lj_vae_hpc.evaluation.session import Session, calibrated
from lj_vae_hpc.evaluation.sources import AnySource, RunData, everything
from lj_vae_hpc.evaluation.splits import Asked, Split
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.evaluation.weights import load_network
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling.summary import system_of
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training.setup import check_data

ODD = 0.01  # p-value below which a configuration is counted as odd


def score(world: World, run: RunDir, config: RunConfig, path: Path, target: Path) -> None:
    """The command: scores every configuration of a data set with the trained model, into one HDF5 file.

    Raises:
        UserError: the data set cannot be read, or holds another number of particles than the model was trained on.
    """
    world.on_root(lambda: check_data(run, config, 1))
    world.on_root(lambda: _check_input(run, config, path, target))
    network, weights = load_network(world, run, config)
    with Dataset(run.dataset) as data, Dataset(path) as foreign:
        own = RunData.of(data, config, weights.gammas)
        splits: dict[Suite, AnySource] = {
            Split(config, "validation"): own.validation,
            Split(config, "calibration"): own.calibration,
        }
        session = Session(world, run.evaluation / "scores", config, network, weights, own, splits)
        normal = session.score_suites()
        scorer = session.fitted_scorer()
        with Progress("scoring", foreign.rows, "configurations", world.is_root) as progress:
            scoring = Scoring(world, scorer, progress.advance)
            columns = scoring.score(Asked(config), everything(foreign))
        if world.is_root:
            columns = calibrated(normal | {"scores": columns})["scores"]
    world.on_root(lambda: write_columns(target, {"scores": columns}))
    if world.is_root:
        odd, rows = int((columns["p_value"] < ODD).sum()), len(columns["p_value"])
        print(
            f"{target}: /scores/{DEFAULT_SCORE}, /scores/p_value and the other scores of {rows} configurations; {odd} "
            f"have p < {ODD}, {ODD * rows:.1f} are expected by chance"
        )


def _check_input(run: RunDir, config: RunConfig, path: Path, target: Path) -> None:
    with Dataset(path) as foreign:
        if target.exists() and not _holds_scores(target):
            raise UserError(f"--to {target} exists and holds no scores; choose another file")
        if foreign.n_particles != config.system.n_particles:
            raise UserError(
                f"{path} holds configurations of {foreign.n_particles} particles, the model in {run.path} was "
                f"trained on {config.system.n_particles}"
            )
        if "system" in foreign.attributes and (side := system_of(foreign).box_side) != config.system.box_side:
            raise UserError(
                f"{path} was sampled in a box of side {side:g}, the model in {run.path} was trained on one of "
                f"{config.system.box_side:g}: distances are scaled by it"
            )


def _holds_scores(path: Path) -> bool:
    try:
        with h5py.File(path) as file:
            return "scores" in file
    except OSError:
        return False
