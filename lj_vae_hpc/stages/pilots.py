"""Runs the pilot of every ensemble, divided over ranks; each is kept as soon as it is done."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import Stopped, UserError
from lj_vae_hpc.parallel import World
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.sampling.chains import Schedule
from lj_vae_hpc.sampling.equilibration import OBSERVABLES, Pilot, run_pilot
from lj_vae_hpc.sampling.plan import Plan
from lj_vae_hpc.store.schema import INDEX_NAME
from lj_vae_hpc.store.writer import write_small_hdf5


def run_pilots(world: World, plans: Mapping[Path, Plan], label: str) -> dict[Path, list[Pilot]]:
    """The pilot of each ensemble of some plans, by the folder of their data; the same on every rank.

    Raises:
        UserError: equilibrium could not be proved for some ensemble, unless sampling.allow_unconverged.
        Stopped: a signal or deadline came; the pilots that were done are kept.
    """
    everything = [(folder, plan, e) for folder, plan in plans.items() for e in range(len(plan.gammas))]
    todo = world.on_root(lambda: [k for k, one in enumerate(everything) if _stored(*one) is None])
    with Progress(f"{label}, pilots", len(todo), "values of γ", world.is_root) as progress:
        for start in range(0, len(todo), world.size):
            for k in todo[start + world.rank : start + world.rank + 1]:
                _run(*everything[k])
            progress.advance(min(world.size, len(todo) - start))
            if world.stop_requested():
                raise Stopped("the pilots so far are kept")
    world.barrier()
    pilots = world.on_root(lambda: [pilot for one in everything if (pilot := _stored(*one))])
    _check(everything, pilots, label)
    found: dict[Path, list[Pilot]] = {folder: [] for folder in plans}
    for (folder, _, _), pilot in zip(everything, pilots, strict=True):
        found[folder].append(pilot)
    return found


def _check(everything: list[tuple[Path, Plan, int]], pilots: list[Pilot], label: str) -> None:
    lost = [
        f"gamma {plan.gammas[e]:g} of {folder.name} ({_why(pilot)})"
        for (folder, plan, e), pilot in zip(everything, pilots, strict=True)
        if plan.sampling.protocol == "equilibrated" and not (pilot.converged or plan.sampling.allow_unconverged)
    ]
    if lost:
        raise UserError(
            f"{label}: equilibrium was not proved for {'; '.join(lost[:5])}"
            + (f" and {len(lost) - 5} more" if len(lost) > 5 else "")
            + ". Raise sampling.max_pilot_sweeps, or set sampling.allow_unconverged=true to sample all the same",
            everywhere=True,
        )


def schedule(plan: Plan, pilots: list[Pilot]) -> Schedule:
    """What the protocol makes of the pilots; without them the plan's own step and sweeps."""
    count, s = len(plan.gammas), plan.sampling
    if s.protocol == "reference":
        return Schedule(np.full(count, s.step), np.full(count, s.sweeps), np.full(count, s.sweeps))
    return Schedule(
        np.array([p.step for p in pilots]),
        np.array([max(s.sweeps, p.burn_in) for p in pilots]),
        np.array([p.interval for p in pilots]),
    )


def table(pilots: Iterable[Pilot]) -> dict[str, NDArray[np.generic]]:
    """The pilots' attributes, each with an entry per ensemble, to be stored under /ensembles/pilot."""
    columns = [pilot.columns() for pilot in pilots]
    return {f"pilot/{name}": np.stack([c[name] for c in columns]) for name in (columns[0] if columns else ())}


def _why(pilot: Pilot) -> str:
    worst = int(np.argmax(pilot.rhat))
    apart = np.abs(pilot.difference / np.maximum(pilot.difference_error, 1e-300))
    return (
        f"R-hat {pilot.rhat[worst]:.3f} of {OBSERVABLES[worst]}, starts {apart.max():.1f} standard errors apart after "
        f"{pilot.burn_in} sweeps"
    )


def _path(folder: Path, ensemble: int) -> Path:
    return folder / "pilots" / f"{ensemble:06d}.h5"


def _run(folder: Path, plan: Plan, ensemble: int) -> None:
    pilot = run_pilot(plan, ensemble)

    def fill(file: h5py.File) -> None:
        file.attrs["fingerprint"] = plan.pilot_fingerprint(ensemble)
        for name, values in pilot.columns().items():
            file.create_dataset(name, data=values)

    write_small_hdf5(_path(folder, ensemble), fill)


def _stored(folder: Path, plan: Plan, ensemble: int) -> Pilot | None:
    """The pilot from its own file, or from the index of a data set that was complete; none that may run on."""
    pilot = None
    try:
        with h5py.File(_path(folder, ensemble), "r") as file:
            if file.attrs["fingerprint"] == plan.pilot_fingerprint(ensemble):
                pilot = Pilot.of({name: np.asarray(data) for name, data in file.items()})
    except (OSError, KeyError):
        try:
            with h5py.File(folder / INDEX_NAME, "r") as file:
                if file.attrs["fingerprint"] == plan.fingerprint():
                    columns = file["ensembles/pilot"]
                    pilot = Pilot.of({name: np.asarray(data[ensemble]) for name, data in columns.items()})
        except (OSError, KeyError):
            pass
    if pilot and not pilot.converged and pilot.length < plan.sampling.max_pilot_sweeps:
        return None
    return pilot
