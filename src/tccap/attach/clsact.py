"""Attaching as tc filters on a clsact qdisc, for kernels without TCX.

Such filters outlive the process that added them, and other programs keep theirs in the
same place. So each of our filters is named after its engine, and only filters with
such names are ever deleted. The engine holds an abstract Unix socket of the same name
as a sign of life: like the filters it belongs to the network namespace, and the kernel
removes it with the process, however that ends.
"""

import contextlib
import errno
import os
import secrets
import socket
from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple, Self

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from tccap.host import unixsockets

# TC_H_CLSACT with TC_H_MIN_INGRESS, TC_H_MIN_EGRESS (include/uapi/linux/pkt_sched.h)
_INGRESS, _EGRESS = 0xFFFFFFF2, 0xFFFFFFF3
_PARENTS = {"in": _INGRESS, "out": _EGRESS}
_ETH_P_ALL = 3  # include/uapi/linux/if_ether.h
# Filters are named "tccap:<token of the engine>:<who made the qdisc>".
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
        """The engine that added it; empty if tccap did not."""
        parts = self.name.split(":")
        return parts[1] if len(parts) == 3 and parts[0] == _PREFIX else ""

    @property
    def made_qdisc(self) -> bool:
        """Whether a tccap made the qdisc that it is on."""
        return bool(self.token) and self.name.endswith(f":{_MADE}")


class ClsactAttacher:
    """The filters of one engine; see `attacher.Attacher`."""

    NAME: ClassVar = "clsact"

    def __init__(self, programs: Mapping[str, int]) -> None:
        self._programs = programs
        self._token = secrets.token_hex(8)
        self._life = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._life.bind(f"\0{_PREFIX}:{self._token}")
        self._netlink = IPRoute()
        sweep()

    def attach(self, ifindex: int, directions: tuple[str, ...]) -> None:
        """Add filters ahead of the others; OSError as tc reports it."""
        try:
            is_new = self._add_qdisc(ifindex)
            filters = [] if is_new else [*_filters(self._netlink, ifindex)]
            is_ours = is_new or any(f.made_qdisc for f in filters)
            for direction in directions:
                parent = _PARENTS[direction]
                if parent == _EGRESS and not is_new:
                    self._need_egress(ifindex)
                self._add(ifindex, direction, filters, _MADE if is_ours else _FOUND)
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

    def _add(
        self, ifindex: int, direction: str, filters: list[Filter], origin: str
    ) -> None:
        parent = _PARENTS[direction]
        self._netlink.tc(
            "add-filter",
            "bpf",
            ifindex,
            fd=self._programs[direction],
            name=f"{_PREFIX}:{self._token}:{origin}",
            parent=parent,
            direct_action=True,
            prio=_free_priority([f for f in filters if f.parent == parent]),
            protocol=_ETH_P_ALL,
        )

    def _add_qdisc(self, ifindex: int) -> bool:
        """Add a clsact qdisc; return False if there is one, or another in its place."""
        try:
            self._netlink.tc("add", "clsact", ifindex)
        except NetlinkError as error:
            if error.code != errno.EEXIST:
                raise
            return False
        return True

    def _need_egress(self, ifindex: int) -> None:
        """Raise OSError if the older ingress qdisc is there instead of clsact.

        It accepts filters for outgoing packets, too, but runs them on incoming ones.
        If there is neither, the device is gone, and the next request reports that. The
        kernel lists the qdiscs of all devices, so ask only where a qdisc was found.
        """
        qdiscs = self._netlink.get_qdiscs(index=ifindex)
        if any(qdisc.get("kind") == "ingress" for qdisc in qdiscs):
            raise OSError(
                errno.EBUSY,
                "outgoing packets need a clsact qdisc, but an ingress qdisc is in "
                "its place",
            )


def sweep() -> int:
    """Remove the filters that dead engines have left; return their number."""
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
    """Yield all filters on a device's clsact qdisc, ours and those of others."""
    for parent in _PARENTS.values():
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
    """Return the lowest priority that a bpf filter for all protocols may have.

    Filters of one priority have the same kind and protocol; the newest runs first.
    """
    foreign = {
        f.priority for f in filters if (f.kind, f.protocol) != ("bpf", _ETH_P_ALL)
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
    # For each priority the kernel also lists its head, a filter without a handle.
    others = [f for f in filters if f not in ours and f.handle]
    if any(f.made_qdisc for f in ours) and not others:
        with _gone_is_fine():
            netlink.tc("del", "clsact", ifindex)


@contextlib.contextmanager
def _gone_is_fine() -> Iterator[None]:
    """Ignore that a filter or qdisc is gone, removed by others or with its device."""
    try:
        yield
    except NetlinkError as error:
        if error.code not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
            raise
