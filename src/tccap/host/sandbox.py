"""Giving up for good the rights that work on somebody else's input does not need.

Each sandbox belongs to one process that reads what a user, or any file, could have
made: docs/security.md has the table. A process enters its sandbox before it reads that.
"""

import contextlib
import os
import pwd
import resource
import signal
from collections.abc import Container, Iterator, Mapping
from typing import Final, NamedTuple

from tccap.host import capabilities, libc
from tccap.host.seccomp import ALLOW, REFUSE, Only, Rules, install

# Above the ids that sssd maps, and below 2 ** 31: nobody gives these to users or
# containers (systemd's UIDS-GIDS.md).
_UNUSED: Final = range(2_013_265_920, 2_147_483_647)
_NOBODY: Final = 65534

# linux/prctl.h
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_KEEPCAPS = 1, 4, 8
_PR_SET_NO_NEW_PRIVS: Final = 38

_NAMESPACES: Final = 0x7E020080  # all CLONE_NEW* flags (linux/sched.h)
_WRITING: Final = os.O_ACCMODE | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_FIONREAD: Final = 0x541B  # asm-generic/ioctls.h
_ATTACKS: Final = frozenset(
    (
        *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise"),
        *("pidfd_getfd", "unshare", "setns", "mount", "chroot", "pivot_root"),
        *("execve", "execveat", "fork", "vfork", "creat", "open_by_handle_at"),
        *("bpf", "perf_event_open", "userfaultfd", "io_uring_setup"),
        *("add_key", "keyctl", "request_key", "init_module", "finit_module"),
    )
)
_MEMORY: Final = frozenset(
    (
        *("brk", "mmap", "mprotect", "mremap", "munmap", "madvise", "futex"),
        *("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "sigaltstack"),
        *("read", "readv", "pread64", "write", "writev", "close", "lseek", "fstat"),
        *("clock_gettime", "gettimeofday", "time", "getrandom", "sched_yield"),
        *("clock_nanosleep", "nanosleep", "restart_syscall", "sched_getaffinity"),
        *("getpid", "gettid", "getppid", "getuid", "geteuid", "getgid", "getegid"),
        *("exit", "exit_group", "sysinfo", "uname"),
    )
)
_FILES: Final = frozenset(
    (
        *("access", "faccessat", "faccessat2", "stat", "lstat", "newfstatat"),
        *("statx", "statfs", "fstatfs", "readlink", "readlinkat", "getdents64"),
        *("getcwd", "chdir", "fchdir", "fcntl", "flock"),
    )
)
_SOCKETS: Final = frozenset(
    (
        *("bind", "connect", "shutdown", "getsockname", "getpeername"),
        *("getsockopt", "setsockopt", "sendto", "sendmsg", "sendmmsg"),
        *("recvfrom", "recvmsg", "recvmmsg", "poll", "ppoll"),
        *("epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait"),
    )
)
# Libraries want threads, and can do without; only an attack wants a namespace.
_NO_THREADS: Final = {"clone": Only(0, (0,), _NAMESPACES, then=REFUSE)}
_ENTRIES: Final = (1, 2, 3)  # BPF_MAP_*_ELEM: lookup, update, delete (linux/bpf.h)
_UNIX, _INET, _INET6, _NETLINK = 1, 2, 10, 16  # AF_*, linux/socket.h


def _opening(then: int) -> dict[str, Only]:
    """Return what becomes of opening a file to read; opening it to write kills."""
    return {
        "open": Only(1, (0,), _WRITING, then),
        "openat": Only(2, (0,), _WRITING, then),
    }


# Computes on what is mapped already.
COMPUTING: Final = Rules(
    _MEMORY, {**_NO_THREADS, **_opening(REFUSE)}, _ATTACKS | {"socket"}
)
# Reads files, too. Not every ioctl: some write into a terminal (TIOCSTI).
READING: Final = Rules(
    _MEMORY | _FILES,
    {
        **_NO_THREADS,
        **_opening(ALLOW),
        "ioctl": Only(1, (_FIONREAD,), otherwise=REFUSE),
    },
    _ATTACKS | {"socket"},
)
# Asks name servers, too.
RESOLVING: Final = Rules(
    READING.allowed | _SOCKETS,
    {**READING.only, "socket": Only(0, (_UNIX, _INET, _INET6, _NETLINK))},
    _ATTACKS,
)
# Writes what comes from a ring of BPF's, on behalf of another process. Of bpf(2), it
# reads, writes and deletes entries of maps; the scheduling policy is its own.
CARRYING: Final = Rules(
    _MEMORY
    | {
        *("epoll_ctl", "epoll_wait", "epoll_pwait", "poll", "ppoll"),
        *("sendto", "recvfrom", "alarm", "setitimer"),
        *("sched_getscheduler", "sched_getparam"),
    },
    {
        **_NO_THREADS,
        **_opening(REFUSE),
        "bpf": Only(0, _ENTRIES),
        "sched_setscheduler": Only(0, (0,)),
    },
    (_ATTACKS - {"bpf"}) | {"socket"},
)


class User(NamedTuple):
    """Whose rights a process takes on."""

    uid: int
    gid: int


def unused() -> User:
    """Return ids that no user and no process has, other ones each time."""
    running = set(_running())
    while True:
        random = int.from_bytes(os.urandom(8), "little")
        uid = _UNUSED[random % len(_UNUSED)]
        if uid not in running:
            return User(uid, uid)


def is_unused(uid: int) -> bool:
    """Return whether `unused` could have returned this user id."""
    return uid in _UNUSED


def user(uid: int) -> User:
    """Return a user with the group of the user database."""
    try:
        return User(uid, pwd.getpwuid(uid).pw_gid)
    except KeyError:
        return User(uid, _NOBODY)


def _running() -> Iterator[int]:
    for name in filter(str.isdigit, os.listdir("/proc")):  # noqa: PTH208  # quick
        with contextlib.suppress(OSError):
            yield os.stat(f"/proc/{name}").st_uid  # noqa: PTH116


def enter(
    who: User | None,
    limits: Mapping[int, int],
    rules: Rules,
    keep: Container[int] = (),
) -> None:
    """Become a user, keep only those capabilities, and obey limits and rules.

    None stands for a user that does not exist. A process that is not root's stays the
    same user. OSError if the kernel refuses something.
    """
    capabilities.drop_inherited(keep)
    if os.geteuid() == 0:
        libc.call("prctl", _PR_SET_KEEPCAPS, int(keep != ()), 0, 0, 0)
        _become(who or unused())
    capabilities.drop_own(keep)
    libc.call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # Nobody may attach to it or read its memory, not even the user it became.
    libc.call("prctl", _PR_SET_DUMPABLE, 0, 0, 0, 0)
    libc.call("prctl", _PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    for limit, value in limits.items():
        _lower(limit, value)
    install(rules)


def _become(who: User) -> None:
    """Take on a user's ids.

    Unused ids need not be mapped (user namespaces), and root may lack the right to
    change its ids (containers). Then it is nobody, or root without capabilities.
    """
    try:
        _set_ids(who)
    except OSError:
        if who.uid not in _UNUSED:
            raise
        with contextlib.suppress(OSError):
            _set_ids(User(_NOBODY, _NOBODY))


def _set_ids(who: User) -> None:
    os.setgroups([])
    os.setresgid(who.gid, who.gid, who.gid)
    os.setresuid(who.uid, who.uid, who.uid)


def _lower(limit: int, value: int) -> None:
    """Set a limit; one that is lower already stays, as only root may raise it."""
    hard = resource.getrlimit(limit)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(limit, (value, value))
