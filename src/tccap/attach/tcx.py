"""Attaching through TCX (Linux 6.6): a link that the kernel removes with the process.

bcc cannot create these links, so bpf(2) is called directly.
"""

import errno
import os
import resource
from collections.abc import Mapping, Sequence
from typing import ClassVar, Self

from tccap.bpf.syscall import bpf
from tccap.bpf.uapi import F_BEFORE, AttachType, Command, LinkCreateTcx
from tccap.host import descriptors

_ATTACH_TYPES = {"in": AttachType.TCX_INGRESS, "out": AttachType.TCX_EGRESS}
_NO_DEVICE = 0x7FFFFFFF
# Descriptors that links leave to the rest of the engine, such as probes; of a lower
# limit, a quarter.
_SPARE_FILES = 256
# Closing a link waits for a grace period of RCU in the kernel, some 10 ms.
_CLOSED_AT_ONCE = 64


class TcxAttacher:
    """The TCX links of one engine; see `attacher.Attacher`."""

    NAME: ClassVar = "TCX"

    def __init__(self, programs: Mapping[str, int]) -> None:
        self._programs = programs
        self._links: dict[int, list[int]] = {}  # descriptors, by ifindex

    def attach(self, ifindex: int, directions: tuple[str, ...]) -> None:
        """Attach to a device; OSError as bpf(2) reports it.

        EMFILE comes before the last descriptors are used, and with nothing attached.
        """
        need_files(len(directions))
        links = self._links.setdefault(ifindex, [])
        for direction in directions:
            links.append(link(self._programs[direction], ifindex, direction))

    def detach(self, ifindex: int) -> None:
        """Detach from a device, which may be gone already."""
        for link_fd in self._links.pop(ifindex, []):
            os.close(link_fd)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Detach from all devices; with many, a child does, and outlives the engine."""
        links = [link_fd for links in self._links.values() for link_fd in links]
        self._links.clear()
        close(links)


def is_supported(program_fd: int) -> bool:
    """Return whether the kernel has TCX: only then does it look up the device."""
    try:
        os.close(link(program_fd, _NO_DEVICE, "in"))
    except OSError as error:
        return error.errno == errno.ENODEV
    return True


def need_files(count: int) -> None:
    """Raise OSError (EMFILE) unless so many descriptors can be spared for links."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    free_fd = os.dup(0)  # the lowest number that is free
    os.close(free_fd)
    if free_fd + count > limit - min(_SPARE_FILES, limit // 4):
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))


def link(program_fd: int, ifindex: int, direction: str) -> int:
    """Attach a program and return the link; closing it, or dying, detaches.

    The device is one of the network namespace that this thread is in.
    It runs ahead of all other programs, which may drop or redirect packets.
    """
    attributes = LinkCreateTcx(
        prog_fd=program_fd,
        target_ifindex=ifindex,
        attach_type=_ATTACH_TYPES[direction],
        flags=F_BEFORE,
    )
    return bpf(Command.LINK_CREATE, attributes)


def close(links: Sequence[int]) -> None:
    """Close links; with many, a child does, and outlives the engine."""
    if len(links) > _CLOSED_AT_ONCE:
        descriptors.leave_to_child(links)
        return
    for link_fd in links:
        os.close(link_fd)
