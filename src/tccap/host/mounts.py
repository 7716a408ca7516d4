"""The mounts that this process sees, by /proc/self/mountinfo (proc(5)).

Users can mount, too (FUSE), and folders can have almost any name. The kernel escapes
spaces, tabs, newlines and backslashes in them, and nothing else that Python takes for a
space or for the end of a line.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_MOUNTINFO = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """A mount: what of its file system, and where; options are the file system's."""

    root: str
    folder: str
    kind: str
    options: list[str]


def read() -> Iterator[Mount]:
    """Yield all mounts; one on top of another comes later."""
    for line in os.fsdecode(_MOUNTINFO.read_bytes()).split("\n")[:-1]:
        before, _, behind = line.partition(" - ")
        root, folder = map(_unescaped, before.split(" ")[3:5])
        words = behind.split(" ")
        yield Mount(root, folder, words[0], words[-1].split(","))


def _unescaped(path: str) -> str:
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), path)
