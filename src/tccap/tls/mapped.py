"""Files that processes execute code from, by /proc/PID/maps (proc(5))."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

# A program with very many mappings has a few MiB.
MAPS_LEN_MAX = 16 << 20
DELETED = " (deleted)"


class Identity(NamedTuple):
    """Identifies a mapped file; inode numbers are reused after deletion.

    Often it is the next build of a program that gets the number, so two mappings with
    the same identity may be of different contents (`knownfiles.Content`).
    """

    device: str
    inode: str
    path: str  # in the process's mount namespace; another file may have it by now


class Mapped(NamedTuple):
    """An executable mapping of a file."""

    identity: Identity
    pid: int
    addresses: str  # "7f00-8000", as /proc names them


def files(pid: int) -> Iterator[Mapped]:
    """Yield every file that the process executes code from, once."""
    seen = set()
    # A path can hold all but a newline: other ends of lines are part of it.
    for line in _maps(pid).split("\n"):
        fields = line.split(maxsplit=5)
        if len(fields) < 6 or "x" not in fields[1] or not fields[5].startswith("/"):
            continue
        identity = Identity(fields[3], fields[4], fields[5].removesuffix(DELETED))
        if identity not in seen:
            seen.add(identity)
            yield Mapped(identity, pid, fields[0])


def opened(mapped: Mapped) -> int | None:
    """Open the mapped file itself, also if it is deleted or in a container.

    None if the process has ended, or the file is not a regular one.
    """
    return open_file(f"/proc/{mapped.pid}/map_files/{_unpadded(mapped.addresses)}")


def open_file(path: str) -> int | None:
    """Open a regular file for reading; None if that is not possible.

    Opening a device may have effects. So the path is resolved once, with O_PATH, which
    opens nothing (open(2)), and that very file is opened if it is a regular one.
    """
    try:
        place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if not stat.S_ISREG(os.fstat(place).st_mode):
            return None
        # O_NONBLOCK: not to wait until somebody gives up a lease (fcntl(2)).
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        return os.open(f"/proc/self/fd/{place}", flags)
    except OSError:
        return None
    finally:
        os.close(place)


def in_use(pid: int) -> set[Identity]:
    """Return the files that the process executes code from."""
    return {mapped.identity for mapped in files(pid)}


def has_ended(pid: int) -> bool:
    """Return whether a process has given up its memory; cheap, however much it had."""
    try:
        with Path(f"/proc/{pid}/maps").open("rb", buffering=0) as file:
            return not file.read(1)
    except OSError:
        return True


def program(pid: int) -> tuple[int, int] | None:
    """Return device and inode of the file that a process runs; None if it has ended."""
    try:
        status = Path(f"/proc/{pid}/exe").stat()
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _maps(pid: int) -> str:
    try:
        with Path(f"/proc/{pid}/maps").open("rb") as file:
            return os.fsdecode(file.read(MAPS_LEN_MAX))
    except OSError:
        return ""


def _unpadded(addresses: str) -> str:
    """Return a range as map_files names it: without leading zeros."""
    return "-".join(f"{int(end, 16):x}" for end in addresses.split("-"))
