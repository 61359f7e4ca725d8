"""Runs the pilot of every ensemble, divided over teams of ranks; each is kept as soon as it is done."""

import time
from collections.abc import Sequence
from functools import partial as bind
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import Stopped, UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.sampling.chains import Begun
from lj_vae_hpc.sampling.ensemble import Ensemble
from lj_vae_hpc.sampling.equilibration import OBSERVABLES, Pilot
from lj_vae_hpc.sampling.pilot import PilotState, gather_state, gives_data, may_continue, run_pilot
from lj_vae_hpc.store.segments import finished_segments
from lj_vae_hpc.store.structure import Damaged
from lj_vae_hpc.store.writer import read_small_hdf5, write_small_hdf5

TEAM_SIZES = (1, 2, 4, 8, 16)  # ranks that share a pilot's chains; 16 have full blocks of them where LANES is 16
CHAINS_KEPT = ("positions", "accepted")  # of a pilot's state, beside what it found out
SECONDS_BETWEEN_QUESTIONS, SECONDS_LOST_AT_MOST = 1.0, 60.0  # whether to stop; when a pilot is killed


def run_pilots(world: World, ensembles: Sequence[Ensemble], folders: Sequence[Path], label: str) -> None:
    """Runs the pilots that are missing. Afterwards stored_pilot finds every one of them.

    Args:
        world: the ranks.
        ensembles: whose pilots are wanted.
        folders: of each ensemble.
        label: of messages.

    Raises:
        UserError: equilibrium could not be proved for some ensemble, unless sampling.allow_unconverged.
        Stopped: a signal or deadline came; the pilots so far are kept.
    """
    todo = world.on_root(lambda: [k for k, e in enumerate(ensembles) if needs_pilot(e, folders[k])])
    team, size, done = world, 0, 0
    with Progress(f"{label}, proving equilibrium", len(todo), "values of γ", world.is_root) as progress:
        while done < len(todo):
            if size != (size := max(s for s in TEAM_SIZES if s == 1 or s * (len(todo) - done) <= world.size)):
                team = world.team(size)
            team.stop.start_piece()
            turn = todo[done : done + -(-world.size // size)]
            finished = True
            problem: str | None = None
            for k in turn[world.rank // size : world.rank // size + 1]:
                where = f"γ = {ensembles[k].gamma:g} ({done + 1} of {len(todo)})"
                try:
                    finished = PilotRun(team, progress, where, ensembles[k], folders[k]).run()
                except UserError as error:
                    if team.size > 1 and not error.everywhere:
                        raise  # the others of the team do not know
                    problem = str(error)
            world.agree(problem)
            answers = world.gather((finished, team.should_stop()))
            done += len(turn)
            progress.advance(len(turn))
            if any(stop or not finished for finished, stop in answers):
                raise Stopped("the pilots so far are kept")
    world.on_root(lambda: _check(ensembles, folders, label))


class PilotRun:
    """One pilot on the ranks of a team, from where it was left; its state is kept until it is proved."""

    def __init__(self, world: World, progress: Progress, where: str, ensemble: Ensemble, folder: Path) -> None:
        self._world, self._progress, self._where = world, progress, where
        self._ensemble = ensemble
        self._done, self._unfinished = pilot_file(folder), folder / "pilot.state.h5"
        self._asked = self._kept = time.monotonic()

    def run(self) -> bool:
        """Whether it came to its end."""
        columns = self._world.on_root(lambda: _read(self._unfinished, self._ensemble))
        state = PilotState.of(columns) if columns else None
        found = run_pilot(self._ensemble, state, self._should_stop, self._world)
        if found:
            self._world.on_root(bind(self._finish, *found))
        return found is not None

    def _finish(self, pilot: Pilot, state: PilotState) -> None:
        if not pilot.converged:  # a larger budget continues from there
            self._keep(state.columns(), self._unfinished)
        self._keep(pilot.columns() | {name: state.columns()[name] for name in CHAINS_KEPT}, self._done)
        if pilot.converged:
            self._unfinished.unlink(missing_ok=True)

    def _should_stop(self, state: PilotState | None) -> bool:
        now, most = time.monotonic(), self._ensemble.sampling.max_pilot_sweeps
        asks = self._world.broadcast(now - self._asked >= SECONDS_BETWEEN_QUESTIONS)
        stop = asks and self._world.should_stop()
        if asks:
            self._asked = now
            far = f"{state.swept:,} of at most {most:,} sweeps" if state else "tuning the step"
            self._progress.note(f"{self._where}, {far}")
        if state and (stop or self._world.broadcast(now - self._kept > SECONDS_LOST_AT_MOST)):
            columns = gather_state(self._world, state).columns()
            self._world.on_root(bind(self._keep, columns, self._unfinished))
            self._kept = now
        return stop

    def _keep(self, columns: dict[str, NDArray[np.generic]], path: Path) -> None:
        def fill(file: h5py.File) -> None:
            file.attrs["pilot"] = self._ensemble.pilot_identity
            for name, values in columns.items():
                file.create_dataset(name, data=values)

        write_small_hdf5(path, fill)


def pilot_file(folder: Path) -> Path:
    """What the pilot of the ensemble whose folder is given has found."""
    return folder / "pilot.h5"


def kept_pilot(ensemble: Ensemble, folder: Path) -> Pilot:
    """The pilot, proved or not, which must be there.

    Raises:
        UserError: it is gone or damaged.
    """
    return _pilot(_kept(ensemble, folder))


def stored_pilot(ensemble: Ensemble, folder: Path) -> Pilot | None:
    """The pilot that was kept, proved or not."""
    columns = _read(pilot_file(folder), ensemble)
    return _pilot(columns) if columns else None


def begun_chains(ensemble: Ensemble, folder: Path) -> Begun | None:
    """The chains of the stored pilot, where they give the first configurations.

    Raises:
        UserError: the pilot is gone or damaged.
    """
    if not gives_data(ensemble):
        return None
    columns = _kept(ensemble, folder)
    return Begun(columns["positions"], columns["accepted"], int(columns["length"]))  # type: ignore[arg-type]


def _pilot(columns: dict[str, NDArray[np.generic]]) -> Pilot:
    return Pilot.of({name: values for name, values in columns.items() if name not in CHAINS_KEPT})


def _kept(ensemble: Ensemble, folder: Path) -> dict[str, NDArray[np.generic]]:
    path = pilot_file(folder)
    if not (columns := _read(path, ensemble)):
        raise UserError(f"{path} is gone or damaged: delete it, and the command that samples makes it anew")
    return columns


def needs_pilot(ensemble: Ensemble, folder: Path) -> bool:
    """Whether there is no pilot, or one that did not prove equilibrium and may go on.

    Once configurations have been sampled by a pilot it stays, proof or not.
    """
    pilot = stored_pilot(ensemble, folder)
    if pilot is None:
        return True
    return not pilot.converged and may_continue(pilot, ensemble) and not finished_segments(folder)


def _read(path: Path, ensemble: Ensemble) -> dict[str, NDArray[np.generic]] | None:
    """What was kept of a pilot, if it is this one."""
    try:
        attributes, columns = read_small_hdf5(path)
        if attributes.get("pilot") == ensemble.pilot_identity:
            return columns
    except (OSError, Damaged):
        pass
    return None


def _check(ensembles: Sequence[Ensemble], folders: Sequence[Path], label: str) -> None:
    lost, begun = [], False
    for ensemble, folder in zip(ensembles, folders, strict=True):
        pilot = stored_pilot(ensemble, folder)
        demanded = ensemble.sampling.protocol == "equilibrated" and not ensemble.sampling.allow_unconverged
        if pilot and demanded and not pilot.converged:
            lost.append(f"gamma {ensemble.gamma:g} ({_why(pilot)})")
            begun = begun or bool(finished_segments(folder))
    if lost:
        remedy = "choose another output folder with -o" if begun else "raise sampling.max_pilot_sweeps"
        raise UserError(
            f"{label}: equilibrium was not proved for {'; '.join(lost[:5])}"
            + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
            + f": {remedy}, or set sampling.allow_unconverged=true to sample all the same"
        )


def _why(pilot: Pilot) -> str:
    worst = int(np.argmax(pilot.rhat))
    apart = np.abs(pilot.difference / np.maximum(pilot.difference_error, 1e-300))
    return (
        f"R-hat {pilot.rhat[worst]:.3f} of {OBSERVABLES[worst]}, starts {apart.max():.1f} standard errors apart after "
        f"{pilot.burn_in} sweeps"
    )
