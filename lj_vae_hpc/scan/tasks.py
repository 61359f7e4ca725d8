"""The tasks of a campaign. A task is named by a hash of what it is, and done if its products say so.

A campaign that grows therefore has its old tasks under their old names, and only the new ones are not done.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.config.training import Training
from lj_vae_hpc.run.folder import RunDir
from lj_vae_hpc.sampling.ensemble import Ensemble, fingerprint
from lj_vae_hpc.sampling.production import holds, is_complete

FINISHED = "finished.json"  # in a model's folder: what was finished there, written last


def digest(facts: Any) -> str:
    """A short hash of what something is."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, eq=False)
class SampleTask:
    """Samples one ensemble to a number of configurations.

    Attributes:
        ensemble: the ensemble.
        configurations: of it.
        store: the folder of the ensembles' folders.
    """

    ensemble: Ensemble
    configurations: int
    store: Path
    kind: ClassVar[str] = "sample"
    needs: ClassVar[tuple[str, ...]] = ()

    @cached_property
    def key(self) -> str:
        """Its name."""
        return "sample-" + digest([self.ensemble.key, self.configurations])

    @property
    def title(self) -> str:
        """What it is, for people."""
        return f"γ = {self.ensemble.gamma:g}"

    @property
    def folder(self) -> Path:
        """Of the ensemble's segments."""
        return self.store / self.ensemble.key

    def is_done(self) -> bool:
        """Whether every configuration is in a finished segment, and the pilot there if one belongs to them."""
        return is_complete(self.ensemble, self.configurations, self.folder)


@dataclass(frozen=True, eq=False)
class DataTask:
    """Writes one data set from sampled ensembles.

    Attributes:
        config: with the γ and the configurations of this data set.
        run: the folder whose data set it is.
        samples: its ensembles' tasks, in order of γ.
    """

    config: RunConfig
    run: RunDir
    samples: tuple[SampleTask, ...]
    kind: ClassVar[str] = "data"

    @property
    def ensembles(self) -> list[Ensemble]:
        """In order of γ."""
        return [sample.ensemble for sample in self.samples]

    @property
    def configurations(self) -> int:
        """Of each ensemble."""
        return self.config.sampling.configurations

    @cached_property
    def key(self) -> str:
        """Its name."""
        return "data-" + fingerprint(self.ensembles, self.configurations)[:12]

    @cached_property
    def needs(self) -> tuple[str, ...]:
        """Keys of the tasks that must be done before."""
        return tuple(sample.key for sample in self.samples)

    @property
    def title(self) -> str:
        """What it is, for people."""
        return f"data set of {len(self.samples)} γ x {self.configurations}"

    def is_done(self) -> bool:
        """Whether the file is there and is this one."""
        return holds(self.run.dataset, self.ensembles, self.configurations)


@dataclass(frozen=True, eq=False)
class ModelTask:
    """Trains one model, evaluates it and writes its page.

    Attributes:
        label: what distinguishes it, for people.
        config: all of its configuration.
        models: the folder of the models' folders.
        data: what it is trained on.
    """

    label: str
    config: RunConfig
    models: Path
    data: DataTask
    kind: ClassVar[str] = "model"

    @cached_property
    def name(self) -> str:
        """A hash of what its weights follow from, which names its folder."""
        training = set(Training.FREE) - ({"epochs"} if self.config.training.schedule == "cosine" else set())
        sections: dict[str, Any] = dict.fromkeys(("seed", "representation", "model", "objective", "training"), True)
        given = self.config.model_dump(
            mode="json", include=sections, exclude={"training": training}, exclude_defaults=True
        )
        return digest([given, self.data.key])

    @cached_property
    def identity(self) -> dict[str, Any]:
        """What its results follow from besides: a key with a default that is new changes nothing."""
        evaluation = self.config.evaluation.model_dump(mode="json", exclude_defaults=True)
        return {"epochs": self.config.training.epochs, "evaluation": evaluation}

    @cached_property
    def key(self) -> str:
        """Its name."""
        return "model-" + digest([self.name, self.identity])

    @property
    def needs(self) -> tuple[str, ...]:
        """Keys of the tasks that must be done before."""
        return (self.data.key,)

    @property
    def run(self) -> RunDir:
        """The model's run folder."""
        return RunDir(self.models / self.name)

    @property
    def title(self) -> str:
        """What it is, for people."""
        return f"model {self.name} ({self.label})"

    def finished(self) -> dict[str, Any]:
        """What was written when it was last done; empty if it never was."""
        return finished_in(self.run.path)

    def is_done(self) -> bool:
        """Whether its evaluation is there and is this one."""
        summary = self.run.evaluation / "summary.json"
        return self.finished().get("identity") == self.identity and summary.exists()


def finished_in(folder: Path) -> dict[str, Any]:
    """What was written of the model in a folder when it was last done; empty if it never was."""
    try:
        found: dict[str, Any] = json.loads((folder / FINISHED).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found


Task = SampleTask | DataTask | ModelTask
KINDS = ("sample", "data", "model")
"""In the order in which they are done."""
