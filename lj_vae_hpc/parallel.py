"""The ranks of a run. The only module that names mpi4py or torch.distributed; without MPI it is rank 0 of 1."""

import os
import socket
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn, TypeVar

import numpy as np
from numpy.typing import NDArray

from lj_vae_hpc.errors import UserError

T = TypeVar("T")


class World:
    """All ranks of this run.

    Attributes:
        rank: this process, 0 <= rank < size.
        size: number of processes.
        local_rank: this process among those of its node; picks its GPU.
        local_size: number of processes on its node.
    """

    def __init__(self, comm: Any = None) -> None:
        self._comm = comm
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

        Raises:
            UserError: srun started several tasks that MPI does not connect.
        """
        try:
            comm = _mpi().COMM_WORLD
        except (ImportError, RuntimeError):  # mpi4py raises RuntimeError where it finds no MPI library
            comm = None
        tasks = int(os.environ.get("SLURM_STEP_NUM_TASKS", "1"))
        if (comm.size if comm else 1) == 1 < tasks and "SLURM_PROCID" in os.environ:
            raise UserError(
                f"srun started {tasks} tasks but MPI connects only one: start with `srun --mpi=pmix` or `mpirun`"
            )
        return cls(comm)

    @property
    def is_root(self) -> bool:
        """Whether this is rank 0, which prints, lists folders and writes the small files."""
        return bool(self.rank == 0)

    def library(self) -> str:
        """Name and version of the MPI library."""
        return str(_mpi().Get_library_version()).split(",")[0].strip("\x00\n ") if self._comm else "none, one rank"

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
            raise UserError(message, everywhere=True)
        return value  # type: ignore[return-value]

    def hdf5(self) -> dict[str, Any]:
        """Arguments with which all ranks open one HDF5 file together."""
        return {"driver": "mpio", "comm": self._comm} if self._comm and self.size > 1 else {}

    def node_by_node(self, action: Callable[[], None]) -> None:
        """Runs the action on one rank of each node before the others: for filling caches shared by a node."""
        if self.local_rank == 0:
            action()
        self.barrier()
        if self.local_rank != 0:
            action()

    def threads_per_rank(self) -> int:
        """Cores this rank may use, divided among the ranks of its node that may use the same ones."""
        cores = frozenset(os.sched_getaffinity(0))
        everyone = self.gather((socket.gethostname(), cores))
        return max(1, len(cores) // everyone.count((socket.gethostname(), cores)))

    def fail(self, error: BaseException) -> NoReturn:
        """Ends every rank: one message for a UserError (status 2), a traceback for anything else (status 1)."""
        if isinstance(error, UserError):
            if not error.everywhere:  # several ranks may have met it at once: the first to speak ends the others
                time.sleep(0.2 * min(self.rank, 10))
            if self.is_root or not error.everywhere:
                print(f"lj-vae: error: {error}", file=sys.stderr, flush=True)
            if error.everywhere:
                sys.exit(2)
            status = 2
        else:
            traceback.print_exception(error)
            print(f"lj-vae: rank {self.rank} of {self.size} failed, ending all ranks", file=sys.stderr, flush=True)
            status = 1
        if self._comm and self.size > 1:
            self._comm.Abort(status)
        sys.exit(status)

    @contextmanager
    def process_group(self, backend: str) -> Iterator[None]:
        """torch.distributed among the same ranks, with gloo on CPU or nccl on GPU; nothing for a single rank."""
        if self.size == 1:
            yield
            return
        import torch.distributed as dist

        one_node = all(self.gather(self.local_size == self.size))
        address = "127.0.0.1" if one_node else socket.gethostbyname(socket.gethostname())
        address = self.broadcast(address)
        if backend == "gloo" and "GLOO_SOCKET_IFNAME" not in os.environ:
            os.environ["GLOO_SOCKET_IFNAME"] = _interface_towards(address)  # gloo would guess from the host's name
        with socket.socket() as probe:
            probe.bind((address if self.is_root else "", 0))
            port = self.broadcast(probe.getsockname()[1])
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
        dist.init_process_group(backend, init_method=f"tcp://{address}:{port}", rank=self.rank, world_size=self.size)
        try:
            yield
        finally:
            dist.destroy_process_group()

    def data_parallel(self, module: Any) -> Any:
        """The module with its gradients averaged over ranks; the module itself for a single rank."""
        if self.size == 1:
            return module
        from torch.nn.parallel import DistributedDataParallel

        return DistributedDataParallel(module, gradient_as_bucket_view=True)


def _mpi() -> Any:
    from mpi4py import MPI

    return MPI


def _interface_towards(address: str) -> str:
    """Name of the network interface whose address this host uses to reach the given one."""
    import fcntl
    import struct

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))  # a datagram socket sends nothing here; it only picks a route
        own = probe.getsockname()[0]
        for _, name in socket.if_nameindex():
            try:
                packed = fcntl.ioctl(probe, 0x8915, struct.pack("256s", name[:15].encode()))  # SIOCGIFADDR
            except OSError:
                continue
            if socket.inet_ntoa(packed[20:24]) == own:
                return name
    raise UserError(f"no network interface has the address {own}; name one in GLOO_SOCKET_IFNAME")
