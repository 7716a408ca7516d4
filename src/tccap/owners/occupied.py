"""The network namespaces in which the processes of chosen containers are.

Nothing here keeps a namespace: it ends with its last process, as without a capture.
"""

import contextlib
import errno
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Final, NamedTuple

from tccap.host import netns
from tccap.host.access import ALL, ROOT, Caller
from tccap.host.shares import Whose
from tccap.owners import namespaces, placenames
from tccap.owners.placenames import Described

_NAME_MAX: Final = 64  # characters


class Occupant(NamedTuple):
    """A process, its place, and who may have put it there."""

    place: Described
    pid: int
    whose: Whose = None


class Space(NamedTuple):
    """A network namespace that is not the engine's."""

    inode: int
    pid: int  # one of its processes
    name: str  # of a container, pod or unit in it
    whose: Whose  # never None: a service of root's can be in anybody's hands


class ForbiddenError(Exception):
    """It is not a namespace in which the user may capture."""


class Insiders:
    """Finds the namespaces of processes that are ``chosen``, for a user."""

    def __init__(
        self, chosen: Callable[[], Iterable[Occupant]], caller: Caller
    ) -> None:
        self._chosen = chosen
        self._caller = caller
        self._own = namespaces.own_inode()

    def find(self) -> dict[int, Space]:
        """Return the namespaces that there are now, by inode number.

        That of the engine is no container's own. A process that joins a container may
        be in any other one for a moment, such as the one that it comes from.
        """
        found: dict[int, Space] = {}
        for place, pid, whose in self._chosen():
            with contextlib.suppress(OSError):  # it has ended
                inode = os.stat(path(pid)).st_ino  # noqa: PTH116  # a link
                if inode not in found and inode != self._own:
                    name = _name(place)
                    found[inode] = Space(inode, pid, name, whose or name)
        return found

    @contextlib.contextmanager
    def entered(self, space: Space) -> Iterator[int]:
        """Have this thread there during the block, which gets the namespace's cookie.

        OSError if it has ended (ENOENT, ESRCH), or cannot be entered. ForbiddenError.
        """
        with open(path(space.pid), "rb") as file:  # noqa: PTH123  # a link
            if os.fstat(file.fileno()).st_ino != space.inode:
                raise ProcessLookupError(errno.ESRCH, os.strerror(errno.ESRCH))
            if not _may_capture(file.fileno(), self._caller):
                raise ForbiddenError
            with netns.entered_fd(file.fileno()):
                yield netns.cookie()


def path(pid: int) -> str:
    """Return the file that stands for the namespace of a process."""
    return f"/proc/{pid}/ns/net"


def _may_capture(namespace_fd: int, caller: Caller) -> bool:
    """Return whether a user may capture in a namespace.

    In one that belongs to a user namespace of that user's, the user could do so without
    us (user_namespaces(7)). Who may read everybody's TLS may capture in all.
    """
    if caller.uid == ROOT or caller.secrets == ALL:
        return True
    try:
        return netns.owner(namespace_fd) == caller.uid
    except OSError:
        return False


def _name(of: Described) -> str:
    """Return what people call the place; all containers of a pod share a namespace."""
    short_id = of.container[: placenames.SHORT_ID_LEN]
    name = of.pod or of.container_name or short_id or of.unit
    raw = name.encode(errors="surrogateescape")
    return raw.decode(errors="backslashreplace")[:_NAME_MAX]
