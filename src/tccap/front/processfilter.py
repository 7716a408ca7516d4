"""What a user types to choose processes: lists with commas between the items."""

from tccap.errors import TccapError
from tccap.host import users


def pids(text: str) -> tuple[int, ...]:
    """Return the process ids in a list; TccapError names what is none."""
    for item in _items(text):
        if not item.isascii() or not item.isdigit() or int(item) == 0:
            raise TccapError(f"{item!r} is not a process id.")
    return tuple(sorted({int(item) for item in _items(text)}))


def uids(text: str) -> tuple[int, ...]:
    """Return the user ids in a list of ids and names; 0 is a user like others."""
    return tuple(sorted({_uid(item) for item in _items(text)}))


def comms(text: str) -> tuple[str, ...]:
    """Return the process names in a list; the kernel keeps 15 bytes of each."""
    return tuple(sorted(set(_items(text))))


def _items(text: str) -> list[str]:
    return [item.strip() for item in text.split(",") if item.strip()]


def _uid(item: str) -> int:
    if item.isascii() and item.isdigit():
        return int(item)
    uid = users.uid_of(item)
    if uid is None:
        raise TccapError(f"There is no user {item!r}.")
    return uid
