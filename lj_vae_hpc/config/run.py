"""The whole configuration."""

import math
from typing import Annotated, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from lj_vae_hpc.config.base import AUTO, Section, to_yaml
from lj_vae_hpc.config.evaluation import Evaluation
from lj_vae_hpc.config.model import Model, recommended_latent_dim
from lj_vae_hpc.config.objective import Objective
from lj_vae_hpc.config.representation import CLOSEST, Representation
from lj_vae_hpc.config.sampling import Sampling, listed, repeated_gammas
from lj_vae_hpc.config.scan import Scan
from lj_vae_hpc.config.system import System
from lj_vae_hpc.config.training import Training
from lj_vae_hpc.config.tuning import LATENT_DIM, Span, Tuning

FEWEST_OF_A_SUITE, MOST_OF_A_SUITE = 10, 4000  # configurations, unless evaluation.configurations is given


class RunConfig(Section):
    """A whole run."""

    seed: Annotated[int, Field(ge=0, lt=2**64, strict=True)] = 20230615
    """Seed of every random number of the run."""
    system: System = System()
    sampling: Sampling = Sampling()
    representation: Representation = Representation()
    model: Model = Field(default=Model(), validate_default=True)
    objective: Objective = Objective()
    training: Training = Training()
    evaluation: Evaluation = Field(default=Evaluation(), validate_default=True)
    tuning: Tuning = Field(default=Tuning(), validate_default=True)
    scan: Scan = Scan()

    @field_validator("model")
    @classmethod
    def _resolve_latent_dim(cls, model: Model, info: ValidationInfo) -> Model:
        if model.latent_dim != AUTO or not {"system", "representation"} <= info.data.keys():
            return model
        number = recommended_latent_dim(info.data["system"].n_particles, info.data["representation"].kind)
        return model.model_copy(update={"latent_dim": number})

    @field_validator("evaluation")
    @classmethod
    def _resolve_configurations(cls, evaluation: Evaluation, info: ValidationInfo) -> Evaluation:
        if evaluation.configurations != AUTO or not {"sampling", "training"} <= info.data.keys():
            return evaluation
        sampling, gammas = info.data["sampling"], len(info.data["sampling"].gamma_values)
        tested = round(info.data["training"].test_fraction * gammas * sampling.configurations)
        return evaluation.model_copy(
            update={"configurations": max(gammas, min(MOST_OF_A_SUITE, max(FEWEST_OF_A_SUITE, tested)))}
        )

    @field_validator("tuning")
    @classmethod
    def _resolve_search(cls, tuning: Tuning, info: ValidationInfo) -> Tuning:
        """The default search of the latent dimension ends at the number of coordinates, if all are represented."""
        if "space" in tuning.model_fields_set or not {"system", "representation"} <= info.data.keys():
            return tuning
        number = recommended_latent_dim(info.data["system"].n_particles, info.data["representation"].kind)
        has_all = info.data["representation"].has_positions
        high = 2 * (info.data["system"].n_particles if has_all else number)
        span = Span(low=min(4, number), high=high, spacing="log")
        return tuning.model_copy(update={"space": tuning.space | {LATENT_DIM: span}})

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        trained = self.sampling.gamma_values
        seen = repeated_gammas([*trained, *set(self.evaluation.unseen_gammas)])
        # Of the built-in values those that are trained are left out by the evaluation.
        if seen and self.evaluation.unseen_gammas != Evaluation().unseen_gammas:
            raise ValueError(f"evaluation.unseen_gammas: {listed(seen)} is also in sampling.gammas")
        t = self.training
        if t.validation_fraction + t.calibration_fraction + t.test_fraction >= 0.9:
            raise ValueError(
                "training: validation_fraction + calibration_fraction + test_fraction must leave at least 0.1 for "
                "training"
            )
        for section, warm_up in (("training", t.warmup_epochs), ("objective", self.objective.warmup_epochs)):
            if warm_up > t.epochs:
                raise ValueError(
                    f"{section}.warmup_epochs: {warm_up:g} epochs of warm-up are longer than the training, which has "
                    f"training.epochs {t.epochs}"
                )
        wrong = contradiction(self.system.box_side, self.representation, self.model, self.objective)
        if wrong:
            raise ValueError(wrong)
        built_in = Evaluation().corruptions  # those that move too many particles are left out by the evaluation
        for name, corruption in self.evaluation.corruptions.items():
            if corruption.particles > self.system.n_particles and built_in.get(name) != corruption:
                raise ValueError(
                    f"evaluation.corruptions.{name}.particles: {corruption.particles} exceeds system.n_particles"
                )
        return self

    def to_yaml(self) -> str:
        """The resolved configuration, every key present."""
        return to_yaml(self.model_dump(mode="json"))


def below_recommended(config: RunConfig) -> str | None:
    """What to say of a latent dimension below the recommended one; None if it is not below."""
    n_particles, given = config.system.n_particles, config.model.latent_dim
    least = recommended_latent_dim(n_particles, config.representation.kind)
    said = f"model.latent_dim {given} is below the {least} recommended for {n_particles} particles"
    return said if given < least else None


def contradiction(box_side: float, representation: Representation, model: Model, objective: Objective) -> str | None:
    """The first combination of sections that makes no sense, as `key: what is wrong and what is accepted`; L in σ.

    What an encoder or a decoder needs is stated by its class, and checked when a network is needed.
    """
    kind, likelihood = representation.kind, objective.likelihood
    grid, single = kind == "occupancy_grid", representation.single_occupancy(box_side)
    most = math.ceil(box_side * math.sqrt(2) / CLOSEST)
    if likelihood == "bernoulli" and not (grid and single):
        return (
            f"objective.likelihood: bernoulli needs entries of 0 or 1, which this {kind} has not; it is for an "
            f"occupancy_grid of at least {most} cells"
        )
    if likelihood == "poisson" and not (grid and not single):
        return (
            f"objective.likelihood: poisson needs counts, which this {kind} has not; it is for an occupancy_grid of "
            f"less than {most} cells"
        )
    if model.reference_state is not None and not likelihood.startswith("gaussian"):
        return f"model.reference_state: needs a gaussian likelihood, not {likelihood}"
    if model.reference_state is not None and kind == "local_environment":
        return "model.reference_state: a local_environment is not of a whole configuration"
    return None
