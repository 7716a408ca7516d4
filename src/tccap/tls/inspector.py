"""Running the finder, a process without rights, on a file; a cache of its answers.

The finder reads files that anybody may have made. It gets a private copy, and the cache
is keyed by the hash of that copy. So neither a forged build id nor a file that changes
during the inspection can make an answer that another file gets.
"""

import contextlib
import hashlib
import os
import signal
import stat
import time
from collections.abc import Iterator
from typing import Self

from tccap.errors import TccapError
from tccap.host.rootcache import RootCache
from tccap.tls.finderprocess import FinderProcess, Run
from tccap.tls.knownfiles import KNOWN_MAX, Content
from tccap.tls.sites import Inspection

CACHE = RootCache("tls", at_most=1024)
ALGORITHM = 11  # part of the cache's keys: raise it when answers may change
FILE_LEN_MAX = 1 << 30
IN_MEMORY_MAX = 64 << 20  # the copy of a larger file is on a disk
TIME_LIMIT_S = 120  # only against hanging: ordinary files take less than 3 s
_ANSWER_LEN_MAX = 1 << 20
_BLOCK_LEN = 1 << 20
# A file that changes while it is read gets another change time, unless that was the
# present moment already: the kernel counts it in steps.
_SETTLED_NS = 2 * 10**9
_PACKAGES_MISSING = 3  # the exit status finder.entry.PACKAGES_MISSING
_TOO_SLOW = (-signal.SIGXCPU, -signal.SIGKILL)


class Inspector:
    """Inspects files; for any thread. `close` ends the finder, and what it is at."""

    def __init__(self) -> None:
        self._finder = FinderProcess()
        self._digests: dict[Content, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prepare(self) -> None:
        """Start the finder, unless it runs, so that no file waits for that."""
        with contextlib.suppress(OSError):  # the first inspection says so
            self._finder.start()

    def close(self) -> None:
        """End the finder; later inspections are refused."""
        self._finder.close()

    def inspect(self, fd: int) -> Inspection:
        """Return the finder's answer about an open file.

        Takes seconds for a large file, and a tenth of that if the answer is in the
        cache. TccapError if the finder's packages are not installed.
        """
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return _refused("It is not an ordinary file.")
        if not 0 < status.st_size <= FILE_LEN_MAX:
            return _refused("It is empty or larger than 1 GiB.")
        before, is_settled = Content.of(fd), _is_settled(status)
        content = hashlib.sha256()
        for block in _blocks(fd, status.st_size):
            content.update(block)
        if is_settled and Content.of(fd) == before:
            self._remember(before, content.hexdigest())
        kept = CACHE.get(_file(content.hexdigest()), Inspection.from_json)
        return kept or self._inspect_copy(fd, status.st_size)

    def answered(self, content: Content, digest: str) -> Inspection | None:
        """Return the answer about a file with a known hash, if it is in the cache."""
        answer = CACHE.get(_file(digest), Inspection.from_json) if digest else None
        if answer:
            self._remember(content, digest)
        return answer

    def digest(self, content: Content) -> str:
        """Return the hash of a file that was inspected; empty if it is not certain."""
        return self._digests.get(content, "")

    def _remember(self, content: Content, digest: str) -> None:
        if len(self._digests) == KNOWN_MAX:
            self._digests = {}
        self._digests[content] = digest

    def _inspect_copy(self, fd: int, size: int) -> Inspection:
        if size > IN_MEMORY_MAX:
            with contextlib.suppress(OSError):  # no disk, or no space on it
                return self._inspect_in(CACHE.nameless_file(size), fd, size)
        return self._inspect_in(os.memfd_create("tccap-inspected"), fd, size)

    def _inspect_in(self, copy_fd: int, fd: int, size: int) -> Inspection:
        content = hashlib.sha256()
        with open(copy_fd, "r+b") as copy:
            for block in _blocks(fd, size):
                content.update(block)
                copy.write(block)
            copy.flush()
            answer, is_final = self._ask(copy.fileno())
        if is_final:
            CACHE.keep(_file(content.hexdigest()), answer.to_json().encode("ascii"))
        return answer

    def _ask(self, fd: int) -> tuple[Inspection, bool]:
        """Run the finder; return its answer, and whether it would always be this one.

        It may be in the hands of the file that it reads: a bad answer is a refusal.
        """
        try:
            run = self._finder.run(fd, TIME_LIMIT_S, _ANSWER_LEN_MAX)
        except OSError as error:
            return _refused(f"The finder cannot be started: {error.strerror}."), False
        refusal = _why_refused(run)
        if refusal:
            return _refused(refusal), False
        try:
            return Inspection.from_json(run.answer), True
        except TccapError:
            return _refused("The finder's answer is malformed."), False


def _is_settled(status: os.stat_result) -> bool:
    """Return whether a file had not changed just before, by the clock of now."""
    return 0 <= status.st_ctime_ns < time.time_ns() - _SETTLED_NS


def _blocks(fd: int, size: int) -> Iterator[bytes]:
    """Yield the first ``size`` bytes of a file, which may be growing."""
    offset = 0
    while block := os.pread(fd, min(_BLOCK_LEN, size - offset), offset):
        offset += len(block)
        yield block


def _why_refused(run: Run) -> str:
    """Return why there is no answer to read; empty if there is one.

    TccapError if the finder's packages are not installed.
    """
    if len(run.answer) > _ANSWER_LEN_MAX:
        return "The finder was stopped: its answer is too long."
    if run.status == _PACKAGES_MISSING:
        raise TccapError(
            "TLS secrets need the Python packages capstone, numpy and unicorn: "
            "run sudo ./install.sh in a checkout of tccap."
        )
    if run.status in _TOO_SLOW:
        return "The finder was stopped: it took too long."
    return "The finder gave up on it." if run.status else ""


def _refused(why: str) -> Inspection:
    return Inspection("", "", "", (), "", why)


def _file(digest: str) -> str:
    return f"{ALGORITHM}-{digest}.json"
