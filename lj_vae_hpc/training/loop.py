"""The training loop: a fixed global batch divided over ranks, and a checkpoint to continue from."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from lj_vae_hpc.config import Objective
from lj_vae_hpc.errors import Diverged, Stopped
from lj_vae_hpc.model.vae import VAE
from lj_vae_hpc.representation.batches import WINDOW_ROWS, Batches, ReadPositions
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.objective import Terms, terms

if TYPE_CHECKING:
    from lj_vae_hpc.parallel import World

SECONDS_BETWEEN_CHECKPOINTS = 60.0
STEPS_BETWEEN_CHECKS = 20  # how often ranks agree on whether to write a checkpoint, and look for divergence


@dataclass(frozen=True)
class State:
    """Where training stands. With the weights and the optimizer it is all there is to continue from: every random
    number is keyed by the seed and this position, so there is no generator to store.
    """

    epoch: int = 0
    step: int = 0
    sums: tuple[float, ...] = (0.0, 0.0, 0.0, 0.0)  # loss, squared error, KL, configurations so far in this epoch
    best: float = float("inf")
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Trainer:
    """Everything the loop works with.

    Attributes:
        world: the ranks.
        module: the network, on its device.
        optimizer: of its parameters.
        objective: the loss.
        encode: positions (b, N, 2) in σ on the device to the network's input.
        read: positions of a contiguous range of rows.
        batches: the training split's steps.
        validation: rows that choose the best epoch.
        dtype: arithmetic of the network.
        folder: of checkpoints and weights.
        facts: stored with the weights.
        report: told the metrics of all epochs so far, on rank 0.
        advance: told the finished configurations.
    """

    world: "World"
    module: VAE
    optimizer: torch.optim.Optimizer
    objective: Objective
    encode: Callable[[Tensor], Tensor]
    read: ReadPositions
    batches: Batches
    validation: range
    dtype: torch.dtype
    folder: Path
    facts: dict[str, Any]
    report: Callable[[list[dict[str, float]]], None]
    advance: Callable[[int], None]

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.module.parameters()).device

    def fit(self, state: State, epochs: int) -> State:
        """Trains from a state to the given number of epochs, in place."""
        parallel = self.world.data_parallel(self.module)
        while state.epoch < epochs:
            state = self._train_epoch(parallel, state)
            validation = self._validate()
            loss, error, kl = (s / state.sums[3] for s in state.sums[:3])
            metrics = {
                "epoch": state.epoch + 1, "loss": loss, "mse": error, "kl": kl,
                **{f"validation_{name}": value for name, value in validation.items()},
            }  # fmt: skip
            better = validation["loss"] < state.best
            state = State(
                state.epoch + 1, 0, best=min(state.best, validation["loss"]), history=[*state.history, metrics]
            )
            if better:
                self._save_best(state)
            self.save(state)
            if self.world.is_root:
                self.report(state.history)
            if state.epoch < epochs and self.world.stop_requested():
                raise Stopped(f"checkpoint after epoch {state.epoch} in {self.folder}")
        return state

    def save(self, state: State) -> None:
        """Writes the full checkpoint; rank 0 does, and the others wait."""
        path = self.folder / "checkpoint.safetensors"
        tensors = checkpoint.training_state(self.module, self.optimizer)
        self.world.on_root(lambda: checkpoint.save(path, tensors, self.facts | {"state": asdict(state)}))

    def _save_best(self, state: State) -> None:
        facts = self.facts | {"epoch": state.epoch, "validation": state.history[-1]}
        weights = self.module.state_dict()
        self.world.on_root(lambda: checkpoint.save(self.folder / "best.safetensors", weights, facts))

    def _forward(self, network: nn.Module, positions: NDArray[np.float32], noise: Tensor) -> Terms:
        x = self.encode(torch.from_numpy(positions).to(self.device))
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            output = network(x, noise.to(self.device))
        return terms(x, output, self.objective)

    def _train_epoch(self, network: nn.Module, state: State) -> State:
        network.train()
        started = time.monotonic()
        sums = torch.zeros(4, dtype=torch.float64, device=self.device)
        steps = self.batches.epoch(state.epoch, state.step, self.read, self.world.shard)
        for step, size, mine, positions in steps:
            noise = self._noise(state.epoch, step, size)[mine.start : mine.stop]
            each = self._forward(network, positions, noise)
            # The ranks' gradients are averaged; this makes the average that of the whole batch, whatever each holds.
            loss = each.loss.sum() * (self.world.size / size)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            sums[:3] += torch.stack([term.detach().sum() for term in each]).double()
            sums[3] += len(mine)
            self.advance(size)
            if (step + 1) % STEPS_BETWEEN_CHECKS == 0:
                stop = self.world.stop_requested()
                due = stop or self.world.broadcast(time.monotonic() - started > SECONDS_BETWEEN_CHECKPOINTS)
                total = self._total(state, sums)
                self._check_finite(total, state.epoch, step)
                if due:
                    self.save(replace(state, step=step + 1, sums=total))
                    started = time.monotonic()
                if stop:
                    raise Stopped(f"checkpoint after epoch {state.epoch} step {step + 1} in {self.folder}")
        total = self._total(state, sums)
        self._check_finite(total, state.epoch, self.batches.steps - 1)
        return replace(state, sums=total)

    def _total(self, state: State, sums: Tensor) -> tuple[float, ...]:
        return tuple(float(s) for s in np.array(state.sums) + self.world.sum(sums.cpu().numpy()))

    def _check_finite(self, total: tuple[float, ...], epoch: int, step: int) -> None:
        if not np.isfinite(total).all():
            raise Diverged(
                f"the loss is not finite in epoch {epoch + 1} by step {step + 1}: lower training.learning_rate or set "
                "training.precision=fp32. The last good checkpoint is kept",
                everywhere=True,
            )

    def _noise(self, epoch: int, step: int, size: int) -> Tensor:
        """(size, latent_dim) standard normal for a whole batch, the same on every rank and after a restart."""
        seed = np.random.SeedSequence([self.batches.seed, epoch, step]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(seed))
        return torch.randn(size, self.module.latent_dim, generator=generator)

    @torch.no_grad()
    def _validate(self) -> dict[str, float]:
        """Means over the validation split, each row once, decoding the mean of q(z|x)."""
        self.module.eval()
        share = self.world.shard(len(self.validation))
        rows = self.validation[share.start : share.stop]
        sums = np.zeros(4)
        for start in range(rows.start, rows.stop, WINDOW_ROWS):
            window = self.read(range(start, min(start + WINDOW_ROWS, rows.stop)))
            for at in range(0, len(window), self.batches.batch_size):
                part = window[at : at + self.batches.batch_size]
                noise = torch.zeros(len(part), self.module.latent_dim)
                sums[:3] += [float(term.sum()) for term in self._forward(self.module, part, noise)]
                sums[3] += len(part)
        loss, error, kl, count = self.world.sum(sums)
        return {"loss": loss / count, "mse": error / count, "kl": kl / count}
