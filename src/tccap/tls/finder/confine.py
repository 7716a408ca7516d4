"""Giving up for good every right that reading a mapped file does not need."""

import ctypes
import os
import resource
from typing import Final

from tccap.host import capabilities, descriptors, sandbox

_CLONE_NEWIPC, _CLONE_NEWNET = 0x08000000, 0x40000000  # sched.h
_KILL, _SETGID, _SETUID = 5, 6, 7  # include/uapi/linux/capability.h
CPU_SECONDS = 60  # ordinary files take less than 3; emulated machines are slow
_MEMORY_LEN = 1 << 30  # address space in addition to the file
_STANDARD: Final = range(3)


def isolate() -> None:
    """Leave the network, and keep the capabilities that `confine` and killing take.

    What is forked later has the same namespaces.
    """
    if os.geteuid() != 0:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWIPC | _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    capabilities.keep_only((_KILL, _SETGID, _SETUID))


def close_others() -> None:
    """Close everything but the standard files."""
    descriptors.close_all_but(_STANDARD)


def confine(file_len: int) -> None:
    """Keep what is mapped, and 1 GiB: no privileges, files or children.

    Each run has user and group ids of its own, so it can reach no other process.
    """
    limits = {
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: CPU_SECONDS,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NPROC: 0,  # no threads, either
        resource.RLIMIT_NOFILE: 0,
        resource.RLIMIT_AS: file_len + _MEMORY_LEN,
    }
    sandbox.enter(None, limits, sandbox.COMPUTING)
