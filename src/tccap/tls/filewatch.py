"""Whether files change: a thread that hears of it at once, by inotify(7)."""

import ctypes
import os
import select
import struct
import threading
from collections.abc import Callable

# include/uapi/linux/inotify.h
_IN_MODIFY, _IN_CLOSE_WRITE = 0x002, 0x008
_IN_Q_OVERFLOW = 0x4000
_EVENT = struct.Struct("=iIII")  # watch, mask, cookie, length of the name behind it
_EVENTS_LEN = 1 << 16


class FileWatch(threading.Thread):
    """The thread; it begins at once, and dies with the process.

    ``changed`` is called in it with the number of a watch when its file is written to
    or truncated, when a descriptor for writing is closed (a mapping may have been
    written through), and when the file is gone for good. When the kernel has lost
    count, it is called for each file. OSError if there cannot be one.
    """

    def __init__(self, changed: Callable[[int], None]) -> None:
        super().__init__(name="filewatch", daemon=True)
        self._changed = changed
        self._watches: set[int] = set()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._checked(self._libc.inotify_init1(os.O_CLOEXEC))
        self._end = os.eventfd(0)
        self.start()

    def add(self, file_fd: int) -> int:
        """Watch an open file; return its number, the same for the same file."""
        path = b"/proc/self/fd/%d" % file_fd
        mask = _IN_MODIFY | _IN_CLOSE_WRITE
        watch = self._checked(self._libc.inotify_add_watch(self._fd, path, mask))
        self._watches.add(watch)
        return watch

    def remove(self, watch: int) -> None:
        """Watch a file no longer; it may be gone."""
        self._watches.discard(watch)
        self._libc.inotify_rm_watch(self._fd, watch)

    def close(self) -> None:
        """End the thread; waits for a call of ``changed`` that is under way."""
        os.eventfd_write(self._end, 1)
        self.join()
        os.close(self._fd)
        os.close(self._end)

    def run(self) -> None:
        """Tell of changes, until the end."""
        poller = select.poll()
        poller.register(self._fd, select.POLLIN)
        poller.register(self._end, select.POLLIN)
        while self._end not in dict(poller.poll()):
            raw = os.read(self._fd, _EVENTS_LEN)
            at = 0
            while at < len(raw):
                watch, mask, _cookie, length = _EVENT.unpack_from(raw, at)
                at += _EVENT.size + length
                lost = mask & _IN_Q_OVERFLOW
                for each in self._watches.copy() if lost else (watch,):
                    self._changed(each)

    @staticmethod
    def _checked(result: int) -> int:
        if result < 0:
            reason = os.strerror(ctypes.get_errno())
            raise OSError(ctypes.get_errno(), f"it cannot be watched: {reason}")
        return result
