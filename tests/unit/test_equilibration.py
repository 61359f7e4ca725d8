"""The pilot's verdict on series whose truth is known, and on systems that relax and that do not."""

import numpy as np
import pytest

from lj_vae_hpc.config.sampling import Sampling
from lj_vae_hpc.config.system import System
from lj_vae_hpc.sampling import equilibration
from lj_vae_hpc.sampling.ensemble import Ensemble
from lj_vae_hpc.sampling.equilibration import CHAINS_PER_START, Pilot, assess_equilibrium, verdict
from lj_vae_hpc.sampling.pilot import PilotState, run_pilot, settled_lattice

TIMES, MEMORY = 513, 0.6


def series(offset: float = 0.0, relaxation: float = 0.0, memory: float = MEMORY) -> np.ndarray:
    """(3, chains, times) of first-order autoregressive noise with unit variance.

    Args:
        offset: the lattice's chains stay off by this.
        relaxation: records in which the uniform start's deviation of 5 decays, if any.
        memory: correlation of successive records; the autocorrelation time is (1 + memory) / (1 - memory) records.
    """
    random = np.random.default_rng(4)
    values = random.normal(size=(3, 2 * CHAINS_PER_START, TIMES))
    for t in range(1, TIMES):
        values[..., t] = memory * values[..., t - 1] + np.sqrt(1 - memory**2) * values[..., t]
    values[:, CHAINS_PER_START:] += offset
    if relaxation:
        values[:, :CHAINS_PER_START] += 5 * np.exp(-np.arange(TIMES) / relaxation)
    return values


def test_stationary_series_are_equilibrium_with_the_known_autocorrelation_time() -> None:
    pilot = assess_equilibrium(series(), 8, 0.3, 0.4)
    assert pilot.converged and (pilot.rhat < 1.01).all()
    np.testing.assert_allclose(pilot.tau, 8 * (1 + MEMORY) / (1 - MEMORY), rtol=0.1)
    assert pilot.burn_in >= 5 * pilot.tau.max() and pilot.interval == np.ceil(2 * pilot.tau.max())
    assert (np.abs(pilot.mean) < 4 * pilot.error).all() and pilot.length == 8 * (TIMES - 1)


def test_starts_that_stay_apart_are_not() -> None:
    pilot = assess_equilibrium(series(offset=0.3), 8, 0.3, 0.4)
    assert not pilot.converged and (np.abs(pilot.difference) > 4 * pilot.difference_error).all()


def test_burn_in_grows_until_the_starts_agree() -> None:
    quick, slow = (
        assess_equilibrium(series(relaxation=5), 8, 0.3, 0.4),
        assess_equilibrium(series(relaxation=25), 8, 0.3, 0.4),
    )
    assert slow.burn_in > quick.burn_in >= 8 * 5


def test_series_too_short_for_their_memory_are_not() -> None:
    pilot = assess_equilibrium(series(memory=0.99), 8, 0.3, 0.4)
    assert not pilot.converged and pilot.rhat.max() > 1.01


def test_constant_series_are_equilibrium() -> None:
    assert assess_equilibrium(np.ones((3, 2 * CHAINS_PER_START, TIMES)), 8, 0.3, 0.4).converged


def ensemble(**sampling: object) -> Ensemble:
    return Ensemble(5, System(n_particles=8, box_side=5.0), 1.0, Sampling(**sampling))


def test_a_pilot_is_a_function_of_its_ensemble_and_can_be_stored() -> None:
    pilot = run_pilot(ensemble())
    assert pilot.converged and pilot.acceptance == pytest.approx(0.2, abs=0.04)
    for again in (run_pilot(ensemble(max_pilot_sweeps=8192)), Pilot.of(pilot.columns())):
        for name, values in pilot.columns().items():
            np.testing.assert_array_equal(values, again.columns()[name], err_msg=name)


def test_a_pilot_that_is_left_goes_on_to_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equilibration, "RHAT_MAX", 0.0)  # never satisfied
    one = ensemble(max_pilot_sweeps=8192)
    whole, state, told = run_pilot(one), None, []
    for calls in (5, 43, 700):  # while the step is tuned; at its third record; after the records have been thinned
        countdown = iter(range(calls - 1, -1, -1))
        assert run_pilot(one, "cpu", state, lambda c: told.append(c) or next(countdown) == 0) is None  # noqa: B023
        state = told[-1] and PilotState.of(told[-1].columns())
        assert (state is None) == (calls == 5)
    again = run_pilot(one, "cpu", state)
    assert again and whole and whole.length == 8192
    for name, values in whole.columns().items():
        np.testing.assert_array_equal(values, again.columns()[name], err_msg=name)


def test_a_frozen_system_is_not_proved_within_its_budget() -> None:
    cold = System(n_particles=12, box_side=5.0, temperature=0.02)
    pilot = run_pilot(Ensemble(5, cold, 0.1, Sampling(max_pilot_sweeps=4096)))
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
    error = np.array([0.07, 0.1])
    assert verdict("equilibrated", True, pilot, (np.array([-8.1, 70.2]), error), 99) == "equilibrated"
    assert verdict("reference", True, pilot, (np.array([-8.1, 70.2]), error), 99) == "not told from equilibrium"
    assert verdict("equilibrated", False, pilot, (np.array([-8.1, 70.2]), error), 99) == "not proved"
    assert "NOT equilibrated: U is +4.00" in verdict("reference", True, pilot, (np.array([-4.0, 70.2]), error), 99)
    assert "NOT equilibrated: sum y is +3.00" in verdict("reference", True, pilot, (np.array([-8.1, 73.0]), error), 99)


def test_few_chains_give_no_verdict() -> None:
    pilot = np.array([-8.0, 70.0, 40.0]), np.array([0.06, 0.1, 0.1])
    assert verdict("reference", True, pilot, (np.array([-4.0, 70.0]), np.full(2, 0.1)), 29) == "too few chains to tell"


def test_the_budget_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(equilibration, "RHAT_MAX", 0.0)  # never satisfied
    assert run_pilot(ensemble(max_pilot_sweeps=10_000)).length == 8192
