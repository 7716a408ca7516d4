"""Asking the finder about a file: a process with no rights, and its answers kept.

The finder reads whatever anybody runs. It works on a copy of our own, and its answers
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

from tccap.errors import TccapError
from tccap.host.rootcache import RootCache
from tccap.paths import SCRIPT, engine_python
from tccap.tls.sites import Inspection

CACHE = RootCache("tls", at_most=1024)
ALGORITHM = 2  # part of the names in the cache: raise it when answers may change
FILE_LEN_MAX = 1 << 30
IN_MEMORY_MAX = 64 << 20  # the copy of a larger file lies on a disk
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
    content = hashlib.sha256()
    for block in _blocks(fd, status.st_size):
        content.update(block)
    kept = CACHE.get(_file(content.hexdigest()), Inspection.from_json)
    return kept or _inspect_copy(fd, status.st_size)


def _inspect_copy(fd: int, size: int) -> Inspection:
    if size > IN_MEMORY_MAX:
        with contextlib.suppress(OSError):  # there is no disk, or no room on it
            return _inspect_in(CACHE.nameless_file(size), fd, size)
    return _inspect_in(os.memfd_create("tccap-inspected"), fd, size)


def _inspect_in(copy_fd: int, fd: int, size: int) -> Inspection:
    content = hashlib.sha256()
    with open(copy_fd, "r+b") as copy:
        for block in _blocks(fd, size):
            content.update(block)
            copy.write(block)
        copy.flush()
        answer, is_final = _ask(copy.fileno())
    if is_final:
        CACHE.keep(_file(content.hexdigest()), answer.to_json().encode("ascii"))
    return answer


def _blocks(fd: int, size: int) -> Iterator[bytes]:
    """Yield the first bytes of a file: it may grow meanwhile."""
    offset = 0
    while block := os.pread(fd, min(_BLOCK_LEN, size - offset), offset):
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


def _file(digest: str) -> str:
    return f"{ALGORITHM}-{digest}.json"
