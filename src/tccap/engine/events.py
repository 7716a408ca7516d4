"""Descriptors that wake the loop up, and their handlers."""

import select
from collections.abc import Callable

Handler = Callable[[int], None]  # of the events (select.EPOLL*) that have come


class Events:
    """An epoll instance with a handler for each descriptor."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._handlers: dict[int, Handler] = {}

    def watch(self, fd: int, handler: Handler, events: int = select.EPOLLIN) -> None:
        """Call the handler from now on, in `wait`, when the descriptor is ready."""
        self._handlers[fd] = handler
        self._epoll.register(fd, events)

    def change(self, fd: int, events: int) -> None:
        """Wait for other events of a watched descriptor; 0: for errors only."""
        self._epoll.modify(fd, events)

    def forget(self, fd: int) -> None:
        """Stop watching the descriptor."""
        self._epoll.unregister(fd)
        del self._handlers[fd]

    def wait(self, timeout_s: float | None) -> None:
        """Sleep until something is ready, and handle it; None: without a limit."""
        for fd, events in self._epoll.poll(timeout_s):
            # One handler may forget the descriptor of the next one.
            self._handlers.get(fd, nothing)(events)


def nothing(_events: int) -> None:
    """Handle a descriptor whose readiness alone is the message."""
