"""The pilot's verdict on series whose truth is known, and on systems that relax and that do not."""

import numpy as np
import pytest

from lj_vae_hpc.config.sampling import Sampling
from lj_vae_hpc.config.system import System
from lj_vae_hpc.sampling import equilibration
from lj_vae_hpc.sampling.chains import Chains
from lj_vae_hpc.sampling.ensemble import Ensemble
from lj_vae_hpc.sampling.equilibration import (
    CHAINS,
    SUPERCHAINS,
    Pilot,
    assess_equilibrium,
    autocorrelation_time,
    nested_rhat,
    verdict,
)
from lj_vae_hpc.sampling.pilot import PilotState, run_pilot, settled_lattice
from lj_vae_hpc.sampling.summary import summarize
from lj_vae_hpc.sampling.vectors import LANES

TIMES, MEMORY = 513, 0.6


def series(
    offset: float = 0.0, relaxation: float = 0.0, memory: float = MEMORY, shared: float = 0.0, times: int = TIMES
) -> np.ndarray:
    """(3, chains, times) of first-order autoregressive noise with unit variance.

    Args:
        offset: the lattice's chains stay off by this.
        relaxation: records in which the uniform start's deviation of 5 decays, if any.
        memory: correlation of successive records; the autocorrelation time is (1 + memory) / (1 - memory) records.
        shared: records in which a deviation of 5 of all chains decays, if any.
        times: records.
    """
    random = np.random.default_rng(4)
    values = random.normal(size=(3, CHAINS, times))
    for t in range(1, times):
        values[..., t] = memory * values[..., t - 1] + np.sqrt(1 - memory**2) * values[..., t]
    values[:, 1::2] += offset
    if relaxation:
        values[:, ::2] += 5 * np.exp(-np.arange(times) / relaxation)
    if shared:
        values += 5 * np.exp(-np.arange(times) / shared)
    return values


def test_stationary_series_are_equilibrium_with_the_known_autocorrelation_time() -> None:
    pilot = assess_equilibrium(series(), 8, 0.3, 0.4)
    assert pilot.converged and (pilot.rhat < 1.01).all()
    np.testing.assert_allclose(pilot.tau, 8 * (1 + MEMORY) / (1 - MEMORY), rtol=0.1)
    np.testing.assert_allclose(pilot.ess * pilot.tau, 8 * CHAINS * (TIMES // 2 + 1))
    assert pilot.burn_in >= 5 * pilot.tau.max() and pilot.interval == np.ceil(2 * pilot.tau.max())
    assert (np.abs(pilot.mean) < 4 * pilot.error).all() and pilot.length == 8 * (TIMES - 1)


def test_short_chains_give_the_autocorrelation_time_too() -> None:
    """Chains of 10 of them, where a mean of each chain's own would hide a fifth of it."""
    found = [autocorrelation_time(one) for one in series(memory=0.8, times=90)]
    np.testing.assert_allclose(found, 9.0, rtol=0.1)


def test_rhat_is_that_of_arviz() -> None:
    from arviz_stats.base import array_stats  # late: it takes seconds

    records = np.round(series(offset=0.3, times=51), 1)  # with ties
    order = np.r_[np.arange(0, CHAINS, 2), np.arange(1, CHAINS, 2)]
    superchain = np.repeat(np.arange(2 * SUPERCHAINS), CHAINS // (2 * SUPERCHAINS))
    for ours, one in zip(nested_rhat(records), records, strict=True):
        theirs = array_stats.rhat_nested(one[order], superchain_ids=superchain, chain_axis=0, draw_axis=1)
        assert ours == pytest.approx(float(theirs), abs=1e-9) and ours > 1.01


def test_starts_that_stay_apart_are_not() -> None:
    pilot = assess_equilibrium(series(offset=0.1), 8, 0.3, 0.4)
    assert not pilot.converged and (np.abs(pilot.difference) > 3 * pilot.difference_error).all()


@pytest.mark.parametrize("of", ["relaxation", "shared"])
def test_burn_in_grows_until_the_start_is_forgotten(of: str) -> None:
    """Also where both starts deviate alike, so that only the drift tells."""
    quick, slow = (assess_equilibrium(series(**{of: records}), 8, 0.3, 0.4) for records in (5, 25))
    assert slow.burn_in > quick.burn_in >= 8 * 5 and slow.converged
    assert 5 * np.exp(-slow.burn_in / 8 / 25) < 0.2


def test_series_too_short_for_their_memory_are_not() -> None:
    pilot = assess_equilibrium(series(memory=0.99), 8, 0.3, 0.4)
    assert not pilot.converged and pilot.burn_in < 5 * pilot.tau.max()


def test_chains_that_stay_about_their_start_are_not_although_the_means_agree() -> None:
    levels = np.random.default_rng(5).normal(size=(3, CHAINS, 1))
    for start in (0, 1):
        levels[:, start::2] -= levels[:, start::2].mean(axis=1, keepdims=True)
    pilot = assess_equilibrium(levels + series(), 8, 0.3, 0.4)
    assert not pilot.converged and pilot.tau.min() > 0.1 * pilot.length


def test_constant_series_are_equilibrium() -> None:
    assert assess_equilibrium(np.ones((3, CHAINS, TIMES)), 8, 0.3, 0.4).converged


def ensemble(**sampling: object) -> Ensemble:
    return Ensemble(5, System(n_particles=8, box_side=5.0), 1.0, Sampling(**sampling))


def test_a_pilot_is_a_function_of_its_ensemble_and_can_be_stored() -> None:
    pilot, state = run_pilot(ensemble())
    assert pilot.converged and pilot.acceptance == pytest.approx(0.21, abs=0.05)
    again, same = run_pilot(ensemble(max_pilot_sweeps=8192))
    for one in (again, Pilot.of(pilot.columns())):
        for name, values in pilot.columns().items():
            np.testing.assert_array_equal(values, one.columns()[name], err_msg=name)
    np.testing.assert_array_equal(state.positions, same.positions)


def test_a_pilot_is_at_least_as_long_as_a_chain_of_the_ensemble_shall_be() -> None:
    pilot, state = run_pilot(ensemble(sweeps=1300))
    assert pilot.length == state.swept == 1536


def test_its_chains_are_those_of_the_ensemble_unless_data_are_as_published() -> None:
    own, published = (run_pilot(ensemble(protocol=p, step=1.4, sweeps=40))[1] for p in ("equilibrated", "reference"))
    one = ensemble(step=1.4, sweeps=40)
    chains = Chains(one.stream, one.system, one.gamma, own.step, np.arange(LANES), long_every=one.long_every)
    positions = chains.positions
    positions[1::2] = settled_lattice(8, 5.0)
    chains.positions = positions
    chains.run(own.swept)
    np.testing.assert_array_equal(own.positions[:LANES], chains.positions)
    reference = ensemble(protocol="reference", step=1.4, sweeps=40)
    every = reference.sampling.long_every
    chains = Chains(reference.stream, one.system, one.gamma, published.step, np.arange(LANES), long_every=every)
    chains.run(published.swept)
    assert not (published.positions[:LANES:2] == chains.positions[::2]).all(axis=(1, 2)).any()


def test_a_pilot_that_is_left_goes_on_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equilibration, "RHAT_MAX", 0.0)  # never satisfied
    monkeypatch.setattr("lj_vae_hpc.sampling.pilot.MOST_RECORDS", 128)
    one = ensemble(max_pilot_sweeps=8192)
    whole, state, told = run_pilot(one), None, []
    for calls in (5, 43, 170):  # while the step is tuned; at its third record; after the records have been thinned
        countdown = iter(range(calls - 1, -1, -1))
        assert run_pilot(one, state, lambda c: told.append(c) or next(countdown) == 0) is None  # noqa: B023
        state = told[-1] and PilotState.of(told[-1].columns())
        assert (state is None) == (calls == 5)
    again = run_pilot(one, state)
    assert again and whole and whole[0].length == 8192
    for a, b in zip(whole, again, strict=True):
        for name, values in a.columns().items():
            np.testing.assert_array_equal(values, b.columns()[name], err_msg=name)


def test_a_frozen_system_is_not_proved_within_its_budget() -> None:
    cold = System(n_particles=12, box_side=5.0, temperature=0.02)
    pilot, _ = run_pilot(Ensemble(5, cold, 0.1, Sampling(max_pilot_sweeps=4096)))
    assert not pilot.converged and pilot.length == 4096


@pytest.mark.parametrize(("n", "side"), [(2, 3.0), (30, 10.0), (30, 4.6), (200, 12.5), (7, 1.0)])
def test_the_settled_lattice_lies_in_the_box_without_overlaps(n: int, side: float) -> None:
    r = settled_lattice(n, side).astype(np.float64)
    distance = np.linalg.norm(r[:, None] - r[None], axis=-1) + 9 * np.eye(n)
    assert r.shape == (n, 2) and r.min() >= 0 and r.max() <= side + 1e-6
    assert distance.min() > 0.5 * min(1.0, side / np.sqrt(n))
    assert r[:, 1].min() == 0


def test_verdicts() -> None:
    pilot = np.array([-8.0, 70.0, 40.0]), np.array([0.06, 0.1, 0.1])

    def chains(u: float, height: float, count: int = 100) -> np.ndarray:
        """Means of chains with these means and standard errors of 0.07 and 0.1."""
        swing = np.tile([-1.0, 1.0], count // 2) * np.sqrt(count - 1)
        return np.array([[u], [height]]) + np.array([[0.07], [0.1]]) * swing

    assert verdict("equilibrated", True, pilot, chains(-8.1, 70.2)) == "equilibrated"
    assert verdict("reference", True, pilot, chains(-8.1, 70.2)) == "not told from equilibrium"
    assert verdict("equilibrated", False, pilot, chains(-8.1, 70.2)) == "not proved"
    assert verdict("reference", True, pilot, chains(-4.0, 70.2)) == "NOT equilibrated: U is +4.00 ± 0.09 off"
    assert "NOT equilibrated: sum y is +3.00" in verdict("equilibrated", True, pilot, chains(-8.1, 73.0))
    assert verdict("equilibrated", True, pilot, chains(-4.0, 70.2, 10)) == "equilibrated", "proved by its own chains"


def test_few_chains_give_no_verdict() -> None:
    pilot = np.array([-8.0, 70.0, 40.0]), np.array([0.06, 0.1, 0.1])
    off = np.array([[-4.0], [70.0]]) + np.random.default_rng(0).normal(0, 0.1, (2, 29))
    assert verdict("reference", True, pilot, off) == "too few chains to tell"


def test_the_chains_of_the_pilot_are_not_compared_with_themselves() -> None:
    random, many = np.random.default_rng(0), CHAINS + 100
    columns = {"gamma": np.zeros(many), "chain": np.arange(many), "acceptance": np.zeros(many),
               "energy": random.normal(0, 1, many), "height": random.normal(0, 1, many)}  # fmt: skip
    columns["energy"][CHAINS:] += 0.7  # seven errors of these, one and a half of all
    ensembles = {"pilot/mean": np.zeros((1, 3)), "pilot/error": np.full((1, 3), 0.01), "pilot/converged": np.ones(1)}
    (found,) = summarize(columns, {"protocol": "equilibrated"}, ensembles)
    assert found.verdict.startswith("NOT equilibrated: U is +0.")
    few = {name: values[:CHAINS] for name, values in columns.items()}
    (found,) = summarize(few, {"protocol": "equilibrated"}, ensembles)
    assert found.verdict == "equilibrated"


def test_the_error_of_a_mean_is_that_of_independent_chains() -> None:
    """Not of configurations, of which each chain has two that are alike."""
    columns = {
        "gamma": np.ones(6),
        "chain": np.repeat([4, 0, 7], 2),
        "acceptance": np.ones(6),
        "energy": np.array([1.0, 3.0, 2.0, 4.0, 6.0, 8.0]),
        "height": np.array([5.0, 5.0, 1.0, 3.0, 9.0, 7.0]),
    }
    (found,) = summarize(columns, {}, {})
    np.testing.assert_allclose(found.mean, [4, 5])  # of chains 2, 3, 7 and 5, 2, 8
    np.testing.assert_allclose(found.error, [np.sqrt((4 + 1 + 9) / 2 / 3), np.sqrt((0 + 9 + 9) / 2 / 3)])


def test_the_budget_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equilibration, "RHAT_MAX", 0.0)  # never satisfied
    assert run_pilot(ensemble(max_pilot_sweeps=9_000))[0].length == 8192
