"""The training loop: a fixed global batch divided over ranks, and a checkpoint to continue from."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import Diverged, Stopped
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.batches import WINDOW_ROWS, Batches, Configurations, Read
from lj_vae_hpc.training.network import Network
from lj_vae_hpc.training.objective import Criterion, Terms
from lj_vae_hpc.training.schedules import learning_rate, warm_up
from lj_vae_hpc.training.splits import Rows

if TYPE_CHECKING:
    from lj_vae_hpc.parallel.world import World

STEPS_BETWEEN_CHECKS = 20  # how often ranks agree on whether to write a checkpoint, and look for divergence
DIVERGED = 1.25  # mean squared error that is clearly worse than that of an untrained network, in units of it


@dataclass(frozen=True)
class State:
    """Where training stands. With the weights and the optimizer it is all there is to continue from: every random
    number is keyed by the seed and this position, so there is no generator to store.
    """

    epoch: int = 0
    step: int = 0
    sums: tuple[float, ...] = (0.0,) * 4  # loss, squared error, KL, configurations so far in this epoch
    untrained: float = 0.0  # squared error of the first batch before any step, or of a constant if that is larger
    best: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Trainer:
    """Everything the loop works with.

    Attributes:
        world: the ranks.
        network: on its device.
        parallel: its module with gradients averaged over ranks, or the module itself for a single rank.
        optimizer: of its parameters.
        config: the run's configuration.
        read: configurations of some rows.
        batches: the training split's steps.
        validation: rows that choose the best epoch.
        dtype: arithmetic of the network.
        folder: of checkpoints and weights.
        facts: stored with the weights.
        report: told the metrics of all epochs so far, on rank 0.
        advance: told the finished configurations.
    """

    world: "World"
    network: Network
    parallel: nn.Module
    optimizer: torch.optim.Optimizer
    config: RunConfig
    read: Read
    batches: Batches
    validation: Rows
    dtype: torch.dtype
    folder: Path
    facts: dict[str, Any]
    report: Callable[[list[dict[str, float]]], None]
    advance: Callable[[int], None]

    def fit(self, state: State) -> State:
        """Trains from a state to `training.epochs`, in place."""
        epochs = self.config.training.epochs
        self._settle()
        while state.epoch < epochs:
            state = self._train_epoch(state)
            self._check_weights(state.epoch, self.batches.steps)
            validation = self._validate()
            self._check_finite(tuple(validation.values()), state.epoch, self.batches.steps)
            self._check_error("validation", validation["mse"], state, self.batches.steps)
            loss, error, kl = (s / state.sums[3] for s in state.sums[:3])
            metrics = {
                "epoch": state.epoch + 1, "loss": loss, "mse": error, "kl": kl,
                **{f"validation_{name}": value for name, value in validation.items()},
            }  # fmt: skip
            better = validation["loss"] < state.best
            best, history = min(state.best, validation["loss"]), [*state.history, metrics]
            state = State(state.epoch + 1, untrained=state.untrained, best=best, history=history)
            if better:
                self._save_best(state)
            self.save(state)
            if self.world.is_root:
                self.report(state.history)
            if state.epoch < epochs and self.world.should_stop():
                raise Stopped(f"checkpoint after epoch {state.epoch} in {self.folder}")
        return state

    def _settle(self) -> None:
        """One backward pass without a step.

        DistributedDataParallel puts the gradients in another order after the first, and with more than two ranks their
        sums are then rounded otherwise: a continued run would take its first step unlike one that was not stopped.
        """
        if self.parallel is not self.network.module:
            one, noise = self.read(self.validation[:1]), torch.zeros(1, *self._latent_shape)
            loss = self._forward(self.parallel, self.network.criterion, one, noise).loss.sum()
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.zero_grad(set_to_none=True)

    def save(self, state: State) -> None:
        """Writes the full checkpoint; rank 0 does, and the others wait."""
        path = self.folder / "checkpoint.safetensors"
        tensors = checkpoint.training_state(self.network.module, self.optimizer)
        self.world.on_root(lambda: checkpoint.save(path, tensors, self.facts | {"state": asdict(state)}))

    def _save_best(self, state: State) -> None:
        facts = self.facts | {"epoch": state.epoch, "validation": state.history[-1]}
        weights = self.network.module.state_dict()
        self.world.on_root(lambda: checkpoint.save(self.folder / "best.safetensors", weights, facts))

    def _forward(
        self,
        module: nn.Module,
        criterion: Criterion,
        configurations: Configurations,
        noise: Tensor,
        warmth: float = 1.0,
    ) -> Terms:
        """The terms of each configuration; noise (n, samples, latent_dim)."""
        x, condition = self.network.inputs(configurations)
        device = self.network.device
        with torch.autocast(device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            output = module(x, condition, noise.flatten(0, 1).to(device))
        each = criterion(x, output, warmth)
        averages = Terms(*map(self.network.per_configuration, each))
        return averages._replace(kl=self.network.sum_of_samples(each.kl))

    def _train_epoch(self, state: State) -> State:
        self.parallel.train()
        started = time.monotonic()
        sums = torch.zeros(4, dtype=torch.float64, device=self.network.device)
        steps = self.batches.epoch(state.epoch, state.step, self.read, self.world)
        for step, size, mine, configurations in steps:
            noise, mirrored = (part[mine.start : mine.stop] for part in self._random(state.epoch, step, size))
            time_in_epochs = state.epoch + (step + 1) / self.batches.steps
            warmth = warm_up(time_in_epochs, self.config.objective.warmup_epochs)
            each = self._forward(
                self.parallel, self.network.criterion, self._mirror(configurations, mirrored), noise, warmth
            )
            # The ranks' gradients are averaged; this makes the average that of the whole batch, whatever each holds.
            loss = each.loss.sum() * (self.world.size / size)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            for group in self.optimizer.param_groups:
                group["lr"] = learning_rate(time_in_epochs, self.config.training)
            self.optimizer.step()
            sums[:3] += torch.stack([term.detach().sum() for term in each[:3]]).double()
            sums[3] += len(mine)
            if state.epoch == step == 0:
                state = replace(state, untrained=max(state.untrained, self._total(state, sums)[1] / size))
            self.advance(size)
            if (step + 1) % STEPS_BETWEEN_CHECKS == 0:
                stop = self.world.should_stop()
                due = stop or self.world.broadcast(
                    time.monotonic() - started > 60 * self.config.training.checkpoint_minutes
                )
                # Added up here whether a checkpoint is due or not: a continued run adds in the same order.
                state = self._checked(state, sums, step + 1)
                sums.zero_()
                if due:
                    self._check_weights(state.epoch, state.step)
                    self.save(state)
                    started = time.monotonic()
                if stop:
                    raise Stopped(f"checkpoint after epoch {state.epoch} step {step + 1} in {self.folder}")
        return state if state.step == self.batches.steps else self._checked(state, sums, self.batches.steps)

    def _total(self, state: State, sums: Tensor) -> tuple[float, ...]:
        return tuple(float(s) for s in np.array(state.sums) + self.world.sum(sums.cpu().numpy()))

    def _checked(self, state: State, sums: Tensor, step: int) -> State:
        """The state after the steps since the last check, whose sums were fine."""
        total = self._total(state, sums)
        self._check_finite(total, state.epoch, step)
        if step - state.step == STEPS_BETWEEN_CHECKS:  # the few steps at the end of an epoch would tell too little
            self._check_error("mean", (total[1] - state.sums[1]) / (total[3] - state.sums[3]), state, step)
        return replace(state, step=step, sums=total)

    def _check_error(self, name: str, error: float, state: State, step: int) -> None:
        """Whether training diverged: after its first steps the network is clearly worse than it was untrained.

        With outputs between 0 and 1 the error of a broken network is bounded, often below twice that of an untrained
        one, and a high learning rate may spoil the first steps without harm. A linear path starts so well that what
        counts is the error of a constant, which a network that learns nothing has.
        """
        early = state.epoch * self.batches.steps + step <= STEPS_BETWEEN_CHECKS
        if not early and error > DIVERGED * state.untrained:
            raise Diverged(
                f"training diverged in epoch {state.epoch + 1} by step {step}: the {name} squared error is "
                f"{error:.3g}, that of an untrained network was {state.untrained:.3g}; {self._remedy}",
                everywhere=True,
            )

    def _check_finite(self, values: tuple[float, ...], epoch: int, step: int) -> None:
        if not np.isfinite(values).all():
            raise Diverged(
                f"the loss is not finite in epoch {epoch + 1} by step {step}; {self._remedy}", everywhere=True
            )

    def _check_weights(self, epoch: int, step: int) -> None:
        """Before they are written."""
        state = checkpoint.training_state(self.network.module, self.optimizer)
        bad = next((name for name, tensor in state.items() if not torch.isfinite(tensor).all()), None)
        found = next((name for name in self.world.gather(bad) if name), None)
        if found:
            raise Diverged(
                f"{found} is not finite in epoch {epoch + 1} after step {step}; {self._remedy}", everywhere=True
            )

    @property
    def _remedy(self) -> str:
        return (
            "set training.precision=fp32, or lower training.learning_rate with another -o or after deleting "
            f"{self.folder}. The last good checkpoint is kept"
        )

    def _random(self, epoch: int, step: int, size: int) -> tuple[Tensor, Tensor]:
        """Random numbers of a whole batch, the same on every rank and after a restart.

        Standard normal (size, samples, latent_dim), and whether each configuration is mirrored (size,).
        """
        seed = np.random.SeedSequence([self.batches.seed, epoch, step]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(seed))
        noise = torch.randn(size, *self._latent_shape, generator=generator)
        return noise, torch.rand(size, generator=generator) < 0.5

    @property
    def _latent_shape(self) -> tuple[int, int]:
        return self.network.encoding.samples, self.network.module.latent_dim

    def _mirror(self, configurations: Configurations, mirrored: Tensor) -> Configurations:
        """With `training.mirror`, those chosen are reflected at x = L/2."""
        if not self.config.training.mirror:
            return configurations
        positions = configurations.positions.copy()
        positions[mirrored.numpy(), :, 0] = self.config.system.box_side - positions[mirrored.numpy(), :, 0]
        return Configurations(positions, configurations.gamma)

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """Means over the validation split, each row once, decoding the mean of q(z|x)."""
        module, criterion = self.network.module.eval(), self.network.criterion.analytic
        share = self.world.shard(len(self.validation))
        sums = np.zeros(4)
        at_once = max(1, WINDOW_ROWS // self.world.size)
        for start in share[::at_once]:
            window = self.read(self.validation[start : min(start + at_once, share.stop)])
            for at in range(0, len(window.gamma), self.batches.batch_size):
                part = window.part(slice(at, at + self.batches.batch_size))
                noise = torch.zeros(len(part.gamma), *self._latent_shape)
                sums[:3] += [float(term.sum()) for term in self._forward(module, criterion, part, noise)[:3]]
                sums[3] += len(part.gamma)
        loss, error, kl, count = self.world.sum(sums)
        return {"loss": loss / count, "mse": error / count, "kl": kl / count}
