"""Descriptors and child processes: closing what a child has, or leaving it some."""

import os
from collections.abc import Iterable
from typing import Final

# At least: the limit may have been lowered since descriptors were opened.
_LIMIT: Final = 1 << 20


def close_all_but(kept: Iterable[int]) -> None:
    """Close all descriptors of this process but some."""
    below = -1
    for number in sorted(kept):
        if number > below + 1:  # else it would close all
            os.closerange(below + 1, number)
        below = number
    os.closerange(below + 1, max(_LIMIT, os.sysconf("SC_OPEN_MAX")))


def leave_to_child(fds: Iterable[int]) -> None:
    """Close descriptors here, and let a child hold them until this process has exited.

    For those that the kernel takes long to close: nobody waits for the child.
    """
    kept = {*fds}
    reader, _writer = os.pipe()  # the writer closes when this process exits
    if os.fork() == 0:
        close_all_but({*kept, reader})
        os.read(reader, 1)
        os._exit(0)  # the kernel closes them
    for fd in (*kept, reader):
        os.close(fd)
