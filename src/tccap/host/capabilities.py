"""The capabilities of this thread (capabilities(7))."""

import contextlib
import ctypes
from collections.abc import Container

from tccap.host import libc

_VERSION_3 = 0x20080522  # _LINUX_CAPABILITY_VERSION_3
# include/uapi/linux/prctl.h
_PR_CAPBSET_READ, _PR_CAPBSET_DROP = 23, 24
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_COUNT = 64


class _Header(ctypes.Structure):
    """struct __user_cap_header_struct."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    """struct __user_cap_data_struct: 32 capabilities."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def effective() -> set[int]:
    """Return the numbers of the capabilities that are in effect."""
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    libc.call("capget", ctypes.byref(header), data)
    return {n for n in range(_COUNT) if data[n // 32].effective >> n % 32 & 1}


def keep_only(wanted: Container[int]) -> None:
    """Drop all but the wanted ones for good, and for children, too.

    Those that are missing already are not added. OSError if the kernel refuses.
    """
    drop_inherited(wanted)
    drop_own(wanted)


def drop_inherited(wanted: Container[int]) -> None:
    """Empty the ambient set and narrow the bounding set, if we may (CAP_SETPCAP)."""
    with contextlib.suppress(OSError):
        _prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    for number in range(_COUNT):
        with contextlib.suppress(OSError):
            if number not in wanted and _prctl(_PR_CAPBSET_READ, number):
                _prctl(_PR_CAPBSET_DROP, number)


def drop_own(wanted: Container[int]) -> None:
    """Narrow the permitted and effective sets, and empty the inheritable one."""
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    libc.call("capget", ctypes.byref(header), data)
    for half, part in enumerate(data):
        mask = sum(1 << n for n in range(32) if half * 32 + n in wanted)
        part.permitted &= mask
        part.effective = part.permitted
        part.inheritable = 0
    libc.call("capset", ctypes.byref(header), data)


def _prctl(option: int, argument: int) -> int:
    return libc.call("prctl", option, argument, 0, 0, 0)
