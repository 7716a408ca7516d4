"""Attaching through TCX (Linux 6.6): a link that the kernel removes with the process.

Neither bcc nor pyroute2 can create these links, so bpf(2) is called directly.
"""

import errno
import os
from collections.abc import Mapping
from typing import Self

from tccap.bpf.syscall import bpf
from tccap.bpf.uapi import F_BEFORE, AttachType, Command, LinkCreateTcx

_ATTACH_TYPES = {"in": AttachType.TCX_INGRESS, "out": AttachType.TCX_EGRESS}
_NO_DEVICE = 0x7FFFFFFF


class TcxAttacher:
    """The TCX links of one engine; see `attacher.Attacher`."""

    def __init__(self, programs: Mapping[str, int]) -> None:
        self._programs = programs
        self._links: dict[int, list[int]] = {}  # descriptors, by ifindex

    def attach(self, ifindex: int, directions: tuple[str, ...]) -> None:
        """Attach to a device; OSError as bpf(2) reports it."""
        links = self._links.setdefault(ifindex, [])
        for direction in directions:
            links.append(_link(self._programs[direction], ifindex, direction))

    def detach(self, ifindex: int) -> None:
        """Detach from a device, which may be gone already."""
        for link in self._links.pop(ifindex, []):
            os.close(link)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for ifindex in list(self._links):
            self.detach(ifindex)


def is_supported(program_fd: int) -> bool:
    """Return whether the kernel has TCX: only then does it look up the device."""
    try:
        os.close(_link(program_fd, _NO_DEVICE, "in"))
    except OSError as error:
        return error.errno == errno.ENODEV
    return True


def _link(program_fd: int, ifindex: int, direction: str) -> int:
    """Attach a program and return the link; closing it, or dying, detaches.

    It runs ahead of all other programs, which may drop or redirect packets.
    """
    attributes = LinkCreateTcx(
        prog_fd=program_fd,
        target_ifindex=ifindex,
        attach_type=_ATTACH_TYPES[direction],
        flags=F_BEFORE,
    )
    return bpf(Command.LINK_CREATE, attributes)
