"""Directories that only root can change, opened level by level.

A path is worth nothing where somebody else can rename what it leads through. So
each level is opened relative to the one above it, never through a symbolic link,
and its owner and mode are read from the descriptor.
"""

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_PRIVATE = 0o700
_READABLE = 0o755


@contextlib.contextmanager
def opened(top: Path, name: str, *, make: bool) -> Iterator[int]:
    """Open the directory ``name`` in ``top``, both only root's; yield the descriptor.

    ``make`` creates what is missing, whatever the umask is. OSError if a level is
    missing, a symbolic link, not a directory, not root's, or can be changed by others.
    """
    with contextlib.ExitStack() as levels:
        fd = _enter(levels, None, "/", make=False)
        for level in top.parts[1:-1]:
            fd = _enter(levels, fd, level, make=make, mode=_READABLE)
        fd = _enter(levels, fd, top.name, make=make)
        fd = _enter(levels, fd, name, make=make)
        _need(not os.fstat(fd).st_mode & 0o077, name)
        yield fd


def _enter(
    levels: contextlib.ExitStack,
    parent: int | None,
    name: str,
    *,
    make: bool,
    mode: int = _PRIVATE,
) -> int:
    made = make and _made(parent, name)
    fd = os.open(name, _FLAGS, dir_fd=parent)
    levels.callback(os.close, fd)
    status = os.fstat(fd)
    _need(status.st_uid == 0 and not _others_can_change(status.st_mode), name)
    if made:
        os.fchmod(fd, mode)
    return fd


def _made(parent: int | None, name: str) -> bool:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return False
    return True


def _others_can_change(mode: int) -> bool:
    """Return whether others can replace root's entries of a directory.

    Its sticky bit keeps them from that (unlink(2), rename(2)).
    """
    return bool(mode & 0o022) and not mode & stat.S_ISVTX


def _need(fulfilled: bool, name: str) -> None:
    if not fulfilled:
        raise PermissionError(errno.EPERM, "others than root can change it", name)
