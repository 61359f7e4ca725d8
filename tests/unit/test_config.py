"""The configuration: what is accepted, and what is said of the rest."""

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from lj_vae_hpc.config.campaign import model_entries
from lj_vae_hpc.config.document import parse
from lj_vae_hpc.config.load import load
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.physics.potentials.mie import Mie
from lj_vae_hpc.physics.potentials.wca import WCA

CONFIGS = Path(__file__).parents[2] / "configs"


def test_defaults_survive_a_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(RunConfig().to_yaml())
    assert load(path) == RunConfig()


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("**/*.yaml")), ids=lambda p: p.stem)
def test_shipped_configurations_load(path: Path) -> None:
    load(path)


def test_equilibrated_is_the_default() -> None:
    assert load(CONFIGS / "equilibrated.yaml") == RunConfig()


def test_reference_is_the_published_protocol() -> None:
    config = load(CONFIGS / "reference.yaml")
    assert config.sampling.protocol == "reference"
    assert (config.sampling.sweeps, config.sampling.step, config.sampling.configurations) == (2500, 0.2, 10_000)
    assert (config.model.latent_dim, config.model.channels, config.objective.kl_weight) == (40, (60, 50), 3.5e-4)
    training = config.training
    assert training.validation_fraction + training.calibration_fraction + training.test_fraction == pytest.approx(0.2)


def test_gamma_range() -> None:
    config = load(None, ("sampling.gammas={start: 0.1, stop: 10, num: 3, spacing: log}",))
    assert config.sampling.gamma_values == (0.1, 1.0, 10.0)
    assert load(CONFIGS / "scan.yaml").sampling.gamma_values[:2] == (0.05, 0.06)


def test_suites_have_a_configuration_of_every_gamma_however_many() -> None:
    config = load(None, ("sampling.gammas={start: 0.001, stop: 4.5, num: 4500}", "evaluation.unseen_gammas=[]"))
    assert config.evaluation.configurations == 4500


def test_numbers_with_an_exponent() -> None:
    config = load(None, ("sampling.configurations=1e3", "system.box_side=1.2e1", "training.learning_rate=2.5e-4"))
    assert (config.sampling.configurations, config.system.box_side) == (1000, 12.0)
    assert config.training.learning_rate == 2.5e-4 and parse("[1e, e1, 1e-2]") == ["1e", "e1", 0.01]


def test_frozen() -> None:
    with pytest.raises(ValidationError):
        RunConfig().seed = 4  # type: ignore[misc]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        (
            "sampling.swepes=3",
            ["unknown key sampling.swepes, did you mean sampling.sweeps? valid keys of sampling: protocol"],
        ),
        ("sampling.configurations=1.55e1", ["sampling.configurations: input should be a valid integer"]),
        ("n_particles=60", ["unknown key n_particles, did you mean system.n_particles? valid keys at the top: seed"]),
        ("epochs=3", ["did you mean training.epochs or tuning.epochs?"]),
        ("sampels=3", ["unknown key sampels", "system, sampling"]),
        ("sampling.sweeps=many", ["sampling.sweeps", "integer", "'many'"]),
        ("sampling.sweeps=2.5", ["sampling.sweeps", "integer"]),
        ("sampling.sweeps=0", ["sampling.sweeps", "greater than 0"]),
        ("sampling.gammas=[]", ["sampling.gammas", "empty"]),
        ("sampling.gammas=[0.1, 0.4, 0.1]", ["sampling.gammas", "0.1", "more than once"]),
        ("sampling.gammas=[.nan]", ["sampling.gammas.0", "finite"]),
        ("sampling.gammas=[.inf]", ["sampling.gammas.0", "finite"]),
        ("sampling.gammas={start: 1, stop: 0, num: 5}", ["sampling.gammas", "less than stop"]),
        ("sampling.gammas={start: 0, stop: 1, num: 5, spacing: log}", ["sampling.gammas", "start > 0"]),
        ("sampling.gammas={start: 0, stop: 1, nmu: 5}", ["unknown key sampling.gammas.nmu", "spacing"]),
        ("system.temperature=-1", ["system.temperature", "greater than 0"]),
        ("system.n_particles=500", ["system.n_particles", "500 particles cannot fit", "at most 172"]),
        ("system.potential=[9, 6]", ["system.potential", "even"]),
        ("system.potential=[12.0, 6]", ["system.potential", "even"]),
        ("system.potential=[12, 6, 3]", ["system.potential", "[12, 6, 3]", "lennard_jones"]),
        ("system.potential=hard", ["system.potential", "'hard'", "lennard_jones", "[n, m]", "{kind: NAME"]),
        ("system.potential={name: soft}", ["system.potential", "'name': 'soft'", "{kind: NAME"]),
        ("system.potential=true", ["system.potential", "True", "lennard_jones"]),
        ("system.potential=mie", ["system.potential", "mie needs repulsive, attractive"]),
        ("system.potential={kind: wca, kappa: 2}", ["system.potential", "wca has no parameter kappa", "none"]),
        ("system.potential={kind: mie, repulsive: 8, attractive: four}", ["system.potential", "attractive", "'four'"]),
        ("system={potential: wca, cutoff: 2.5}", ["system.cutoff", "1.12246", "2.5"]),
        ("model.latent_dim=0", ["model.latent_dim", "greater than 0"]),
        ("training=3", ["training"]),
        ("evaluation.unseen_gammas=[0.1]", ["evaluation.unseen_gammas", "sampling.gammas"]),
        ("evaluation.corruptions={a: {amplitude: 1, particles: 99}}", ["corruptions.a.particles", "99"]),
        ("sampling.configurations=5", ["sampling.configurations", "10"]),
        ("system.temperature=true", ["system.temperature", "True is not a number"]),
        ("representation.landmarks=1", ["representation.landmarks", "boolean"]),
        ("evaluation.corruptions={normal: {amplitude: 1}}", ["more than one suite", "normal"]),
        ("evaluation.unseen_gammas=[2.0000001, 2.0000002]", ["more than one suite", "gamma_2"]),
        ("sampling", ["section.key=value"]),
        ("seed.x=3", ["seed"]),
        ("sampling.gammas=[0.1", ["not a YAML value"]),
    ],
)
def test_bad_values_are_named(override: str, words: list[str]) -> None:
    with pytest.raises(UserError) as raised:
        load(None, (override,))
    for word in words:
        assert word in str(raised.value)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (("representation.landmarks=true",), "representation.landmarks"),
        (("objective.likelihood=bernoulli",), "bernoulli needs entries of 0 or 1"),
        (("objective.likelihood=poisson",), "poisson needs counts"),
        (("objective.kind=reference",), "squared errors"),
        (("objective={kind: reference, likelihood: gaussian, estimator: monte_carlo}",), "closed form"),
        (("model.latent_dim=0",), "model.latent_dim"),
    ],
)  # fmt: skip
def test_combinations_without_sense_are_refused(keys: tuple[str, ...], words: str) -> None:
    with pytest.raises(UserError, match=words):
        load(None, keys)


def test_potentials_are_given_by_name_exponents_or_parameters(tmp_path: Path) -> None:
    given = ("wca", "{kind: soft}", "[18, 6]", "{kind: mie, repulsive: 8, attractive: 4}")
    configs = [load(None, (f"system.potential={text}",)) for text in given]
    expected = [WCA(), Mie(4, 2), Mie(18, 6, cutoff=3.0), Mie(8, 4, cutoff=3.0)]
    assert [config.system.pair_potential for config in configs] == expected
    assert (
        configs[0].system.cutoff == load(None, ("system={potential: wca, cutoff: null}",)).system.cutoff == 2 ** (1 / 6)
    )
    assert configs[1].system.potential == "soft"
    for config in configs:
        (tmp_path / "c.yaml").write_text(config.to_yaml())
        assert load(tmp_path / "c.yaml") == config


@pytest.mark.parametrize(
    ("text", "cutoff"),
    [("lennard_jones", 3.0), ("soft", None), ("[4, 2]", None), ("{kind: mie, repulsive: 8, attractive: 2}", None),
     ("[18, 6]", 3.0), ("yukawa", 3.0)],
)  # fmt: skip
def test_the_usual_cutoff_follows_from_the_potential(text: str, cutoff: float | None) -> None:
    assert load(None, (f"system.potential={text}",)).system.cutoff == cutoff
    assert load(None, (f"system={{potential: {text}, cutoff: 2.5}}",)).system.cutoff == 2.5


@pytest.mark.parametrize("key", ["system.potential", "sampling.gammas", "sampling.protocol"])
def test_a_default_that_follows_from_a_key_with_a_fault_is_no_fault(key: str) -> None:
    with pytest.raises(UserError) as raised:
        load(None, (f"{key}=nonsense",))
    assert key in str(raised.value) and "sweeps" not in str(raised.value) and "cutoff" not in str(raised.value)


def test_the_published_protocol_has_the_published_sweeps() -> None:
    assert load(None, ("sampling.protocol=reference",)).sampling.sweeps == 2500
    assert load(None, ("sampling={protocol: reference, sweeps: 100}",)).sampling.sweeps == 100
    assert load().sampling.sweeps == 500


def test_how_many_particles_fit_depends_on_the_potential() -> None:
    crowded = "{potential: POTENTIAL, cutoff: null, n_particles: 200, box_side: 10.0, temperature: 0.75}"
    assert load(None, ("system=" + crowded.replace("POTENTIAL", "soft"),)).system.n_particles == 200
    for name in ("lennard_jones", "wca"):
        with pytest.raises(UserError, match="200 particles cannot fit"):
            load(None, ("system=" + crowded.replace("POTENTIAL", name),))
    assert load(None, ("system=" + crowded.replace("POTENTIAL", "wca").replace("0.75", "50"),))


def test_a_configuration_loads_without_numba() -> None:
    program = "import sys; from lj_vae_hpc.config.load import load; load(); assert 'numba' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)


GRID = ("representation.kind=occupancy_grid", "model.decoder=mlp", "model.linear_path=false")


@pytest.mark.parametrize(("cells", "likelihood", "accepted"), [(10, "poisson", 1), (10, "bernoulli", 0),
                                                               (17, "poisson", 0), (17, "bernoulli", 1)])  # fmt: skip
def test_grids_take_the_likelihood_of_their_entries(cells: int, likelihood: str, accepted: int) -> None:
    keys = (*GRID, f"representation.cells={cells}", f"objective.likelihood={likelihood}")
    if accepted:
        assert isinstance(load(None, keys), RunConfig)
    else:
        with pytest.raises(UserError, match="at least 17 cells" if likelihood == "bernoulli" else "less than 17 cells"):
            load(None, keys)


def test_what_a_model_of_a_campaign_gives_itself_goes_before_everything_else() -> None:
    models = "scan.models=[{objective.kl_weight: 3, approach: beta}, {approach: beta, seed: 0}, {approach: null}]"
    entries = model_entries(load(None, (models, "objective.kl_weight=2", "seed=5")))
    assert [(one.config.objective.kl_weight, one.config.seed) for one in entries] == [(3, 5), (8, 0), (2, 5)]


@pytest.mark.parametrize("text", ["[1, 2]", "sampling: [", "sampling: {sweeps: 1, sweeps: }: x", "\x00"])
def test_bad_files_are_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=r"bad\.yaml"):
        load(path)


def test_missing_file() -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml"):
        load(Path("nowhere.yaml"))


def test_every_key_is_documented_and_the_page_is_current() -> None:
    from docs.make_configuration import main

    assert main() == (CONFIGS.parent / "docs" / "configuration.md").read_text()
    assert "| None |" not in main() and "|  |" not in main()
