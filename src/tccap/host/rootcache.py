"""Answers that are kept for the next time, where only root can have written them."""

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from tccap.errors import TccapError

T = TypeVar("T")
TOP = Path("/var/cache/tccap")


class RootCache:
    """Files in one folder, by name; those used last, if ``at_most`` says how many.

    Answers never fail: what cannot be kept is made anew the next time.
    """

    def __init__(self, folder: str, at_most: int | None = None) -> None:
        self._name = folder
        self._at_most = at_most

    @property
    def _folder(self) -> Path:
        return TOP / self._name

    def get(self, name: str, read: Callable[[bytes], T]) -> T | None:
        """Return what was kept, as ``read`` reads it; None: nothing to be trusted.

        It is not, either, where ``read`` raises TccapError: it is damaged.
        """
        with contextlib.suppress(OSError, TccapError):
            if self._is_private():
                file = self._folder / name
                answer = read(file.read_bytes())
                with contextlib.suppress(OSError):  # it may be there to read only
                    os.utime(file)  # what is of use stays
                return answer
        return None

    def keep(self, name: str, data: bytes) -> None:
        """Keep an answer, if we are root; a full disk only costs time."""
        if os.geteuid() != 0:
            return
        with contextlib.suppress(OSError):
            self._make_folder()
            new = self._folder / f"{name}.{os.getpid()}"
            new.write_bytes(data)
            new.replace(self._folder / name)
            self._forget_the_oldest()

    def nameless_file(self, size: int) -> int:
        """Return a new file on the folder's disk, which goes when it is closed.

        It never gets a name. OSError where the folder is not ours alone, its file
        system has no such files, or there is not twice the room for ``size`` bytes, as
        root could take the last of it.
        """
        self._make_folder()
        room = os.statvfs(self._folder)
        if room.f_bavail * room.f_frsize < 2 * size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        flags = os.O_TMPFILE | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC
        return os.open(self._folder, flags, 0o600)

    def _make_folder(self) -> None:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._is_private():
            raise PermissionError(errno.EPERM, "not root's alone", str(self._folder))

    def _is_private(self) -> bool:
        """Tell whether only root can have written there."""
        status = self._folder.lstat()
        mode = stat.S_IMODE(status.st_mode)
        return stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and not mode & 0o077

    def _forget_the_oldest(self) -> None:
        if self._at_most is None:
            return
        files = sorted(self._folder.iterdir(), key=lambda f: f.stat().st_mtime)
        for file in files[: -self._at_most]:
            file.unlink()
