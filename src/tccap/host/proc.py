"""Processes as /proc shows them (proc(5)): for lists, and for full labels."""

import os
import re
from typing import NamedTuple

from tccap.host import programs

CLOCK_TICK_NS = 1_000_000_000 // os.sysconf("SC_CLK_TCK")
# Real, effective, saved and file system ids.
_UIDS = re.compile(rb"^Uid:\t\d+\t(\d+)\t\d+\t\d+$", re.MULTILINE)
_GIDS = re.compile(rb"^Gid:\t\d+\t\d+\t\d+\t\d+$", re.MULTILINE)
_PERMITTED = re.compile(rb"^CapPrm:\t([0-9a-f]{16})$", re.MULTILINE)
_TEXT_LEN_MAX = 4096


class Credentials(NamedTuple):
    """Real, effective, saved and file system ids; a mask of capabilities."""

    uids: set[int]
    gids: set[int]
    permitted: int


class Details(NamedTuple):
    """The parts of a full label beside pid, comm and uid; empty: not known."""

    ppid: int
    exe: bytes
    args: bytes  # separated by spaces
    name: bytes = b""  # of the program's file, or of the script
    user: bytes = b""


def pids() -> list[int]:
    """Return the ids of all processes."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def start_ticks(pid: int) -> int | None:
    """Return when the process started, in clock ticks since boot; None: it is gone."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def comm(pid: int) -> str:
    """Return the process's name; empty if it is gone."""
    return os.fsdecode(_read(pid, "comm"))


def arguments(pid: int) -> list[str]:
    """Return the arguments after argv[0]; empty if the process is gone."""
    text = os.fsdecode(_read(pid, "cmdline"))
    return text.rstrip("\0").split("\0")[1:]


def user(pid: int) -> str:
    """Return the name of the process's user, or their id; "?" if it is gone."""
    import pwd  # noqa: PLC0415  # only lists need it

    uid = euid(pid)
    try:
        return "?" if uid is None else pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def euid(pid: int) -> int | None:
    """Return the process's effective user id; None: it is gone."""
    found = _UIDS.search(_read(pid, "status"))
    return int(found[1]) if found else None


def credentials(pid: int) -> Credentials | None:
    """Return the ids and the permitted capabilities of a process; None: it is gone."""
    status = _read(pid, "status")
    uids, gids = _UIDS.search(status), _GIDS.search(status)
    permitted = _PERMITTED.search(status)
    if not (uids and gids and permitted):
        return None
    return Credentials(_ids(uids), _ids(gids), int(permitted[1], 16))


def parents() -> dict[int, int]:
    """Return the parent's pid of every process."""
    stats = {pid: _stat(pid) for pid in pids()}
    return {pid: int(fields[1]) for pid, fields in stats.items() if fields}


def details(pid: int, start_ns: int) -> Details | None:
    """Return the details of the process that started ``start_ns`` after boot.

    None if it is gone, even if another process has its pid now.
    """
    if start_ticks(pid) != start_ns // CLOCK_TICK_NS:
        return None
    fields, exe = _stat(pid), _exe(pid)
    found = Details(
        ppid=int(fields[1]) if fields else 0,
        exe=exe,
        args=_read(pid, "cmdline").rstrip(b"\0").replace(b"\0", b" "),
        name=os.fsencode(programs.name(os.fsdecode(exe), arguments(pid))),
    )
    return found if start_ticks(pid) == start_ns // CLOCK_TICK_NS else None


def _ids(line: re.Match[bytes]) -> set[int]:
    return {int(number) for number in line[0].split()[1:]}


def _stat(pid: int) -> list[bytes]:
    """Return the fields of stat from the state on; empty: the process is gone."""
    # The name before them, in parentheses, may contain spaces and parentheses.
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    known = len(fields) > 19 and fields[1].isdigit() and fields[19].isdigit()
    return fields if known else []


def _read(pid: int, name: str) -> bytes:
    try:
        with open(f"/proc/{pid}/{name}", "rb") as file:
            return file.read(_TEXT_LEN_MAX).rstrip(b"\n")
    except OSError:
        return b""


def _exe(pid: int) -> bytes:
    try:
        return os.readlink(b"/proc/%d/exe" % pid)
    except OSError:
        return b""
