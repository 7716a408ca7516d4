"""How many captures run at once: a slot for each, which ends with its process.

The kernel takes only so many programs on a device. Without limits one user could take
them all, and no program of anybody else could be attached there.

All slots are bytes of one empty file, held by POSIX record locks (fcntl(2)): nothing
has to be cleaned up after an engine that was killed.
"""

import fcntl
import os
from pathlib import Path

from tccap.errors import TccapError
from tccap.host import rootfolder
from tccap.host.access import CONFIGURATION, ROOT, Caller
from tccap.ipc.status import log

TOP, FOLDER, FILE = Path("/run"), "tccap", "captures"
# The slots of all begin at byte 0, those of a user at a place of the user's own.
_PER_USER = 1 << 16


def take(caller: Caller) -> None:
    """Take a slot until the process ends; TccapError if there is none.

    The file must not be opened again: closing it would let go of the slot.
    """
    try:
        fd = _opened()
    except OSError as error:
        _uncounted(caller, error)
        return
    limits = caller.limits
    mine = _PER_USER * (1 + caller.uid)
    if caller.uid != ROOT and not _locked_one(fd, mine, limits.per_user):
        raise TccapError(
            f"You have {limits.per_user} captures already, and no user may have more: "
            f"stop one, or have captures-per-user raised in {CONFIGURATION}."
        )
    if not _locked_one(fd, 0, limits.in_all):
        raise TccapError(
            f"{limits.in_all} captures are running, and this machine allows no more: "
            f"stop one, or have captures raised in {CONFIGURATION}."
        )


def _opened() -> int:
    """Open the file, where only root can reach it; the descriptor stays open."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with rootfolder.opened(TOP, FOLDER, make=True) as folder:
        return os.open(FILE, flags, 0o600, dir_fd=folder)


def _uncounted(caller: Caller, error: OSError) -> None:
    """Let only root capture where captures cannot be counted."""
    if caller.uid != ROOT:
        raise TccapError(
            f"{TOP / FOLDER} cannot be used to count captures ({error.strerror}): an "
            "administrator has to remove it."
        )
    log("debug", f"captures are not counted: {error}")


def _locked_one(fd: int, start: int, count: int) -> bool:
    """Lock one byte of so many; return whether one was free."""
    for place in range(start, start + count):
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):  # EACCES on some file systems
            continue
        return True
    return False
