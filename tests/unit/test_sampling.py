"""The kernel and ensembles, exactly."""

import numba
import numpy as np
import pytest

from lj_vae_hpc.config.sampling import Sampling
from lj_vae_hpc.config.system import System
from lj_vae_hpc.evaluation.conditional import kernels
from lj_vae_hpc.physics.energies import total_energy
from lj_vae_hpc.sampling import arithmetic, cells, metropolis
from lj_vae_hpc.sampling import chains as chains_module
from lj_vae_hpc.sampling.arithmetic import ON_VECTORS
from lj_vae_hpc.sampling.chains import Chains, Schedule, sample_rows
from lj_vae_hpc.sampling.ensemble import Ensemble, ensembles_of, fingerprint
from lj_vae_hpc.sampling.pilot import tuned_step
from lj_vae_hpc.sampling.streams import stream
from lj_vae_hpc.sampling.vectors import LANES, PLACES, load, store


def test_exponential() -> None:
    exp_negative = ON_VECTORS["exp_negative"]

    @numba.njit
    def evaluate(x):
        out = np.empty_like(x)
        for row in range(len(x)):
            store(out, row, exp_negative(load(x, row)))
        return out

    x = np.linspace(-20, 0, 640 * LANES).astype(np.float32).reshape(-1, LANES)
    np.testing.assert_allclose(evaluate(x), np.exp(x.astype(np.float64)), rtol=1e-5)
    np.testing.assert_allclose(evaluate(np.full((1, LANES), 3.0, np.float32)), 1.0, rtol=1e-5)
    for rejected in (-1e30, -np.inf, np.nan):
        assert evaluate(np.full((1, LANES), rejected, np.float32)).max() < 1e-10


STREAM = stream("a test")
SYSTEM = System(n_particles=12, box_side=6.0)


def ensemble(gamma: float = 0.4, **sampling: object) -> Ensemble:
    return Ensemble(11, SYSTEM, gamma, Sampling(**{"configurations": 300, "sweeps": 30, **sampling}))


HOW = Schedule(0.3, 30, 7)


def nothing(_: int) -> None:
    pass


@pytest.mark.parametrize("samples", [1, 3])
def test_a_chain_does_not_depend_on_its_company(samples: int) -> None:
    e = ensemble(samples_per_chain=samples)
    together = sample_rows(e, range(600), HOW, "cpu", nothing)
    for rows in (range(0, 3), range(9, 12), range(150, 450), range(6, 6)):
        alone = sample_rows(e, rows, HOW, "cpu", nothing)
        for name, values in alone.items():
            np.testing.assert_array_equal(values, together[name][rows.start : rows.stop], err_msg=name)


def test_sweeps_may_be_divided() -> None:
    whole, parts = (
        Chains(STREAM, SYSTEM, [0.1, 0.4, 0.7, 1.0, 0.1], 0.3, np.arange(5), long_every=3) for _ in range(2)
    )
    accepted = whole.run(30)
    first = np.array([12, 0, 30, 1, 29])
    np.testing.assert_array_equal(parts.run(first) + parts.run(30 - first), accepted)
    np.testing.assert_array_equal(parts.positions, whole.positions)
    np.testing.assert_array_equal(parts.energy, whole.energy)


@pytest.mark.parametrize("cells_from", [0, 1000])
def test_division_of_sweeps_does_not_touch_rounding(cells_from: int, monkeypatch: pytest.MonkeyPatch) -> None:
    # Cold, where the rounding of a sum in another order decides moves; progress divides the sweeps by the company.
    monkeypatch.setattr(chains_module, "CELLS_FROM", cells_from)
    system = System(n_particles=60, box_side=9.0, temperature=0.01)
    whole, parts = (Chains(STREAM, system, 0.5, 0.03, np.arange(32), long_every=7) for _ in "ab")
    whole.run(1000)
    for k in range(100):
        parts.run(10)
        parts.resume(parts.positions, 10 * (k + 1))
    np.testing.assert_array_equal(parts.positions, whole.positions)
    np.testing.assert_array_equal(parts.energy, whole.energy)


def test_samples_of_a_chain_are_its_states_an_interval_apart() -> None:
    e = ensemble(samples_per_chain=3)
    rows = sample_rows(e, range(300), HOW, "cpu", nothing)
    assert rows["chain"].tolist() == [row // 3 for row in range(300)]
    alone = Chains(e.stream, e.system, e.gamma, HOW.step, np.arange(100), long_every=e.long_every)
    for k in range(3):
        alone.run(7 if k else 30)
        np.testing.assert_array_equal(rows["positions"][k::3], alone.positions)


def test_cell_lists_follow_the_same_trajectories(monkeypatch: pytest.MonkeyPatch) -> None:
    # The same random numbers; only the rounding of energies differs. Dense, so that cells fill up and particles cross.
    system = System(n_particles=60, box_side=8.0, cutoff=2.0)
    made = []
    for threshold in (0, 1000):
        monkeypatch.setattr(chains_module, "CELLS_FROM", threshold)
        chains = Chains(STREAM, system, 1.0, 0.3, np.arange(20), long_every=2)
        accepted = chains.run(15) + chains.run(5)
        np.testing.assert_allclose(chains.energy, total_energy(chains.positions, 1.0, system.pair_potential), rtol=1e-5)
        made.append((accepted, chains.positions))
    (accepted, positions), (others, elsewhere) = made
    same = np.abs(positions - elsewhere).max(axis=(1, 2)) < 1e-3
    assert same.mean() > 0.8 and (accepted == others).mean() > 0.8


def test_a_cell_takes_in_more_particles_than_a_vector_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chains_module, "CELLS_FROM", 0)
    system = System(n_particles=60, box_side=9.0, cutoff=4.5)  # 2 x 2 cells, from 15 particles each to 30 at the floor
    gamma = 20.0
    chains = Chains(STREAM, system, gamma, 0.5, np.arange(2))
    x, y = np.meshgrid(np.linspace(0.1, 8.9, 10), np.linspace(0.1, 8.9, 6))
    chains.positions = np.broadcast_to(np.stack([x.ravel(), y.ravel()], axis=-1), (2, 60, 2))
    chains.run(2000)
    r = chains.positions
    assert r.min() >= 0 and r.max() <= 9
    assert max(((r[..., 1] < 4.5) & (r[..., 0] < 4.5)).sum(axis=1)) > PLACES
    np.testing.assert_allclose(chains.energy, total_energy(r, gamma, system.pair_potential), rtol=1e-5)


@pytest.mark.parametrize(
    ("potential", "cutoff", "distance", "expected"),
    [
        ("lennard_jones", 3.0, 1.0, 0.0),
        ("lennard_jones", 3.0, 2 ** (1 / 6), -1.0),
        ("lennard_jones", 3.0, 0.9, 4 * (0.9**-12 - 0.9**-6)),
        ("lennard_jones", 3.0, 2.99, 4 * (2.99**-12 - 2.99**-6)),
        ("lennard_jones", 3.0, 3.01, 0.0),
        ("soft", 20.0, 2**0.5, -1.0),
        ("soft", 20.0, 6.0, 4 * (6.0**-4 - 6.0**-2)),
        ("soft", None, 0.5, 4 * (0.5**-4 - 0.5**-2)),
        ((18, 6), None, (18 / 6) ** (1 / 12), -1.0),
    ],
)
def test_the_kernels_energies_against_exact_values(
    potential: object, cutoff: float | None, distance: float, expected: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = System(n_particles=2, box_side=10.0, potential=potential, cutoff=cutoff)
    for cells_from in (1000, 0):
        monkeypatch.setattr(chains_module, "CELLS_FROM", cells_from)
        chains = Chains(STREAM, system, 0.4, 0.1, np.arange(3))
        chains.positions = np.broadcast_to([[2.0, 1.0], [2.0 + distance, 1.0]], (3, 2, 2))
        np.testing.assert_allclose(chains.energy, expected + 0.4 * 2.0, rtol=1e-5, atol=5e-6)


def test_kept_pair_energies_do_not_drift() -> None:
    system = System()
    chains = Chains(STREAM, system, 0.4, 0.6, np.arange(32))
    chains.run(10_000)
    exact = total_energy(chains.positions, 0.4, system.pair_potential)
    np.testing.assert_allclose(chains.energy, exact, atol=1e-4 * system.n_particles)


def test_rows_are_distinct_chains_in_the_box() -> None:
    gammas = (0.1, 0.4, 0.7, 1.0)
    rows = [sample_rows(ensemble(gamma), range(300), HOW, "cpu", nothing) for gamma in gammas]
    positions = np.concatenate([one["positions"] for one in rows])
    assert len(np.unique(positions.reshape(1200, -1), axis=0)) == 1200
    assert positions.min() >= 0 and positions.max() <= SYSTEM.box_side
    for one, gamma in zip(rows, gammas, strict=True):
        assert ((one["acceptance"] > 0) & (one["acceptance"] < 1)).all()
        assert (one["gamma"] == gamma).all() and one["chain"].tolist() == list(range(300))
        assert set(one["ensemble"]) == {ensemble(gamma).number}


def test_rejected_moves_leave_positions_and_low_temperature_only_descends() -> None:
    system = System(n_particles=12, box_side=6.0).model_copy(update={"temperature": 1e-6})
    chains = Chains(STREAM, system, 0.0, 0.2, np.arange(LANES))
    previous = total_energy(chains.positions, 0.0, system.pair_potential)
    for _ in range(5):
        chains.run(3)
        energy = total_energy(chains.positions, 0.0, system.pair_potential)
        assert (energy <= previous * (1 + 1e-6 * np.sign(previous)) + 1e-4).all()
        previous = energy


def test_overlapping_start_gives_finite_energies() -> None:
    system = System(n_particles=4, box_side=5.0)
    chains = Chains(STREAM, system, 0.0, 0.5, np.arange(LANES))
    chains.positions = np.full((LANES, 4, 2), 2.5)  # all particles in one point
    assert np.isfinite(chains.energy).all()
    chains.run(200)
    energy = total_energy(chains.positions, 0.0, system.pair_potential)
    assert np.isfinite(energy).all() and energy.max() < 20


def test_an_ensemble_is_what_it_is() -> None:
    """Its stream follows from what determines its configurations, and from nothing else."""
    one = ensemble()
    same = [
        ensemble(gammas=(0.4, 0.1)), ensemble(configurations=500), ensemble(segment_rows=10), ensemble(device="cpu"),
        ensemble(max_pilot_sweeps=4096), Ensemble(11, System(n_particles=12, box_side=6), 0.4, one.sampling),
        ensemble(allow_unconverged=True),
    ]  # fmt: skip
    for other in same:
        assert (other.key, other.stream, other.number) == (one.key, one.stream, one.number)
    others = [
        one, ensemble(0.1), ensemble(sweeps=31), ensemble(step=0.3), ensemble(target_acceptance=0.3),
        ensemble(long_every=2), ensemble(samples_per_chain=2), ensemble(protocol="reference"),
        Ensemble(12, SYSTEM, 0.4, one.sampling),
        *(Ensemble(11, SYSTEM.model_copy(update=change), 0.4, one.sampling) for change in (
            {"n_particles": 13}, {"box_side": 6.5}, {"temperature": 0.8}, {"potential": "soft"}, {"cutoff": None})),
    ]  # fmt: skip
    for value in ("key", "stream", "number"):
        assert len({getattr(other, value) for other in others}) == len(others)
    soft = [Ensemble(11, System(potential=p, cutoff=None), 0.4, one.sampling).key for p in ("soft", (4, 2))]
    assert soft[0] == soft[1]


def test_the_order_of_gammas_does_not_matter() -> None:
    given, sorted_, as_range = (
        ensembles_of(1, SYSTEM, Sampling(gammas=g))
        for g in ((1.0, 0.1, 0.4), (0.1, 0.4, 1.0), {"start": 0.1, "stop": 1.0, "num": 4})
    )
    assert [e.key for e in given] == [e.key for e in sorted_]
    assert {given[0].key, given[1].key, given[2].key} == {as_range[k].key for k in (0, 1, 3)}
    assert fingerprint(given, 10) == fingerprint(sorted_, 10) != fingerprint(given, 11)
    assert fingerprint(given, 10) != fingerprint(as_range, 10) and fingerprint(given, 10, "a") != fingerprint(given, 10)


def test_tuning_reaches_its_target() -> None:
    acceptance = []
    for gamma in (0.1, 0.4, 0.7, 1.0):
        e = ensemble(gamma, target_acceptance=0.3, long_every=0)
        step = tuned_step(e)
        assert step is not None
        rows = sample_rows(e, range(300), Schedule(step, 200, 200), "cpu", nothing)
        acceptance.append(rows["acceptance"].mean())
    assert np.mean(acceptance) == pytest.approx(0.3, abs=0.06)


def test_a_kernel_is_compiled_anew_when_what_it_calls_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numba looks for changes in the file of a kernel alone, and finds what it kept by the kernel's name."""

    kept = (metropolis.uniform_start, cells._draw, cells._fill_cells, kernels._boltzmann, kernels.local_energies)

    def name(kernel: object) -> str:
        return arithmetic.named_by_source(kernel).__qualname__.rpartition(".")[2]

    now = name(metropolis.uniform_start.py_func)
    assert {kernel.py_func.__qualname__.rpartition(".")[2] for kernel in kept} == {now}
    of_potential = arithmetic.for_potential(System().pair_potential, {})(name).__qualname__
    monkeypatch.setattr(arithmetic, "_shared_source", lambda: b"changed")
    assert name(metropolis.uniform_start.py_func) != now
    assert arithmetic.for_potential(System().pair_potential, {})(name).__qualname__ != of_potential


def test_one_kernel_serves_all_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is compiled once, whatever the number of cells."""
    monkeypatch.setattr(chains_module, "CELLS_FROM", 0)
    for side in (4.0, 9.0):
        system = System(n_particles=12, box_side=side)
        Chains(STREAM, system, 0.5, 0.5, np.arange(2)).run(3)
        assert [len(kernel.signatures) for kernel in cells.compiled(system.pair_potential)] == [1, 1]
