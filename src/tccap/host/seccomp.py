"""Which system calls a process may still make (seccomp(2)), as classic BPF.

libseccomp would do the same, but its Python package is not in every distribution. A
filter here is an allowlist. Other calls fail with EPERM, which libraries can live with,
and those in ``killed`` end the process: only an attack makes them.
"""

import ctypes
import errno
import os
import struct
from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from tccap.host import libc

# Numbers on x86_64 and aarch64 (asm/unistd.h); None: there is no such call.
_NUMBERS: Final[Mapping[str, tuple[int, int | None]]] = {
    "access": (21, None),
    "add_key": (248, 217),
    "alarm": (37, None),
    "bind": (49, 200),
    "bpf": (321, 280),
    "brk": (12, 214),
    "chdir": (80, 49),
    "chroot": (161, 51),
    "clock_gettime": (228, 113),
    "clock_nanosleep": (230, 115),
    "clone": (56, 220),
    "close": (3, 57),
    "connect": (42, 203),
    "creat": (85, None),
    "epoll_create1": (291, 20),
    "epoll_ctl": (233, 21),
    "epoll_pwait": (281, 22),
    "epoll_wait": (232, None),
    "execve": (59, 221),
    "execveat": (322, 281),
    "exit": (60, 93),
    "exit_group": (231, 94),
    "faccessat": (269, 48),
    "faccessat2": (439, 439),
    "fchdir": (81, 50),
    "fcntl": (72, 25),
    "finit_module": (313, 273),
    "flock": (73, 32),
    "fork": (57, None),
    "fstat": (5, 80),
    "fstatfs": (138, 44),
    "futex": (202, 98),
    "getcwd": (79, 17),
    "getdents64": (217, 61),
    "getegid": (108, 177),
    "geteuid": (107, 175),
    "getgid": (104, 176),
    "getpeername": (52, 205),
    "getpid": (39, 172),
    "getppid": (110, 173),
    "getrandom": (318, 278),
    "getsockname": (51, 204),
    "getsockopt": (55, 209),
    "gettid": (186, 178),
    "gettimeofday": (96, 169),
    "getuid": (102, 174),
    "init_module": (175, 105),
    "io_uring_setup": (425, 425),
    "ioctl": (16, 29),
    "keyctl": (250, 219),
    "lseek": (8, 62),
    "lstat": (6, None),
    "madvise": (28, 233),
    "mmap": (9, 222),
    "mount": (165, 40),
    "mprotect": (10, 226),
    "mremap": (25, 216),
    "munmap": (11, 215),
    "nanosleep": (35, 101),
    "newfstatat": (262, 79),
    "open": (2, None),
    "open_by_handle_at": (304, 265),
    "openat": (257, 56),
    "perf_event_open": (298, 241),
    "pidfd_getfd": (438, 438),
    "pivot_root": (155, 41),
    "poll": (7, None),
    "ppoll": (271, 73),
    "pread64": (17, 67),
    "prlimit64": (302, 261),
    "process_madvise": (440, 440),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "ptrace": (101, 117),
    "read": (0, 63),
    "readlink": (89, None),
    "readlinkat": (267, 78),
    "readv": (19, 65),
    "recvfrom": (45, 207),
    "recvmmsg": (299, 243),
    "recvmsg": (47, 212),
    "request_key": (249, 218),
    "restart_syscall": (219, 128),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "sched_getaffinity": (204, 123),
    "sched_getparam": (143, 121),
    "sched_getscheduler": (145, 120),
    "sched_setscheduler": (144, 119),
    "sched_yield": (24, 124),
    "sendmmsg": (307, 269),
    "sendmsg": (46, 211),
    "sendto": (44, 206),
    "setitimer": (38, 103),
    "setns": (308, 268),
    "setsockopt": (54, 208),
    "shutdown": (48, 210),
    "sigaltstack": (131, 132),
    "socket": (41, 198),
    "stat": (4, None),
    "statfs": (137, 43),
    "statx": (332, 291),
    "sysinfo": (99, 179),
    "time": (201, None),
    "uname": (63, 160),
    "unshare": (272, 97),
    "userfaultfd": (323, 282),
    "vfork": (58, None),
    "write": (1, 64),
    "writev": (20, 66),
}
_SECCOMP: Final = (317, 277)
_COLUMNS: Final = {"x86_64": 0, "aarch64": 1}
# linux/audit.h
_ARCHITECTURES: Final = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT: Final = 0x40000000  # calls of x32 programs, which are numbered anew

# linux/seccomp.h
KILL, REFUSE, ALLOW = 0x80000000, 0x00050000 | errno.EPERM, 0x7FFF0000
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
# struct seccomp_data: the number, the architecture, and six arguments of 64 bits.
_NUMBER_AT, _ARCHITECTURE_AT, _ARGUMENTS_AT = 0, 4, 16
# Instructions of classic BPF (linux/bpf_common.h).
_LOAD, _AND, _JUMP_EQUAL, _JUMP_AT_LEAST, _RETURN = 0x20, 0x54, 0x15, 0x35, 0x06
_INSN: Final = struct.Struct("=HBBI")  # struct sock_filter

# linux/prctl.h
_PR_SET_NO_NEW_PRIVS: Final = 38


class Only(NamedTuple):
    """What happens to a call depends on whether one argument, masked, has a value.

    The argument is an int; the kernel ignores its upper half, and so do we.
    """

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    then: int = ALLOW
    otherwise: int = KILL


class Rules(NamedTuple):
    """Which calls are allowed, depend on an argument, or end the process."""

    allowed: frozenset[str]
    only: Mapping[str, Only]
    killed: frozenset[str]


class _Program(ctypes.Structure):
    """struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def install(rules: Rules) -> None:
    """Apply the rules to this process for good; OSError if the kernel has no seccomp.

    That includes threads that a library may have started.
    """
    machine = os.uname().machine
    if machine not in _COLUMNS:  # a machine whose numbers are not in our table
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    code = assemble(rules, machine)
    program = _Program(len(code) // _INSN.size, code)
    libc.call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    number = _SECCOMP[_COLUMNS[machine]]
    pointer = ctypes.byref(program)
    unlike = libc.call("syscall", number, _SET_MODE_FILTER, _ALL_THREADS, pointer)
    if unlike:
        raise OSError(errno.EBUSY, f"thread {unlike} has other filters")


def assemble(rules: Rules, machine: str) -> bytes:
    """Return the filter for a machine (uname(2)); KeyError for an unknown one."""
    code = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_JUMP_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
    ]
    if machine == "x86_64":
        code += [(_JUMP_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, KILL)]
    for number in _numbers(rules.allowed, machine):
        code += _on(number, [(_RETURN, 0, 0, ALLOW)])
    for name, only in rules.only.items():
        for number in _numbers([name], machine):
            code += _on(number, _checks(only))
    for number in _numbers(rules.killed, machine):
        code += _on(number, [(_RETURN, 0, 0, KILL)])
    code.append((_RETURN, 0, 0, REFUSE))
    return b"".join(_INSN.pack(*insn) for insn in code)


_Insns = list[tuple[int, int, int, int]]


def _numbers(names: Iterable[str], machine: str) -> list[int]:
    """Return the numbers of calls, without those that the machine does not have."""
    column = _COLUMNS[machine]
    found = (_NUMBERS[name][column] for name in sorted(names))
    return [number for number in found if number is not None]


def _on(number: int, then: _Insns) -> _Insns:
    """Return code that jumps behind ``then`` for any other call."""
    return [(_JUMP_EQUAL, 0, len(then), number), *then]


def _checks(only: Only) -> _Insns:
    # The lower half of an argument comes first: both machines are little-endian.
    code = [
        (_LOAD, 0, 0, _ARGUMENTS_AT + 8 * only.argument),
        (_AND, 0, 0, only.mask),
    ]
    for value in only.values:
        code += [(_JUMP_EQUAL, 0, 1, value), (_RETURN, 0, 0, only.then)]
    return [*code, (_RETURN, 0, 0, only.otherwise)]
