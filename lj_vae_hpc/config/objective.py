"""The section `objective`: the loss."""

from typing import Annotated, Literal, Self

from pydantic import StrictBool, model_validator

from lj_vae_hpc.config.base import Epochs, NotNegative, Positive, Section, Weight, between


class Objective(Section):
    """The loss."""

    kind: Literal["elbo", "fisher", "reference"] = "elbo"
    """elbo: negative log-likelihood + kl_weight * KL, both sums. fisher: the same + fisher_weight * the deviation of
    tr J = Σ 1/σ² from fisher_target, J the Fisher information of q(z|x) (Zheng et al., AAAI 2019). reference: squared
    error averaged over entries + kl_weight * KL averaged over latent dimensions, as published."""
    likelihood: Literal["gaussian", "gaussian_learned", "bernoulli", "poisson"] = "gaussian_learned"
    """Of an entry. gaussian has the standard deviation `sigma`, gaussian_learned one that is trained; bernoulli needs
    an occupancy grid whose cells hold at most one particle, poisson one of counts."""
    sigma: Annotated[Positive, between(1e-6, 1e3, "networks compute in single precision")] = 0.01
    """Standard deviation of the gaussian likelihood, in the units of the entries."""
    distances: StrictBool = True
    """With coordinates, the likelihood is that of the coordinates and of all distances formed from them."""
    kl_weight: Weight = 1.0
    """β of elbo and fisher, λ of reference; dimensionless."""
    warmup_epochs: Epochs = 0.0
    """Epochs over which kl_weight grows linearly from 0."""
    estimator: Literal["analytic", "monte_carlo"] = "analytic"
    """The KL divergence in closed form, or estimated from the one latent sample that is decoded."""
    fisher_weight: Weight = 0.1
    """Weight of the deviation of the Fisher information from its target."""
    fisher_target: Annotated[NotNegative, between(0, 1e9, "no precision of q(z|x) reaches it")] = 400.0
    """Fisher information tr J that `fisher` holds q(z|x) at, dimensionless; latent_dim is that of the prior."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.kind == "reference" and self.likelihood != "gaussian":
            raise ValueError(f"likelihood: the reference objective has squared errors, gaussian, not {self.likelihood}")
        if self.kind == "reference" and self.estimator != "analytic":
            raise ValueError("estimator: the reference objective has the KL divergence in closed form, analytic")
        return self
