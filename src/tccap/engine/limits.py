"""What the engine inherits from its caller, replaced by values of its own.

Through sudo, an ordinary user chooses resource limits, timers, the umask and the
current directory of a process that runs as root.
"""

import os
import resource
import signal
from pathlib import Path

OPEN_FILES = 65536  # each device takes two links, and each probe a few more
_NR_OPEN = Path("/proc/sys/fs/nr_open")
_STACK_LEN = 8 << 20  # the kernel's default, from which threads take theirs
_UNLIMITED = (
    resource.RLIMIT_AS,
    resource.RLIMIT_CPU,
    resource.RLIMIT_DATA,
    resource.RLIMIT_FSIZE,
    resource.RLIMIT_MSGQUEUE,
    resource.RLIMIT_NPROC,
    resource.RLIMIT_RSS,
    resource.RLIMIT_RTTIME,
    resource.RLIMIT_SIGPENDING,
)
_TIMERS = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)


def reset() -> None:
    """Replace the inherited settings that could end or mislead the engine.

    Where the engine may not raise a hard limit (CAP_SYS_RESOURCE: not in every
    container), it raises the soft limit to it.
    """
    os.chdir("/")
    os.umask(0o077)
    for timer in _TIMERS:
        signal.setitimer(timer, 0)
    lift_memory_lock_limit()
    for kind in _UNLIMITED:
        _set(kind, resource.RLIM_INFINITY)
    _set(resource.RLIMIT_STACK, _STACK_LEN)
    _set(resource.RLIMIT_NOFILE, _open_files())
    # A core file would hold other users' packets and secrets.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def lift_memory_lock_limit() -> None:
    """Let there be BPF maps of any size: Linux charges them to it before 5.11."""
    _set(resource.RLIMIT_MEMLOCK, resource.RLIM_INFINITY)


def _open_files() -> int:
    """Return how many files may be open: never fewer than the caller's limit."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    return max(hard, min(OPEN_FILES, int(_NR_OPEN.read_text("ascii"))))


def _set(kind: int, value: int) -> None:
    try:
        resource.setrlimit(kind, (value, value))
    except (ValueError, PermissionError):  # ValueError is Python's name for EPERM here
        hard = resource.getrlimit(kind)[1]
        resource.setrlimit(kind, (hard, hard))
