"""bpf(2), which no library offers for all that we need."""

import ctypes
import os

from tccap.bpf.uapi import Command
from tccap.host import libc

_NUMBERS = {"x86_64": 321, "aarch64": 280}  # __NR_bpf


def bpf(command: Command, attributes: ctypes.Structure) -> int:
    """Make the system call and return its result, often a file descriptor.

    ``attributes`` is the structure of `uapi` that belongs to the command; the kernel
    writes some answers into it. OSError as bpf(2) reports it.
    """
    number, size = _NUMBERS[os.uname().machine], ctypes.sizeof(attributes)
    return libc.call("syscall", number, int(command), ctypes.byref(attributes), size)
