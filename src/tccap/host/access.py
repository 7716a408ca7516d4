"""Who asked for the capture, and what that user may see (docs/security.md).

The engine decides this without the Plan: sudo says who started the engine, and the
administrator's file says what that user gets beyond packets, pids, names and user ids.
"""

import os
import stat
import syslog
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from tccap.errors import TccapError
from tccap.host import ownership, proc

CONFIGURATION = Path("/etc/tccap.conf")
OWN, ALL = "own", "all"
# The settings of the file with their defaults. A member of the group gets details and
# secrets of the member's own processes, or of all.
DEFAULTS: dict[str, Any] = {"details": OWN, "secrets": OWN}
# How many captures may run at once. The kernel takes 64 programs on each device and
# direction (BPF_MPROG_MAX in kernel/bpf/mprog.c), and other programs need some, too.
LIMITS = {"captures-per-user": 8, "captures": 24}
_LIMITS_RANGE = range(1, 1001)
ROOT = 0
# Set by a front that runs as root through sudo: the user id of who ran sudo.
BEHIND_ROOT = "TCCAP_BEHIND_ROOT"


class Limits(NamedTuple):
    """How many captures may run at once."""

    per_user: int = LIMITS["captures-per-user"]  # not root
    in_all: int = LIMITS["captures"]


class Caller(NamedTuple):
    """A user who captures. ``details`` and ``secrets`` are OWN or ALL.

    ``own`` is the user whose processes count as "one's own"; for root through sudo,
    the user who ran sudo.
    """

    uid: int
    gid: int
    details: str
    secrets: str
    own: int
    limits: Limits = Limits()

    def sees_details_of(self, pid: int) -> bool:
        """Return whether the user may see a process's path, arguments and so on."""
        return self.details == ALL or ownership.is_own(pid, self.uid, self.gid)

    def owns(self, pid: int) -> bool:
        """Return whether a process is one's own, whose secrets are read.

        Who may read all secrets only chooses some by this: all programs of a user.
        """
        if self.secrets == OWN:
            return ownership.is_own(pid, self.uid, self.gid)
        found = proc.credentials(pid)
        return found is not None and found.uids == {self.own}


def caller() -> Caller:
    """Return who started this engine.

    TccapError if an ordinary user did so without the front, or if the administrator's
    file is not right.
    """
    uid, gid = _ids()
    if uid == ROOT:
        return Caller(uid, gid, ALL, ALL, own=_behind_root(), limits=_limits_of_root())
    _need_pipes(uid)
    settings = _configuration(CONFIGURATION)
    details, secrets = settings["details"], settings["secrets"]
    return Caller(uid, gid, details, secrets, own=uid, limits=_limits(settings))


def _limits_of_root() -> Limits:
    """Return the administrator's limits; a wrong file does not keep root out."""
    try:
        return _limits(_configuration(CONFIGURATION))
    except TccapError:
        return Limits()


def _limits(settings: dict[str, Any]) -> Limits:
    return Limits(settings["captures-per-user"], settings["captures"])


def _ids() -> tuple[int, int]:
    """Return the real user and group id of who started the engine, sudo's if it did."""
    if "SUDO_UID" not in os.environ:
        return os.getuid(), os.getgid()
    texts = [os.environ.get(name, "") for name in ("SUDO_UID", "SUDO_GID")]
    if not all(text.isascii() and text.isdecimal() for text in texts):
        raise TccapError("sudo did not tell who starts the engine.")
    return int(texts[0]), int(texts[1])


def _behind_root() -> int:
    text = os.environ.get(BEHIND_ROOT, "")
    return int(text) if text.isascii() and text.isdecimal() else ROOT


def _need_pipes(uid: int) -> None:
    """Raise TccapError if root would write to other files than pipes for a user.

    The system log gets the refusal, too: who starts the engine by hand may have no
    stderr that anybody reads.
    """
    if all(stat.S_ISFIFO(os.fstat(fd).st_mode) for fd in (0, 1, 2)):
        return
    reason = "Only root can capture into anything but Wireshark's FIFO."
    syslog.openlog("tccap", syslog.LOG_PID, syslog.LOG_AUTHPRIV)
    syslog.syslog(syslog.LOG_WARNING, f"user {uid} was refused: {reason}")
    raise TccapError(reason)


def _configuration(path: Path) -> dict[str, Any]:
    defaults = DEFAULTS | LIMITS
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if status.st_uid != ROOT or status.st_mode & 0o022:
                _refuse(path, "somebody else than root can write it")
            import tomllib  # noqa: PLC0415  # slow; most machines have no such file

            return defaults | _checked(path, tomllib.load(file))
    except FileNotFoundError:
        return defaults
    except (OSError, ValueError) as error:
        _refuse(path, str(error))


def _checked(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    for key, value in settings.items():
        if key in LIMITS:
            if type(value) is not int or value not in _LIMITS_RANGE:
                _refuse(path, f"{key} is a number from 1 to 1000")
        elif key not in DEFAULTS:
            _refuse(path, f"there is no setting {key!r}")
        elif value not in (OWN, ALL):
            _refuse(path, f'{key} is "{OWN}" or "{ALL}"')
    return settings


def _refuse(path: Path, reason: str) -> NoReturn:
    raise TccapError(f"An administrator has to mend {path}: {reason}.")
