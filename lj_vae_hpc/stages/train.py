"""Trains the auto-encoder on a run's data set."""

import hashlib
from typing import Any

import numpy as np
import torch

from lj_vae_hpc.config import RunConfig
from lj_vae_hpc.errors import UserError
from lj_vae_hpc.model.convolution import warm_up
from lj_vae_hpc.parallel import World
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.representation.batches import Batches, Configurations, Read, Splits
from lj_vae_hpc.sampling.plan import Plan
from lj_vae_hpc.stages.rundir import RunDir
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.curves import Curves
from lj_vae_hpc.training.hardware import choose_device, choose_dtype, keep_memory
from lj_vae_hpc.training.loop import State, Trainer
from lj_vae_hpc.training.network import Network, linear_rows


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
    keep_memory()
    device = choose_device(config.training, world)
    dtype = world.broadcast(choose_dtype(config.training, device))
    world.node_by_node(warm_up)
    torch.manual_seed(config.seed % 2**63)
    network = Network.of(config)
    module = network.module.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    rate, decay = config.training.learning_rate, config.training.weight_decay
    optimizer = torch.optim.AdamW(module.parameters(), lr=rate, weight_decay=decay, fused=True)
    facts = model_facts(config)
    arithmetic = {
        "ranks": world.size, "threads per rank": threads, "device": device.type,
        "precision": str(dtype).removeprefix("torch."), "torch": torch.__version__,
    }  # fmt: skip
    state, path = State(), run.model / "checkpoint.safetensors"
    continuing = world.on_root(path.exists)
    if continuing:
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
        read = reader(data)
        if not continuing:
            row = config.model.reference_state
            first = splits.training[: linear_rows(config.system.n_particles)]
            # The other ranks get rank 0's weights from DistributedDataParallel.
            world.on_root(lambda: network.start(read(first), None if row is None else read(range(row, row + 1))))
            few = splits.training[:1024]
            state = State(untrained=world.on_root(lambda: network.constant_error(read(few))))
        if world.is_root:
            done = f", continuing after epoch {state.epoch} step {state.step}" if continuing else ""
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
                network=network,
                optimizer=optimizer,
                config=config,
                read=read,
                batches=batches,
                validation=splits.validation,
                dtype=dtype,
                folder=run.model,
                facts=facts | {"arithmetic": arithmetic},
                report=curves.report,
                advance=progress.advance,
            )
            state = trainer.fit(state)
    weights = b"".join(t.cpu().numpy().tobytes() for t in module.state_dict().values())
    digests = world.gather(hashlib.sha256(weights).hexdigest())
    if len(set(digests)) > 1:
        raise RuntimeError("the ranks' parameters differ after training")


def model_facts(config: RunConfig) -> dict[str, Any]:
    """What weights are stored with, and must agree with when they are used again."""
    return config.model_dump(mode="json", include={"system", "representation", "model", "objective"})


def reader(source: Dataset, first: int = 0) -> Read:
    """Reads configurations of a contiguous range of rows, counted from a first one."""

    def read(rows: range) -> Configurations:
        part = source.read(range(first + rows.start, first + rows.stop), ("positions", "gamma"))
        return Configurations(np.asarray(part["positions"], np.float32), np.asarray(part["gamma"], np.float64))

    return read


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
        row = config.model.reference_state
        if row is not None and row >= data.rows:
            raise UserError(f"model.reference_state: {data.path} has no row {row}; its rows are 0 to {data.rows - 1}")
    if ranks > config.training.batch_size:
        raise UserError(
            f"training.batch_size {config.training.batch_size} is smaller than the {ranks} ranks; start fewer ranks or "
            "increase it"
        )
