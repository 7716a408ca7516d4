"""Asking the finder about a file: a process with no rights, and its answers kept.

The finder reads whatever anybody runs. It works on a copy in memory, and its answers
are kept by the hash of that copy: neither a build id, which anybody can give to any
file, nor a file that changes meanwhile can make an answer that another file gets.
"""

import contextlib
import hashlib
import os
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tccap.errors import TccapError
from tccap.paths import SCRIPT, engine_python
from tccap.tlssites import Inspection

CACHE = Path("/var/cache/tccap/tls")
ALGORITHM = 1  # part of the names in the cache: raise it when answers may change
FILE_LEN_MAX = 1 << 30
TIME_LIMIT_S = 120  # against hanging only: ordinary files take less than 3
_ANSWER_LEN_MAX = 1 << 20
_BLOCK_LEN = 1 << 20
_PACKAGES_MISSING = 3  # an exit status of tccap.finder.entry
_TOO_SLOW = (-signal.SIGXCPU, -signal.SIGKILL)
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",  # numpy's threads would take memory for nothing
}


def inspect(fd: int) -> Inspection:
    """Return what the finder says of an open file; TccapError if it cannot be asked.

    Takes seconds for a large file, and a tenth of that when it was seen before.
    """
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode):
        return _refused("It is not an ordinary file.")
    if not 0 < status.st_size <= FILE_LEN_MAX:
        return _refused("It is empty or larger than 1 GiB.")
    name = hashlib.sha256()
    for block in _blocks(fd):
        name.update(block)
    return _kept(name.hexdigest()) or _inspect_copy(fd)


def _inspect_copy(fd: int) -> Inspection:
    name = hashlib.sha256()
    with open(os.memfd_create("tccap-inspected"), "r+b") as copy:  # noqa: PTH123
        for block in _blocks(fd):
            name.update(block)
            copy.write(block)
        copy.flush()
        answer, is_final = _ask(copy.fileno())
    if is_final:
        _keep(name.hexdigest(), answer)
    return answer


def _blocks(fd: int) -> Iterator[bytes]:
    offset = 0
    while offset <= FILE_LEN_MAX and (block := os.pread(fd, _BLOCK_LEN, offset)):
        offset += len(block)
        yield block


def _ask(fd: int) -> tuple[Inspection, bool]:
    """Run the finder; return its answer, and whether it would always be this one."""
    try:
        done = subprocess.run(
            [engine_python(), "-I", SCRIPT, "finder"],
            stdin=fd,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=ENVIRONMENT,
            cwd="/",
            check=False,
            timeout=TIME_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return _refused("The finder was stopped: it took too long."), False
    except OSError as error:
        raise TccapError(f"The finder cannot be started: {error}.") from None
    if done.returncode == _PACKAGES_MISSING:
        raise TccapError(
            "TLS secrets need the Python packages capstone, numpy and unicorn: "
            "run sudo ./install.sh in a checkout of tccap."
        )
    if done.returncode in _TOO_SLOW:
        return _refused("The finder was stopped: it took too long."), False
    if done.returncode != 0:
        return _refused("The finder gave up on it."), False
    return Inspection.from_json(done.stdout[:_ANSWER_LEN_MAX]), True


def _refused(why: str) -> Inspection:
    return Inspection("", "", "", (), "", why)


def _kept(name: str) -> Inspection | None:
    """Return the answer that was kept for a content; None: there is none to trust."""
    with contextlib.suppress(OSError, TccapError):
        if _is_private(CACHE):
            return Inspection.from_json(_place(name).read_bytes())
    return None


def _keep(name: str, answer: Inspection) -> None:
    """Keep an answer, if we are root; a full disk only costs time."""
    if os.geteuid() != 0:
        return
    with contextlib.suppress(OSError):
        CACHE.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not _is_private(CACHE):
            return
        new = _place(name).with_suffix(f".{os.getpid()}")
        new.write_text(answer.to_json(), encoding="ascii")
        new.replace(_place(name))


def _is_private(folder: Path) -> bool:
    """Tell whether only root can have written there."""
    status = folder.lstat()
    mode = stat.S_IMODE(status.st_mode)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == 0 and not mode & 0o077


def _place(name: str) -> Path:
    return CACHE / f"{ALGORITHM}-{name}.json"
