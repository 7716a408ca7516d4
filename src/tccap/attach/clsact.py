"""Attaching as tc filters on a clsact qdisc, for kernels without TCX.

Such filters outlive the process that added them, and other people keep theirs
in the same place. So each filter of ours carries a name that tells whose it is
and whether that engine still lives, and only filters with such names are ever
deleted. The sign of life is an abstract Unix socket: like the filters it
belongs to the network namespace, and the kernel removes it with the process,
however that ends.
"""

import contextlib
import errno
import os
import secrets
import socket
from collections.abc import Iterator
from typing import NamedTuple, Self

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from tccap.host import unixsockets

CLSACT = 0xFFFFFFF1  # TC_H_CLSACT, include/uapi/linux/pkt_sched.h
INGRESS = 0xFFFFFFF2
EGRESS = 0xFFFFFFF3
ETH_P_ALL = 3
# "tccap", the engine's token, and whether the qdisc was made by a tccap.
_PREFIX = "tccap"
_FOUND, _MADE = "found", "made"


class Filter(NamedTuple):
    """A tc filter on a clsact qdisc."""

    ifindex: int
    parent: int
    priority: int
    protocol: int
    handle: int
    kind: str
    name: str

    @property
    def token(self) -> str:
        """The engine that added it; empty where that was no tccap."""
        parts = self.name.split(":")
        return parts[1] if len(parts) == 3 and parts[0] == _PREFIX else ""

    @property
    def made_qdisc(self) -> bool:
        """Whether the qdisc under it was made by a tccap."""
        return bool(self.token) and self.name.endswith(f":{_MADE}")


class Clsact:
    """The filters of one engine."""

    def __init__(self) -> None:
        self._token = secrets.token_hex(8)
        self._life = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._life.bind(f"\0{_PREFIX}:{self._token}")
        self._netlink = IPRoute()

    def attach(self, program_fd: int, ifindex: int, parent: int) -> None:
        """Add a filter ahead of the others; OSError as tc reports it."""
        try:
            origin = self._qdisc(ifindex)
            if parent == EGRESS and self._has_ingress_only(ifindex):
                raise OSError(
                    errno.EBUSY,
                    "outgoing packets need a clsact qdisc, and an ingress qdisc "
                    "is in its place",
                )
            filters = _filters(self._netlink, ifindex)
            self._netlink.tc(
                "add-filter",
                "bpf",
                ifindex,
                fd=program_fd,
                name=f"{_PREFIX}:{self._token}:{origin}",
                parent=parent,
                direct_action=True,
                prio=_free_priority([f for f in filters if f.parent == parent]),
                protocol=ETH_P_ALL,
            )
        except NetlinkError as error:
            raise OSError(error.code, os.strerror(error.code)) from None

    def detach(self, ifindex: int) -> None:
        """Remove our filters from a device; it may be gone already."""
        _remove(self._netlink, ifindex, {self._token})

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for ifindex, _name in socket.if_nameindex():
            self.detach(ifindex)
        self._netlink.close()
        self._life.close()

    def _qdisc(self, ifindex: int) -> str:
        """Make sure that there is a clsact qdisc; tell whose it is."""
        try:
            self._netlink.tc("add", "clsact", ifindex)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
            filters = _filters(self._netlink, ifindex)
            return _MADE if any(f.made_qdisc for f in filters) else _FOUND
        return _MADE

    def _has_ingress_only(self, ifindex: int) -> bool:
        """Tell the older ingress qdisc from clsact; it takes either filter.

        It would see incoming packets only, and call them outgoing. Where there
        is neither, the device is gone, and the next request says so.
        """
        qdiscs = self._netlink.get_qdiscs(index=ifindex)
        return any(qdisc.get("kind") == "ingress" for qdisc in qdiscs)


def sweep() -> int:
    """Remove what engines that are dead have left; return how many filters."""
    with IPRoute() as netlink:
        found = [
            tccap_filter
            for ifindex, _name in socket.if_nameindex()
            for tccap_filter in _filters(netlink, ifindex)
            if tccap_filter.token
        ]
        dead = {f.token for f in found} - _living_tokens()
        left = [f for f in found if f.token in dead]
        for ifindex in {f.ifindex for f in left}:
            _remove(netlink, ifindex, dead)
    return len(left)


def _living_tokens() -> set[str]:
    """Return the tokens whose socket root holds in this network namespace.

    Anybody can read the token of a dead engine and bind a socket of that name.
    """
    start = f"\0{_PREFIX}:".encode()
    return {
        name.removeprefix(start).decode(errors="replace")
        for name, uid in unixsockets.named()
        if name.startswith(start) and uid in (None, 0)
    }


def _filters(netlink: IPRoute, ifindex: int) -> Iterator[Filter]:
    for parent in (INGRESS, EGRESS):
        try:
            messages = list(netlink.get_filters(index=ifindex, parent=parent))
        except NetlinkError:
            continue  # no clsact qdisc, or no device
        for message in messages:
            options = message.get("options")
            name = options.get("TCA_BPF_NAME") if options else None
            yield Filter(
                ifindex=ifindex,
                parent=parent,
                priority=message["info"] >> 16,
                protocol=socket.ntohs(message["info"] & 0xFFFF),
                handle=message["handle"],
                kind=message.get("kind") or "",
                name=name or "",
            )


def _free_priority(filters: list[Filter]) -> int:
    """Return the first priority where a bpf filter for all protocols may stand.

    Filters of one priority share kind and protocol; among them the newest
    comes first.
    """
    foreign = {
        f.priority for f in filters if (f.kind, f.protocol) != ("bpf", ETH_P_ALL)
    }
    return next(p for p in range(1, 0x10000) if p not in foreign)


def _remove(netlink: IPRoute, ifindex: int, tokens: set[str]) -> None:
    filters = list(_filters(netlink, ifindex))
    ours = [f for f in filters if f.token in tokens]
    for old in ours:
        with _gone_is_fine():
            netlink.tc(
                "del-filter",
                "bpf",
                ifindex,
                handle=old.handle,
                parent=old.parent,
                prio=old.priority,
                protocol=old.protocol,
            )
    # Each priority also lists its head, a filter without a handle.
    others = [f for f in filters if f not in ours and f.handle]
    if any(f.made_qdisc for f in ours) and not others:
        with _gone_is_fine():
            netlink.tc("del", "clsact", ifindex)


@contextlib.contextmanager
def _gone_is_fine() -> Iterator[None]:
    """Pass over what somebody else, or the device's end, removed before us."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
            raise
