"""Users of this host, by name."""

import contextlib
import pwd
from collections.abc import Iterator
from pathlib import Path

LOCAL = Path("/etc/passwd")


def uid_of(name: str) -> int | None:
    """Return the user's id; None if there is no such user (getpwnam(3))."""
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):  # ValueError: the text cannot be a name at all
        return None


def local_names() -> dict[int, bytes]:
    """Return the names of the users in passwd(5), without asking name services.

    Those may be elsewhere in the network, and take their time.
    """
    found: dict[int, bytes] = {}
    for uid, name, _ in _local():
        found.setdefault(uid, name)  # as getpwuid(3): the first
    return found


def local_home(uid: int) -> str:
    """Return the home folder of a user in passwd(5); empty if it has no such user."""
    homes = (home for number, _, home in _local() if number == uid)
    return next(homes, b"").decode(errors="surrogateescape")


def _local() -> Iterator[tuple[int, bytes, bytes]]:
    """Yield number, name and home folder of the users in passwd(5)."""
    with contextlib.suppress(OSError):
        for line in LOCAL.read_bytes().splitlines():
            name, *rest = line.split(b":")
            if name and len(rest) > 1 and rest[1].isdigit():
                yield int(rest[1]), name, b"".join(rest[4:5])
