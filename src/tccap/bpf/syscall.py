"""bpf(2), for what neither bcc nor pyroute2 can ask of it."""

import ctypes
import os

_NUMBER = {"x86_64": 321, "aarch64": 280}  # in the table of system calls
_libc = ctypes.CDLL(None, use_errno=True)


def bpf(
    command: int, attributes: "ctypes.Structure | ctypes.Array[ctypes.c_uint32]"
) -> int:
    """Make the system call; return what it returns, often a descriptor.

    ``command`` is of enum bpf_cmd, ``attributes`` the member of union bpf_attr that
    belongs to it (include/uapi/linux/bpf.h). OSError as bpf(2) reports it.
    """
    result: int = _libc.syscall(
        _NUMBER[os.uname().machine],
        command,
        ctypes.byref(attributes),
        ctypes.sizeof(attributes),
    )
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
