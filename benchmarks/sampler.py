"""The sampler against a plain C++ loop, where its time goes, how it scales with N and ranks, and its memory.

    python benchmarks/sampler.py [core|parts|scaling|ranks|campaign|growth|steps|moves] ...      all of them by default

Everything that is compared is measured in turns in one run, so that both see the same machine; medians are printed.
`core` compiles benchmarks/metropolis.cpp with g++ -O3 -march=native.
"""

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numba
import numpy as np
from arviz_stats.base import array_stats
from numba import float32, uint32

from lj_vae_hpc.config.sampling import Sampling
from lj_vae_hpc.config.system import System
from lj_vae_hpc.sampling import chains as chains_module
from lj_vae_hpc.sampling import vectors
from lj_vae_hpc.sampling.arithmetic import on_vectors
from lj_vae_hpc.sampling.chains import Chains
from lj_vae_hpc.sampling.ensemble import Ensemble
from lj_vae_hpc.sampling.pilot import observe, tuned_step
from lj_vae_hpc.sampling.streams import philox, stream, trial_numbers
from lj_vae_hpc.sampling.vectors import LANES, fma, load, select, store, words

ROOT = Path(__file__).resolve().parents[1]
FIRST_MOVES = """
import os, sys, time

from lj_vae_hpc.__main__ import main
from lj_vae_hpc.sampling.chains import Chains

run = Chains.run

def timed(*arguments):
    run(*arguments)
    print(time.time() - float(started), flush=True)
    os._exit(0)

started, *sys.argv = sys.argv[1:]
Chains.run = timed
main()
"""  # a command until its first trial moves
N, GAMMA, STEP = 30, 0.4, 0.2
OPERATIONS = on_vectors(System().pair_potential)
distance_squared, exp_negative, pair_energy = (
    OPERATIONS[name] for name in ("distance_squared", "exp_negative", "pair_energy")
)
ROUNDS = 9


def made(count: int, system: System = System()) -> Chains:  # noqa: B008
    """Chains at γ = 0.4 and step 0.2."""
    return Chains(stream("1"), system, GAMMA, STEP, np.arange(count))


def rate(chains: Chains, sweeps: int, moves: int) -> float:
    """Trial moves per second."""
    started = time.perf_counter()
    chains.run(sweeps)
    return moves / (time.perf_counter() - started)


def core() -> None:
    """One core against C++."""
    with tempfile.TemporaryDirectory() as folder:
        program = f"{folder}/metropolis"
        subprocess.run(
            ["g++", "-O3", "-march=native", ROOT / "benchmarks" / "metropolis.cpp", "-o", program], check=True
        )
        ours, theirs = [], []
        made(16).run(1)
        for _ in range(ROUNDS):
            ours.append(rate(made(256), 2500, 2500 * N * 256))
            done = subprocess.run(
                [program, "20", "2500", str(GAMMA), str(STEP)], capture_output=True, text=True, check=True
            )
            theirs.append(float(done.stdout.split()[0]))
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    print(
        f"one core, N = {N}: {statistics.median(ours) / 1e6:.1f} M trial moves/s, "
        f"C++ {statistics.median(theirs) / 1e6:.2f} M: "
        f"{statistics.median(ratios):.1f} times (from {min(ratios):.1f} to {max(ratios):.1f} in {ROUNDS} rounds)"
    )


@numba.njit(error_model="numpy")
def _random_numbers(a, out, times):  # type: ignore[no-untyped-def]
    for k in range(times // 2):
        w = philox(words(uint32(7)), words(uint32(3)), words(uint32(k)), load(a, 0), uint32(1), uint32(2))
        for first, second in ((w[0], w[1]), (w[2], w[3])):
            right, up, threshold = trial_numbers(first, second)
            store(out, 0, load(out, 0) + right + up + threshold)


@numba.njit(error_model="numpy")
def _pairs(x, y, u, out, times):  # type: ignore[no-untyped-def]
    for k in range(times):
        x_new, y_new = load(x, k % N), load(y, (k + 7) % N)
        new = old = x_new - x_new
        for j in range(N - 1):
            e = pair_energy(distance_squared(x_new, y_new, load(x, j), load(y, j)))
            new, old = new + e, old + load(u, j)
            store(out, j, e)
        store(out, N, new - old)


@numba.njit(error_model="numpy")
def _proposal_and_acceptance(x, y, out, times):  # type: ignore[no-untyped-def]
    largest, side = float32(STEP), float32(10.0)
    for k in range(times):
        i = k % N
        x_old, y_old = load(x, i), load(y, i)
        x_new, y_new = fma(load(out, 0), largest, x_old), fma(load(out, 1), largest, y_old)
        x_new = select((float32(0.0) <= x_new) & (x_new <= side), x_new, x_old)
        y_new = select((float32(0.0) <= y_new) & (y_new <= side), y_new, y_old)
        accept = load(out, 2) < exp_negative((y_new - y_old) * float32(-0.5))
        store(x, i, select(accept, x_new, x_old))
        store(y, i, select(accept, y_new, y_old))


@numba.njit(error_model="numpy")
def _keeping(x, y, u, out, times):  # type: ignore[no-untyped-def]
    for _ in range(times):
        accept = load(x, 0) < load(y, 0)
        kept = select(accept, float32(0.0), float32(1.0))
        for j in range(N - 1):
            store(u, j, fma(kept, load(u, j), select(accept, load(out, j), float32(0.0))))


@numba.njit(error_model="numpy")
def _multiply_add(x, out, times):  # type: ignore[no-untyped-def]
    a, b, c, d, e, f, g = load(x, 0), load(x, 1), load(x, 2), load(x, 3), load(x, 4), load(x, 5), load(x, 6)
    h = load(x, 7)
    for _ in range(times):
        a, b, c, d = fma(a, h, h), fma(b, h, h), fma(c, h, h), fma(d, h, h)
        e, f, g = fma(e, h, h), fma(f, h, h), fma(g, h, h)
    store(out, 0, a + b + c + d + e + f + g)


def nanoseconds(action: Callable[[int], None], times: int) -> float:
    """Per call of the loop's body and lane; the best of many, for parts are short."""
    action(2)
    best = np.inf
    for _ in range(3 * ROUNDS):
        started = time.perf_counter()
        action(times)
        best = min(best, time.perf_counter() - started)
    return 1e9 * best / times / LANES


def parts() -> None:
    """Where a trial move's time goes, and the pair loop against what the machine can do at most."""
    random = np.random.default_rng(0)
    x, y = (chains_module._aligned((N, LANES), np.float32) for _ in range(2))
    u, out = chains_module._aligned((N, LANES), np.float32), chains_module._aligned((N + 1, LANES), np.float32)
    lanes = chains_module._aligned((1, LANES), np.uint32)
    x[:], y[:], lanes[:] = random.uniform(0, 10, x.shape), random.uniform(0, 10, y.shape), np.arange(LANES)
    times = {
        "random numbers": nanoseconds(lambda n: _random_numbers(lanes, out, n), 20_000),
        "pairs": nanoseconds(lambda n: _pairs(x, y, u, out, n), 20_000),
        "keeping pair energies": nanoseconds(lambda n: _keeping(x, y, u, out, n), 20_000),
        "proposal and acceptance": nanoseconds(lambda n: _proposal_and_acceptance(x, y, out, n), 20_000),
    }
    chains, best = made(256), 0.0
    for _ in range(ROUNDS):
        best = max(best, rate(chains, 400, 400 * N * 256))
    whole = 1e9 / best
    print(f"one trial move {whole:.2f} ns; its parts alone: " + ", ".join(f"{k} {t:.2f}" for k, t in times.items()))
    peak = 14 / nanoseconds(lambda n: _multiply_add(x, out, n), 200_000)
    # A pair takes 2 differences, a product, 2 fused multiply-adds, a quotient, 2 products and 2 sums, and 2 that mask.
    done = 14 * (N - 1) / times["pairs"]
    print(
        f"pair loop: {done:.1f} of at most {peak:.1f} GFLOP/s of fused multiply-adds ({100 * done / peak:.0f} %); "
        "an operation that is no multiply-add takes the time of two"
    )
    print(f"vectors of {vectors.LANES} chains")


def scaling() -> None:
    """Time of a sweep against N at fixed density, with each kernel and as chosen."""
    for name, threshold in (("cell lists", 0), ("blocks", 10**9), ("as chosen", chains_module.CELLS_FROM)):
        sizes = [n for n in (200, 500, 1000, 2000, 5000) if not (name == "blocks" and n > 1000)]
        seconds = []
        for n in sizes:
            usual, chains_module.CELLS_FROM = chains_module.CELLS_FROM, threshold
            chains = made(LANES, System(n_particles=n, box_side=float(np.sqrt(n / 0.3))))
            chains_module.CELLS_FROM = usual
            sweeps = max(2, 60_000 // n)
            seconds.append(
                min(sweeps * n * LANES / rate(chains, sweeps, sweeps * n * LANES) for _ in range(3)) / sweeps
            )
        slope = np.polyfit(np.log(sizes), np.log(seconds), 1)[0]
        each = ", ".join(f"{n}: {1e9 * s / n / LANES:.0f}" for n, s in zip(sizes, seconds, strict=True))
        print(f"{name}: a sweep costs N^{slope:.2f}; ns per trial move at N = {each}")


def steps() -> None:
    """Autocorrelation time of U against the step and its acceptance: which acceptance the pilot should aim at."""
    every, records, count = 20, 800, 64
    for gamma in (0.1, 0.4, 1.0, 3.0):
        found = []
        for step in (0.2, 0.3, 0.4, 0.6, 0.9, 1.4, 2.0, 3.0):
            chains = Chains(stream("3"), System(), gamma, step, np.arange(count))
            chains.run(4000)
            accepted, series = 0, np.empty((count, records))
            for k in range(records):
                accepted += chains.run(every).sum()
                series[:, k] = chains.energy
            tau = every * series.size / array_stats.ess(series, chain_axis=0, draw_axis=1, method="mean")
            found.append(f"{step:g}: {tau:.0f} ({accepted / (count * N * every * records):.2f})")
        print(f"gamma {gamma:g}, step: tau of U in sweeps (acceptance)  {', '.join(found)}")


def moves() -> None:
    """Independent configurations per second with long moves and other targets of the acceptance, against neither.

    τ is the largest of U, Σy and the number of close pairs.
    """
    every, records, count, parts = 16, 800, 192, 6
    tried = ((0.2, 0), (0.2, 2), (0.2, 4), (0.2, 8), (0.3, 4))
    for gamma in (0.1, 0.4, 0.7, 1.0, 2.0, 3.0, 5.0):
        usual = 0.0
        for acceptance, long_every in tried:
            sampling = Sampling(target_acceptance=acceptance, long_every=long_every)
            step = tuned_step(Ensemble(1, System(), gamma, sampling))
            chains = Chains(stream("4"), System(), gamma, step, np.arange(count), long_every=long_every)
            chains.run(3000)
            series, seconds = np.empty((3, count, records)), np.empty(records)
            for k in range(records):
                started = time.perf_counter()
                chains.run(every)
                seconds[k] = time.perf_counter() - started
                series[:, :, k] = observe(chains, chains.positions)
            tau = [
                max(every * one.size / array_stats.ess(one, chain_axis=0, draw_axis=1, method="mean") for one in part)
                for part in np.split(series, parts, axis=1)
            ]
            rates = count * every / np.median(seconds) / np.array(tau)
            rate, error = rates.mean(), rates.std(ddof=1) / np.sqrt(parts)
            usual = usual or rate
            print(
                f"gamma {gamma:g}, acceptance {acceptance:g}, long every {long_every}: step {step:.3g}, tau "
                f"{np.mean(tau):.0f} sweeps, {rate:,.0f} ± {error:,.0f} independent configurations/s, "
                f"{rate / usual:.2f} ± {error / usual:.2f}",
                flush=True,
            )


def lj_vae(ranks: int, *arguments: object) -> tuple[str, float, float]:
    """Output, wall seconds and largest resident memory of a process (MB) of the command line on some ranks."""
    environment = os.environ | {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
    command = ["mpirun", "-n", str(ranks), "/usr/bin/env", "bash", "-c"]
    # The shell that is not replaced can ask for the memory of its only child.
    script = f"{sys.executable} -c 'import resource, subprocess, sys; s = subprocess.call(sys.argv[1:]); " + (
        'sys.stdout.write("\\nMB=%d\\n" % (resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1e3)); sys.exit(s)'
        f"' {ROOT}/bin/lj-vae {' '.join(map(str, arguments))}"
    )
    started = time.perf_counter()
    done = subprocess.run([*command, script], capture_output=True, text=True, env=environment, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return done.stdout, time.perf_counter() - started, max(map(float, re.findall(r"MB=(\d+)", done.stdout)))


def ranks() -> None:
    """Two ranks against one, with pinned data: `reference`, so that there is as much to do for both."""
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        for k in range(3):
            found = []
            for n in (1, 2):
                output, _, _ = lj_vae(
                    n, "generate", "-o", f"{folder}/{k}-{n}", "-s sampling.protocol=reference",
                    "-s sampling.gammas=[1.0]",
                    f"-s sampling.sweeps={6000 * n}", "-s sampling.configurations=8192",
                )  # fmt: skip
                number, unit = re.findall(r"sampling: 100 %, (\S+?)([kMG]) trial moves/s", output)[-1]
                found.append(float(number) * {"k": 1e3, "M": 1e6, "G": 1e9}[unit])
            ratios.append(found[1] / found[0])
            print(
                f"1 rank {found[0] / 1e6:.0f} M trial moves/s, 2 ranks {found[1] / 1e6:.0f} M: {ratios[-1]:.2f} times"
            )
    print(f"two ranks {statistics.median(ratios):.2f} times one")


def campaign() -> None:
    """Whole commands on two ranks: the published size in proved equilibrium, a scan over γ, a second start."""
    with tempfile.TemporaryDirectory() as folder:
        lj_vae(2, "generate", "-o", f"{folder}/first", "-s sampling.configurations=10")
        seconds = []
        for k in range(5):
            arguments = ["lj-vae", "generate", "-o", f"{folder}/second-{k}", "-s", "sampling.configurations=10"]
            done = subprocess.run(
                [sys.executable, "-c", FIRST_MOVES, str(time.time()), *arguments], capture_output=True, text=True,
                check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            seconds.append(float(done.stdout))
        print(
            f"second start: {statistics.median(seconds):.2f} s until `lj-vae generate` has made its first trial moves "
            f"(from {min(seconds):.2f} to {max(seconds):.2f})"
        )
        _, published, memory = lj_vae(
            2, "generate", "-o", f"{folder}/published", "-c", ROOT / "configs/equilibrated.yaml"
        )
        print(f"4 x 10,000 in proved equilibrium on 2 ranks: {published:.1f} s, {memory:.0f} MB per rank")
        for count in (40, 200):
            _, wall, memory = lj_vae(
                2, "generate", "-o", f"{folder}/scan-{count}", "-s sampling.configurations=1000",
                f"-s 'sampling.gammas={{start: 0.005, stop: 1.995, num: {count}}}'",
            )  # fmt: skip
            print(
                f"{count} x 1,000 in proved equilibrium on 2 ranks: {wall:.1f} s, {memory:.0f} MB per rank, "
                f"{wall / published:.2f} times 4 x 10,000"
            )


def growth() -> None:
    """A scan of 8 γ × 500 that grows by one γ, against the nine of them made at once."""
    eight, nine = ("{start: 0.2, stop: 1.95, num: 8}", "{start: 0.2, stop: 2.2, num: 9}")
    shares = []
    with tempfile.TemporaryDirectory() as folder:
        for k in range(3):
            settings = "-s sampling.configurations=500"
            lj_vae(2, "generate", "-o", f"{folder}/grown-{k}", settings, f"-s 'sampling.gammas={eight}'")
            _, grown, _ = lj_vae(2, "generate", "-o", f"{folder}/grown-{k}", f"-s 'sampling.gammas={nine}'")
            _, anew, _ = lj_vae(2, "generate", "-o", f"{folder}/anew-{k}", settings, f"-s 'sampling.gammas={nine}'")
            files = (Path(folder) / f"{name}-{k}" / "data" / "dataset.h5" for name in ("grown", "anew"))
            if len({file.read_bytes() for file in files}) > 1:
                raise SystemExit("the grown data set differs from the one made at once")
            shares.append(grown / anew)
            print(f"one γ more: {grown:.1f} s; all nine anew: {anew:.1f} s; {100 * shares[-1]:.0f} %")
    print(f"growing takes {100 * statistics.median(shares):.0f} % of making it anew, and gives the same bytes")


if __name__ == "__main__":
    everything = {
        "core": core, "parts": parts, "scaling": scaling, "ranks": ranks, "campaign": campaign, "growth": growth,
        "steps": steps, "moves": moves,
    }  # fmt: skip
    chosen = sys.argv[1:] or list(everything)
    if unknown := set(chosen) - set(everything):
        sys.exit(f"unknown {', '.join(sorted(unknown))}; choose from {', '.join(everything)}")
    for name in chosen:
        everything[name]()
