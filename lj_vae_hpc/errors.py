"""The exceptions that are not faults of the program, and the command that their texts recommend."""

import os
import re

COMMAND = os.environ.get("LJ_VAE_COMMAND", "lj-vae")
"""How the user calls the command line: what bin/lj-vae was called as."""


class UserError(Exception):
    """Bad configuration or input. Its text says what was given, what is accepted and the key or file.

    The command line prints it once, without a traceback, and exits with status 2.

    Attributes:
        everywhere: the same error is raised on every one of several ranks, so that one of them may speak for all.
    """

    def __init__(self, message: str, everywhere: bool = False) -> None:
        super().__init__(message)
        self.everywhere = everywhere


class Diverged(UserError):
    """The loss or the weights of a training are not finite, or it became worse than an untrained network."""


def out_of_memory(error: Exception) -> UserError | None:
    """What to tell the user where memory was lacking; None for any other error. torch has no class for all of them."""
    if isinstance(error, UserError):  # its text may hold that of another
        return None
    # The last is what cuBLAS and cuDNN say.
    lacking = re.search(r"allocate memory|out of memory|ALLOC(ATION)?_FAILED", str(error))
    if not (lacking or isinstance(error, MemoryError)):
        return None
    return UserError(
        f"not enough memory ({' '.join(str(error).split())[:120]}); choose smaller batches (training.batch_size), "
        "segments (sampling.segment_rows) or networks, or fewer ranks per node"
    )


class Stopped(BaseException):
    """The run was told to stop and has saved what it did; the same command continues. Exit status 75.

    Like KeyboardInterrupt it may come from a signal, at any place, where nobody else's `except` may take it.

    Attributes:
        everywhere: the same on every rank; else the other ranks may be anywhere.
    """

    def __init__(self, message: str, everywhere: bool = True) -> None:
        super().__init__(message)
        self.everywhere = everywhere
