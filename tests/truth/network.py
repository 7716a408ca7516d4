"""The network of the cases: the namespace that is captured, and containers.

- two containers behind a veth each: both have the same address, so that the same tuple
  can be in use in both, and an address that the captured namespace reaches;
- two containers behind a bridge, which forwards for them as Docker's does; in the
  first of them there is one more, of which the captured namespace knows nothing;
- another namespace, outside, to which the containers' packets are forwarded;
- a tap device, whose other end is no process: frames come in that a case makes.

Addresses are translated only while a case asks for it (translation.py).
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

from support import netns
from support.netns import Namespace
from truth.packets import ELSEWHERE

SAME_ADDRESS, NOBODY = "10.77.0.2", "10.77.0.1"
NOBODYS_MAC = "02:00:00:00:77:01"
# Few, so that ports come round again and again within a run.
EPHEMERAL_PORTS = "32768 32927"
# No device has the addresses of these networks; one of them is the first container's.
LOCAL_NETWORKS = "10.84.0.0/24", "10.85.0.0/16", "10.89.0.0/24", "fd84::/48"
LOCAL, LARGE, THROUGH_BOX, LOCAL6 = "10.84.0.7", "10.85.0.7", "10.89.0.7", "fd84::7"
BRIDGE, BRIDGED = "br0", "10.79.0.0/24"
OUTSIDE = "out0"
UPLINK, UPLINK_ADDRESS = "tap0", "10.82.0.1"
UPLINK_MAC, ELSEWHERES_MAC = "02:00:00:00:82:01", "02:00:00:00:82:02"


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
    bridged: tuple[Container, ...]
    inner: Container  # in the first of those that are bridged
    outside: Container

    def to_json(self) -> str:
        """Return the network as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Read what `to_json` wrote."""
        fields = json.loads(text)
        return cls(
            here=Namespace(**fields["here"]),
            containers=tuple(map(_from_fields, fields["containers"])),
            bridged=tuple(map(_from_fields, fields["bridged"])),
            inner=_from_fields(fields["inner"]),
            outside=_from_fields(fields["outside"]),
        )


def _from_fields(fields: dict[str, Any]) -> Container:
    return Container(**fields | {"space": Namespace(**fields["space"])})


@contextlib.contextmanager
def network() -> Iterator[Network]:
    """Yield a new network; delete its namespaces at the end."""
    with contextlib.ExitStack() as stack:
        here, *others = (stack.enter_context(netns.namespace()) for _ in range(7))
        one, two, three, four, five, outside = others
        with here.entered():
            ipv4 = Path("/proc/sys/net/ipv4")
            (ipv4 / "ping_group_range").write_text("0 2147483647")
            (ipv4 / "ip_forward").write_text("1")
        here.connect_from(EPHEMERAL_PORTS)
        here.ip("route", "add", "239.0.0.0/8", "dev", "lo")
        for local in LOCAL_NETWORKS:
            here.ip("route", "add", "local", local, "dev", "lo")
        _bridge(here)
        _uplink(here)
        containers = _container(here, one, 1), _container(here, two, 2)
        # In the table that comes first, if a VRF has made rules for routing.
        way = ("via", containers[0].far_address, "table", "local")
        here.ip("route", "add", THROUGH_BOX, *way)
        yield Network(
            here=here,
            containers=containers,
            bridged=(_bridged(here, three, 3), _bridged(here, four, 4)),
            inner=_inner(three, five),
            outside=_outside(here, outside),
        )


def _bridge(here: Namespace) -> None:
    here.ip("link", "add", BRIDGE, "type", "bridge")
    here.ip("addr", "add", "10.79.0.1/24", "dev", BRIDGE)
    here.ip("link", "set", BRIDGE, "up")


def _uplink(here: Namespace) -> None:
    here.ip("tuntap", "add", UPLINK, "mode", "tap")
    here.ip("link", "set", UPLINK, "address", UPLINK_MAC)
    here.ip("addr", "add", f"{UPLINK_ADDRESS}/24", "dev", UPLINK)
    here.ip("link", "set", UPLINK, "up")
    here.ip("neigh", "add", ELSEWHERE, "lladdr", ELSEWHERES_MAC, "dev", UPLINK)


def _bridged(here: Namespace, there: Namespace, number: int) -> Container:
    address = f"10.79.0.{number}"
    device = f"port{number}"
    veth(here, device, there)
    here.ip("link", "set", device, "master", BRIDGE, "up")
    there.ip("addr", "add", f"{address}/24", "dev", "eth0")
    there.ip("link", "set", "eth0", "up")
    there.ip("route", "add", "default", "via", "10.79.0.1")
    return Container(there, device, "10.79.0.1", address)


def _inner(between: Namespace, there: Namespace) -> Container:
    near, far = "10.81.0.1", "10.81.0.2"
    veth(between, "inner0", there)
    between.ip("addr", "add", f"{near}/24", "dev", "inner0")
    between.ip("link", "set", "inner0", "up")
    between.run("sysctl", "-qw", "net.ipv4.ip_forward=1")
    there.ip("addr", "add", f"{far}/24", "dev", "eth0")
    there.ip("link", "set", "eth0", "up")
    there.ip("route", "add", "default", "via", near)
    return Container(there, "inner0", near, far)


def _outside(here: Namespace, there: Namespace) -> Container:
    near, far = "10.80.0.1", "10.80.0.2"
    veth(here, OUTSIDE, there)
    here.ip("addr", "add", f"{near}/24", "dev", OUTSIDE)
    here.ip("link", "set", OUTSIDE, "up")
    there.ip("addr", "add", f"{far}/24", "dev", "eth0")
    there.ip("link", "set", "eth0", "up")
    return Container(there, OUTSIDE, near, far)


def veth(here: Namespace, device: str, there: Namespace) -> None:
    """Add a veth pair: ``device`` here, eth0 there."""
    here.ip(
        *("link", "add", device, "type", "veth"),
        *("peer", "name", "eth0", "netns", there.name),
    )


def _container(here: Namespace, there: Namespace, number: int) -> Container:
    near, far = f"10.78.{number}.1", f"10.78.{number}.2"
    device = f"box{number}"
    veth(here, device, there)
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
