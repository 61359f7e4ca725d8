"""torch.distributed among the ranks of a run, and data-parallel training."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lj_vae_hpc.errors import UserError
from lj_vae_hpc.parallel.world import World


@contextmanager
def process_group(world: World, backend: str) -> Iterator[None]:
    """torch.distributed among the ranks, with gloo on CPU or nccl on GPU; nothing for a single rank."""
    if world.size == 1:
        yield
        return
    import torch.distributed as dist

    address = world.broadcast("127.0.0.1" if world.local_size == world.size else _own_address())
    if address is None:
        raise UserError(
            "no network address of rank 0 found; set GLOO_SOCKET_IFNAME to the name of a network interface that all "
            "nodes have, or MASTER_ADDR to an address of the first node", everywhere=True,
        )  # fmt: skip
    if backend == "gloo" and "GLOO_SOCKET_IFNAME" not in os.environ:
        os.environ["GLOO_SOCKET_IFNAME"] = _interface_towards(address)  # gloo would guess from the host's name
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # It listens before others are told where, so that no other program can have taken the port.
    open_store = dist.TCPStore  # type: ignore[attr-defined]
    store = open_store(address, 0, world.size, True, wait_for_workers=False) if world.is_root else None
    port = world.broadcast(0 if store is None else store.port)
    if store is None:
        store = open_store(address, port, world.size, False)
    dist.init_process_group(backend, store=store, rank=world.rank, world_size=world.size)
    try:
        yield
    except UserError as error:
        if error.everywhere:  # otherwise it would wait for ranks that do not come
            dist.destroy_process_group()
        raise
    dist.destroy_process_group()


def data_parallel(world: World, module: Any) -> Any:
    """The module with its gradients averaged over ranks; the module itself for a single rank."""
    if world.size == 1:
        return module
    from torch.nn.parallel import DistributedDataParallel

    return DistributedDataParallel(module, gradient_as_bucket_view=True)


def _own_address() -> str | None:
    """An address of this host that other nodes reach, never loopback.

    That of MASTER_ADDR, of GLOO_SOCKET_IFNAME, of the default route, or else of the first network interface.
    """
    if "MASTER_ADDR" in os.environ:
        return os.environ["MASTER_ADDR"]
    addresses = _addresses()
    if "GLOO_SOCKET_IFNAME" in os.environ:
        return addresses.get(os.environ["GLOO_SOCKET_IFNAME"])
    try:
        return _address_towards("192.0.2.1")  # a documentation address, which only the default route reaches
    except OSError:
        return next((address for address in addresses.values() if not address.startswith("127.")), None)


def _interface_towards(address: str) -> str:
    """Name of the network interface whose address this host uses to reach the given one."""
    own = _address_towards(address)
    for name, candidate in _addresses().items():
        if candidate == own:
            return name
    raise UserError(f"no network interface has the address {own}; name one in GLOO_SOCKET_IFNAME")


def _address_towards(address: str) -> str:
    """The address that this host uses to reach the given one."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))  # a datagram socket sends nothing here; it only picks a route
        return str(probe.getsockname()[0])


def _addresses() -> dict[str, str]:
    """The IPv4 address of every network interface that has one, by name."""
    import fcntl
    import struct

    addresses = {}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                packed = fcntl.ioctl(probe, 0x8915, struct.pack("256s", name[:15].encode()))  # SIOCGIFADDR
            except OSError:
                continue
            addresses[name] = socket.inet_ntoa(packed[20:24])
    return addresses
