"""Configurations of the user's own."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lj_vae_hpc.config.run import RunConfig
from lj_vae_hpc.evaluation.suites.base import Suite


@dataclass(frozen=True, eq=False)
class OwnFile(Suite):
    """One of evaluation.files."""

    label: str
    path: Path

    @classmethod
    def of(cls, config: RunConfig) -> list[Self]:
        """One for each file."""
        return [cls(config, label, path) for label, path in config.evaluation.files.items()]

    @property
    def name(self) -> str:
        """The key."""
        return self.label

    @property
    def meaning(self) -> str:
        """The file."""
        return f"from {self.path.name}"

    @property
    def file(self) -> Path:
        """The file."""
        return self.path

    @property
    def identity(self) -> dict[str, Any]:
        """What the file holds, wherever it is."""
        with self.path.open("rb") as file:
            return {"sha256": hashlib.file_digest(file, "sha256").hexdigest()}
