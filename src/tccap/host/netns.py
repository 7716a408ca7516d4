"""Entering another network namespace, for sockets that have to be made there."""

import contextlib
import fcntl
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from tccap.host import libc

_CLONE_NEWNET = 0x40000000
_SO_NETNS_COOKIE = 71  # include/uapi/asm-generic/socket.h
# include/uapi/linux/nsfs.h
_NS_GET_USERNS, _NS_GET_OWNER_UID = 0xB701, 0xB704


@contextlib.contextmanager
def entered(path: str) -> Iterator[None]:
    """Have this thread in the namespace that a file stands for, during the block.

    OSError if it cannot be entered: that takes CAP_SYS_ADMIN.
    """
    with Path(path).open("rb") as wanted, entered_fd(wanted.fileno()):
        yield


@contextlib.contextmanager
def entered_fd(namespace_fd: int) -> Iterator[None]:
    """Have this thread in the namespace of a descriptor, as above."""
    with Path("/proc/thread-self/ns/net").open("rb") as before:
        libc.call("setns", namespace_fd, _CLONE_NEWNET)
        try:
            yield
        finally:
            libc.call("setns", before.fileno(), _CLONE_NEWNET)


def cookie() -> int:
    """Return the number of this thread's namespace, which no other ever has.

    Inode numbers are used again. OSError before Linux 5.14.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as any_socket:
        option = (socket.SOL_SOCKET, _SO_NETNS_COOKIE)
        return int.from_bytes(any_socket.getsockopt(*option, 8), sys.byteorder)


def owner(namespace_fd: int) -> int:
    """Return the user who made the user namespace that a namespace belongs to.

    That user may do in it what root may (user_namespaces(7)). OSError if that user
    namespace is not below ours.
    """
    user_namespace_fd = fcntl.ioctl(namespace_fd, _NS_GET_USERNS)
    try:
        uid = fcntl.ioctl(user_namespace_fd, _NS_GET_OWNER_UID, bytes(4))
    finally:
        os.close(user_namespace_fd)
    return int.from_bytes(uid, sys.byteorder)
