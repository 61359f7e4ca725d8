"""Trains the auto-encoder on a run's data set."""

import hashlib
from typing import Any

import numpy as np
import torch

from lj_vae_hpc.config import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.model.convolution import warm_up
from lj_vae_hpc.model.vae import VAE
from lj_vae_hpc.parallel import World
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.representation.batches import Batches, Splits
from lj_vae_hpc.representation.distances import distance_matrix, matrix_side
from lj_vae_hpc.sampling.plan import Plan
from lj_vae_hpc.stages.rundir import RunDir
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.curves import Curves
from lj_vae_hpc.training.hardware import choose_device, choose_dtype
from lj_vae_hpc.training.loop import State, Trainer


def train(world: World, run: RunDir, config: RunConfig) -> None:
    """The command: trains to `training.epochs`, from the last checkpoint where there is one.

    Raises:
        UserError: no data set, one made for another configuration, a batch smaller than the number of ranks, a
            checkpoint of another architecture.
    """
    world.on_root(lambda: check_data(run, config, world.size))
    world.on_root(lambda: checkpoint.remove_partial(run.model))
    threads = world.threads_per_rank()
    torch.set_num_threads(threads)
    torch.set_flush_denormal(True)
    device = choose_device(config.training, world)
    dtype = world.broadcast(choose_dtype(config.training, device))
    world.node_by_node(warm_up)
    torch.manual_seed(config.seed % 2**63)
    module = VAE(matrix_side(config.system.n_particles, config.representation), config.model)
    module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(module.parameters(), lr=config.training.learning_rate)
    facts = model_facts(config)
    arithmetic = {
        "ranks": world.size, "threads per rank": threads, "device": device.type,
        "precision": str(dtype).removeprefix("torch."), "torch": torch.__version__,
    }  # fmt: skip
    state, path = State(), run.model / "checkpoint.safetensors"
    if world.on_root(path.exists):
        tensors, stored = world.on_root(lambda: checkpoint.load(path))
        world.on_root(lambda: checkpoint.check_facts(stored, facts, path))
        world.on_root(lambda: checkpoint.restore(tensors, module, None, path))
        checkpoint.restore(tensors, module, optimizer, path)
        state = State(**stored["state"])
        if world.is_root and (note := checkpoint.arithmetic_note(stored, arithmetic)):
            print(f"training: {note}", flush=True)
    with Dataset(run.data, check_segments=False) as data:
        splits = Splits.of(data.rows, config.sampling.turn, config.training)
        batches = Batches(splits.training, config.training.batch_size, config.seed)
        if world.is_root:
            done = f", continuing after epoch {state.epoch} step {state.step}" if path.exists() else ""
            print(
                f"training: {len(splits.training)} configurations, {batches.steps} steps of {batches.batch_size} per "
                f"epoch, {world.size} ranks x {threads} threads on {device.type} in {arithmetic['precision']}"
                f"{done}",
                flush=True,
            )
        backend = "nccl" if device.type == "cuda" else "gloo"
        left = len(splits.training) * (config.training.epochs - state.epoch) - int(state.sums[3])
        with (
            world.process_group(backend),
            Progress("training", left, "configurations", world.is_root) as progress,
            Curves(run.metrics, run.model / "tensorboard", state.history if world.is_root else None) as curves,
        ):
            trainer = Trainer(
                world=world,
                module=module,
                optimizer=optimizer,
                objective=config.objective,
                encode=lambda p: distance_matrix(p, config.system.box_side, config.representation),
                read=lambda rows: np.asarray(data.read(rows, ("positions",))["positions"], dtype=np.float32),
                batches=batches,
                validation=splits.validation,
                dtype=dtype,
                checkpoint_seconds=60.0 * config.training.checkpoint_minutes,
                folder=run.model,
                facts=facts | {"arithmetic": arithmetic},
                report=curves.report,
                advance=progress.advance,
            )
            state = trainer.fit(state, config.training.epochs)
    weights = b"".join(t.cpu().numpy().tobytes() for t in module.state_dict().values())
    digests = world.gather(hashlib.sha256(weights).hexdigest())
    if len(set(digests)) > 1:
        raise RuntimeError("the ranks' parameters differ after training")


def model_facts(config: RunConfig) -> dict[str, Any]:
    """What weights are stored with, and must agree with when they are used again."""
    return config.model_dump(mode="json", include={"system", "representation", "model"})


def check_data(run: RunDir, config: RunConfig, ranks: int) -> None:
    """Everything about the data set that can be checked before any work.

    Raises:
        UserError: missing, damaged, incomplete, or made for another configuration.
    """
    if not run.data.exists():
        raise UserError(f"no data set in {run.path}; give `lj-vae generate -o {run.path}` first")
    with Dataset(run.data) as data:
        if data.n_particles != config.system.n_particles:
            raise UserError(
                f"{data.path} holds configurations of {data.n_particles} particles, system.n_particles is "
                f"{config.system.n_particles}"
            )
        if (
            "fingerprint" not in data.attributes
            or data.attributes["fingerprint"] != Plan(config.seed, config.system, config.sampling).fingerprint()
        ):
            raise UserError(f"{data.path} was made with another seed, system or sampling; choose another -o")
        if not data.attributes["complete"]:
            raise UserError(
                f"{data.path} has {data.rows} of {data.attributes['total_rows']} configurations; give `lj-vae generate "
                f"-o {run.path}` again to complete it"
            )
    if ranks > config.training.batch_size:
        raise UserError(
            f"training.batch_size {config.training.batch_size} is smaller than the {ranks} ranks; start fewer ranks or "
            "increase it"
        )
