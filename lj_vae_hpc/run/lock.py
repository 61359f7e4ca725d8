"""Who works where: locks that the operating system drops when their process ends, however it ends."""

import errno
import fcntl
import os
import socket
import struct
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from lj_vae_hpc.errors import UserError

NAME = ".lock"
NO_LOCKING = (errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS)  # some network file systems are mounted without


_held: dict[Path, int] = {}  # open files of the folders that this process has locked; closing one drops its lock


def lock(folder: Path) -> None:
    """Makes this process the only writer of a folder until `unlock` or its end; again it changes nothing.

    Where the file system knows no locks it goes on with a warning.

    Raises:
        UserError: another process writes there; its host, process, Slurm job and start are named.
        OSError: the folder cannot be written.
    """
    path = folder.resolve() / NAME
    if path in _held and path.exists() and os.path.samestat(os.fstat(_held[path]), path.stat()):
        return
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        locked = _locks(file, folder)
        job = f" of Slurm job {os.environ['SLURM_JOB_ID']}" if "SLURM_JOB_ID" in os.environ else ""
        os.ftruncate(file, 0)
        text = f"process {os.getpid()} on {socket.gethostname()}{job} since {time.strftime('%F %T %Z')}"
        os.pwrite(file, text.encode(), 0)
    except BaseException:
        os.close(file)
        raise
    if locked:
        _held[path] = file
    else:
        os.close(file)


def _locks(file: int, folder: Path) -> bool:
    """Locks an open file; False, with a warning, where the file system knows no locks."""
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            holder = os.read(file, 1000).decode(errors="replace") or "another lj-vae"
            raise UserError(
                f"{folder} is in use by {holder}; wait until that has ended, or choose another output folder with -o"
            ) from None
        if error.errno not in NO_LOCKING:
            raise
        print(
            f"lj-vae: warning: no file locks in {folder} ({error.strerror}); start only one job at a time there",
            file=sys.stderr, flush=True,
        )  # fmt: skip
        return False
    return True


def is_locked(folder: Path) -> bool:
    """Whether this process is the only writer of a folder."""
    return folder.resolve() / NAME in _held


def unlock(folder: Path) -> None:
    """Lets other processes write in a folder that this one has locked."""
    file = _held.pop(folder.resolve() / NAME, None)
    if file is not None:
        os.close(file)


def holder(folder: Path) -> str | None:
    """Who writes in a folder, if anybody does; not to be asked by the process that has locked it.

    Closing a file drops the locks that this very process has on it.
    """
    try:
        with (folder / NAME).open("rb") as file:
            return (file.read(1000).decode(errors="replace") or "another lj-vae") if _locked(file.fileno(), 0) else None
    except OSError:
        return None


def _locked(file: int, first: int, count: int = 0) -> bool:
    """Whether another process has a lock on some bytes of an open file (0: to its end); takes none itself."""
    asked = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, first, count, 0)
    try:
        answer = fcntl.fcntl(file, fcntl.F_GETLK, asked)
    except OSError:
        return False
    return bool(struct.unpack_from("h", answer)[0] != fcntl.F_UNLCK)


def taken(path: Path, numbers: Sequence[int]) -> list[bool]:
    """Whether another process has each piece of a file of Claims, which is only read.

    Not to be asked by a process that has claims there: closing the file would drop them.
    """
    try:
        with path.open("rb") as file:
            return [_locked(file.fileno(), number + 1, 1) for number in numbers]
    except OSError:
        return [False] * len(numbers)


class Claims:
    """Numbered pieces of work, each of at most one process on any node: locks on single bytes of a file.

    Args:
        path: the file.
        strict: whether to refuse a file system that knows no locks; else every piece is free there.

    Raises:
        UserError: the file system knows no locks.
    """

    def __init__(self, path: Path, strict: bool = True) -> None:
        self._path, self._strict = path, strict
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)  # never closed: that would drop every lock
        if strict:
            with self.alone():
                pass

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Waits until no other process is in here."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX, 1, 0)
        except OSError as error:
            if error.errno not in NO_LOCKING:
                raise
            raise UserError(
                f"no file locks in {self._path.parent} ({error.strerror}); choose an output folder on another file "
                "system with -o, or have this one mounted with locks"
            ) from None
        try:
            yield
        finally:
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, 0)

    def take(self, number: int) -> bool:
        """Claims a piece, unless another process has it."""
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number + 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                return False
            if self._strict or error.errno not in NO_LOCKING:
                raise
        return True

    def drop(self, number: int) -> None:
        """Gives a piece back."""
        with suppress(OSError):  # where the file system knows no locks
            fcntl.lockf(self._file, fcntl.LOCK_UN, 1, number + 1)
