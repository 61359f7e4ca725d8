"""Trains the auto-encoder on a run's data set."""

import hashlib
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.evaluation.weights import best_weights
from lj_vae_hpc.model.convolution import warm_up
from lj_vae_hpc.parallel.ddp import data_parallel, process_group
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.files import remove_unfinished
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.accuracy import COUNT, measure, small_latent_warning
from lj_vae_hpc.training.batches import Batches, Read, read_rows
from lj_vae_hpc.training.continuation import schedule_facts, why_done
from lj_vae_hpc.training.curves import Curves, write_metrics
from lj_vae_hpc.training.hardware import choose_device, choose_dtype, keep_memory, without_denormals
from lj_vae_hpc.training.loop import State, Trainer
from lj_vae_hpc.training.memory import check_memory
from lj_vae_hpc.training.network import Network
from lj_vae_hpc.training.setup import check_data, data_facts, first_state, model_facts, new_network
from lj_vae_hpc.training.splits import Splits


@without_denormals()
def train(world: World, run: RunDir, config: RunConfig) -> None:
    """The command: trains to `training.epochs`, from the last checkpoint where there is one.

    Raises:
        UserError: a network that cannot be used like this, no data set, one made for another configuration, a batch
            smaller than the number of ranks, a checkpoint of another architecture or that cannot be continued.
    """
    world.on_root(lambda: check_data(run, config, world.size))
    world.on_root(lambda: check_memory(config, world.size, world.local_size))
    world.on_root(lambda: remove_unfinished(run.model, below=False))
    done = world.on_root(lambda: _find_done(run, config))
    if done:
        if world.is_root:
            print(f"training: {done}", flush=True)
        return
    threads = world.threads_per_rank()
    torch.set_num_threads(threads)
    keep_memory()
    device = choose_device(config.training, world)
    dtype = world.broadcast(choose_dtype(config.training, device))
    network, optimizer = new_network(config, device)
    module = network.module
    world.node_by_node(lambda: warm_up(module, device))
    arithmetic = {
        "ranks": world.size, "threads per rank": threads, "device": device.type,
        "precision": str(dtype).removeprefix("torch."), "torch": torch.__version__,
    }  # fmt: skip
    stored = _restored(world, run.model / "checkpoint.safetensors", network, optimizer)
    if stored and world.is_root and (note := checkpoint.arithmetic_note(stored, arithmetic)):
        print(f"training: {note}", flush=True)
    with Dataset(run.dataset) as data:
        splits = Splits.of(data.layout, config.training)
        batches = Batches(splits.training, config.training.batch_size, config.seed)
        read = partial(read_rows, data)
        if stored:
            state = State(**stored["state"])
        else:  # the other ranks get rank 0's weights from DistributedDataParallel
            state = world.on_root(lambda: first_state(network, config, read, splits.training))
        if world.is_root:
            parts = " x ".join(f"{n} {what}{'s' * (n > 1)}" for n, what in ((world.size, "rank"), (threads, "thread")))
            place = f", continuing after epoch {state.epoch} step {state.step}" if stored else ""
            print(
                f"training: {len(splits.training)} configurations, {config.training.epochs} epochs of {batches.steps} "
                f"steps of {batches.batch_size}, {parts} on {device.type} in {arithmetic['precision']}{place}",
                flush=True,
            )
        if not stored:
            world.on_root(lambda: _warn_of_small_latent(network, config, read, splits))
        backend = "nccl" if device.type == "cuda" else "gloo"
        left = len(splits.training) * (config.training.epochs - state.epoch) - int(state.sums[3])
        with (
            process_group(world, backend),
            Progress("training", left, "configurations", world.is_root) as progress,
            Curves(run.metrics, run.model / "tensorboard", state.history if world.is_root else None) as curves,
        ):
            trainer = Trainer(
                world=world,
                network=network,
                parallel=data_parallel(world, module),
                optimizer=optimizer,
                config=config,
                read=read,
                batches=batches,
                validation=splits.validation,
                dtype=dtype,
                folder=run.model,
                facts=model_facts(config)
                | {"data": data_facts(data), "schedule": schedule_facts(config.training), "arithmetic": arithmetic},
                report=curves.report,
                advance=progress.advance,
            )
            trainer.fit(state)
        weights = b"".join(t.cpu().numpy().tobytes() for t in module.state_dict().values())
        digests = world.gather(hashlib.sha256(weights).hexdigest())
        if len(set(digests)) > 1:
            raise RuntimeError("the ranks' parameters differ after training")
        world.on_root(lambda: _print_accuracy(run, network, config, read, splits))


def _restored(world: World, path: Path, network: Network, optimizer: torch.optim.Optimizer) -> dict[str, Any] | None:
    """The facts of the last checkpoint, if there is one; network and optimizer are then as they were."""
    if not world.on_root(path.exists):
        return None
    tensors, stored = world.on_root(lambda: checkpoint.load(path))
    world.on_root(lambda: checkpoint.restore(tensors, network.module, None, path))
    checkpoint.restore(tensors, network.module, optimizer, path)
    return stored


def _warn_of_small_latent(network: Network, config: RunConfig, read: Read, splits: Splits) -> None:
    warning = small_latent_warning(network, config, read(splits.training[: network.rows_for_components]))
    if warning:
        print(f"training: warning: {warning}", flush=True)


def _print_accuracy(run: RunDir, network: Network, config: RunConfig, read: Read, splits: Splits) -> None:
    """What the best weights lose of the validation split."""
    path = best_weights(run)
    tensors, facts = checkpoint.load(path)
    checkpoint.restore(tensors, network.module.eval(), None, path)
    training = read(splits.training[: network.rows_for_components])
    accuracy = measure(network, config, training, read(splits.validation[:COUNT]))
    print(f"training: best weights of epoch {facts['epoch']}: {accuracy}", flush=True)
    if warning := accuracy.warning(config):
        print(f"training: warning: {warning}", flush=True)


def _find_done(run: RunDir, config: RunConfig) -> str | None:
    """Why there is nothing to train, if so; a kill may have come after the last checkpoint and before the metrics."""
    path = run.model / "checkpoint.safetensors"
    if not path.exists():
        return None
    stored = checkpoint.load_facts(path)
    checkpoint.check_facts(stored, model_facts(config), path)
    with Dataset(run.dataset) as data:
        done = why_done(stored, data_facts(data), config.training, run)
    if done:
        if not best_weights(run).exists():
            raise UserError(
                f"{best_weights(run)} is missing, and training has ended: remove {run.model} to train again"
            )
        write_metrics(run.metrics, stored["state"]["history"])
    return done
