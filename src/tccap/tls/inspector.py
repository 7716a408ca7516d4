"""Running the finder, a process without rights, on a file; a cache of its answers.

The finder reads files that anybody may have made. It gets a private copy, and the cache
is keyed by the hash of that copy. So neither a forged build id nor a file that changes
during the inspection can make an answer that another file gets.
"""

import contextlib
import hashlib
import os
import select
import signal
import stat
import subprocess
import time
from collections.abc import Iterator

from tccap.errors import TccapError
from tccap.host.rootcache import RootCache
from tccap.paths import SCRIPT, engine_python
from tccap.tls.sites import Inspection

CACHE = RootCache("tls", at_most=1024)
ALGORITHM = 8  # part of the cache's keys: raise it when answers may change
FILE_LEN_MAX = 1 << 30
IN_MEMORY_MAX = 64 << 20  # the copy of a larger file is on a disk
TIME_LIMIT_S = 120  # only against hanging: ordinary files take less than 3 s
_ANSWER_LEN_MAX = 1 << 20
_BLOCK_LEN = 1 << 20
_PACKAGES_MISSING = 3  # the exit status finder.entry.PACKAGES_MISSING
_TOO_SLOW = (-signal.SIGXCPU, -signal.SIGKILL)
ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",  # numpy's threads would only cost memory
}


def inspect(fd: int) -> Inspection:
    """Return the finder's answer about an open file.

    Takes seconds for a large file, and a tenth of that if the answer is in the cache.
    TccapError if the finder's packages are not installed.
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
        with contextlib.suppress(OSError):  # no disk, or no space on it
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
    """Yield the first ``size`` bytes of a file, which may be growing."""
    offset = 0
    while block := os.pread(fd, min(_BLOCK_LEN, size - offset), offset):
        offset += len(block)
        yield block


def _ask(fd: int) -> tuple[Inspection, bool]:
    """Run the finder; return its answer, and whether it would always be this one.

    The finder may be in the hands of the file that it reads: a bad answer is a refusal.
    """
    try:
        status, answer = _run_finder(fd)
    except OSError as error:
        return _refused(f"The finder cannot be started: {error.strerror}."), False
    refusal = _why_refused(status, answer)
    if refusal:
        return _refused(refusal), False
    try:
        return Inspection.from_json(answer), True
    except TccapError:
        return _refused("The finder's answer is malformed."), False


def _run_finder(fd: int) -> tuple[int, bytes]:
    """Return the finder's exit status and answer.

    It is killed after TIME_LIMIT_S, or when the answer is longer than _ANSWER_LEN_MAX.
    """
    deadline = time.monotonic() + TIME_LIMIT_S
    with subprocess.Popen(
        [engine_python(), "-I", SCRIPT, "finder"],
        stdin=fd,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=ENVIRONMENT,
        cwd="/",
    ) as finder:
        try:
            answer = _read_answer(finder, deadline)
            if len(answer) <= _ANSWER_LEN_MAX:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    finder.wait(_left_s(deadline))
        finally:
            finder.kill()
    return finder.returncode, answer


def _read_answer(finder: "subprocess.Popen[bytes]", deadline: float) -> bytes:
    """Return the output up to its end, the deadline or just beyond the limit."""
    assert finder.stdout
    stdout = finder.stdout.fileno()
    poller = select.poll()
    poller.register(stdout, select.POLLIN)
    answer = b""
    while len(answer) <= _ANSWER_LEN_MAX and poller.poll(1000 * _left_s(deadline)):
        block = os.read(stdout, _BLOCK_LEN)
        if not block:
            break
        answer += block
    return answer


def _left_s(deadline: float) -> float:
    return max(0.0, deadline - time.monotonic())


def _why_refused(status: int, answer: bytes) -> str:
    """Return why there is no answer to read; empty if there is one.

    TccapError if the finder's packages are not installed.
    """
    if len(answer) > _ANSWER_LEN_MAX:
        return "The finder was stopped: its answer is too long."
    if status == _PACKAGES_MISSING:
        raise TccapError(
            "TLS secrets need the Python packages capstone, numpy and unicorn: "
            "run sudo ./install.sh in a checkout of tccap."
        )
    if status in _TOO_SLOW:
        return "The finder was stopped: it took too long."
    return "The finder gave up on it." if status else ""


def _refused(why: str) -> Inspection:
    return Inspection("", "", "", (), "", why)


def _file(digest: str) -> str:
    return f"{ALGORITHM}-{digest}.json"
