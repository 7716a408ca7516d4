"""Attaching through TCX (Linux 6.6): a link that the kernel removes with us.

Neither bcc nor pyroute2 can create these links, so bpf(2) is called directly
(include/uapi/linux/bpf.h: BPF_LINK_CREATE).
"""

import ctypes
import errno
import os

from tccap.bpf.syscall import bpf

BPF_LINK_CREATE = 28
BPF_TCX_INGRESS = 46
BPF_TCX_EGRESS = 47
BPF_F_BEFORE = 1 << 3  # ahead of all others: they may drop or redirect
_NO_DEVICE = 0x7FFFFFFF


class _LinkCreate(ctypes.Structure):
    _fields_ = (
        ("prog_fd", ctypes.c_uint32),
        ("target_ifindex", ctypes.c_uint32),
        ("attach_type", ctypes.c_uint32),
        ("flags", ctypes.c_uint32),
        ("relative_fd", ctypes.c_uint32),
        ("expected_revision", ctypes.c_uint64),
    )


def is_supported(program_fd: int) -> bool:
    """Tell whether the kernel knows TCX: it then looks for the device first."""
    try:
        os.close(attach(program_fd, _NO_DEVICE, BPF_TCX_INGRESS))
    except OSError as error:
        return error.errno == errno.ENODEV
    return True


def attach(program_fd: int, ifindex: int, attach_type: int) -> int:
    """Attach a program to a device; return the link's descriptor.

    Closing the descriptor, or dying, detaches. OSError as bpf(2) reports it.
    """
    request = _LinkCreate(
        prog_fd=program_fd,
        target_ifindex=ifindex,
        attach_type=attach_type,
        flags=BPF_F_BEFORE,
    )
    return bpf(BPF_LINK_CREATE, request)
