"""Attaching as tc filters on a clsact qdisc, for kernels without TCX.

Such filters outlive the process that added them, and other programs keep theirs in the
same place. So each of our filters is named after its engine, and only filters with
such names are ever deleted. The engine holds an abstract Unix socket of the same name
as a sign of life: like the filters it belongs to the network namespace, and the kernel
removes it with the process, however that ends.
"""

import contextlib
import errno
import secrets
import socket
from collections.abc import Iterator, Mapping
from typing import ClassVar, Self

from tccap.attach import tc
from tccap.attach.tc import Filter
from tccap.host import netlink, unixsockets

_PARENTS = {"in": tc.INGRESS, "out": tc.EGRESS}
# Filters are named "tccap:<token of the engine>:<who made the qdisc>".
_PREFIX = "tccap"
_FOUND, _MADE = "found", "made"


class ClsactAttacher:
    """The filters of one engine; see `attacher.Attacher`."""

    NAME: ClassVar = "clsact"

    def __init__(self, programs: Mapping[str, int]) -> None:
        self._programs = programs
        self._token = secrets.token_hex(8)
        self._life = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._life.bind(f"\0{_PREFIX}:{self._token}")
        self._netlink = netlink.connect()

    def attach(self, ifindex: int, directions: tuple[str, ...]) -> None:
        """Add filters ahead of the others; OSError as tc reports it."""
        is_new = self._add_qdisc(ifindex)
        filters = [] if is_new else [*_filters(self._netlink, ifindex)]
        is_ours = is_new or any(map(_made_qdisc, filters))
        for direction in directions:
            if _PARENTS[direction] == tc.EGRESS and not is_new:
                self._need_egress(ifindex)
            self._add(ifindex, direction, filters, _MADE if is_ours else _FOUND)

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
        new = Filter(
            ifindex=ifindex,
            parent=parent,
            priority=_free_priority([f for f in filters if f.parent == parent]),
            protocol=tc.ETH_P_ALL,
            handle=0,
            kind="bpf",
            name=f"{_PREFIX}:{self._token}:{origin}",
        )
        tc.add_bpf(self._netlink, new, self._programs[direction])

    def _add_qdisc(self, ifindex: int) -> bool:
        """Add a clsact qdisc; return False if there is one, or another in its place."""
        try:
            tc.add_clsact(self._netlink, ifindex)
        except FileExistsError:
            return False
        return True

    def _need_egress(self, ifindex: int) -> None:
        """Raise OSError if the older ingress qdisc is there instead of clsact.

        It accepts filters for outgoing packets, too, but runs them on incoming ones.
        If there is neither, the device is gone, and the next request reports that. To
        list qdiscs is slow with many devices, so ask only where a qdisc was found.
        """
        if "ingress" in tc.qdisc_kinds(self._netlink, ifindex):
            raise OSError(
                errno.EBUSY,
                "outgoing packets need a clsact qdisc, but an ingress qdisc is in "
                "its place",
            )


def sweep() -> int:
    """Remove the filters that dead engines have left; return their number."""
    with netlink.connect() as connection:
        found = [
            tccap_filter
            for ifindex, _name in socket.if_nameindex()
            for tccap_filter in _filters(connection, ifindex)
            if _token(tccap_filter)
        ]
        dead = {*map(_token, found)} - _living_tokens()
        left = [f for f in found if _token(f) in dead]
        for ifindex in {f.ifindex for f in left}:
            _remove(connection, ifindex, dead)
    return len(left)


def _token(one: Filter) -> str:
    """Return the engine that added a filter; empty if tccap did not."""
    parts = one.name.split(":")
    return parts[1] if len(parts) == 3 and parts[0] == _PREFIX else ""


def _made_qdisc(one: Filter) -> bool:
    """Return whether a tccap added the filter, to a qdisc that a tccap made."""
    return bool(_token(one)) and one.name.endswith(f":{_MADE}")


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


def _filters(connection: socket.socket, ifindex: int) -> Iterator[Filter]:
    """Yield all filters on a device's clsact qdisc, ours and those of others."""
    for parent in _PARENTS.values():
        with contextlib.suppress(OSError):  # no clsact qdisc, or no device
            yield from [*tc.filters(connection, ifindex, parent)]


def _free_priority(filters: list[Filter]) -> int:
    """Return the lowest priority that a bpf filter for all protocols may have.

    Filters of one priority have the same kind and protocol; the newest runs first.
    """
    foreign = {
        f.priority for f in filters if (f.kind, f.protocol) != ("bpf", tc.ETH_P_ALL)
    }
    return next(p for p in range(1, 0x10000) if p not in foreign)


def _remove(connection: socket.socket, ifindex: int, tokens: set[str]) -> None:
    filters = [*_filters(connection, ifindex)]
    ours = [f for f in filters if _token(f) in tokens]
    for old in ours:
        with _gone_is_fine():
            tc.delete(connection, old)
    # For each priority the kernel also lists its head, a filter without a handle.
    others = [f for f in filters if f not in ours and f.handle]
    if any(map(_made_qdisc, ours)) and not others:
        with _gone_is_fine():
            tc.delete_clsact(connection, ifindex)


@contextlib.contextmanager
def _gone_is_fine() -> Iterator[None]:
    """Ignore that a filter or qdisc is gone, removed by others or with its device."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOENT, errno.ENODEV, errno.EINVAL):
            raise
