"""Following the key log that a program writes (SSLKEYLOGFILE), by inotify(7)."""

import contextlib
import ctypes
import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

from tccap.errors import TccapError

# include/uapi/linux/inotify.h
IN_MODIFY = 0x002
IN_MOVED_TO = 0x080
IN_CREATE = 0x100
_EVENT = struct.Struct("=iIII")  # watch, mask, cookie, length of the name behind it
_EVENTS_LEN = 1 << 16
_TEXT_LEN = 1 << 16


class KeylogFile:
    """What is written into a file from now on, even if it is not there yet.

    ``fd`` is readable when there may be more. The file is read with the rights of this
    process, which is the user's.
    """

    def __init__(self, path: str) -> None:
        real = Path(path).resolve()
        self._name = os.fsencode(real.name)
        self._path = real
        self._file_fd = -1
        self._offset = 0
        self.fd = _watch(real.parent)
        self._open()
        if self._file_fd >= 0:
            self._offset = os.fstat(self._file_fd).st_size

    def new_text(self) -> Iterator[bytes]:
        """Give what was written since."""
        for mask, name in _events(self.fd):
            if name != self._name:
                continue
            if mask & (IN_CREATE | IN_MOVED_TO):
                yield from self._rest()
                self._open()
            yield from self._rest()

    def _open(self) -> None:
        """Go to the beginning of the file that has the name now."""
        if self._file_fd >= 0:
            os.close(self._file_fd)
        self._file_fd, self._offset = -1, 0
        with contextlib.suppress(OSError):  # not there yet, or not ours
            if stat.S_ISREG(self._path.stat().st_mode):
                self._file_fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)

    def _rest(self) -> Iterator[bytes]:
        if self._file_fd < 0:
            return
        if os.fstat(self._file_fd).st_size < self._offset:
            self._offset = 0  # it was emptied
        while text := os.pread(self._file_fd, _TEXT_LEN, self._offset):
            self._offset += len(text)
            yield text


def _watch(folder: Path) -> int:
    libc = ctypes.CDLL(None, use_errno=True)
    fd: int = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    mask = IN_MODIFY | IN_CREATE | IN_MOVED_TO
    if libc.inotify_add_watch(fd, os.fsencode(folder), mask) < 0:
        reason = os.strerror(ctypes.get_errno())
        os.close(fd)
        raise TccapError(f"The key log's folder {folder} cannot be watched: {reason}.")
    return fd


def _events(fd: int) -> Iterator[tuple[int, bytes]]:
    """Give mask and name of what has happened in the folder."""
    with contextlib.suppress(BlockingIOError):
        raw = os.read(fd, _EVENTS_LEN)
        at = 0
        while at < len(raw):
            _watch_number, mask, _cookie, length = _EVENT.unpack_from(raw, at)
            at += _EVENT.size + length
            yield mask, raw[at - length : at].rstrip(b"\0")
