"""The network that the cases play in: this namespace, and two containers.

Both containers have the same address, so that the same tuple can be in use in
both; the first also has one that can be reached from here.
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from support import netns
from support.netns import Namespace

SAME_ADDRESS, NOBODY = "10.77.0.2", "10.77.0.1"
NOBODYS_MAC = "02:00:00:00:77:01"


@dataclass(frozen=True)
class Container:
    """A namespace, and the device that leads there."""

    space: Namespace
    device: str
    near_address: str
    far_address: str


@dataclass(frozen=True)
class World:
    """Where the capture runs, and the containers beside it."""

    here: Namespace
    containers: tuple[Container, ...]

    def to_json(self) -> str:
        """Return the world in words."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        told = json.loads(text)
        boxes = (
            Container(**box | {"space": Namespace(**box["space"])})
            for box in told["containers"]
        )
        return cls(Namespace(**told["here"]), tuple(boxes))


@contextlib.contextmanager
def world() -> Iterator[World]:
    """Give a world of its own."""
    with netns.namespace() as here, netns.namespace() as one, netns.namespace() as two:
        made = World(here, (_container(here, one, 1), _container(here, two, 2)))
        with here.entered():
            Path("/proc/sys/net/ipv4/ping_group_range").write_text("0 2147483647")
            # A port is not used again while something is left of its connection.
            Path("/proc/sys/net/ipv4/tcp_tw_reuse").write_text("0")
        here.ip("route", "add", "239.0.0.0/8", "dev", "lo")
        yield made


def _container(here: Namespace, there: Namespace, number: int) -> Container:
    near, far = f"10.78.{number}.1", f"10.78.{number}.2"
    device = f"box{number}"
    here.ip(
        *("link", "add", device, "type", "veth"),
        *("peer", "name", "eth0", "netns", there.name),
    )
    here.ip("addr", "add", f"{near}/24", "dev", device)
    here.ip("link", "set", device, "up")
    there.ip("addr", "add", f"{far}/24", "dev", "eth0")
    there.ip("addr", "add", f"{SAME_ADDRESS}/24", "dev", "eth0")
    there.ip("link", "set", "eth0", "up")
    there.ip("neigh", "add", NOBODY, "lladdr", NOBODYS_MAC, "dev", "eth0")
    return Container(there, device, near, far)


def inside(space: Namespace, *command: str) -> list[str]:
    """Return the command that runs in the namespace with these very mounts."""
    return ["nsenter", f"--net=/run/netns/{space.name}", *command]
