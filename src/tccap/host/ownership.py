"""Which processes are a user's own: those that the user may trace with ptrace(2).

The user ids alone do not say it: a program that runs with a group or a capability that
its user lacks, or that has made itself non-dumpable, has secrets that its user must not
see. So this follows __ptrace_may_access (kernel/ptrace.c), as bpf/tls/secret.c does.
"""

import contextlib
import os
from fcntl import ioctl
from pathlib import Path

from tccap.host import proc

PTRACE_SCOPE = Path("/proc/sys/kernel/yama/ptrace_scope")
_ADMIN_ONLY = 2  # YAMA_SCOPE_CAPABILITY; 3 forbids attaching to everybody
_OWN_NAMESPACE = Path("/proc/self/ns/user")
_INITIAL_NAMESPACE = 0xEFFFFFFD  # PROC_USER_INIT_INO, include/linux/proc_ns.h
_DEPTH_MAX = 4  # namespaces inside one another; secret.c has the same limit
# include/uapi/linux/nsfs.h
_NS_GET_PARENT, _NS_GET_OWNER_UID = 0xB702, 0xB704


def is_own(pid: int, uid: int, gid: int) -> bool:
    """Return whether a user with these ids, without capabilities, may trace a process.

    False if the process is gone.
    """
    found = proc.credentials(pid)
    if found is None or found.uids != {uid} or found.gids != {gid}:
        return False
    try:
        return _is_dumpable(pid, uid) and _is_in_reach(pid, uid, found.permitted)
    except OSError:
        return False


def is_only_roots() -> bool:
    """Return whether Yama leaves tracing to root (admin-guide/LSM/Yama)."""
    with contextlib.suppress(OSError, ValueError):
        return int(PTRACE_SCOPE.read_text("ascii")) >= _ADMIN_ONLY
    return False


def user_namespace() -> int:
    """Return the number of this process's user namespace (ns_common.inum)."""
    try:
        return _OWN_NAMESPACE.stat().st_ino
    except OSError:  # a kernel without user namespaces
        return _INITIAL_NAMESPACE


def _is_dumpable(pid: int, uid: int) -> bool:
    """Return whether the process's files belong to its user (task_dump_owner)."""
    return Path(f"/proc/{pid}/environ").stat().st_uid == uid


def _is_in_reach(pid: int, uid: int, permitted: int) -> bool:
    """Return whether the process has no capability that its user lacks.

    In a user namespace that the user has made, it may have any (cap_capable).
    """
    if not _OWN_NAMESPACE.exists():
        return not permitted
    own = user_namespace()
    fd = os.open(f"/proc/{pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_ino == own:
            return not permitted
        return _is_below(fd, own, uid)
    finally:
        os.close(fd)


def _is_below(fd: int, own: int, uid: int) -> bool:
    """Return whether a namespace is in a child of ``own`` that the user has made."""
    owner = bytearray(4)
    fd = os.dup(fd)
    try:
        for _ in range(_DEPTH_MAX):
            ioctl(fd, _NS_GET_OWNER_UID, owner)
            parent = ioctl(fd, _NS_GET_PARENT)
            os.close(fd)
            fd = parent
            if os.fstat(fd).st_ino == own:
                return int.from_bytes(owner, "little") == uid
        return False
    finally:
        os.close(fd)
