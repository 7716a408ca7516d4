"""Files that processes execute code from: what /proc/PID/maps tells (proc(5))."""

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# A whole program's maps; a few MiB where there are very many of them.
MAPS_LEN_MAX = 16 << 20
DELETED = " (deleted)"


class Identity(NamedTuple):
    """What makes two mappings be of the same file, unless one of them is gone.

    Then the inode's number may be used again, often for the next build of a program.
    """

    device: str
    inode: str
    path: str  # as the process sees it; it may be another file's by now


class Mapped(NamedTuple):
    """Code of a file, mapped by a process."""

    identity: Identity
    pid: int
    addresses: str  # "7f00-8000", as /proc names them


def files(pid: int) -> Iterator[Mapped]:
    """Give every file that the process executes code from, once."""
    seen = set()
    for line in _maps(pid).splitlines():
        fields = line.split(maxsplit=5)
        if len(fields) < 6 or "x" not in fields[1] or not fields[5].startswith("/"):
            continue
        identity = Identity(fields[3], fields[4], fields[5].removesuffix(DELETED))
        if identity not in seen:
            seen.add(identity)
            yield Mapped(identity, pid, fields[0])


def opened(mapped: Mapped) -> int | None:
    """Open the file itself, even if it is deleted, or in a container.

    None if the process is gone, or it is no file of a kind that holds programs.
    """
    return open_file(f"/proc/{mapped.pid}/map_files/{_unpadded(mapped.addresses)}")


def open_file(path: str) -> int | None:
    """Open a regular file for reading; None if that is not possible."""
    with contextlib.suppress(OSError):
        if stat.S_ISREG(Path(path).stat().st_mode):  # opening others may do something
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    return None


def in_use(pid: int) -> set[Identity]:
    """Return the files that the process executes code from."""
    return {mapped.identity for mapped in files(pid)}


def has_ended(pid: int) -> bool:
    """Tell whether a process has no memory any more; cheap, however much it had."""
    try:
        with Path(f"/proc/{pid}/maps").open("rb", buffering=0) as file:
            return not file.read(1)
    except OSError:
        return True


def _maps(pid: int) -> str:
    try:
        with Path(f"/proc/{pid}/maps").open("rb") as file:
            return os.fsdecode(file.read(MAPS_LEN_MAX))
    except OSError:
        return ""


def _unpadded(addresses: str) -> str:
    """Return a range as map_files has it: without zeros in front."""
    return "-".join(f"{int(end, 16):x}" for end in addresses.split("-"))
