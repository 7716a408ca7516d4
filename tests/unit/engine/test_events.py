"""Descriptors that wake the loop up."""

import os

from tccap.engine.events import Events


def test_a_handler_may_forget_another_descriptor_that_is_ready() -> None:
    events, called = Events(), []
    fds = [os.eventfd(1), os.eventfd(1)]

    def forget_other(fd: int) -> None:
        called.append(fd)
        events.forget(fds[fd == fds[0]])

    for fd in fds:
        events.watch(fd, lambda _, fd=fd: forget_other(fd))  # type: ignore[misc]
    events.wait(0)
    assert len(called) == 1
    for fd in fds:
        os.close(fd)
