"""Users of this host, by name."""

import contextlib
import pwd
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
    with contextlib.suppress(OSError):
        for line in LOCAL.read_bytes().splitlines():
            name, _, rest = line.partition(b":")
            uid = rest.split(b":")[1:2]
            if name and uid and uid[0].isdigit():
                found.setdefault(int(uid[0]), name)  # as getpwuid(3): the first
    return found
