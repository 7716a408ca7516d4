"""Work in a thread, which is surely gone when its result is taken."""

import os
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Background(Generic[T]):
    """Runs a function in a thread; ``done_fd`` is readable when it has ended.

    An executor's thread may outlive its result: privileges could not be given up then.
    """

    def __init__(self, work: Callable[[], T]) -> None:
        self.done_fd = os.eventfd(0, os.EFD_CLOEXEC)
        self._result: list[T] = []
        self._error: Exception | None = None
        # A daemon: a capture that ends before does not wait for the compiler.
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread's end."""
        self._thread.join()

    def result(self) -> T:
        """Wait for the thread's end; return the result or raise its exception."""
        self.join()
        if self._error:
            raise self._error
        return self._result[0]

    def _run(self, work: Callable[[], T]) -> None:
        try:
            self._result.append(work())
        except Exception as error:  # noqa: BLE001  # `result` raises it
            self._error = error
        finally:
            os.eventfd_write(self.done_fd, 1)
