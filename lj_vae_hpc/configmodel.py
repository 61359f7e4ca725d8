"""Sections of the configuration that say what is learned and how."""

import math
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from lj_vae_hpc.configbase import Count, NotNegative, Positive, Section

CLOSEST = 0.85  # σ; two particles are hardly ever nearer at T < 1 (u = 33 ε there under Lennard-Jones)


class Representation(Section):
    """What the network sees of a configuration."""

    kind: Literal["coordinates", "distance_matrix", "occupancy_grid", "local_environment"] = "coordinates"
    """coordinates: of the particles in order, in units of L√2. distance_matrix: Euclidean distances of the particles in
    order, in units of L√2. occupancy_grid: particles per cell of a square grid. local_environment: every particle is a
    sample of its own, its nearest neighbours and the walls seen from it."""
    ordering: Literal["y", "origin", "random"] = "y"
    """Particles sorted by height, by distance from the corner (0, 0), or (a control) shuffled."""
    landmarks: StrictBool = False
    """Adds the corners (0, 0) and (L, 0) as two points to the distance matrix, which makes it lossless: y >= 0."""
    cells: Count = 10
    """Cells of the occupancy grid along each side. Where they are so fine that no two particles share one, entries are
    0 or 1, otherwise counts."""
    neighbours: Count = 8
    """Nearest neighbours in a local environment: vector and distance of each."""
    radius: Positive = 3.0
    """Distance in σ beyond which a local environment does not see neighbours and walls."""

    @property
    def has_positions(self) -> bool:
        """Whether positions of all particles, up to rigid motions, follow from it."""
        return self.kind in ("coordinates", "distance_matrix")

    def single_occupancy(self, box_side: float) -> bool:
        """Whether the cells of the grid are too small for two particles."""
        return box_side / self.cells * math.sqrt(2) <= CLOSEST


class Model(Section):
    """The variational auto-encoder: q(z|x) is a normal distribution with diagonal covariance, p(z) the standard one."""

    encoder: Literal["mlp", "conv", "conv_strided", "attention"] = "mlp"
    """mlp: fully connected. conv: two 3x3 convolutions, as published. conv_strided: the same with stride 2. attention:
    a transformer of the set of particles, which does not see their order."""
    decoder: Literal["mlp", "conv", "conv_strided", "attention", "positions"] = "positions"
    """mlp, conv and conv_strided give the entries of the representation. positions (fully connected) and attention
    give coordinates of ordered particles inside the box and form the representation from them, so that every output is
    a possible one."""
    latent_dim: Count = 40
    """Dimension of the latent space."""
    channels: tuple[Count, Count] = (60, 50)
    """Channels of the encoder's two convolutions; the decoder mirrors them."""
    width: Count = 512
    """Units per hidden layer of mlp and positions; features per particle of attention, a multiple of 4."""
    depth: Count = 2
    """Hidden layers of mlp and positions; layers of attention."""
    linear_path: StrictBool = True
    """Adds a linear encoder and decoder beside the networks, which start as the principal components of the training
    split; needs coordinates, and the decoder positions or attention."""
    conditional: StrictBool = False
    """Gives γ to encoder and decoder (a conditional VAE)."""
    reference_state: Annotated[int, Field(ge=0, strict=True)] | None = None
    """Row of the data set that the decoder is written about: x = x0 + g(z) - g(z0), exact for that configuration (Lee
    and Carlberg, J. Comput. Phys. 404, 108973, 2020)."""


class Objective(Section):
    """The loss."""

    kind: Literal["elbo", "fisher", "reference"] = "elbo"
    """elbo: negative log-likelihood + kl_weight * KL, both sums. fisher: the same + fisher_weight * the deviation of
    tr J = Σ 1/σ² from fisher_target, J the Fisher information of q(z|x) (Zheng et al., AAAI 2019). reference: squared
    error averaged over entries + kl_weight * KL averaged over latent dimensions, as published."""
    likelihood: Literal["gaussian", "gaussian_learned", "bernoulli", "poisson"] = "gaussian_learned"
    """Of an entry. gaussian has the standard deviation `sigma`, gaussian_learned one that is trained; bernoulli needs
    an occupancy grid whose cells hold at most one particle, poisson one of counts."""
    sigma: Positive = 0.01
    """Standard deviation of the gaussian likelihood, in the units of the entries."""
    distances: StrictBool = True
    """With coordinates, the likelihood is that of the coordinates and of all distances formed from them."""
    kl_weight: NotNegative = 1.0
    """β of elbo and fisher, λ of reference; dimensionless."""
    warmup_epochs: NotNegative = 0.0
    """Epochs over which kl_weight grows linearly from 0."""
    estimator: Literal["analytic", "monte_carlo"] = "analytic"
    """The KL divergence in closed form, or estimated from the one latent sample that is decoded."""
    fisher_weight: NotNegative = 0.1
    """Weight of the deviation of the Fisher information from its target."""
    fisher_target: NotNegative = 400.0
    """Fisher information tr J that `fisher` holds q(z|x) at, dimensionless; latent_dim is that of the prior."""


class Training(Section):
    """How the network is trained."""

    epochs: Count = 40
    """Passes over the training split."""
    batch_size: Count = 256
    """Configurations per optimizer step, all ranks together."""
    learning_rate: Positive = 1e-3
    """Step size of AdamW."""
    weight_decay: NotNegative = 0.1
    """Decoupled weight decay of AdamW (Loshchilov and Hutter, ICLR 2019); 0 is Adam."""
    warmup_epochs: NotNegative = 1.0
    """Epochs over which the learning rate grows linearly from 0."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """The learning rate afterwards: constant, or falling to 0 at the last epoch as a half cosine."""
    mirror: StrictBool = True
    """Reflects each configuration at x = L/2 with probability 1/2 each time, an exact symmetry of the fluid."""
    validation_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Share of the data that chooses the best epoch."""
    test_fraction: Annotated[float, Field(gt=0, lt=0.5)] = 0.1
    """Share of the data kept for the evaluation."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where to train; auto takes a GPU where every local rank has one."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Arithmetic of the network; auto takes bf16 where the hardware multiplies it."""
    checkpoint_minutes: Positive = 1.0
    """Minutes from one checkpoint to the next within an epoch, looked at every 20 steps; each epoch ends with one."""


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
