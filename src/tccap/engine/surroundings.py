"""What is around each network device, which decides whose its packets can be.

Containers come and go, and get their devices while a capture runs: this is read again
whenever devices or addresses change.
"""

import socket
import struct
import sys
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from tccap.host import netlink
from tccap.ipc.status import log
from tccap.owners import namespaces, translation
from tccap.owners.namespaces import FarNamespace
from tccap.owners.translation import Translation
from tccap.stream import abi

# include/uapi/linux/rtnetlink.h and if_link.h
_RTM_GETLINK = 18
_IFINFOMSG = struct.Struct("=BxHiII")  # struct ifinfomsg: family, type, ifindex, ...
_IFLA_LINK, _IFLA_MASTER, _IFLA_LINKINFO, _IFLA_LINK_NETNSID = 5, 10, 18, 37
_IFLA_INFO_KIND = 1
_TRANSLATED = (
    "Addresses are translated (NAT) in this network namespace: on other devices than "
    "lo, datagrams for sockets that are not connected, and the first packets of "
    "connections to published ports, have no receiver."
)


class Surroundings(NamedTuple):
    """What is around a device."""

    far_namespace: int = -1  # id of the namespace of a veth's other end; -1: none
    far_netns: int = 0  # its inode number
    translation: int = 0  # in this namespace
    far_translation: int = 0
    is_lower: bool = False  # others receive what arrives here
    from_here: bool = False  # what arrives may come from this host


class Link(NamedTuple):
    """A device as the kernel describes it, and the numbers of those it belongs to."""

    ifindex: int
    kind: str
    lower: int  # 0: none in this namespace
    master: int
    far_namespace: int


class Survey:
    """Reads the surroundings of devices, again and again.

    Entering a container's namespace takes CAP_SYS_ADMIN, which the engine gives up when
    packets flow: of namespaces that come later it is not known what they translate.
    """

    def __init__(self) -> None:
        self._links: list[Link] = []
        self._far: dict[int, FarNamespace] = {}
        self._here = translation.NONE
        self._there: dict[int, Translation] = {}  # by inode number

    def read(self) -> dict[int, Surroundings]:
        """Return the surroundings of every device by its ifindex.

        Empty where the kernel does not say.
        """
        try:
            with netlink.connect() as here:
                self._links = list(_links(here))
                leads_far = any(link.far_namespace >= 0 for link in self._links)
                self._far = namespaces.far(here) if leads_far else {}
        except OSError as error:
            log(
                "info",
                f"Bridges and containers of the devices cannot be read: {error}.",
            )
            return {}
        self._read_here()
        found = {f.inode: translation.there(f.path) for f in self._far.values()}
        self._there = {
            inode: new or self._there.get(inode, translation.UNKNOWN)
            for inode, new in found.items()
        }
        return dict(self._surroundings())

    def rules_changed(self, sources: set[int] | None) -> dict[int, Surroundings]:
        """Return the surroundings after a change of rules in namespaces, by their ids.

        None stands for all of them. It is faster than `read`: packets wait for nobody.
        """
        self._read_here()
        for number, other in self._far.items():
            if sources is None or number in sources:
                found = translation.there(other.path)
                self._there[other.inode] = found or translation.UNKNOWN
        return dict(self._surroundings())

    def _read_here(self) -> None:
        before, self._here = self._here, translation.here()
        if self._here != before and any(self._here):
            log("info", _TRANSLATED)

    def _surroundings(self) -> Iterator[tuple[int, Surroundings]]:
        ports = defaultdict(set)
        for link in self._links:
            ports[link.master].add(link.kind)
        lower = {link.lower for link in self._links}
        veths = {link.ifindex for link in self._links if link.kind == "veth"}
        for link in self._links:
            far = self._far.get(link.far_namespace)
            there = self._there[far.inode] if far else translation.UNKNOWN
            yield (
                link.ifindex,
                Surroundings(
                    far_namespace=link.far_namespace,
                    far_netns=far.inode if far else 0,
                    translation=_flags(self._here),
                    far_translation=_flags(there),
                    is_lower=link.master > 0 or link.ifindex in lower,
                    from_here="veth" in {link.kind, *ports[link.ifindex]}
                    or link.lower in veths,
                ),
            )


def _flags(found: Translation) -> int:
    destinations = abi.TRANSLATED_DESTINATIONS if found.of_destinations else 0
    return destinations | (abi.TRANSLATED_SOURCES if found.of_sources else 0)


def _links(here: socket.socket) -> Iterator[Link]:
    request = _IFINFOMSG.pack(0, 0, 0, 0, 0)
    for answer in netlink.ask(here, _RTM_GETLINK, request, dump=True):
        ifindex = _IFINFOMSG.unpack_from(answer)[2]
        found = netlink.attributes(answer[_IFINFOMSG.size :])
        info = netlink.attributes(found.get(_IFLA_LINKINFO, b""))
        kind = info.get(_IFLA_INFO_KIND, b"").rstrip(b"\0").decode("ascii", "replace")
        namespace = _number(found.get(_IFLA_LINK_NETNSID), -1)
        is_upper = namespace < 0 and kind != "veth"  # which has its other end there
        yield Link(
            ifindex=ifindex,
            kind=kind,
            lower=_number(found.get(_IFLA_LINK), 0) if is_upper else 0,
            master=_number(found.get(_IFLA_MASTER), 0),
            far_namespace=namespace if kind == "veth" else -1,
        )


def _number(data: bytes | None, default: int) -> int:
    return int.from_bytes(data[:4], sys.byteorder, signed=True) if data else default
