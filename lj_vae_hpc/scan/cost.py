"""What tasks of a campaign cost: core seconds, from what was measured in it, or else from a short measurement here."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.run.files import read_json
from lj_vae_hpc.sampling.chains import Chains, warm_up
from lj_vae_hpc.sampling.division import divide
from lj_vae_hpc.sampling.equilibration import CHAINS
from lj_vae_hpc.sampling.production import has_pilot
from lj_vae_hpc.scan.campaign import Campaign
from lj_vae_hpc.scan.tasks import DataTask, ModelTask, SampleTask, Task

SECONDS_TO_MEASURE, SECONDS_AT_MOST = 0.7, 3.0  # of the processor, and by the clock on the wall
CHAINS_MEASURED = 256
# Assumed of an ensemble until one has been sampled; typical of N = 30 and γ from 0.1 to 1.
BURN_IN, SWEEPS_APART, PILOT_SWEEPS = 850, 350, 1_750
COPY_SECONDS = 2e-6  # core seconds to copy a configuration into a data set, 0.1 GB/s


@dataclass(frozen=True)
class Costs:
    """Core seconds of the tasks of a campaign.

    Attributes:
        campaign: the campaign.
        measures: whether to measure here what the campaign has not measured; else that is not known.
    """

    campaign: Campaign
    measures: bool = True

    def of(self, task: Task) -> float:
        """Core seconds of a task; 0 where they are not known."""
        if isinstance(task, SampleTask):
            return self.per_gamma
        if isinstance(task, DataTask):
            return COPY_SECONDS * len(task.samples) * task.configurations
        return self.per_epoch[kind_of(task.config)] * epochs_of(task)

    def total(self, tasks: Sequence[Task]) -> float:
        """Core seconds of some tasks."""
        return sum(map(self.of, tasks))

    @cached_property
    def per_gamma(self) -> float:
        """Core seconds of an ensemble: by the measured time of those that were sampled, or by the rate."""
        config = self.campaign.config
        if self._sampled:
            seconds = sum(one["core_seconds"] for one in self._sampled)
            expected = sum(one["gammas"] * moves_of(config, one["configurations"]) for one in self._sampled)
            return float(seconds / expected * moves_of(config, config.sampling.configurations))
        return moves_of(config, config.sampling.configurations) / self.rate if self.measures else 0.0

    @cached_property
    def segment_seconds(self) -> float:
        """Core seconds of the longest piece of sampling that is kept or lost as a whole: a segment."""
        config, count = self.campaign.config, self.campaign.config.sampling.configurations
        chains = self.segment_rows // config.sampling.samples_per_chain
        return self.per_gamma * chain_moves(config, chains) / moves_of(config, count)

    @property
    def segment_rows(self) -> int:
        """Configurations of the largest segment."""
        sampling = self.campaign.config.sampling
        rows = divide(range(sampling.configurations), sampling.segment_rows, sampling.samples_per_chain)
        return max(map(len, rows))

    @cached_property
    def rate(self) -> float:
        """Trial moves per second of one core of this machine, measured now."""
        return measure_sampling(self.campaign.config)

    @cached_property
    def per_epoch(self) -> dict[str, float]:
        """Core seconds per configuration of the data set and epoch, by kind of model; 0 where they are not known."""
        known = {
            kind: sum(s for _, s in own) / sum(epochs_of(task) for task, _ in own)
            for kind, own in self._trained.items()
        }
        for task in self.campaign.models:
            if (kind := kind_of(task.config)) not in known:
                known[kind] = 1 / measure_training(task.config) if self.measures else 0.0
        return known

    def knows_evaluation(self, task: ModelTask) -> bool:
        """Whether the cost of a model has its evaluation in it."""
        return kind_of(task.config) in self._trained

    @property
    def to_measure(self) -> list[str]:
        """What will be measured on this machine, as text."""
        kinds = len({kind_of(task.config) for task in self.campaign.models} - set(self._trained))
        return ["sampling"] * (not self._sampled) + [
            f"the training of {kinds} kind{'s' * (kinds > 1)} of model"
        ] * bool(kinds)

    @property
    def basis(self) -> list[str]:
        """Where the figures come from, a line each."""
        if self._sampled:
            count = sum(one["gammas"] for one in self._sampled)
            lines = [f"sampling: {self.per_gamma:.1f} core seconds per γ, measured on {count} γ of this campaign"]
        else:
            assumed = (
                f", {BURN_IN} sweeps of each chain assumed" if has_pilot(self.campaign.samples[0].ensemble) else ""
            )
            lines = [f"sampling: {self.rate / 1e6:.0f} M trial moves per second and core, measured here now{assumed}"]
        here = [seconds for kind, seconds in self.per_epoch.items() if kind not in self._trained]
        there = [self.per_epoch[kind] for kind in self._trained]
        if there:
            count = sum(map(len, self._trained.values()))
            lines.append(f"training and evaluation: {_rates(there)}, measured on {count} models of this campaign")
        if here:
            lines.append(f"training: {_rates(here)}, measured here now")
        return lines

    @cached_property
    def _trained(self) -> dict[str, list[tuple[ModelTask, float]]]:
        """By kind, the models whose core seconds are known, with these."""
        found: dict[str, list[tuple[ModelTask, float]]] = {}
        for task in self.campaign.models:
            if seconds := task.finished().get("core_seconds"):
                found.setdefault(kind_of(task.config), []).append((task, seconds))
        return found

    @cached_property
    def _sampled(self) -> list[dict[str, Any]]:
        files = self.campaign.measured.glob("*.json")
        return [read_json(path, "delete it: it only tells what sampling took") for path in files]


def kind_of(config: RunConfig) -> str:
    """What the cost of a model follows from: samples, network, loss; not seed, KL weight or latent dimension."""
    model = config.model.model_dump(mode="json", exclude={"latent_dim"})
    objective = config.objective.kind, config.objective.likelihood, config.objective.distances
    return json.dumps(
        [config.representation.model_dump(mode="json"), model, objective, config.training.batch_size], sort_keys=True
    )


def _rates(seconds: Sequence[float]) -> str:
    slowest, fastest = (f"{1 / one:,.0f}" for one in (max(seconds), min(seconds)))
    return f"{' to '.join(dict.fromkeys((slowest, fastest)))} configurations per second and core"


def epochs_of(task: ModelTask) -> int:
    """Configurations of its data set times epochs."""
    return len(task.data.samples) * task.data.configurations * task.config.training.epochs


def chain_moves(config: RunConfig, chains: int) -> int:
    """Trial moves of so many chains from their random start, as far as one can tell beforehand."""
    sampling = config.sampling
    burn_in = max(sampling.sweeps, BURN_IN if sampling.protocol == "equilibrated" else 0)
    return chains * (burn_in + (sampling.samples_per_chain - 1) * SWEEPS_APART) * config.system.n_particles


def moves_of(config: RunConfig, configurations: int) -> int:
    """Trial moves of an ensemble with its proof of equilibrium, whose chains give its first configurations."""
    sampling = config.sampling
    chains, proof = configurations // sampling.samples_per_chain, CHAINS * PILOT_SWEEPS * config.system.n_particles
    if sampling.protocol == "equilibrated":
        return proof + chain_moves(config, max(0, chains - CHAINS))
    return chain_moves(config, chains) + (proof if sampling.check_equilibrium else 0)


class Clock:
    """Of the processor, since others may use the machine too: a login node is seldom free."""

    def __init__(self) -> None:
        self._used, self._began = time.process_time(), time.monotonic()

    @property
    def seconds(self) -> float:
        """Core seconds used so far."""
        return time.process_time() - self._used

    @property
    def goes_on(self) -> bool:
        """Whether to go on measuring."""
        return self.seconds < SECONDS_TO_MEASURE and time.monotonic() - self._began < SECONDS_AT_MOST


def measure_sampling(config: RunConfig) -> float:
    """Trial moves per second of one core on this fluid."""
    warm_up(config.system, "cpu")
    stream = (np.uint32(1), np.uint32(2), np.uint32(3))
    gamma = config.sampling.gamma_values[0]
    chains = Chains(stream, config.system, gamma, config.sampling.step, np.arange(CHAINS_MEASURED))
    sweeps, clock = 0, Clock()
    while clock.goes_on:
        chains.run(1)
        sweeps += 1
    return CHAINS_MEASURED * sweeps * config.system.n_particles / clock.seconds


def measure_training(config: RunConfig) -> float:
    """Configurations per second that one core trains on."""
    import torch

    from lj_vae_hpc.training.batches import Configurations
    from lj_vae_hpc.training.setup import new_network

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    network, optimizer = new_network(config, torch.device("cpu"))
    system, size = config.system, config.training.batch_size
    positions = np.random.default_rng(0).uniform(0, system.box_side, (size, system.n_particles, 2)).astype(np.float32)
    x, condition = network.inputs(Configurations(positions, np.full(size, config.sampling.gamma_values[0])))
    noise = torch.zeros(len(x), config.model.latent_dim)
    steps, clock = -1, Clock()
    while steps < 1 or clock.goes_on:
        optimizer.zero_grad(set_to_none=True)
        loss = network.criterion(x, network.module(x, condition, noise), 1.0).loss.mean()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        steps += 1
        clock = clock if steps else Clock()  # the first step is not counted
    torch.set_num_threads(threads)
    return steps * size / clock.seconds
