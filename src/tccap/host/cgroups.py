"""The hierarchy of cgroups (cgroups(7)) that says containers and units."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tccap.host import libc, mounts
from tccap.host.mounts import Mount

_CONTROLLERS = Path("/proc/cgroups")
# Of version 1: runtimes use them all, and systemd the first for all units. Others, such
# as freezer, may be in use beside version 2.
_PREFERRED = ("pids", "memory", "cpu")
# System calls, by the same numbers on all machines; include/uapi/linux/mount.h.
_FSOPEN, _FSCONFIG, _FSMOUNT = 430, 431, 432
_CLOEXEC, _SET_FLAG, _CREATE = 1, 0, 6


class Hierarchy(NamedTuple):
    """A hierarchy: where it is mounted, and what the kernel calls it.

    ``folder`` is empty if it is mounted nowhere. ``prefix`` is the path of the cgroup
    that is mounted there. ``controller`` is empty for version 2.
    """

    folder: str = ""
    prefix: str = ""
    controller: str = ""
    number: int = 0


def find() -> Hierarchy:
    """Return the hierarchy of version 1 that has units, else that of version 2.

    Under a hybrid setup, runtimes name their containers in version 1.
    """
    numbers = _numbers()
    controller = next((c for c in _PREFERRED if numbers.get(c)), "")
    number = numbers.get(controller, 0)
    mount = next(_mounts_of(controller), None)
    if not mount:
        return Hierarchy("", "", controller, number)
    # "/..": the root of our cgroup namespace is below what is mounted.
    prefix = "" if mount.root == "/" or mount.root.startswith("/..") else mount.root
    return Hierarchy(mount.folder, prefix, controller, number)


def opened(hierarchy: Hierarchy) -> Hierarchy:
    """Return a hierarchy with a folder: if it has none, it is mounted for us alone.

    ip-netns(8), for one, hides what is mounted in /sys. It takes CAP_SYS_ADMIN; without
    it the hierarchy stays as it is.
    """
    if hierarchy.folder:
        return hierarchy
    try:
        mount_fd = _mounted(hierarchy.controller)
    except OSError:
        return hierarchy
    return hierarchy._replace(folder=f"/proc/self/fd/{mount_fd}")


def walk(hierarchy: Hierarchy) -> Iterator[tuple[int, str]]:
    """Yield number and path of all cgroups that are mounted."""
    if not hierarchy.folder:
        return
    with contextlib.suppress(OSError):
        yield Path(hierarchy.folder).stat().st_ino, hierarchy.prefix or "/"
    folders = [(hierarchy.folder, hierarchy.prefix)]
    while folders:
        folder, path = folders.pop()
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    yield entry.inode(), f"{path}/{entry.name}"
                    folders.append((entry.path, f"{path}/{entry.name}"))


def exists(hierarchy: Hierarchy, path: str, number: int) -> bool:
    """Return whether a cgroup is still there; True if that cannot be known.

    A container that is started again has another one, of the same path.
    """
    folder = _folder_of(path, hierarchy)
    if not folder:
        return True
    with contextlib.suppress(OSError):
        return folder.stat().st_ino == number
    return False


def owner(hierarchy: Hierarchy, path: str) -> int | None:
    """Return the user who may make cgroups in one, unless it is root, or unknown.

    If it is gone, the one above it counts.
    """
    folder = _folder_of(path, hierarchy)
    for each in (folder, *folder.parents) if folder else ():
        with contextlib.suppress(OSError):
            return each.stat().st_uid or None
    return None


def path_of(pid: int, hierarchy: Hierarchy) -> str:
    """Return the path of a process's cgroup; empty if the process is gone."""
    with contextlib.suppress(OSError):
        # A name can hold all but a newline: other ends of lines are part of it.
        with open(f"/proc/{pid}/cgroup", "rb") as file:  # noqa: PTH123  # quick
            lines = os.fsdecode(file.read()).split("\n")
        for line in lines:
            number, _, rest = line.partition(":")
            if number == str(hierarchy.number):
                return rest.partition(":")[2]
    return ""


def processes(hierarchy: Hierarchy, path: str) -> list[int]:
    """Return the processes of a cgroup; none if they cannot be read.

    Those of PID namespaces that are not below ours are left out.
    """
    folder = _folder_of(path, hierarchy)
    if not folder:
        return []
    with contextlib.suppress(OSError):
        text = (folder / "cgroup.procs").read_text("ascii")
        return [int(pid) for pid in text.split() if pid != "0"]
    return []


def _folder_of(path: str, hierarchy: Hierarchy) -> Path | None:
    """Return the folder of a cgroup; None if it is not below what is mounted."""
    if not hierarchy.folder or not path.startswith(hierarchy.prefix):
        return None
    return Path(hierarchy.folder + path.removeprefix(hierarchy.prefix))


def _mounts_of(controller: str) -> Iterator[Mount]:
    """Yield where a hierarchy is mounted; that of version 2 has no controller."""
    kind = "cgroup" if controller else "cgroup2"
    for mount in mounts.read():
        if mount.kind == kind and (not controller or controller in mount.options):
            yield mount


def _mounted(controller: str) -> int:
    """Return the root of a mount that no other process sees (fsmount(2)); OSError."""
    kind = b"cgroup" if controller else b"cgroup2"
    context_fd = libc.call("syscall", _FSOPEN, kind, _CLOEXEC)
    try:
        if controller:
            flag = (_SET_FLAG, controller.encode(), None, 0)
            libc.call("syscall", _FSCONFIG, context_fd, *flag)
        libc.call("syscall", _FSCONFIG, context_fd, _CREATE, None, None, 0)
        return libc.call("syscall", _FSMOUNT, context_fd, _CLOEXEC, 0)
    finally:
        os.close(context_fd)


def _numbers() -> dict[str, int]:
    """Return the hierarchies of controllers; 0: of version 2, or not in use."""
    with contextlib.suppress(OSError):
        lines = _CONTROLLERS.read_text().splitlines()[1:]
        return {name: int(number) for name, number, *_ in map(str.split, lines)}
    return {}
