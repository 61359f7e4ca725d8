"""Runs the pilot of every ensemble, divided over ranks; each is kept as soon as it is done."""

from collections.abc import Iterable
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
from lj_vae_hpc.store.writer import write_small_hdf5


def run_pilots(world: World, plan: Plan, folder: Path, label: str) -> list[Pilot]:
    """The pilot of each ensemble of a plan, the same list on every rank.

    Raises:
        UserError: equilibrium could not be proved for some ensemble, unless sampling.allow_unconverged.
        Stopped: a signal came; the pilots that were done are kept.
    """
    count, mine = len(plan.gammas), {}
    with Progress(f"{label}, pilot", count, "values of γ", world.is_root) as progress:
        for start in range(0, count, world.size):
            e, fresh = start + world.rank, False
            if e < count:
                path = folder / "pilots" / f"{e:06d}.h5"
                stored = _stored(path, plan)
                fresh = stored is None
                mine[e] = stored or _keep(path, plan, run_pilot(plan, e))
            progress.advance(min(world.size, count - start))
            # Not where nothing new was done, or a command with too little time would never get on.
            if start + world.size < count and any(world.gather(fresh)) and world.stop_requested():
                raise Stopped(f"the pilots so far are in {folder / 'pilots'}")
    pilots = [pilot for _, pilot in sorted(item for rank in world.gather(mine) for item in rank.items())]
    lost = [(g, p) for g, p in zip(plan.gammas, pilots, strict=True) if not p.converged]
    if lost and not plan.sampling.allow_unconverged:
        raise UserError(
            f"{label}: equilibrium was not proved within {plan.sampling.max_pilot_sweeps} sweeps for "
            + "; ".join(f"gamma {g:g} ({_why(p)})" for g, p in lost[:5])
            + (f" and {len(lost) - 5} more values" if len(lost) > 5 else "")
            + ". Raise sampling.max_pilot_sweeps, or set sampling.allow_unconverged=true to sample them all the same",
            everywhere=True,
        )
    return pilots


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


def _keep(path: Path, plan: Plan, pilot: Pilot) -> Pilot:
    def fill(file: h5py.File) -> None:
        file.attrs["fingerprint"] = plan.fingerprint()
        for name, values in pilot.columns().items():
            file.create_dataset(name, data=values)

    write_small_hdf5(path, fill)
    return pilot


def _stored(path: Path, plan: Plan) -> Pilot | None:
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["fingerprint"] == plan.fingerprint():
                return Pilot.of({name: np.asarray(data) for name, data in file.items()})
    except (OSError, KeyError):
        pass
    return None
