"""The processes with network sockets, as a person chooses one from a list."""

import contextlib
import os
from collections.abc import Iterator
from typing import NamedTuple

from tccap.host import proc, programs

# Tables of proc_pid_net(5) with one socket a line. Only the first four have ports.
_TABLES = ("tcp", "tcp6", "udp", "udp6", "udplite", "udplite6", "raw", "raw6", "icmp")
_WITH_PORTS = _TABLES[:4]
_TITLE_LEN_MAX = 48
_PORTS_MAX = 3


class Listed(NamedTuple):
    """A process with network sockets."""

    pid: int
    title: str  # the program and its arguments, shortened
    user: str
    ports: tuple[int, ...]  # local ones
    sockets: int


def with_network_sockets() -> list[Listed]:
    """Return the processes whose sockets we may see, those with most sockets first."""
    tables = _Tables()
    found = [_listed(pid, tables) for pid in proc.pids()]
    return sorted((p for p in found if p), key=lambda p: (-p.sockets, p.pid))


def text_of(listed: Listed) -> str:
    """Return the line for a process, without braces, which extcap output reserves."""
    ports = ""
    if listed.ports:
        shown = ", ".join(map(str, listed.ports[:_PORTS_MAX]))
        more = ", ..." if len(listed.ports) > _PORTS_MAX else ""
        ports = f", port{'s' * (len(listed.ports) > 1)} {shown}{more}"
    return printable(f"{listed.title} (pid {listed.pid}, {listed.user}{ports})")


def title(exe: str, args: list[str]) -> str:
    """Return how a program is called: its base name, of an interpreter the script.

    ``args`` are the arguments after argv[0].
    """
    text = " ".join(programs.words(exe, args))
    if len(text) <= _TITLE_LEN_MAX:
        return text
    return text[: _TITLE_LEN_MAX - 3] + "..."


class _Tables:
    """Local ports of network sockets by their inodes; each namespace is read once."""

    def __init__(self) -> None:
        self._namespaces: dict[str, dict[int, int]] = {}

    def of(self, pid: int) -> dict[int, int]:
        """Return the ports of all sockets in a process's namespace; 0: no port."""
        namespace = _link(f"/proc/{pid}/ns/net")
        if namespace not in self._namespaces:
            self._namespaces[namespace] = dict(_sockets(pid))
        return self._namespaces[namespace]


def _listed(pid: int, tables: _Tables) -> Listed | None:
    inodes = set(_inodes(pid))
    ports = tables.of(pid) if inodes else {}
    own = [ports[inode] for inode in inodes if inode in ports]
    if not own:
        return None
    exe = _link(f"/proc/{pid}/exe") or proc.comm(pid)
    used = tuple(sorted(set(own) - {0}))
    return Listed(pid, title(exe, proc.arguments(pid)), proc.user(pid), used, len(own))


def _inodes(pid: int) -> Iterator[int]:
    with contextlib.suppress(OSError):  # not readable by us, or gone
        for name in os.listdir(f"/proc/{pid}/fd"):
            link = _link(f"/proc/{pid}/fd/{name}")
            if link.startswith("socket:["):
                yield int(link[8:-1])


def _sockets(pid: int) -> Iterator[tuple[int, int]]:
    for table in _TABLES:
        with contextlib.suppress(OSError), open(f"/proc/{pid}/net/{table}") as lines:
            next(lines, None)  # the heading
            for fields in map(str.split, lines):
                port = int(fields[1].rpartition(":")[2], 16)
                yield int(fields[9]), port if table in _WITH_PORTS else 0


def _link(path: str) -> str:
    try:
        return os.readlink(path)
    except OSError:
        return ""


def printable(text: str) -> str:
    """Return a text without what extcap output reserves, or nobody can read."""
    return "".join(c if c.isprintable() and c not in "{}" else "?" for c in text)
