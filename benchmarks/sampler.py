"""The sampler against a plain C++ loop, where its time goes, how it scales with N and ranks, and its memory.

    python benchmarks/sampler.py [core|parts|scaling|ranks|campaign|growth|steps|moves|gpu] ...   all by default

Everything that is compared is measured in turns in one run, so that both see the same machine; medians are printed.
`core` compiles benchmarks/metropolis.cpp with g++ -O3 -march=native.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import numba
import numpy as np
from commands import ROOT
from numba import cuda, float32, uint32
from sampler_commands import campaign, growth, ranks
from sampler_moves import moves, steps

from lj_vae_hpc.config.system import System
from lj_vae_hpc.sampling import chains as chains_module
from lj_vae_hpc.sampling import vectors
from lj_vae_hpc.sampling.arithmetic import on_vectors
from lj_vae_hpc.sampling.chains import Chains
from lj_vae_hpc.sampling.streams import philox, stream, trial_numbers
from lj_vae_hpc.sampling.vectors import LANES, fma, load, select, store, words

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


def gpu() -> None:
    """Trial moves per second of one core and of a GPU, by the number of chains."""
    devices = [("cpu", 4096)]
    if cuda.is_available():
        devices += [("cuda", count) for count in (512, 4096, 10_000, 40_000, 200_000, 1_000_000)]
    for device, count in devices:
        k = np.arange(count)
        chains = Chains(stream("a"), System(), np.full(count, GAMMA), np.full(count, 0.5), k, device, long_every=4)
        chains.run(2)
        rates = [rate(chains, 100, 100 * count * N) / 1e6 for _ in range(3)]
        print(f"{device}, {count} chains: {statistics.median(rates):.0f} M trial moves/s")


if __name__ == "__main__":
    everything = {
        "core": core, "parts": parts, "scaling": scaling, "ranks": ranks, "campaign": campaign, "growth": growth,
        "steps": steps, "moves": moves, "gpu": gpu,
    }  # fmt: skip
    chosen = sys.argv[1:] or list(everything)
    if unknown := set(chosen) - set(everything):
        sys.exit(f"unknown {', '.join(sorted(unknown))}; choose from {', '.join(everything)}")
    for name in chosen:
        everything[name]()
