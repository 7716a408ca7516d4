"""The processes that a user chooses: lists with commas between the items."""

import os

from tccap.errors import TccapError, quoted
from tccap.host import users
from tccap.ipc.plan import is_pattern
from tccap.ipc.values import (
    COMM_LEN_MAX,
    LIST_MAX,
    PATTERN_LEN_MAX,
    PID_MAX,
    UID_MAX,
    number_of,
)

HOST_PID_NAMESPACE = 0xEFFFFFFC  # PROC_PID_INIT_INO of include/linux/proc_ns.h


def pids(text: str) -> tuple[int, ...]:
    """Return the process ids in a list; TccapError if an item is not one."""
    return tuple(sorted({_pid(item) for item in _items(text, "process ids")}))


def uids(text: str) -> tuple[int, ...]:
    """Return the user ids in a list of ids and names; 0 is a user like others.

    TccapError if there is no user of such a name, or no such id can exist.
    """
    return tuple(sorted({_uid(item) for item in _items(text, "users")}))


def comms(text: str) -> tuple[str, ...]:
    """Return the process names in a list, each as the kernel keeps it.

    That is at most COMM_LEN_MAX bytes, here of whole characters. Bytes that are
    not UTF-8 are surrogates, as in sys.argv. TccapError if an item cannot be a
    name.
    """
    return tuple(sorted({_comm(item) for item in _items(text, "process names")}))


def patterns(text: str, what: str) -> tuple[str, ...]:
    """Return the globs in a list; TccapError if an item is too long."""
    items = sorted(set(_items(text, what)))
    for item in items:
        if not is_pattern(item):
            raise TccapError(
                f"{quoted(item)} cannot be a name of {what}: it has more than "
                f"{PATTERN_LEN_MAX} bytes, or is not UTF-8."
            )
    return tuple(items)


def place(text: str) -> dict[str, str]:
    """Return a choice from the list of containers and units, by its word; or nothing.

    TccapError if it is not one of such a list.
    """
    word, sign, name = text.partition("=")
    if not text:
        return {}
    if word not in ("container", "unit") or not sign or not name or "," in name:
        raise TccapError(
            f"--place is container=NAME or unit=NAME, not {quoted(text)}; "
            "--container and --unit take lists."
        )
    return {word: name}


def need_running(chosen: tuple[int, ...]) -> None:
    """Raise TccapError if one of these processes does not exist.

    Outside of the host's PID namespace that cannot be known.
    """
    if os.stat("/proc/self/ns/pid").st_ino != HOST_PID_NAMESPACE:
        return
    gone = [pid for pid in chosen if not _exists(pid)]
    if gone:
        listed = ", ".join(map(str, gone))
        raise TccapError(f"There is no process {listed}: choose running processes.")


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # another user's
        return True
    return True


def _items(text: str, what: str) -> list[str]:
    items = [item.strip() for item in text.split(",") if item.strip()]
    if len(items) > LIST_MAX:
        raise TccapError(f"{len(items)} {what} are listed; {LIST_MAX} are possible.")
    return items


def _pid(item: str) -> int:
    number = number_of(item)
    if number is None or not 1 <= number <= PID_MAX:
        raise TccapError(f"{quoted(item)} is not a process id.")
    return number


def _uid(item: str) -> int:
    number = number_of(item)
    uid = users.uid_of(item) if number is None else number
    if uid is None or uid > UID_MAX:
        raise TccapError(f"There is no user {quoted(item)}.")
    return uid


def _comm(item: str) -> str:
    kept = item[:COMM_LEN_MAX]
    try:
        while len(kept.encode(errors="surrogateescape")) > COMM_LEN_MAX:
            kept = kept[:-1]
    except UnicodeEncodeError:
        kept = ""
    if not kept or "\0" in kept:
        raise TccapError(f"{quoted(item)} cannot be the name of a process.")
    return kept
