"""What suites are."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.spatial.distance import pdist

from lj_vae_hpc.config.load import changed, load
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.ceilings import NormalMixture
from lj_vae_hpc.evaluation.observables import observables
from lj_vae_hpc.evaluation.sources import Given
from lj_vae_hpc.evaluation.suites.base import Suite
from lj_vae_hpc.evaluation.suites.registry import suites_of
from lj_vae_hpc.training.batches import Configurations

SIDE = 10.0


def random_positions(n: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(0, SIDE, (n, 30, 2)).astype(np.float32)


def test_observables_of_two_configurations_by_hand() -> None:
    positions = np.array([[[0, 0], [3, 4], [3, 5.5]], [[0, 1], [0, 1], [10.1, -0.5]]], np.float32)
    config = RunConfig.model_validate({"system": {"n_particles": 3}, "evaluation": {"corruptions": {}}})
    found = observables(positions, config.system)
    np.testing.assert_allclose(found["height_sum"], [9.5, 1.5])
    np.testing.assert_allclose(found["smallest_distance"], [1.5, 0.0])
    np.testing.assert_array_equal(found["outside"], [0, 1])
    assert found["pair_energy"][0] == pytest.approx(4 * (1.5**-12 - 1.5**-6)) and found["pair_energy"][1] == np.inf
    random = random_positions(3)
    expected = [pdist(one.astype(float)).min() for one in random]
    np.testing.assert_allclose(observables(random, RunConfig().system)["smallest_distance"], expected)


def test_observables_of_many_particles_need_little_memory() -> None:
    from lj_vae_hpc.evaluation.observables import smallest_distance

    positions = np.random.default_rng(0).uniform(0, 400, (1, 100_000, 2)).astype(np.float32)
    assert 0 < smallest_distance(positions)[0] < 0.05  # all pairs would be 40 GB


def test_default_suites_and_what_each_samples() -> None:
    config = RunConfig()
    suites = {suite.name: suite for suite in suites_of(config, config.sampling.gamma_values)[0]}
    unseen, fluids = {"gamma_3", "gamma_0.55", "gamma_0.25", "gamma_1.3"}, {"soft", "wca", "hot"}
    claims = {f"claimed_{c.claimed:g}_true_{c.true:g}" for c in config.evaluation.claims}
    moved = set(config.evaluation.corruptions)
    assert {"corrupted", "corrupted_mild", "replaced"} < moved and len(moved) == 12 and len(claims) == 5
    assert set(suites) == unseen | fluids | claims | moved | {"uniform", "early", "two_sizes"}
    ensembles = {name: list(suite.ensembles) for name, suite in suites.items() if suite.ensembles}
    assert set(ensembles) == set(suites) - moved - {"two_sizes"}
    assert len({e.key for own in ensembles.values() for e in own}) == 12  # claims have those of unseen gammas
    assert ensembles["gamma_3"][0].gamma == 3.0 and ensembles["gamma_3"][0].system == config.system
    assert ensembles["claimed_0.4_true_0.55"] == ensembles["gamma_0.55"]
    soft, wca, hot = (ensembles[name][0] for name in ("soft", "wca", "hot"))
    assert soft.system.potential == "soft" and soft.system.cutoff is None and soft.gamma == 0.5
    assert wca.system.potential == "wca" and wca.system.cutoff == pytest.approx(2 ** (1 / 6))
    assert hot.system.temperature == 1.5 and hot.system.cutoff == 3.0
    assert ensembles["uniform"][0].sampling.sweeps == 0
    early = ensembles["early"]
    assert [e.gamma for e in early] == [0.1, 0.4, 0.7, 1.0]
    assert {(e.sampling.protocol, e.sampling.sweeps) for e in early} == {("reference", 100)}
    assert suites["corrupted"].paired and suites["two_sizes"].paired and not suites["soft"].paired
    assert all(suite.claims == (name in claims) for name, suite in suites.items())


class AtGamma(Given):
    """Configurations of γ = 1."""

    def read(self, part: range) -> Configurations:
        return super().read(part)._replace(gamma=np.ones(len(part)))


def test_two_sizes_keep_their_distances() -> None:
    # Particles of diameters 0.8 and 1.2 under strong gravity: the closest pairs are those of small ones.
    config = RunConfig.model_validate({"system": {"box_side": SIDE}})
    suite = next(suite for suite in suites_of(config, (0.1,))[0] if suite.name == "two_sizes")
    positions = random_positions(40)
    positions = positions[np.argsort([pdist(one).min() for one in positions])]
    source = AtGamma(positions)
    found = suite.read(source, range(40)).positions
    np.testing.assert_array_equal(suite.read(source, range(7, 9)).positions, found[7:9])
    assert found.min() >= 0 and found.max() <= SIDE and (found != positions).any(axis=2).all()
    small, large = found[:, ::2], found[:, 1::2]
    closest = [np.array([pdist(one).min() for one in some]) for some in (small, large)]
    assert np.median(closest[0]) < 0.95 < 1.1 < np.median(closest[1])
    one_size = RunConfig.model_validate({"evaluation": {"size_ratio": 1.0}})
    assert "two_sizes" in suites_of(one_size, (0.1,))[1]


def test_a_claim_is_told_from_the_configurations_of_the_claimed_gamma() -> None:
    suite = next(suite for suite in suites_of(RunConfig(), (0.1, 0.4))[0] if suite.name == "claimed_0.4_true_0.55")
    given = suite.read(Given(random_positions(3)), range(3))
    np.testing.assert_array_equal(given.gamma, np.full(3, 0.4))
    normal = {"gamma": np.array([0.1, 0.4, 0.4]), "rmse": np.array([1.0, 2.0, 3.0]), "of_normal/x": np.zeros(9)}
    np.testing.assert_array_equal(suite.normal(normal)["rmse"], [2.0, 3.0])
    assert "claimed_0.7_true_0.55" in suites_of(RunConfig(), (0.1, 0.4))[1]


def test_identity_is_by_value() -> None:
    config = RunConfig()

    def identities(**evaluation: object) -> dict[str, str]:
        other = changed(config, {f"evaluation.{key}": value for key, value in evaluation.items()})
        return {suite.name: json.dumps(suite.identity) for suite in suites_of(other, (0.1,))[0]}

    before = identities()
    after = identities(unseen_gammas=(9.0, 1.3, 3.0), corruptions={"x": {"amplitude": 0.2}})
    assert after["gamma_3"] == before["gamma_3"] and after["gamma_1.3"] == before["gamma_1.3"]
    assert after["x"] == before["corrupted_mild"] and after["soft"] == before["soft"]
    assert len(set(before.values())) == len(before)
    fewer = identities(configurations=7)
    assert all(fewer[name] != before[name] for name in before)


def test_a_trained_gamma_is_no_anomaly() -> None:
    suites, left_out = suites_of(RunConfig(), (0.1, 0.25, 3.0))
    assert {name for name in left_out if "claimed" not in name} == {"gamma_0.25", "gamma_3"}
    assert "trained on γ = 3" in left_out["gamma_3"]
    assert not {suite.name for suite in suites} & set(left_out)
    soft = RunConfig.model_validate({"system": {"potential": "soft", "cutoff": None}})
    for gamma in (0.4, 0.5):  # of the run's own fluid, unseen_gammas has others
        assert suites_of(soft, (gamma,))[1]["soft"] == "the model was trained on this fluid"


def test_a_built_in_suite_that_moves_too_many_particles_is_left_out() -> None:
    suites, left_out = suites_of(RunConfig.model_validate({"system": {"n_particles": 5}}), (0.1,))
    assert left_out["corrupted_8_0.2"] == "there are only 5 particles"
    assert "corrupted_4_0.1" in {suite.name for suite in suites}


def test_a_claim_as_yaml_reads_it() -> None:
    """The key `true` is a truth value there."""
    (claim,) = load(None, ("evaluation.claims=[{claimed: 0.1, true: 0.4}]",)).evaluation.claims
    assert (claim.claimed, claim.true) == (0.1, 0.4)


def test_the_smallest_suite_has_a_lower_bound() -> None:
    """It says nothing of its density."""

    class Smallest(Suite):
        name, identity = "smallest", {}

        @classmethod
        def of(cls, config):
            return [cls(config)]

    random = np.random.default_rng(0)
    columns = {name: random.normal(size=50) for name in ("pair_energy", "height_sum", "smallest_distance", "outside")}
    mixture = NormalMixture((0.1, 1.0), np.zeros(2), 0.75)
    assert Smallest(load(None, ())).ceiling(mixture, columns, columns).kind.startswith("at least")


def test_a_file_is_found_from_any_folder() -> None:
    assert load(None, ("evaluation.files={mine: rot.npy}",)).evaluation.files["mine"] == Path("rot.npy").absolute()
