"""The trained model of a run."""

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from functools import cached_property
from io import StringIO

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from lj_vae_hpc.api.arguments import array, check_finite, per_configuration
from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.detector import Detector, folder_to_keep_in, odd_particles
from lj_vae_hpc.evaluation.generator import Generator, decode_positions, sweep
from lj_vae_hpc.evaluation.observables import Arrays
from lj_vae_hpc.evaluation.scoring import batch_size
from lj_vae_hpc.evaluation.session import Session
from lj_vae_hpc.evaluation.sources import RunData
from lj_vae_hpc.evaluation.weights import load_network
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.representation.ordering import particle_order
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training.batches import Configurations
from lj_vae_hpc.training.setup import check_data

Floats = NDArray[np.float32]
FEWEST = 10.0  # training configurations that may carry the weight of a γ that samples are asked of


class Model:
    """The trained model of a run. Get it as `run.model`.

    A conditional model (model.conditional) also needs γ, one number or one per configuration; no other takes it.

    Attributes:
        gammas: γ that it was trained on, ascending.
        latent_dim: dimension d of its latent space.
        n_particles: N of its configurations.
        box_side: side L of its box, in σ.
    """

    def __init__(self, folder: RunDir, config: RunConfig) -> None:
        self._folder, self._config, self._world = folder, config, World()
        self._network, self._weights = load_network(self._world, folder, config)
        self.gammas = tuple(self._weights.gammas)
        self.latent_dim = self._network.module.latent_dim
        self.n_particles, self.box_side = config.system.n_particles, config.system.box_side

    def __repr__(self) -> str:
        gammas = (
            f"γ from {self.gammas[0]:g} to {self.gammas[-1]:g}" if len(self.gammas) > 1 else f"γ = {self.gammas[0]:g}"
        )
        return f"<model of {self.n_particles} particles, latent dimension {self.latent_dim}, trained on {gammas}>"

    def encode(self, positions: ArrayLike, gamma: ArrayLike | None = None) -> tuple[Floats, Floats]:
        """Mean and logarithm of the variance of q(z|x), each (n, d) float32.

        Of a `local_environment`, which describes one particle, they are (n, N, d), in the order of the particles given.

        Args:
            positions: (n, N, 2), in σ.
            gamma: γ, of a conditional model.

        Raises:
            ValueError: a wrong shape, a coordinate that is not finite or is outside the box, or γ missing.
        """
        parts = [self._encode(part) for part in self._parts(positions, gamma)]
        mean, log_variance = (np.concatenate(values) for values in zip(*parts, strict=True))
        if self._network.encoding.samples == 1:
            return mean, log_variance
        shape = (-1, self.n_particles, self.latent_dim)
        return mean.reshape(shape), log_variance.reshape(shape)

    def decode(self, z: ArrayLike, gamma: ArrayLike | None = None) -> Floats:
        """(n, N, 2) float32 positions in σ, inside the box.

        The particles are in the order that the model was trained in (representation.ordering): nearly by height, or by
        distance from the corner (0, 0). A model that was trained on distances alone and without landmarks leaves the
        place and the orientation of a configuration open.

        Args:
            z: (n, d) latent codes.
            gamma: γ, of a conditional model.

        Raises:
            ValueError: a wrong shape, a number that is not finite, or γ missing.
            UserError: the model does not decode to positions.
        """
        self._needs_positions("decode to")
        with np.errstate(over="ignore"):
            codes = array(z, "z").astype(np.float32)
        if codes.ndim != 2 or codes.shape[1] != self.latent_dim or not len(codes):
            raise ValueError(f"z has shape {codes.shape}; expected (n, {self.latent_dim}), one code per row")
        check_finite(codes, "z")
        return decode_positions(self._network, codes, self._gammas_of(len(codes), gamma), self.box_side)

    def reconstruct(self, positions: ArrayLike, gamma: ArrayLike | None = None) -> Floats:
        """(n, N, 2) float32 positions in σ decoded from the mean of q(z|x), in the order of the particles given.

        So `reconstruct(x) - x` is the displacement of every particle.

        Args:
            positions: (n, N, 2), in σ.
            gamma: γ, of a conditional model.

        Raises:
            ValueError: as of `encode`.
            UserError: the model does not decode to positions.
        """
        self._needs_positions("reconstruct")
        found = []
        for part in self._parts(positions, gamma):
            decoded = decode_positions(self._network, self._encode(part)[0], part.gamma, self.box_side)
            order = particle_order(torch.from_numpy(part.positions), self._config.representation.ordering).numpy()
            placed = np.empty_like(decoded)
            np.put_along_axis(placed, order[..., None], decoded, axis=1)
            found.append(placed)
        return np.concatenate(found)

    def sample(self, n: int, gamma: ArrayLike | None = None, seed: int = 0, sweeps: int = 0) -> Floats:
        """(n, N, 2) float32 positions in σ of new configurations.

        Decoded particles miss their places by about 0.1 σ, so that some overlap and `score` finds many of the
        configurations odd. Ten Metropolis sweeps under the energy of the run's fluid repair that (`sweeps=10`).

        Codes are drawn from the aggregate posterior of γ: q(z|x) averaged over the training split, reweighted to γ
        (lj_vae_hpc.evaluation.generator). γ need not have been trained. The particles are in the order of `decode`,
        which the sweeps do not keep up.
        The first call of a session takes some seconds.

        Args:
            n: how many.
            gamma: γ, one number or (n,); None draws one of the trained values for every configuration.
            seed: the same seed gives the same configurations.
            sweeps: Monte Carlo sweeps after decoding.

        Raises:
            ValueError: n, the seed or the sweeps is not a number that can be used; γ is not finite, or so far outside
                the trained range that less than 10 training configurations tell of it.
            UserError: the model does not decode to positions, or its training data are missing.
        """
        self._needs_positions("generate")
        for name, value, least in (("n", n, 1), ("seed", seed, 0), ("sweeps", sweeps, 0)):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise ValueError(f"{name} must be an integer of at least {least}, not {value!r}")
        random = np.random.default_rng(seed)
        values = random.choice(self.gammas, n) if gamma is None else per_configuration(gamma, n)
        generator = self._generator
        codes = np.empty((n, self.latent_dim))
        for one in np.unique(values):
            self._check_known(generator, float(one))
            here = values == one
            draws = np.random.default_rng([seed, int(np.float64(one + 0.0).view(np.uint64))])  # + 0.0: -0.0 is 0.0
            codes[here] = generator.codes(float(one), int(here.sum()), draws)
        positions = decode_positions(self._network, codes, values, self.box_side)
        for one in np.unique(values) if sweeps else ():
            here, identity = values == one, f"sample {seed} {float(one + 0.0)!r}"
            (positions[here],) = sweep(positions[here], float(one), self._config.system, (sweeps,), identity)
        return positions

    def score(self, positions: ArrayLike, gamma: ArrayLike | None = None) -> Arrays:
        """How anomalous configurations are; the numbers of `lj-vae score`.

        The first call learns from the training split, which takes some seconds.

        Args:
            positions: (n, N, 2), in σ.
            gamma: γ, of a conditional model.

        Returns:
            Arrays of n by name. score: the default score, the larger the more anomalous. p_value: share of normal
            configurations that are at least as anomalous. particle_score: (n, N), log likelihood ratio of each
            particle being out of place, in the order of the particles given. Then every other score and what physics
            tells (pair_energy in ε, height_sum and smallest_distance in σ).

        Raises:
            ValueError: as of `encode`.
            UserError: the run's training data are missing.
        """
        parts = list(self._parts(positions, gamma))
        places, values = (np.concatenate(each) for each in zip(*parts, strict=True))
        columns = self._detector.score(places, values)
        return {name: values for name, values in columns.items() if name != "latent_mean"}

    def odd_particles(self, positions: ArrayLike, gamma: ArrayLike | None = None) -> list[NDArray[np.int64]]:
        """Numbers of the particles of each configuration that are more likely out of place than not, the oddest first.

        One particle in ten counts as out of place beforehand, as in the score `displacement`. Arguments and errors as
        of `score`.
        """
        return [odd_particles(ratio) for ratio in self.score(positions, gamma)["particle_score"]]

    @cached_property
    def _detector(self) -> Detector:
        """What scores, after it has learned from the training split."""
        with (
            self._own_data() as data,
            folder_to_keep_in(self._world, self._folder) as folder,
            redirect_stdout(StringIO()),
        ):
            return Detector.of(self._world, folder, self._config, self._network, self._weights, data)

    @cached_property
    def _generator(self) -> Generator:
        with (
            self._own_data() as data,
            folder_to_keep_in(self._world, self._folder) as folder,
            redirect_stdout(StringIO()),
        ):
            session = Session(self._world, folder / "scores", self._config, self._network, self._weights, data, {})
            learned = session.fitted_scorer().learned
            return Generator.of(self._network, learned.order, learned.conditional, data.training)

    @contextmanager
    def _own_data(self) -> Iterator[RunData]:
        """The splits that the model was trained and is calibrated on."""
        check_data(self._folder, self._config, 1)
        with Dataset(self._folder.dataset) as data:
            yield RunData.of(data, self._config, self.gammas)

    def _check_known(self, generator: Generator, gamma: float) -> None:
        """Whether the training split tells of a γ.

        Raises:
            ValueError: it does not.
        """
        trained = ", ".join(f"{one:g}" for one in self.gammas)
        if len(self.gammas) == 1 and gamma != self.gammas[0]:
            raise ValueError(f"gamma {gamma:g}: the model was trained on γ = {trained} alone and knows no other")
        if self.gammas[0] <= gamma <= self.gammas[-1]:
            return  # between trained values, however few the training configurations
        effective = generator.effective_configurations(gamma)
        if effective < FEWEST:
            raise ValueError(
                f"gamma {gamma:g} is too far from the trained γ ({trained}): only {effective:.1f} training "
                f"configurations tell of it, {FEWEST:g} are needed"
            )

    def _needs_positions(self, verb: str) -> None:
        """Whether the model decodes to positions.

        Raises:
            UserError: it does not.
        """
        if not self._network.module.gives_positions:
            kind, decoder = self._config.representation.kind, self._config.model.decoder
            raise UserError(
                f"the model in {self._folder.path} cannot {verb} positions: its decoder ({decoder}) gives the entries "
                f"of a {kind}; train one whose model.decoder is positions or attention"
            )

    @torch.no_grad()
    def _encode(self, part: Configurations) -> tuple[Floats, Floats]:
        mean, log_variance = self._network.module.encode(*self._network.inputs(part))
        return mean.cpu().numpy(), log_variance.cpu().numpy()

    def _parts(self, positions: ArrayLike, gamma: ArrayLike | None) -> Iterator[Configurations]:
        """Checked configurations, some at a time, so that memory does not grow with a mapped array."""
        given = array(positions, "positions")
        n, side = self.n_particles, np.float32(self.box_side)
        if given.ndim != 3 or given.shape[1:] != (n, 2) or not len(given):
            flat = f"; reshape(-1, {n}, 2)?" * (given.ndim == 2 and given.shape[1] == 2 * n)
            raise ValueError(
                f"positions has shape {given.shape}; expected (n, {n}, 2), x and y of {n} particles in σ{flat}"
            )
        values = self._gammas_of(len(given), gamma)
        size = batch_size(n)
        for start in range(0, len(given), size):
            part = np.array(given[start : start + size], np.float32)
            check_finite(part, "positions", start)
            outside = np.argwhere((part < 0) | (part > side))
            if len(outside):
                row, particle = outside[0][:2]
                x, y = part[row, particle]
                raise ValueError(
                    f"positions[{start + row}, {particle}] = ({x:g}, {y:g}) is outside the box from 0 to "
                    f"{self.box_side:g} σ"
                )
            yield Configurations(part, values[start : start + size])

    def _gammas_of(self, count: int, gamma: ArrayLike | None) -> NDArray[np.float64]:
        """(n,) γ of configurations; NaN where the model takes none."""
        if self._config.model.conditional:
            if gamma is None:
                raise ValueError("the model is conditional: give gamma, one number or one per configuration")
            return per_configuration(gamma, count)
        if gamma is not None:
            raise ValueError("the model is not conditional and takes no gamma; leave it out")
        return np.full(count, np.nan)
