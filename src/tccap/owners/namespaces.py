"""The network namespaces to which ours has given ids, because devices lead there."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NamedTuple

from tccap.host import netlink, proc

# Where `ip netns` and Docker keep namespaces that may have no processes.
_NAMED = ("/run/netns", "/run/docker/netns")
# include/uapi/linux/rtnetlink.h and net_namespace.h
_RTM_GETNSID = 90
_NETNSA_NSID, _NETNSA_FD = 1, 3
_RTGENMSG_LEN = 4  # struct rtgenmsg, padded


class FarNamespace(NamedTuple):
    """A network namespace that is not ours."""

    inode: int
    path: str  # a file that stands for it


def own_inode() -> int:
    """Return the inode number of our network namespace."""
    return os.stat("/proc/self/ns/net").st_ino  # noqa: PTH116  # a link


def far(here: netlink.Connection) -> dict[int, FarNamespace]:
    """Return the others by the ids that our namespace has for them."""
    found = {}
    seen = {own_inode()}
    for path in _files():
        with contextlib.suppress(OSError):
            inode = os.stat(path).st_ino  # noqa: PTH116  # a link
            if inode in seen:
                continue
            seen.add(inode)
            with open(path, "rb") as namespace:  # noqa: PTH123  # a link
                namespace_id = id_of(here, namespace.fileno())
                if namespace_id >= 0:
                    found[namespace_id] = FarNamespace(inode, path)
    return found


def _files() -> Iterator[str]:
    """Yield the files of all namespaces, with and without processes."""
    for pid in proc.pids():
        yield f"/proc/{pid}/ns/net"
    for folder in _NAMED:
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):  # noqa: PTH208  # as above
                yield f"{folder}/{name}"


def id_of(here: netlink.Connection, namespace_fd: int) -> int:
    """Return the id that a socket's namespace has for another one; -1: none."""
    body = bytes(_RTGENMSG_LEN) + netlink.attribute(_NETNSA_FD, namespace_fd)
    for answer in netlink.ask(here, _RTM_GETNSID, body):
        found = netlink.attributes(answer[_RTGENMSG_LEN:])
        number = found.get(_NETNSA_NSID, b"\xff" * 4)
        return int.from_bytes(number[:4], sys.byteorder, signed=True)
    return -1
