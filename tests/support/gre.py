"""GRE devices without one remote address: they make the outer header themselves."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from support.netns import Namespace

DEVICE = "gre9"
NEAR, FAR = "10.8.0.1", "10.8.0.2"  # within the tunnel
OUTER_NEAR, OUTER_FAR = "10.9.0.1", "10.9.0.2"
_NEAR6, _FAR6, _GROUP = "fd09::1", "fd09::2", "239.1.1.1"
_FAR6_BYTES = ":".join(f"{b:02x}" for b in socket.inet_pton(socket.AF_INET6, _FAR6))


@dataclass(frozen=True)
class Gre:
    """Such a device, and the other end's."""

    kind: str
    near: tuple[str, ...]
    far: tuple[str, ...]
    near_outer: str  # where the far end sends to, as a link-layer address
    far_outer: str


KINDS = {
    "multipoint": Gre(
        "gre",
        ("local", OUTER_NEAR, "key", "7", "csum"),
        ("local", OUTER_FAR, "remote", OUTER_NEAR, "key", "7", "csum"),
        "",
        OUTER_FAR,
    ),
    "multicast": Gre(
        "gre",
        ("local", OUTER_NEAR, "remote", _GROUP, "ttl", "9"),
        ("local", OUTER_FAR, "remote", _GROUP, "ttl", "9"),
        _GROUP,
        _GROUP,
    ),
    "IPv6": Gre(
        "ip6gre",
        ("local", _NEAR6, "key", "7"),
        ("local", _FAR6, "remote", _NEAR6, "key", "7"),
        "",
        _FAR6_BYTES,
    ),
}


class End(NamedTuple):
    """A namespace, and the device there by which it reaches the other one."""

    space: Namespace
    device: str
    other_mac: str  # of that device's other end


@contextlib.contextmanager
def tunnel(near: End, far: End, shape: Gre) -> Iterator[bool]:
    """Have the device at both ends; yield whether the kernel has such devices."""
    link = ("link", "add", DEVICE, "type", shape.kind)
    try:
        near.space.ip(*link, *shape.near)
    except subprocess.CalledProcessError:
        yield False
        return
    far.space.ip(*link, *shape.far)
    try:
        _prepare(near, shape, (NEAR, FAR), (_NEAR6, _FAR6), shape.far_outer)
        _prepare(far, shape, (FAR, NEAR), (_FAR6, _NEAR6), shape.near_outer)
        yield True
    finally:
        for end in (near, far):
            end.space.ip("link", "del", DEVICE)


def _prepare(
    end: End, shape: Gre, inner: tuple[str, str], outer6: tuple[str, str], other: str
) -> None:
    ip, device = end.space.ip, end.device
    if shape.kind == "ip6gre":
        end.space.run("sysctl", "-qw", f"net.ipv6.conf.{device}.disable_ipv6=0")
        ip("addr", "replace", f"{outer6[0]}/64", "dev", device, "nodad")
        ip("neigh", "replace", outer6[1], "lladdr", end.other_mac, "dev", device)
    ip("route", "replace", "239.1.1.0/24", "dev", device)
    ip("addr", "add", f"{inner[0]}/24", "dev", DEVICE)
    ip("link", "set", DEVICE, "up")
    if other:
        ip("neigh", "replace", inner[1], "lladdr", other, "dev", DEVICE)
