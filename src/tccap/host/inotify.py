"""Changes to files and folders, as the kernel reports them (inotify(7))."""

import contextlib
import os
import struct
from enum import IntFlag
from typing import NamedTuple

from tccap.host import libc

_EVENT = struct.Struct("=iIII")  # struct inotify_event, without the name behind it
_EVENTS_LEN = 1 << 16  # read at once


class Mask(IntFlag):
    """What to report, and what was reported (include/uapi/linux/inotify.h)."""

    MODIFY = 0x002
    CLOSE_WRITE = 0x008
    MOVED_TO = 0x080
    CREATE = 0x100
    Q_OVERFLOW = 0x4000  # events were lost
    ONESHOT = 0x80000000  # the first event ends the watch


class Event(NamedTuple):
    """One change. ``name`` is the file's name if a folder is watched, else empty."""

    watch: int  # -1: the mask is Q_OVERFLOW
    mask: Mask
    name: bytes


class Inotify:
    """An inotify instance; ``fd`` is readable while there are events.

    OSError as inotify_init1(2) reports it: each user may have only so many instances.
    """

    def __init__(self) -> None:
        self.fd = libc.call("inotify_init1", os.O_NONBLOCK | os.O_CLOEXEC)

    def add(self, path: bytes, mask: Mask) -> int:
        """Watch a file or folder; return the watch's number, one for each inode.

        OSError as inotify_add_watch(2) reports it.
        """
        return libc.call("inotify_add_watch", self.fd, path, int(mask))

    def remove(self, watch: int) -> None:
        """Stop watching; OSError if the file, and with it the watch, is gone."""
        libc.call("inotify_rm_watch", self.fd, watch)

    def read(self) -> list[Event]:
        """Return the next events, an empty list if there are none."""
        with contextlib.suppress(BlockingIOError):
            return _parsed(os.read(self.fd, _EVENTS_LEN))
        return []

    def close(self) -> None:
        """End all watches."""
        os.close(self.fd)


def _parsed(raw: bytes) -> list[Event]:
    events, at = [], 0
    while at < len(raw):
        watch, mask, _cookie, name_len = _EVENT.unpack_from(raw, at)
        at += _EVENT.size + name_len
        name = raw[at - name_len : at].rstrip(b"\0")
        events.append(Event(watch, Mask(mask), name))
    return events
