"""Hosts on one machine: network namespaces on one bridge, each with a host name of its own."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Host:
    """Where a command runs.

    Attributes:
        name: what `hostname` says there.
        address: where the others reach it.
        prefix: words before a command that runs there.
    """

    name: str
    address: str
    prefix: tuple[str, ...] = ()

    def sent(self) -> int:
        """Bytes that have left this host over eth0."""
        command = [*self.prefix, "ip", "-json", "-statistics", "link", "show", "eth0"]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(json.loads(done.stdout)[0]["stats64"]["tx"]["bytes"])


class NoNamespacesError(Exception):
    """Why this machine cannot be divided into hosts."""


@contextmanager
def network(*names: str) -> Iterator[dict[str, Host]]:
    """One host for each name, with an eth0 on a common network that leads nowhere else.

    The first has the bridge. No host has a default route or knows the others by name, as on many a compute node.

    Raises:
        NoNamespacesError: this user or this container may not make them.
    """
    with ExitStack() as stack:
        hosts = {}
        for number, name in enumerate(names, start=1):
            space = f"{name}-{os.getpid()}"
            _ip("netns", "add", space)
            # Whatever still runs there keeps the network alive until it ends; its name is gone at once.
            stack.callback(subprocess.run, ["ip", "netns", "delete", space], check=False)
            _ip("-n", space, "link", "set", "lo", "up")
            # Not `ip netns exec`, whose fresh /sys lacks the cgroups that slurmd looks for.
            enter = ("nsenter", f"--net=/run/netns/{space}", "unshare", "--uts")
            prefix = (*enter, "sh", "-c", f'hostname {name} && exec "$@"', "-")
            hosts[name] = Host(name, f"10.213.0.{number}", prefix)
            address = ("address", "add", f"10.213.0.{number}/24", "dev", "eth0")
            first = f"{names[0]}-{os.getpid()}"
            if number == 1:
                _ip("-n", space, "link", "add", "eth0", "type", "bridge")
            else:
                _ip("-n", first, "link", "add", name, "type", "veth", "peer", "eth0", "netns", space)
                _ip("-n", first, "link", "set", name, "up", "master", "eth0")
            _ip("-n", space, *address)
            _ip("-n", space, "link", "set", "eth0", "up")
        done = subprocess.run([*hosts[names[-1]].prefix, "hostname"], capture_output=True, text=True)
        if done.stdout.strip() != names[-1]:
            raise NoNamespacesError(f"`{' '.join(hosts[names[-1]].prefix)} hostname` says {done.stderr.strip()}")
        yield hosts


def _ip(*arguments: str) -> None:
    try:
        done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    except FileNotFoundError:
        raise NoNamespacesError("no `ip` on this machine (Debian: iproute2)") from None
    if done.returncode:
        raise NoNamespacesError(f"`ip {' '.join(arguments)}` says {done.stderr.strip()}")
