"""The processor time and the memory of running processes."""

import os
from pathlib import Path
from typing import NamedTuple

from support.running import until

_UTIME = 11  # fields of /proc/PID/stat, behind the name
_TICKS = os.sysconf("SC_CLK_TCK")


class Usage(NamedTuple):
    """Of a process, and of its children that have ended."""

    cpu_s: float
    memory_mib: int  # the process's own peak


def usage(pid: int) -> Usage:
    """Return what a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = sum(map(int, fields[_UTIME : _UTIME + 4]))
    status = Path(f"/proc/{pid}/status").read_text()
    [peak] = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return Usage(ticks / _TICKS, int(peak.split()[1]) >> 10)


def child(pid: int, name: str) -> int:
    """Wait for a child whose last argument is the name; return it."""
    found: list[int] = []

    def has_begun() -> bool:
        for path in Path(f"/proc/{pid}/task").glob("*/children"):
            for each in map(int, path.read_text().split()):
                words = Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0")
                found.extend([each] if words[-2:-1] == [name.encode()] else [])
        return bool(found)

    until(has_begun, f"a child {name}")
    return found[0]
