"""The capabilities that the engine keeps, and for how long (capabilities(7)).

They are the calling thread's and are inherited by what it starts, so they are dropped
while there is no other thread. They are never regained: new code that needs another
capability has to list it here.
"""

import threading
from collections.abc import Mapping

from tccap.errors import TccapError
from tccap.host import capabilities, libc

# include/uapi/linux/capability.h
DAC_READ_SEARCH, KILL, SETGID, SETUID = 2, 5, 6, 7
NET_ADMIN, SYS_PTRACE, SYS_ADMIN, SYS_NICE = 12, 19, 21, 23
SYS_RESOURCE, SYSLOG, PERFMON, BPF, CHECKPOINT_RESTORE = 24, 34, 38, 39, 40
SETPCAP, NET_BROADCAST = 8, 11

# While it captures, and why.
KEPT: Mapping[int, str] = {
    BPF: "using maps, and starting the iterator over open files",
    NET_ADMIN: "attaching to devices that appear, and detaching",
    SYS_PTRACE: "full labels and namespaces of other users' processes",
    SYS_NICE: "not being preempted while a map is used",
    PERFMON: "setting probes while the capture runs",
    DAC_READ_SEARCH: "reading the programs that are probed",
    CHECKPOINT_RESTORE: "the same, if their files are deleted (map_files)",
    SETUID: "inspecting such programs as a user that does not exist",
    SETGID: "the same",
    KILL: "killing an inspection that takes too long, and a carrier that does not end",
}
# While it sets probes in TLS libraries, too.
TRACING: Mapping[int, str] = {
    **KEPT,
    SYS_ADMIN: "setting uprobes, for which PERFMON is not enough on every kernel",
}
# While it captures from inside of containers.
ENTERING: Mapping[int, str] = {
    **KEPT,
    SYS_ADMIN: "entering the network namespaces of containers that start later",
}
# Until it captures.
STARTING: Mapping[int, str] = {
    **KEPT,
    SYS_ADMIN: "BPF before Linux 5.8, which has no narrower capability for it",
    SETPCAP: "dropping capabilities from the bounding set",
    NET_BROADCAST: "notifications of changes in containers' namespaces",
    SYS_RESOURCE: "locked memory before Linux 5.11",
    SYSLOG: "addresses in /proc/kallsyms",
}

# There is no capture without these. SYS_ADMIN includes the first two.
NEEDED = {BPF: "BPF", PERFMON: "PERFMON", NET_ADMIN: "NET_ADMIN"}

_PR_SET_NO_NEW_PRIVS = 38  # include/uapi/linux/prctl.h


def missing() -> list[str]:
    """Return the names of the capabilities that are needed and not there."""
    held = capabilities.effective()
    if SYS_ADMIN in held:
        held |= {BPF, PERFMON}
    return [name for number, name in NEEDED.items() if number not in held]


def need() -> None:
    """Raise TccapError, which names the capabilities that a capture lacks."""
    if lacking := missing():
        names = " and ".join(f"CAP_{name}" for name in lacking)
        options = " ".join(f"--cap-add {name}" for name in lacking)
        raise TccapError(
            f"root lacks {names} here: start the container with docker run {options}."
        )


def narrow(wanted: Mapping[int, str]) -> None:
    """Drop all capabilities but the wanted ones, for good, and for children, too.

    Those that are missing already are not added. TccapError if there are other threads,
    which would keep theirs, or if the kernel refuses.
    """
    if threading.active_count() > 1:
        raise TccapError("tccap cannot give up privileges while it has threads.")
    try:
        libc.call("prctl", _PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        capabilities.keep_only(wanted)
    except OSError as error:
        raise TccapError(
            f"tccap could not give up its privileges: {error.strerror}."
        ) from None
