"""Network devices as the engine sees them: what they are, and when they change.

The details come from pyroute2. An event only wakes us up, and we find what changed by
comparing: a burst of events or a lost one does no harm.
"""

import contextlib
import socket
from ipaddress import IPv4Interface, IPv6Interface
from pathlib import Path
from typing import Any, NamedTuple, Self

from pyroute2 import IPRoute

# include/uapi/linux/rtnetlink.h: links, IPv4 and IPv6 addresses
RTMGRP = 0x1 | 0x10 | 0x100
SOL_NETLINK = 270
NETLINK_LISTEN_ALL_NSID = 8  # include/uapi/linux/netlink.h


class Device(NamedTuple):
    """A network device. ``speed_bps`` is 0 where the driver does not say."""

    ifindex: int
    name: str
    hardware_type: int  # ARPHRD_*
    mac: bytes  # empty where it has none
    ipv4: tuple[IPv4Interface, ...]
    ipv6: tuple[IPv6Interface, ...]
    speed_bps: int
    far_namespace: int  # id of the network namespace of a veth's other end; -1: ours
    is_hardware: bool  # a network card, or a machine's emulated one


def names() -> dict[int, str]:
    """Return the name of every device by its ifindex."""
    return dict(socket.if_nameindex())


def describe(ifindexes: set[int]) -> list[Device]:
    """Return the devices with these ifindexes; those that are gone are left out."""
    with IPRoute() as netlink:
        links = [link for link in netlink.get_links() if link["index"] in ifindexes]
        addresses = list(netlink.get_addr())
    return [_device(link, addresses) for link in links]


class Watch:
    """Becomes readable when a device or an address appears, vanishes or changes.

    Also in the network namespaces that veth pairs lead to.
    """

    def __init__(self) -> None:
        self._socket = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE
        )
        self._socket.setblocking(False)
        with contextlib.suppress(OSError):  # not where we are root of little
            self._socket.setsockopt(SOL_NETLINK, NETLINK_LISTEN_ALL_NSID, 1)
        self._socket.bind((0, RTMGRP))

    def fileno(self) -> int:
        """Return the descriptor to wait for."""
        return self._socket.fileno()

    def clear(self) -> None:
        """Forget the events so far; call it before looking at the devices."""
        while True:
            try:
                self._socket.recv(1 << 16)
            except BlockingIOError:
                return
            except OSError:
                continue  # ENOBUFS: events were lost, which does no harm

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()


def _device(link: Any, addresses: list[Any]) -> Device:
    own = [a for a in addresses if a["index"] == link["index"]]
    texts = [(a["family"], f"{_local(a)}/{a['prefixlen']}") for a in own]
    name = link.get("ifname")
    mac = bytes.fromhex((link.get("address") or "").replace(":", ""))
    return Device(
        ifindex=link["index"],
        name=name,
        hardware_type=link["ifi_type"],
        mac=mac if len(mac) == 6 and any(mac) else b"",
        ipv4=tuple(IPv4Interface(t) for f, t in texts if f == socket.AF_INET),
        ipv6=tuple(IPv6Interface(t) for f, t in texts if f == socket.AF_INET6),
        speed_bps=_speed_bps(name),
        far_namespace=_far_namespace(link),
        is_hardware=Path(f"/sys/class/net/{name}/device").exists(),
    )


def _far_namespace(link: Any) -> int:
    kind = link.get(("linkinfo", "kind"))
    number = link.get("link_netnsid")
    return number if kind == "veth" and number is not None else -1


def _local(address: Any) -> str:
    # On a point-to-point device IFA_ADDRESS is the far end.
    return str(address.get("local") or address.get("address"))


def _speed_bps(name: str) -> int:
    try:
        megabits = int(Path(f"/sys/class/net/{name}/speed").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0  # down, or a driver without the notion of a speed
    return max(megabits, 0) * 1_000_000
