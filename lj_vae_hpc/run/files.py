"""Files that appear by rename when they are complete."""

import os
import secrets
from pathlib import Path


def unfinished(path: Path) -> Path:
    """A name for a file while it is written, which no file had before; one rank calls this.

    Open MPI guards a file that it opens by a semaphore of the node that is called after the file, whatever its folder.
    One that a killed process or another user holds would block every later file of that name.
    """
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")


def remove_unfinished(folder: Path) -> None:
    """Removes what killed runs have left unfinished anywhere below a folder, with what Open MPI puts beside it."""
    for leftover in folder.glob("**/*.partial*"):
        leftover.unlink()


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


def why_unwritable(error: BaseException, folder: Path) -> str:
    """What to tell the user about a failed write."""
    text = str(error)
    if not folder.exists():
        return f"{folder} does not exist any more"
    status = os.statvfs(folder)
    if status.f_bavail * status.f_frsize < 1 << 20 or "No space" in text or getattr(error, "errno", None) == 28:
        return "the disk is full; free some space and resubmit the same command, finished segments are kept"
    if not os.access(folder, os.W_OK):
        return f"no permission to write in {folder}"
    return " ".join(text.split())
