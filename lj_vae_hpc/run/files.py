"""Files that appear by rename when they are complete."""

import json
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from lj_vae_hpc.errors import UserError

NO_FILES = ("/dev", "/proc", "/sys")  # what appears there is no file that stays


def unfinished(path: Path) -> Path:
    """A name for a file while it is written, which no file had before; one rank calls this.

    Open MPI guards a file that it opens by a semaphore of the node that is called after the file, whatever its folder.
    One that a killed process or another user holds would block every later file of that name.
    """
    return path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")


def remove_unfinished(folder: Path, below: bool = True, seconds: float = 0.0) -> None:
    """Removes what killed runs have left unfinished in a folder, with what Open MPI puts beside it.

    Args:
        folder: links in it are not followed.
        below: whether its folders are searched, too.
        seconds: what was written to more recently stays, as others may be writing it.

    Raises:
        UserError: no permission.
    """
    newest = time.time() - seconds
    try:
        for leftover in folder.glob("**/*.partial*" if below else "*.partial*"):
            with suppress(FileNotFoundError):  # others may have finished it
                if not seconds or leftover.lstat().st_mtime < newest:
                    leftover.unlink()
    except OSError as error:
        raise UserError(f"cannot write {folder}: {error.strerror}") from None


def publish(partial: Path, path: Path) -> None:
    """Gives a finished file its name, once its bytes are on disk."""
    flush(partial)
    partial.replace(path)


def flush(path: Path) -> None:
    """Waits until what this node has written to a file is on disk."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def write_text(path: Path, text: str, shared: bool = False) -> None:
    """Writes a small text file.

    Args:
        path: the file.
        text: its content.
        shared: whether other processes may write the same file at this time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = unfinished(path) if shared else path.with_name(path.name + ".partial")
    partial.write_text(text, encoding="utf-8")
    publish(partial, path)


def read_json(path: Path, remedy: str) -> Any:
    """The content of a JSON file.

    Args:
        path: the file.
        remedy: what to do if it is damaged, for the message.

    Raises:
        UserError: it is damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error!r:.80}); {remedy}") from None


def point(link: Path, target: Path) -> None:
    """Makes a relative link to a folder, in place of a link to anywhere else, which is there until then."""
    if link.resolve() == target.resolve():
        return
    partial = unfinished(link)
    partial.symlink_to(os.path.relpath(target.parent.resolve() / target.name, link.parent.resolve()))
    partial.replace(link)


def why_unwritable(error: BaseException, folder: Path) -> str:
    """What to tell the user about a failed write."""
    text = str(error)
    if not folder.exists():
        return f"{folder} does not exist any more"
    status = os.statvfs(folder)
    if status.f_bavail * status.f_frsize < 1 << 20 or "No space" in text or getattr(error, "errno", None) == 28:
        return "the disk is full; free some space and run the same command again; finished segments are kept"
    if not os.access(folder, os.W_OK):
        return f"no permission to write in {folder}"
    return " ".join(text.split())


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns an error of Python or HDF5 while a file is written into a message.

    Raises:
        UserError: disk full, no permission.
    """
    try:
        yield
    except (OSError, RuntimeError) as error:
        raise UserError(f"cannot write {path}: {why_unwritable(error, path.parent)}") from error


def check_regular(path: Path) -> None:
    """Whether a path given by the user is a regular file.

    Raises:
        UserError: it is missing, a folder, a device or a pipe.
    """
    try:
        if not path.exists():
            raise UserError(f"{path} does not exist")
        if path.is_dir():
            raise UserError(f"{path} is a folder, not a file")
        if not path.is_file():
            raise UserError(f"{path} is no regular file; `-` reads the standard input")
    except OSError as error:
        raise UserError(f"cannot read {path!s:.200}: {error.strerror}") from None


def check_target(path: Path, overwrite: bool, kept: Sequence[Path] = ()) -> None:
    """Whether a file that the user names with --to may be written.

    Args:
        path: the file.
        overwrite: whether a file that exists may be replaced.
        kept: files and folders that may not be replaced all the same.

    Raises:
        UserError: it exists, is not a regular file, or is a device; it is one of those that are kept.
    """
    try:
        if path.exists() and not path.is_file():
            raise UserError(f"--to {path} is no regular file; choose another")
        if path.exists() and not overwrite:
            raise UserError(f"--to {path} exists; choose another file, or replace it with --force")
        if path.exists() and any(path.resolve().is_relative_to(one.resolve()) for one in kept):
            raise UserError(f"--to {path} would replace what is read or belongs to the run; choose another file")
        if any(path.resolve().is_relative_to(folder) for folder in NO_FILES):
            raise UserError(f"--to {path}: {path.parent} holds devices, not files; choose another folder")
    except OSError as error:
        raise UserError(f"--to {path!s:.200}: {error.strerror}") from None


@contextmanager
def new_file(path: Path, overwrite: bool) -> Iterator[Path]:
    """Gives an empty file to write in, which gets the name that the user has given with --to when it is complete.

    Args:
        path: the file.
        overwrite: whether a file that exists may be replaced.

    Raises:
        UserError: as check_target; it cannot be written.
    """
    check_target(path, overwrite)
    partial = unfinished(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.touch()
        yield partial
        check_target(path, overwrite)  # it may have come meanwhile
        publish(partial, path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError):
            raise UserError(f"cannot write {path}: {error.strerror or error}") from None
        raise
