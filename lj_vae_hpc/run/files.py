"""Files that appear by rename when they are complete."""

import os
from pathlib import Path


def publish(partial: Path, path: Path) -> None:
    """Gives a finished file its name, once its bytes are on disk."""
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)


def write_text(path: Path, text: str) -> None:
    """Writes a small text file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    publish(partial, path)
