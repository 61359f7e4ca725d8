"""Trains the auto-encoder on a run's data set."""

import hashlib

import torch

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.model.convolution import warm_up
from lj_vae_hpc.parallel.world import World
from lj_vae_hpc.progress import Progress
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.store.reader import Dataset
from lj_vae_hpc.training import checkpoint
from lj_vae_hpc.training.batches import Batches
from lj_vae_hpc.training.curves import Curves
from lj_vae_hpc.training.hardware import choose_device, choose_dtype, keep_memory
from lj_vae_hpc.training.loop import State, Trainer
from lj_vae_hpc.training.setup import check_data, first_state, model_facts, new_network, reader
from lj_vae_hpc.training.splits import Splits


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
    network, optimizer = new_network(config, device)
    module, facts = network.module, model_facts(config)
    world.node_by_node(lambda: warm_up(module))
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
        if not continuing:  # the other ranks get rank 0's weights from DistributedDataParallel
            state = world.on_root(lambda: first_state(network, config, read, splits.training))
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
