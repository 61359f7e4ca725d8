"""The ranks of a run and what they do together. Without MPI it is rank 0 of 1."""

import atexit
import copy
import os
import socket
import sys
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.stop import StopRequests

T = TypeVar("T")

LAUNCHERS = (
    "OMPI_COMM_WORLD_", "PMIX_", "PMI_", "PALS_", "MPI_LOCAL", "MPIRUN_", "MPIEXEC_", "MV2_COMM_", "JSM_", "FLUX_",
    "ALPS_", "SLURM_PROCID", "SLURM_STEP_",
)  # fmt: skip
"""Beginnings of the variables by which launchers tell a process its rank."""


class World:
    """All ranks of this run.

    Attributes:
        rank: this process, 0 <= rank < size.
        size: number of processes.
        local_rank: this process among those of its node; picks its GPU.
        local_size: number of processes on its node.
        stop: requests to stop that came to this process.
    """

    def __init__(self, comm: Any = None) -> None:
        self._comm = _pickling(comm)
        self.stop = StopRequests()
        self.rank = comm.rank if comm else 0
        self.size = comm.size if comm else 1
        self.local_rank, self.local_size = 0, 1
        if comm:
            node = comm.Split_type(_mpi().COMM_TYPE_SHARED)
            self.local_rank, self.local_size = node.rank, node.size
            node.Free()

    @classmethod
    def connect(cls) -> "World":
        """Joins the ranks that mpirun or srun started.

        A process that was started by neither is alone: MPI would take half a second, and fails on many login nodes.

        Raises:
            UserError: srun started several tasks that MPI does not connect.
        """
        comm = None
        if any(name.startswith(LAUNCHERS) for name in os.environ):
            with suppress(ImportError, RuntimeError):  # mpi4py raises RuntimeError where it finds no MPI library
                comm = _mpi().COMM_WORLD
        if not comm or comm.size == 1:
            for variable in ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE"):
                if int(os.environ.get(variable, "1")) > 1:
                    raise UserError(
                        f"{os.environ[variable]} processes were started ({variable}) but MPI connects only one: start "
                        "with `srun --mpi=pmix` or with the mpirun of the MPI that mpi4py finds (lj-vae doctor)"
                    )
        return cls(comm)

    def alone(self) -> "World":
        """A world of only this rank, which stops on the same signals and at the same deadline."""
        own = copy.copy(self)
        own.stop = copy.copy(self.stop)
        own._comm, own.rank, own.size, own.local_rank, own.local_size = None, 0, 1, 0, 1
        return own

    def team(self, size: int) -> "World":
        """The world of this rank and those beside it, `size` of them; the last may be fewer. All ranks call this."""
        own = self.alone()
        if self._comm:
            own._comm = _pickling(self._comm.Split(self.rank // size))
            own.rank, own.size = own._comm.rank, own._comm.size
        return own

    @property
    def is_root(self) -> bool:
        """Whether this is rank 0, which prints, lists folders and writes the small files."""
        return bool(self.rank == 0)

    def mpi_library(self) -> str:
        """Name and version of the MPI library, which is not started for this."""
        try:
            if not self._comm:
                import mpi4py

                mpi4py.rc.initialize = False
            return str(_mpi().Get_library_version()).split(",")[0].strip("\x00\n ")
        except (ImportError, RuntimeError):
            return "none, one rank"

    def shard(self, n: int) -> range:
        """The contiguous part of n items of this rank; parts are disjoint, cover all, and differ by at most one."""
        return range(n * self.rank // self.size, n * (self.rank + 1) // self.size)

    def barrier(self) -> None:
        """Waits for all ranks."""
        if self._comm:
            self._comm.barrier()

    def broadcast(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        return self._comm.bcast(value) if self._comm else value

    def gather(self, value: T) -> list[T]:
        """Every rank's value in rank order, on every rank."""
        return self._comm.allgather(value) if self._comm else [value]

    def exchange(self, values: list[T]) -> list[T]:
        """What every rank has for this one, in rank order; value k of the list goes to rank k."""
        return self._comm.alltoall(values) if self._comm else values

    def gather_to_root(self, value: T) -> list[T]:
        """Every rank's value in rank order, on rank 0; an empty list elsewhere."""
        return (self._comm.gather(value) or []) if self._comm else [value]

    def agree(self, problem: str | None) -> None:
        """Waits for all ranks; if any of them has a problem, every rank raises the first as a UserError."""
        problems = [p for p in self.gather(problem) if p is not None]
        if problems:
            raise UserError(problems[0], everywhere=self.size > 1)

    def should_stop(self) -> bool:
        """Whether any rank has been asked to stop (StopRequests.due); the same answer on every rank."""
        return any(self.gather(self.stop.due()))

    def sum(self, array: NDArray[Any]) -> NDArray[Any]:
        """Sum over ranks of equally shaped arrays, on every rank."""
        array = np.ascontiguousarray(array)
        if not self._comm:
            return array.copy()
        total = np.empty_like(array)
        self._comm.Allreduce(array, total)
        return total

    def on_root(self, action: Callable[[], T]) -> T:
        """Runs the action on rank 0 only; its result, or its UserError, reaches every rank."""
        outcome: tuple[T | None, str | None] = (None, None)
        if self.is_root:
            try:
                outcome = (action(), None)
            except UserError as error:
                outcome = (None, str(error))
        value, message = self.broadcast(outcome)
        if message is not None:
            raise UserError(message, everywhere=self.size > 1)
        return value  # type: ignore[return-value]

    def hdf5(self) -> dict[str, Any]:
        """Arguments with which all ranks open one HDF5 file together.

        Raises:
            UserError: there are several ranks, and h5py cannot do that.
        """
        if not self._comm:
            return {}
        import h5py  # late: commands that read no data start without it

        if h5py.get_config().mpi:
            return {"driver": "mpio", "comm": self._comm}
        if self.size > 1:
            raise UserError(
                "h5py was built without MPI, so that several ranks cannot write one file: run bin/bootstrap, which "
                "builds it anew, or start one rank",
                everywhere=True,
            )
        return {}

    def node_by_node(self, action: Callable[[], None]) -> None:
        """Runs the action on rank 0, then on one rank of each other node, then on the rest: for filling caches."""
        for turn in range(3):
            if turn == (0 if self.is_root else 1 if self.local_rank == 0 else 2):
                action()
            self.barrier()

    def threads_per_rank(self) -> int:
        """Cores this rank may use, divided among the ranks of its node that may use the same ones.

        At most what a Slurm job has for each task, since not every Slurm binds tasks to their cores.
        """
        cores = frozenset(os.sched_getaffinity(0))
        everyone = self.gather((socket.gethostname(), cores))
        share = max(1, len(cores) // everyone.count((socket.gethostname(), cores)))
        return min(share, int(os.environ.get("SLURM_CPUS_PER_TASK", share)))

    def fail(self, error: BaseException) -> NoReturn:
        """Ends every rank: one message for a UserError (status 2), a traceback for anything else (status 1)."""
        everywhere = isinstance(error, UserError) and error.everywhere
        if isinstance(error, UserError):
            status = 2
            if self.is_root or not everywhere:
                print(f"lj-vae: error: {error}", file=sys.stderr, flush=True)
        else:
            status = 1
            traceback.print_exception(error)
            print(f"lj-vae: rank {self.rank} of {self.size} failed, ending all ranks", file=sys.stderr, flush=True)
        sys.stdout.flush()
        if everywhere:
            self.barrier()  # nobody leaves before rank 0 has spoken
        self.leave(status, everywhere)

    def finish(self, status: int = 0) -> NoReturn:
        """Ends this process, as every rank does, without taking apart all modules, which takes up to a second."""
        atexit._run_exitfuncs()
        if self._comm:
            _mpi().Finalize()
        os._exit(status)

    def leave(self, status: int, everywhere: bool) -> NoReturn:
        """Ends this process, and the other ranks if they do not know: they may wait for this one."""
        if not everywhere and self._comm and self.size > 1:
            self._comm.Abort(status)
        os._exit(status)  # without closing what is open: files that MPI-IO could not write crash when they are closed


def _pickling(comm: Any) -> Any:
    """A communicator that sends objects of more than 2 GiB, too; None without MPI."""
    if not comm:
        return None
    from mpi4py.util import pkl5

    return pkl5.Intracomm(comm)


def _mpi() -> Any:
    from mpi4py import MPI

    return MPI
