"""Users of this host, by name."""

import pwd


def uid_of(name: str) -> int | None:
    """Return the user's id; None if there is no such user (getpwnam(3))."""
    try:
        return pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):  # ValueError: the text cannot be a name at all
        return None
