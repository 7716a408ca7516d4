"""What the engine may do: the capabilities that it keeps, and for how long.

capabilities(7). The limits hold for the calling thread and for the threads and
processes that it starts later, so they are set while there is no other thread. They
only become narrower. Code that needs another capability adds it here, with the reason.
"""

import ctypes
import os
import threading
from collections.abc import Mapping

from tccap.errors import TccapError

# include/uapi/linux/capability.h
DAC_READ_SEARCH, KILL, SETGID, SETUID = 2, 5, 6, 7
NET_ADMIN, SYS_PTRACE, SYS_ADMIN, SYS_NICE = 12, 19, 21, 23
SYS_RESOURCE, SYSLOG, PERFMON, BPF, CHECKPOINT_RESTORE = 24, 34, 38, 39, 40
SETPCAP, NET_BROADCAST = 8, 11

# As long as it captures, and why.
KEPT: Mapping[int, str] = {
    BPF: "using maps, and starting the iterator over open files",
    NET_ADMIN: "attaching to devices that appear, and detaching",
    SYS_PTRACE: "full labels and namespaces of other users' processes",
    SYS_NICE: "not being preempted while a map is used",
    PERFMON: "probes that are set while the capture runs",
    DAC_READ_SEARCH: "reading the programs that such probes go into",
    CHECKPOINT_RESTORE: "the same, where their files are deleted (map_files)",
    SETUID: "looking into such programs as nobody",
    SETGID: "the same",
    KILL: "ending the process that looks into them for too long",
}
# As long as it sets probes in TLS libraries, too.
TRACING: Mapping[int, str] = {
    **KEPT,
    SYS_ADMIN: "setting a uprobe, for which PERFMON is not enough on every kernel",
}
# Until it captures.
STARTING: Mapping[int, str] = {
    **KEPT,
    SYS_ADMIN: "what Linux before 5.8 had no narrower capability for",
    SETPCAP: "narrowing it again",
    NET_BROADCAST: "hearing of changes in containers' namespaces",
    SYS_RESOURCE: "locked memory before Linux 5.11",
    SYSLOG: "addresses in /proc/kallsyms",
}

_VERSION_3 = 0x20080522
_PR_SET_NO_NEW_PRIVS, _PR_CAPBSET_DROP, _PR_CAPBSET_READ = 38, 24, 23
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


class _Header(ctypes.Structure):
    """struct __user_cap_header_struct."""

    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    """struct __user_cap_data_struct: one half of the bits."""

    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def narrow(wanted: Mapping[int, str]) -> None:
    """Give up every capability but these, for good, and in children, too.

    It adds none. TccapError if there are other threads, which would keep theirs.
    """
    if threading.active_count() > 1:
        raise TccapError("tccap cannot give up privileges while it has threads.")
    libc = ctypes.CDLL(None, use_errno=True)
    _check(libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header, data = _Header(_VERSION_3, 0), (_Data * 2)()
    _check(libc.capget(ctypes.byref(header), data))
    for number in range(64):
        # The bounding set: not every root may change it (CAP_SETPCAP).
        if number not in wanted and libc.prctl(_PR_CAPBSET_READ, number, 0, 0, 0) == 1:
            libc.prctl(_PR_CAPBSET_DROP, number, 0, 0, 0)
    for half, part in enumerate(data):
        mask = sum(1 << n % 32 for n in wanted if n // 32 == half)
        part.permitted &= mask
        part.effective = part.permitted
        part.inheritable = 0
    _check(libc.capset(ctypes.byref(header), data))


def _check(result: int) -> None:
    if result:
        reason = os.strerror(ctypes.get_errno())
        raise TccapError(f"tccap could not give up its privileges: {reason}.")
