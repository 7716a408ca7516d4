"""Entering another network namespace, for sockets that have to be made there."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from tccap.host import libc

_CLONE_NEWNET = 0x40000000


@contextlib.contextmanager
def entered(path: str) -> Iterator[None]:
    """Have this thread in the namespace that a file stands for, during the block.

    OSError if it cannot be entered: that takes CAP_SYS_ADMIN.
    """
    with Path("/proc/thread-self/ns/net").open("rb") as before:
        with Path(path).open("rb") as wanted:
            libc.call("setns", wanted.fileno(), _CLONE_NEWNET)
        try:
            yield
        finally:
            libc.call("setns", before.fileno(), _CLONE_NEWNET)
