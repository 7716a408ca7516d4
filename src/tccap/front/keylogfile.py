"""Follows the key log that a program writes (SSLKEYLOGFILE), by inotify(7)."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from tccap.errors import TccapError
from tccap.host.inotify import Inotify, Mask

_APPEARED = Mask.CREATE | Mask.MOVED_TO
_TEXT_LEN = 1 << 16  # read at once


class KeylogFile:
    """What is written into a file from now on, even if it does not exist yet.

    ``fd`` is readable when there may be more. The file is read with the rights of the
    user, whose process this is. TccapError if the file's folder cannot be watched, or
    what is there now is no file that can be read.
    """

    def __init__(self, path: str) -> None:
        real = Path(path).resolve()
        _need_file(real)
        self._name = os.fsencode(real.name)
        self._path = real
        self._file_fd = -1
        self._offset = 0
        self._inotify = _watched(real.parent)
        self.fd = self._inotify.fd
        self._open()
        if self._file_fd >= 0:
            self._offset = os.fstat(self._file_fd).st_size

    def new_text(self) -> Iterator[bytes]:
        """Yield the bytes written since the last call."""
        for event in self._inotify.read():
            if event.name != self._name:
                continue
            if event.mask & _APPEARED:
                yield from self._rest()
                self._open()
            yield from self._rest()

    def _open(self) -> None:
        """Open the file that has the name now, to read it from its beginning."""
        if self._file_fd >= 0:
            os.close(self._file_fd)
        self._file_fd, self._offset = -1, 0
        with contextlib.suppress(OSError):  # it may not exist, or be unreadable
            if stat.S_ISREG(self._path.stat().st_mode):
                self._file_fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def _rest(self) -> Iterator[bytes]:
        if self._file_fd < 0:
            return
        if os.fstat(self._file_fd).st_size < self._offset:
            self._offset = 0  # it was truncated
        while text := os.pread(self._file_fd, _TEXT_LEN, self._offset):
            self._offset += len(text)
            yield text


def _need_file(path: Path) -> None:
    """Refuse what will never give a line."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return  # it may come; a folder that cannot be searched is refused later
    if not stat.S_ISREG(mode):
        raise TccapError(
            f"The key log {path} is not an ordinary file: name the file that the "
            "program writes (SSLKEYLOGFILE)."
        )
    if not os.access(path, os.R_OK, effective_ids=True):
        raise TccapError(
            f"The key log {path} cannot be read by this user: let it be read, then "
            "start the capture again."
        )


def _watched(folder: Path) -> Inotify:
    """Return an inotify instance that watches a folder."""
    try:
        inotify = Inotify()
        inotify.add(os.fsencode(folder), Mask.MODIFY | _APPEARED)
    except OSError as error:
        raise TccapError(
            f"The key log's folder {folder} cannot be watched: {error.strerror}."
        ) from None
    return inotify
