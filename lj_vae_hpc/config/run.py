"""The whole configuration."""

import math
from typing import Annotated, Self

from pydantic import Field, model_validator

from lj_vae_hpc.config.base import Section, to_yaml
from lj_vae_hpc.config.evaluation import Evaluation
from lj_vae_hpc.config.model import Model
from lj_vae_hpc.config.objective import Objective
from lj_vae_hpc.config.representation import CLOSEST, Representation
from lj_vae_hpc.config.sampling import Sampling
from lj_vae_hpc.config.system import System
from lj_vae_hpc.config.training import Training
from lj_vae_hpc.config.tuning import Tuning


class RunConfig(Section):
    """A whole run."""

    seed: Annotated[int, Field(ge=0, lt=2**64, strict=True)] = 20230615
    """Seed of every random number of the run."""
    system: System = System()
    sampling: Sampling = Sampling()
    representation: Representation = Representation()
    model: Model = Model()
    objective: Objective = Objective()
    training: Training = Training()
    evaluation: Evaluation = Evaluation()
    tuning: Tuning = Tuning()

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        seen = set(self.sampling.gamma_values) & set(self.evaluation.unseen_gammas)
        if seen:
            raise ValueError(
                f"evaluation.unseen_gammas: {', '.join(f'{g:g}' for g in sorted(seen))} is also in sampling.gammas"
            )
        if self.training.validation_fraction + self.training.test_fraction >= 0.9:
            raise ValueError("training: validation_fraction + test_fraction must leave at least 0.1 for training")
        wrong = contradiction(self.system.box_side, self.representation, self.model, self.objective)
        if wrong:
            raise ValueError(wrong)
        for name, corruption in self.evaluation.corruptions.items():
            if corruption.particles > self.system.n_particles:
                raise ValueError(
                    f"evaluation.corruptions.{name}.particles: {corruption.particles} exceeds system.n_particles"
                )
        return self

    def to_yaml(self) -> str:
        """The resolved configuration, every key present."""
        return to_yaml(self.model_dump(mode="json"))


def contradiction(box_side: float, representation: Representation, model: Model, objective: Objective) -> str | None:
    """The first combination of keys that makes no sense, as `key: what is wrong and what is accepted`; L in σ."""
    kind, encoder, decoder, likelihood = representation.kind, model.encoder, model.decoder, objective.likelihood
    images = kind in ("distance_matrix", "occupancy_grid")
    single = kind == "occupancy_grid" and representation.single_occupancy(box_side)
    counts = kind == "occupancy_grid" and not single
    emits_positions = decoder in ("attention", "positions")
    most = math.ceil(box_side * math.sqrt(2) / CLOSEST)
    entries = "entries of a distance_matrix or an occupancy_grid"
    rules = (
        (representation.landmarks and kind != "distance_matrix",
         f"representation.landmarks: only a distance_matrix has landmarks, not {kind}"),
        (encoder.startswith("conv") and not images,
         f"model.encoder: {encoder} works on the {entries}, not on {kind}; mlp works on everything"),
        (encoder == "attention" and kind != "coordinates",
         f"model.encoder: attention works on coordinates, not on {kind}"),
        (decoder.startswith("conv") and not images,
         f"model.decoder: {decoder} gives the {entries}, not {kind}; mlp gives everything"),
        (emits_positions and not representation.has_positions,
         f"model.decoder: {decoder} gives coordinates, of which no {kind} is formed; mlp gives everything"),
        ("attention" in (encoder, decoder) and model.width % 4 > 0,
         f"model.width: {model.width} is no multiple of 4, which attention needs"),
        (model.linear_path and not (kind == "coordinates" and emits_positions),
         "model.linear_path: needs representation.kind coordinates and model.decoder positions or attention, not "
         f"{kind} and {decoder}; set it to false"),
        (likelihood == "bernoulli" and not single,
         f"objective.likelihood: bernoulli needs entries of 0 or 1, which this {kind} has not; it is for an "
         f"occupancy_grid of at least {most} cells"),
        (likelihood == "poisson" and not counts,
         f"objective.likelihood: poisson needs counts, which this {kind} has not; it is for an occupancy_grid of less "
         f"than {most} cells"),
        (objective.kind == "reference" and likelihood != "gaussian",
         f"objective.likelihood: the reference objective has squared errors, gaussian, not {likelihood}"),
        (objective.kind == "reference" and objective.estimator != "analytic",
         "objective.estimator: the reference objective has the KL divergence in closed form, analytic"),
        (model.reference_state is not None and not likelihood.startswith("gaussian"),
         f"model.reference_state: needs a gaussian likelihood, not {likelihood}"),
        (model.reference_state is not None and kind == "local_environment",
         "model.reference_state: a local_environment is not of a whole configuration"),
    )  # fmt: skip
    return next((message for broken, message in rules if broken), None)
