"""A thread that reports changes of files at once, by inotify(7)."""

import contextlib
import os
import select
import threading
from collections.abc import Callable, Iterator

from tccap.host.inotify import Event, Inotify, Mask

_CHANGES = Mask.MODIFY | Mask.CLOSE_WRITE | Mask.ONESHOT


class FileWatch(threading.Thread):
    """The thread; it starts at once, and ends with the process.

    It calls ``changed`` with the number of a watch when its file is written to or
    truncated, when a descriptor for writing is closed (there may have been writes
    through a mapping), and when the file is gone for good. That ends the watch: nobody
    can fill the kernel's queue. If the kernel has lost events nevertheless, ``changed``
    is called for every file, and then ``lost``. OSError if there is no inotify left.
    """

    def __init__(
        self, changed: Callable[[int], None], lost: Callable[[], None]
    ) -> None:
        super().__init__(name="filewatch", daemon=True)
        self._changed = changed
        self._lost = lost
        self._watches: set[int] = set()
        with _explained():
            self._inotify = Inotify()
        self._end_fd = os.eventfd(0)
        self.start()

    def add(self, file_fd: int) -> int:
        """Watch an open file; return the watch's number, one for each file.

        OSError if the user has too many watches.
        """
        path = b"/proc/self/fd/%d" % file_fd
        with _explained():
            watch = self._inotify.add(path, _CHANGES)
        self._watches.add(watch)
        return watch

    def remove(self, watch: int) -> None:
        """Stop watching a file, which may be gone."""
        self._watches.discard(watch)
        with contextlib.suppress(OSError):
            self._inotify.remove(watch)

    def close(self) -> None:
        """End the thread, after a call of ``changed`` that is under way."""
        os.eventfd_write(self._end_fd, 1)
        self.join()
        self._inotify.close()
        os.close(self._end_fd)

    def run(self) -> None:
        """Report changes until `close`."""
        poller = select.poll()
        poller.register(self._inotify.fd, select.POLLIN)
        poller.register(self._end_fd, select.POLLIN)
        while self._end_fd not in dict(poller.poll()):
            for event in self._inotify.read():
                self._report(event)

    def _report(self, event: Event) -> None:
        if Mask.Q_OVERFLOW not in event.mask:
            self._changed(event.watch)
            return
        for watch in self._watches.copy():
            self._changed(watch)
        self._lost()


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Say in an OSError what failed: it becomes part of a message for the user."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, f"it cannot be watched: {error.strerror}") from None
