"""The network of the cases: the namespace that is captured, and two containers.

Both containers have the same address, so that the same tuple can be in use in
both; each also has an address that can be reached from the captured namespace.
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
# Few, so that ports come round again and again within a run.
EPHEMERAL_PORTS = "32768 32927"


@dataclass(frozen=True)
class Container:
    """A namespace, and the device that leads there."""

    space: Namespace
    device: str
    near_address: str
    far_address: str


@dataclass(frozen=True)
class Network:
    """The namespace that is captured, and the containers beside it."""

    here: Namespace
    containers: tuple[Container, ...]

    def to_json(self) -> str:
        """Return the network as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        containers = (
            Container(**container | {"space": Namespace(**container["space"])})
            for container in fields["containers"]
        )
        return cls(Namespace(**fields["here"]), tuple(containers))


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Yield a new network; delete its namespaces at the end."""
    with netns.namespace() as here, netns.namespace() as one, netns.namespace() as two:
        containers = (_container(here, one, 1), _container(here, two, 2))
        with here.entered():
            ipv4 = Path("/proc/sys/net/ipv4")
            (ipv4 / "ping_group_range").write_text("0 2147483647")
            (ipv4 / "ip_local_port_range").write_text(EPHEMERAL_PORTS)
        here.ip("route", "add", "239.0.0.0/8", "dev", "lo")
        yield Network(here, containers)


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
    """Return the command that runs in the namespace with the caller's own mounts."""
    return ["nsenter", f"--net=/run/netns/{space.name}", *command]
