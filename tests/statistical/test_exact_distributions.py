"""The sampler against exactly known distributions, and wrong kernels that the same tests must catch.

Every test has a false-alarm rate of 1e-4, divided over its p-values: with fixed seeds the tests are deterministic, and
this is the chance that a right kernel would have failed for another seed.
"""

import inspect
import textwrap
from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import ks_2samp, kstest, norm

from lj_vae_hpc.config.system import System
from lj_vae_hpc.physics.energies import total_energy
from lj_vae_hpc.sampling import cells, metropolis
from lj_vae_hpc.sampling import chains as chains_module
from lj_vae_hpc.sampling.chains import Chains
from lj_vae_hpc.sampling.streams import stream
from tests.conftest import potential_keys

P_MIN = 1e-4
CHAINS = {"long_every": 0}  # of the tests
SIDE, T = 4.0, 0.75


def final_positions(system: System, gamma: float, n: int, sweeps: int, step: float, first: int = 0) -> np.ndarray:
    """(n, N, 2) last states of n chains, numbered from a first one."""
    chains = Chains(stream("99"), system, gamma, step, first + np.arange(n), **CHAINS)
    chains.run(sweeps)
    return chains.positions.astype(np.float64)


def two_far_particles() -> System:
    """A pair potential of range 1e-3 σ: two particles that practically never meet."""
    return System(n_particles=2, box_side=SIDE, temperature=T, cutoff=1e-3)


def barometric_p_values(gamma: float = 1.5) -> list[float]:
    """p-values of heights against exp(-γy/T), of horizontal positions and of heights of the second particle."""
    r = final_positions(two_far_particles(), gamma, 20_000, 150, 1.5)
    a = gamma / T

    def cdf(y: np.ndarray) -> np.ndarray:
        return (1 - np.exp(-a * y)) / (1 - np.exp(-a * SIDE))

    return [kstest(r[:, 0, 1], cdf).pvalue, kstest(r[:, 1, 1], cdf).pvalue, kstest(r[:, 0, 0] / SIDE, "uniform").pvalue]


def wall_p_values() -> list[float]:
    """p-values of positions without gravity, which must be uniform up to the walls."""
    r = final_positions(two_far_particles(), 0.0, 20_000, 60, 3.0)
    return [kstest(r[:, i, k] / SIDE, "uniform").pvalue for i in range(2) for k in range(2)]


def independence_p_values() -> list[float]:
    """p-values of x + y modulo L, uniform if the two coordinates' random numbers are independent, without gravity."""
    r = final_positions(two_far_particles(), 0.0, 20_000, 1, 3.9) / SIDE
    start = final_positions(two_far_particles(), 0.0, 20_000, 0, 3.9) / SIDE
    return [kstest((x[:, 0, 0] + x[:, 0, 1]) % 1.0, "uniform").pvalue for x in (r, start)]


def pair_p_values(potential: object, cutoff: float | None) -> list[float]:
    """p-value of the distance of two particles against quadrature over the box."""
    system = System(n_particles=2, box_side=SIDE, temperature=T, potential=potential, cutoff=cutoff)
    r = final_positions(system, 0.0, 20_000, 300, 1.0)
    distance = np.linalg.norm(r[:, 0] - r[:, 1], axis=1)

    def density(d: np.ndarray) -> np.ndarray:
        """Boltzmann factor times the share of pairs in the square at these distances."""
        s = d / SIDE
        beyond = np.sqrt(np.maximum(s * s, 1) - 1)
        share = np.where(
            s <= 1, s * (np.pi - 4 * s + s * s), s * (4 * beyond - (s * s + 2 - np.pi) - 4 * np.arctan(beyond))
        )
        return share * np.exp(-system.pair_potential.energy(d * d) / T)

    grid = np.linspace(1e-6, SIDE * np.sqrt(2) * (1 - 1e-9), 40_001)
    weights = density(grid)
    total = np.r_[0, np.cumsum((weights[1:] + weights[:-1]) / 2 * np.diff(grid))]
    kinks = [SIDE, *([system.cutoff] if system.cutoff else [])]
    exact = quad(lambda d: density(np.array([d]))[0], grid[0], grid[-1], limit=500, points=kinks)[0]
    assert total[-1] == pytest.approx(exact, rel=1e-3)
    return [kstest(distance, lambda d: np.interp(d, grid, total / total[-1])).pvalue]


def many_cells_p_values(n: int = 3000) -> list[float]:
    """p-values of U and Σy in 4 x 4 cells against those of other chains without cells.

    Hot and with steps through the whole box: a particle in a wrong list is then far from where its neighbours look.
    """
    system, found = System(n_particles=20, box_side=6.4, temperature=1.5, cutoff=1.6), []
    for first, threshold in ((0, 0), (n, 1000)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(chains_module, "CELLS_FROM", threshold)
            r = final_positions(system, 0.3, n, 60, 6.0, first)
        found.append((total_energy(r, 0.3, system.pair_potential), r[..., 1].sum(axis=1)))
    return [ks_2samp(a, b).pvalue for a, b in zip(*found, strict=True)]


def lennard_jones_p_values() -> list[float]:
    return pair_p_values("lennard_jones", 3.0)


@pytest.mark.parametrize("cells_from", [chains_module.CELLS_FROM, 0], ids=["blocks", "cell lists"])
@pytest.mark.parametrize(("potential", "cutoff"), [*((key, 3.0) for key in potential_keys()), ("soft", None)], ids=str)
def test_two_particles_of_every_potential_are_as_far_apart_as_they_should(
    potential: object, cutoff: float | None, cells_from: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains_module, "CELLS_FROM", cells_from)
    assert passes(pair_p_values(potential, cutoff))


def fluctuation_p_values() -> list[float]:
    """p-value of dU/d(1/T) = -var(U), by differences between two temperatures (Landau and Lifshitz 5, §112)."""
    n, temperatures, means, variances, errors = 10_000, (0.75, 0.85), [], [], []
    for temperature in temperatures:
        system = System(n_particles=6, box_side=SIDE, temperature=temperature)
        u = total_energy(final_positions(system, 1.0, n, 400, 0.6), 1.0, system.pair_potential)
        centred = u - u.mean()
        means.append(u.mean())
        variances.append(u.var())
        errors.append((u.std() / np.sqrt(n), (centred**2).std() / np.sqrt(n)))
    width = 1 / temperatures[0] - 1 / temperatures[1]
    excess = (means[0] - means[1]) / width + np.mean(variances)
    error = np.hypot(np.hypot(errors[0][0], errors[1][0]) / width, np.hypot(errors[0][1], errors[1][1]) / 2)
    return [float(2 * norm.sf(abs(excess / error)))]


TESTS = [
    barometric_p_values, wall_p_values, independence_p_values, lennard_jones_p_values, fluctuation_p_values,
]  # fmt: skip


def passes(p_values: list[float]) -> bool:
    return min(p_values) > P_MIN / len(p_values)


@pytest.fixture(params=[0, 3], ids=["usual moves", "every third sweep long"])
def moves(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which sweeps make long moves."""
    monkeypatch.setitem(CHAINS, "long_every", request.param)


@pytest.mark.parametrize("p_values", TESTS, ids=lambda f: f.__name__)
@pytest.mark.usefixtures("moves")
def test_the_kernel_samples_the_exact_distribution(p_values: Callable[[], list[float]]) -> None:
    assert passes(p_values())


@pytest.mark.parametrize("p_values", [*TESTS, many_cells_p_values], ids=lambda f: f.__name__)
@pytest.mark.usefixtures("moves")
def test_cell_lists_sample_the_exact_distribution(
    p_values: Callable[[], list[float]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chains_module, "CELLS_FROM", 0)
    assert passes(p_values())


WRONG = {
    "acceptance by exp(-ΔU/2T)": (
        "change * -inverse_temperature", "change * -inverse_temperature * float32(0.5)", barometric_p_values
    ),
    "acceptance without exponential": (
        "threshold < exp_negative(change * -inverse_temperature)", "change < float32(0.5)", lennard_jones_p_values
    ),
    "steps biased upwards": ("fma(up, most_up, y_old)", "fma(up + float32(0.05), most_up, y_old)", wall_p_values),
    "walls that clip": (
        "x_new = select((float32(0.0) <= x_new) & (x_new <= box_side), x_new, x_old)",
        "x_new = minimum(maximum(x_new, float32(0.0)), box_side)", wall_p_values,
    ),
    "correlated random numbers": ("fma(up, most_up, y_old)", "fma(right, most_up, y_old)", independence_p_values),
    "half the temperature": ("change * -inverse_temperature", "change * float32(-2.0) * inverse_temperature",
                             fluctuation_p_values),
    "old energy left out": ("prefactor * (new - old)", "prefactor * new", lennard_jones_p_values),
    "pair energies not kept up": (
        "fma(kept, load(ub, row + j), ", "fma(kept, load(trial, j), ", lennard_jones_p_values
    ),
    "wrong exponents": ("u = pair_energy(r2)", "u = pair_energy(r2 * r2)", lennard_jones_p_values),
}  # fmt: skip


def mutated(module: ModuleType, old: str, new: str) -> ModuleType:
    """A kernel's module with one piece of its source replaced, never cached."""
    source = inspect.getsource(module)
    assert old in source, f"the kernel has no {old!r} to break"
    wrong = ModuleType("wrong_kernel")
    text = source.replace(old, new).replace("cache=True, ", "").replace("(cache=True)", "")
    exec(compile(textwrap.dedent(text), "wrong_kernel.py", "exec"), wrong.__dict__)
    return wrong


@pytest.mark.parametrize("fault", WRONG)
def test_a_wrong_kernel_is_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, p_values = WRONG[fault]
    monkeypatch.setattr(chains_module, "make_sweeps", mutated(metropolis, old, new).make_sweeps)
    assert not passes(p_values())


WRONG_LONG = {
    "long moves biased upwards": (
        "fma(up, most_up, y_old)", "fma(up + select(long, float32(0.3), float32(0.0)), most_up, y_old)",
        barometric_p_values,
    ),
    "long moves accepted more often": (
        "fma(gammas, y_new - y_old, prefactor * (new - old))",
        "select(long, float32(0.5), float32(1.0)) * fma(gammas, y_new - y_old, prefactor * (new - old))",
        lennard_jones_p_values,
    ),
    "long moves downwards only half as far": (
        "fma(up, most_up, y_old)",
        "fma(up, select(long & (up < float32(0.0)), float32(0.5), float32(1.0)) * most_up, y_old)",
        barometric_p_values,
    ),
}  # fmt: skip


WRONG_CELLS = {
    "cells to the right left out": ("min(per_side, column + 2)", "min(per_side, column + 1)"),
    "cells above left out": ("min(per_side, row + 2)", "min(per_side, row + 1)"),
    "particles that stay in the list of their old cell": (
        "there = _cell(new_x, new_y, per_length, per_side)", "there = here"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", WRONG_LONG)
def test_wrong_long_moves_are_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    old, new, p_values = WRONG_LONG[fault]
    monkeypatch.setitem(CHAINS, "long_every", 3)
    monkeypatch.setattr(chains_module, "make_sweeps", mutated(metropolis, old, new).make_sweeps)
    assert not passes(p_values())


@pytest.mark.parametrize("fault", WRONG_CELLS)
def test_wrong_cell_lists_are_caught(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains_module, "CELLS_FROM", 0)
    monkeypatch.setattr(chains_module, "make_cells", mutated(cells, *WRONG_CELLS[fault]).make_cells)
    assert not passes(many_cells_p_values())
