"""Streams, the kernel and the plan, exactly."""

import numba
import numpy as np
import pytest

from lj_vae_hpc.config import Sampling, System
from lj_vae_hpc.physics.energies import total_energy
from lj_vae_hpc.sampling.chains import Chains, sample_rows
from lj_vae_hpc.sampling.metropolis import LANES, _exp_negative
from lj_vae_hpc.sampling.plan import Plan
from lj_vae_hpc.sampling.streams import philox
from lj_vae_hpc.sampling.tuning import tuned_steps


@numba.njit
def draw(c0, c1, c2, c3, k0, k1):
    return philox(c0, c1, c2, c3, k0, k1)


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [  # the known answers that the authors of the generator publish
        ([0] * 4, [0] * 2, [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]),
        ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]),
        (
            [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
            [0xA4093822, 0x299F31D0],
            [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1],
        ),
    ],
)
def test_philox_known_answers(counter: list[int], key: list[int], expected: list[int]) -> None:
    assert list(draw(*(np.uint32(v) for v in counter + key))) == expected


def test_exponential() -> None:
    @numba.njit
    def evaluate(x):
        out = np.empty_like(x)
        for i in range(len(x)):
            out[i] = _exp_negative(x[i])
        return out

    x = np.linspace(-20, 0, 10_001).astype(np.float32)
    np.testing.assert_allclose(evaluate(x), np.exp(x.astype(np.float64)), rtol=1e-5)
    np.testing.assert_allclose(evaluate(np.array([3.0, 0.0], np.float32)), 1.0, rtol=1e-5)
    assert evaluate(np.array([-1e30, -np.inf], np.float32)).max() < 1e-10


def plan(**sampling: object) -> Plan:
    return Plan(11, System(n_particles=12, box_side=6.0), Sampling(**{"configurations": 300, "sweeps": 30, **sampling}))


def nothing(_: int) -> None:
    pass


def test_a_chain_does_not_depend_on_its_company() -> None:
    p = plan()
    steps = np.full(4, 0.3)
    together = sample_rows(p, range(1200), steps, nothing)
    for rows in (range(0, 1), range(7, 11), range(250, 700)):
        alone = sample_rows(p, rows, steps, nothing)
        for name, values in alone.items():
            np.testing.assert_array_equal(values, together[name][rows.start : rows.stop], err_msg=name)


def test_sweeps_may_be_divided() -> None:
    p = plan()
    ensemble, chain, gamma = p.identity(range(5))
    whole, parts = (Chains(p.seed, p.system, gamma, np.full(5, 0.3), ensemble, chain) for _ in range(2))
    accepted = whole.run(30)
    np.testing.assert_array_equal(parts.run(12) + parts.run(18), accepted)
    np.testing.assert_array_equal(parts.positions, whole.positions)


def test_rows_are_distinct_chains_in_the_box() -> None:
    p = plan()
    rows = sample_rows(p, range(p.rows), np.full(4, 0.3), nothing)
    assert len(np.unique(rows["positions"].reshape(p.rows, -1), axis=0)) == p.rows
    assert rows["positions"].min() >= 0 and rows["positions"].max() <= p.system.box_side
    assert ((rows["acceptance"] > 0) & (rows["acceptance"] < 1)).all()
    assert sorted(set(zip(rows["ensemble"], rows["chain"], strict=True))) == [
        (e, c) for e in range(4) for c in range(300)
    ]


def test_rejected_moves_leave_positions_and_low_temperature_only_descends() -> None:
    system = System(n_particles=12, box_side=6.0, temperature=1e-6)
    one = np.zeros(LANES, np.int32)
    chains = Chains(5, system, np.zeros(LANES), np.full(LANES, 0.2), one, np.arange(LANES))
    previous = total_energy(chains.positions, 0.0, system.mie)
    for _ in range(5):
        chains.run(3)
        energy = total_energy(chains.positions, 0.0, system.mie)
        assert (energy <= previous * (1 + 1e-6 * np.sign(previous)) + 1e-4).all()
        previous = energy


def test_overlapping_start_gives_finite_energies() -> None:
    system = System(n_particles=4, box_side=5.0)
    zeros = np.zeros(LANES, np.int32)
    chains = Chains(5, system, np.zeros(LANES), np.full(LANES, 0.5), zeros, np.arange(LANES))
    chains._x[:], chains._y[:] = 2.5, 2.5  # all particles in one point
    chains.run(200)
    energy = total_energy(chains.positions, 0.0, system.mie)
    assert np.isfinite(energy).all() and energy.max() < 20


def test_segments_cover_the_rows_once() -> None:
    p = plan(segment_rows=37)
    segments = p.segments()
    assert [r for s in segments for r in s] == list(range(p.rows))
    assert max(map(len, segments)) <= 37


def test_fingerprint_tells_plans_apart() -> None:
    prints = {plan().fingerprint(), plan(sweeps=31).fingerprint(), plan(segment_rows=10).fingerprint()}
    prints.add(Plan(12, plan().system, plan().sampling).fingerprint())
    prints.add(Plan(11, plan().system, plan().sampling, 5).fingerprint())
    assert len(prints) == 5


def test_tuning_reaches_its_target_and_reference_keeps_its_step() -> None:
    p = plan(target_acceptance=0.3, sweeps=200)
    steps = tuned_steps(p, range(4))
    acceptance = sample_rows(p, range(p.rows), steps, nothing)["acceptance"].mean()
    assert acceptance == pytest.approx(0.3, abs=0.06)
    np.testing.assert_array_equal(tuned_steps(p, range(2, 4)), steps[2:])
    assert tuned_steps(plan(protocol="reference"), range(2)).tolist() == [0.2, 0.2]
