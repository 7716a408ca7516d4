"""What the front sends, and when to stop."""

import os
import signal
from collections.abc import Iterator

import pytest

from tccap.engine.control import Control
from tccap.engine.events import Events


@pytest.fixture(autouse=True)
def signals() -> Iterator[None]:
    """Put back what a Control changes of this process."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def events() -> Events:
    return Events()


@pytest.fixture
def front(events: Events) -> Iterator[tuple[int, Control]]:
    """The writing end of a pipe, and who listens at the other."""
    read_fd, write_fd = os.pipe()
    with Control(read_fd, events) as control:
        yield write_fd, control


def test_text_is_kept_until_it_is_taken(
    events: Events, front: tuple[int, Control]
) -> None:
    write_fd, control = front
    for text in (b"one ", b"two"):
        os.write(write_fd, text)
        events.wait(0)
    assert control.take_text() == b"one two"
    assert control.take_text() == b""
    assert not control.is_stopping


def test_the_end_of_the_pipe_means_stop(
    events: Events, front: tuple[int, Control]
) -> None:
    write_fd, control = front
    os.close(write_fd)
    events.wait(0)
    assert control.is_stopping


def test_a_child_can_take_over_what_the_front_sends(
    events: Events, front: tuple[int, Control]
) -> None:
    write_fd, control = front
    control.leave_text()
    os.write(write_fd, b"text")
    events.wait(0)
    assert control.take_text() == b""
    os.close(write_fd)
    events.wait(0)
    assert control.is_stopping
    others = Events()
    control.take_over(others)
    others.wait(0)
    assert control.take_text() == b"text"


def test_sigterm_means_stop(events: Events, front: tuple[int, Control]) -> None:
    _, control = front
    os.kill(os.getpid(), signal.SIGTERM)
    events.wait(1)
    assert control.is_stopping
