"""Runs the pilot of every ensemble, divided over ranks; each is kept as soon as it is done."""

import time
from collections.abc import Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import Stopped, UserError
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.sampling.equilibration import OBSERVABLES, Pilot
from lj_vae_hpc.sampling.pilot import PilotState, run_pilot
from lj_vae_hpc.sampling.plan import Plan
from lj_vae_hpc.store.schema import INDEX_NAME
from lj_vae_hpc.store.writer import write_small_hdf5

PAUSE, KEEP = 1.0, 60.0  # seconds between two questions whether to stop, and for which a killed pilot is made again


def run_pilots(world: World, plans: Mapping[Path, Plan], label: str, begun: bool = False) -> dict[Path, list[Pilot]]:
    """The pilot of each ensemble of some plans, by the folder of their data; the same on every rank.

    Args:
        world: the ranks.
        plans: by the folder of their data.
        label: of messages.
        begun: whether configurations have been sampled by these pilots, which then stay, proof or not.

    Raises:
        UserError: equilibrium could not be proved for some ensemble, unless sampling.allow_unconverged.
        Stopped: a signal or deadline came; the pilots so far are kept.
    """
    everything = [(folder, plan, e) for folder, plan in plans.items() for e in range(len(plan.gammas))]
    pilots = world.on_root(lambda: [_stored(*one, begun) for one in everything])
    todo = [k for k, pilot in enumerate(pilots) if pilot is None]
    alone = world.alone()
    alone.begin()
    with Progress(f"{label}, pilots", len(todo), "values of γ", world.is_root) as progress:
        for start in range(0, len(todo), world.size):
            turn = todo[start : start + world.size]
            mine = {k: _run(alone, progress, *everything[k]) for k in turn[world.rank : world.rank + 1]}
            answers = world.gather((mine, alone.stop_requested()))
            for found, _ in answers:
                for k, pilot in found.items():
                    pilots[k] = pilot
            progress.advance(len(turn))
            if any(stop for _, stop in answers) or any(pilots[k] is None for k in turn):
                raise Stopped("the pilots so far are kept")
            alone.begin()
    complete = [pilot for pilot in pilots if pilot]
    _check(everything, complete, label, begun)
    of_folder: dict[Path, list[Pilot]] = {folder: [] for folder in plans}
    for (folder, _, _), pilot in zip(everything, complete, strict=True):
        of_folder[folder].append(pilot)
    return of_folder


def _check(everything: list[tuple[Path, Plan, int]], pilots: list[Pilot], label: str, begun: bool) -> None:
    lost = [
        f"gamma {plan.gammas[e]:g} of {folder.name} ({_why(pilot)})"
        for (folder, plan, e), pilot in zip(everything, pilots, strict=True)
        if plan.sampling.protocol == "equilibrated" and not (pilot.converged or plan.sampling.allow_unconverged)
    ]
    if lost:
        remedy = "choose another output folder with -o" if begun else "raise sampling.max_pilot_sweeps"
        raise UserError(
            f"{label}: equilibrium was not proved for {'; '.join(lost[:5])}"
            + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
            + f": {remedy}, or set sampling.allow_unconverged=true to sample all the same",
            everywhere=True,
        )


def _why(pilot: Pilot) -> str:
    worst = int(np.argmax(pilot.rhat))
    apart = np.abs(pilot.difference / np.maximum(pilot.difference_error, 1e-300))
    return (
        f"R-hat {pilot.rhat[worst]:.3f} of {OBSERVABLES[worst]}, starts {apart.max():.1f} standard errors apart after "
        f"{pilot.burn_in} sweeps"
    )


def _path(folder: Path, ensemble: int) -> Path:
    return folder / "pilots" / f"{ensemble:06d}.h5"


def _run(world: World, progress: Progress, folder: Path, plan: Plan, ensemble: int) -> Pilot | None:
    """Runs a pilot, from where it was left; it is kept when it is done, and so is its state until then."""
    path, unfinished = (_path(folder, ensemble).with_suffix(suffix) for suffix in (".h5", ".state.h5"))
    fingerprint = plan.pilot_fingerprint(ensemble)
    this_course = f"{fingerprint} {plan.sampling.max_pilot_sweeps}"  # its last verdict is where the budget ends
    asked = kept = time.monotonic()

    def keep(what: PilotState | Pilot, path: Path, fingerprint: str) -> None:
        def fill(file: h5py.File) -> None:
            file.attrs["fingerprint"] = fingerprint
            for name, values in what.columns().items():
                file.create_dataset(name, data=values)

        write_small_hdf5(path, fill)

    def should_stop(state: PilotState | None) -> bool:
        nonlocal asked, kept
        now = time.monotonic()
        if now - asked < PAUSE:
            return False
        stop, asked = world.stop_requested(), now
        far = f"{state.swept:,} of at most {plan.sampling.max_pilot_sweeps:,} sweeps" if state else "tuning the step"
        progress.note(f"γ = {plan.gammas[ensemble]:g}, {far}")
        if state and (stop or now - kept > KEEP):
            keep(state, unfinished, this_course)
            kept = now
        return stop

    columns = _read(unfinished, this_course)
    pilot = run_pilot(plan, ensemble, PilotState.of(columns) if columns else None, should_stop)
    if pilot:
        keep(pilot, path, fingerprint)
        unfinished.unlink(missing_ok=True)
    return pilot


def _read(path: Path, fingerprint: str) -> dict[str, NDArray[np.generic]] | None:
    """What was kept of a pilot, if it is this one."""
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["fingerprint"] == fingerprint:
                return {name: np.asarray(data) for name, data in file.items()}
    except (OSError, KeyError):
        pass
    return None


def _stored(folder: Path, plan: Plan, ensemble: int, begun: bool) -> Pilot | None:
    """The pilot from its own file, or from the index of the data set; none that may run on."""
    columns = _read(_path(folder, ensemble), plan.pilot_fingerprint(ensemble))
    if columns is None:
        try:
            with h5py.File(folder / INDEX_NAME, "r") as file:
                if file.attrs["fingerprint"] == plan.fingerprint():
                    columns = {name: np.asarray(data[ensemble]) for name, data in file["ensembles/pilot"].items()}
        except (OSError, KeyError):
            pass
    pilot = Pilot.of(columns) if columns else None
    if pilot and not (pilot.converged or begun) and pilot.length < plan.sampling.max_pilot_sweeps:
        return None
    return pilot
