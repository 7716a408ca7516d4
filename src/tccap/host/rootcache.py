"""Answers kept for the next time, in a directory that only root can change."""

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tccap.errors import TccapError
from tccap.host import rootfolder

T = TypeVar("T")
TOP = Path("/var/cache/tccap")
# The one file that is not whole yet. Its name is always the same, so a writer that
# was killed leaves one file at most, which the next writer removes.
_UNFINISHED = ".unfinished"
# Waiting longer than that for another writer costs more than making the answer anew.
_LOCK_WAIT_S, _LOCK_PAUSE_S = 0.1, 0.005


class RootCache:
    """Files in one folder, by name; only the ``at_most`` last used ones stay.

    No method but ``nameless_file`` fails: an answer that cannot be kept or read is
    made anew the next time.
    """

    def __init__(self, folder: str, at_most: int) -> None:
        self._name = folder
        self._at_most = at_most

    def get(self, name: str, read: Callable[[bytes], T]) -> T | None:
        """Return what was kept, as ``read`` returns it; None if there is nothing.

        ``read`` raises TccapError for a damaged file, which counts as nothing.
        """
        with (
            contextlib.suppress(OSError, TccapError),
            rootfolder.opened(TOP, self._name, make=False) as folder,
        ):
            answer = read(_content(folder, name))
            with contextlib.suppress(OSError):  # the file system may be read-only
                os.utime(name, dir_fd=folder, follow_symlinks=False)
            return answer
        return None

    def names(self) -> list[str]:
        """Return the names of all that is kept."""
        with (
            contextlib.suppress(OSError),
            rootfolder.opened(TOP, self._name, make=False) as folder,
            os.scandir(folder) as entries,
        ):
            return sorted({entry.name for entry in entries} - {_UNFINISHED})
        return []

    def drop(self, name: str) -> None:
        """Remove what was kept, if we may."""
        with (
            contextlib.suppress(OSError),
            rootfolder.opened(TOP, self._name, make=False) as folder,
        ):
            _remove(folder, name)

    def keep(self, name: str, data: bytes) -> None:
        """Keep an answer if we are root; a full disk only costs time."""
        if os.geteuid() != 0:
            return
        with (
            contextlib.suppress(OSError),
            rootfolder.opened(TOP, self._name, make=True) as folder,
        ):
            _lock(folder)
            _remove(folder, _UNFINISHED)
            self._make_room(folder)
            _write(folder, name, data)

    def nameless_file(self, size: int) -> int:
        """Return a descriptor of a new file without a name; closing it removes it.

        OSError if others than root can change the folder, its file system has no
        O_TMPFILE, or fewer than 2 * ``size`` bytes are free there: root could take
        the last of them.
        """
        with rootfolder.opened(TOP, self._name, make=True) as folder:
            disk = os.fstatvfs(folder)
            if disk.f_bavail * disk.f_frsize < 2 * size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            flags = os.O_TMPFILE | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
            return os.open(".", flags, 0o600, dir_fd=folder)

    def _make_room(self, folder: int) -> None:
        """Remove the files that were not used for longest, for one more to fit."""
        with os.scandir(folder) as entries:
            files = [*entries]
        if len(files) < self._at_most:
            return
        ages = [
            (each.stat(follow_symlinks=False).st_mtime, each.name) for each in files
        ]
        ages.sort(reverse=True)
        for _age, name in ages[self._at_most - 1 :]:
            _remove(folder, name)


def _lock(folder: int) -> None:
    """Become the one process that writes here; BlockingIOError if another one stays.

    A writer needs a millisecond, unless it was stopped; its lock ends with it.
    """
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_LOCK_PAUSE_S)
        else:
            return


def _content(folder: int, name: str) -> bytes:
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, dir_fd=folder), "rb") as file:
        return file.read()


def _write(folder: int, name: str, data: bytes) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        fd = os.open(_UNFINISHED, flags, 0o600, dir_fd=folder)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
        os.rename(_UNFINISHED, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        _remove(folder, _UNFINISHED)
        raise


def _remove(folder: int, name: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(name, dir_fd=folder)
