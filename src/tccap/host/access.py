"""Who asked for the capture, and what may be told to that user (docs/security.md).

The engine decides this by itself: sudo tells it who started it, and the
administrator's file what that user gets beyond packets, pids, names and user
ids. Nothing of it comes from the Plan.
"""

import os
import stat
import tomllib
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from tccap.errors import TccapError

CONFIGURATION = Path("/etc/tccap.conf")
OWN, ALL = "own", "all"
# What the file may say, and what holds where it says nothing: of whose
# processes a member of the group gets these.
DEFAULTS = {"details": OWN, "secrets": OWN}
ROOT = 0
# What a front that root has started by sudo tells the engine: who typed it.
BEHIND_ROOT = "TCCAP_BEHIND_ROOT"


class Caller(NamedTuple):
    """A user who captures. ``details`` and ``secrets`` are OWN or ALL.

    ``own`` is the user whose processes are meant by "one's own": behind a root
    who came by sudo, that is who typed it.
    """

    uid: int
    details: str
    secrets: str
    own: int

    def sees_details_of(self, uids: set[int]) -> bool:
        """Tell whether the user may have a process's path, arguments and so on.

        ``uids`` are its real, effective, saved and file system user ids.
        """
        return self.details == ALL or uids == {self.uid}


def caller() -> Caller:
    """Return who started this engine.

    TccapError if that is no member of the group who uses the front, or if the
    administrator's file is not right.
    """
    uid = _uid()
    if uid == ROOT:
        return Caller(uid, ALL, ALL, own=_behind_root())
    _need_pipes()
    return Caller(uid, **_configuration(CONFIGURATION), own=uid)


def _uid() -> int:
    text = os.environ.get("SUDO_UID", str(os.getuid()))
    if not (text.isascii() and text.isdecimal()):
        raise TccapError("sudo did not tell who starts the engine.")
    return int(text)


def _behind_root() -> int:
    text = os.environ.get(BEHIND_ROOT, "")
    return int(text) if text.isascii() and text.isdecimal() else ROOT


def _need_pipes() -> None:
    """Let no user have root write to anything else that he could open."""
    for fd in (0, 1, 2):
        if not stat.S_ISFIFO(os.fstat(fd).st_mode):
            raise TccapError(
                "Only root can capture into anything but Wireshark's FIFO."
            )


def _configuration(path: Path) -> dict[str, str]:
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != ROOT or status.st_mode & 0o022:
                _refuse(path, "somebody else than root can write it")
            return DEFAULTS | _checked(path, tomllib.load(file))
    except FileNotFoundError:
        return DEFAULTS
    except (OSError, ValueError) as error:
        _refuse(path, str(error))


def _checked(path: Path, settings: dict[str, Any]) -> dict[str, str]:
    for key, value in settings.items():
        if key not in DEFAULTS:
            _refuse(path, f"there is no setting {key!r}")
        if value not in (OWN, ALL):
            _refuse(path, f'{key} is "{OWN}" or "{ALL}"')
    return settings


def _refuse(path: Path, reason: str) -> NoReturn:
    raise TccapError(f"An administrator has to mend {path}: {reason}.")
