"""Which files to probe for TLS secrets: a thread that looks for them while we capture.

It looks at the TLS libraries that the system has, at what the user names, and again
and again at what the traced processes execute. A probe is on a file, so that it
serves every process that has the file mapped, and those that will. Each file is looked
at once: first for the labels that every TLS library holds, then by the finder.
"""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterable
from typing import NamedTuple

from tccap import inspector, mapped, proc
from tccap.errors import TccapError
from tccap.mapped import Identity, Mapped
from tccap.status import log, report
from tccap.uprobes import Uprobes

# Every library that can log secrets holds the first (a label), and the other two that
# NSS needs for it a name that they export.
SIGNS = (
    b"CLIENT_HANDSHAKE_TRAFFIC_SECRET",
    b"\0PK11_GetSymKeyHandle\0",
    b"\0NSC_GetFunctionList\0",
)
# Those that the system has, before anybody uses them.
COMMON = ("libssl.so", "libgnutls.so", "libssl3.so", "libnss3.so", "libsoftokn3.so")
BLOCK_LEN = 1 << 20
# Of one CPU, the looks at processes take at most this share.
SHARE = 0.02
PAUSE_S = 0.5


class Traced(NamedTuple):
    """What became of a file that holds a TLS library."""

    path: str
    library: str
    probes: int
    refusal: str  # empty: its secrets are read


class Tracing(threading.Thread):
    """The thread; it dies with the process.

    ``wants`` tells whether a process is to be traced; ``probes`` makes the probes when
    the thread starts.
    """

    def __init__(
        self,
        probes: Callable[[], Uprobes],
        wants: Callable[[int], bool],
        listed: tuple[str, ...],
    ) -> None:
        super().__init__(name="tracing", daemon=True)
        self._make_probes = probes
        self._wants = wants
        self._listed = listed
        self._probes: Uprobes | None = None
        self._known: dict[Identity, Traced | None] = {}
        self._same: dict[tuple[int, int], Traced | None] = {}
        self._handles_at: set[int] = set()
        self._looking = threading.Event()
        self._stopped = False
        self._lock = threading.Lock()

    # For the other thread.

    @property
    def handle_at(self) -> int | None:
        """Where in descriptions of keys their handles stand (tlssites.Inspection).

        None: that is not known, or not the same in all libraries that were found.
        """
        found = self._handles_at
        return next(iter(found)) if len(found) == 1 else None

    def may_trace(self, pid: int) -> bool:
        """Tell whether secrets of a process may come: it has a library that is probed.

        Or one that has not been looked at, or the process has ended: then they may be
        on their way.
        """
        if not self._wants(pid):
            return mapped.has_ended(pid)
        files = mapped.in_use(pid)
        for identity in files:
            if identity not in self._known:
                self._looking.set()
                return True
            found = self._known[identity]
            if found and found.probes:
                return True
        return not files

    def close(self) -> None:
        """Detach all probes."""
        self._stopped = True
        self._looking.set()
        started = time.monotonic()
        with self._lock:
            if self._probes:
                self._probes.close()
        report("timing", step="detach probes", seconds=time.monotonic() - started)

    # The thread itself.

    def run(self) -> None:
        """Look for files and probe them, until the end."""
        try:
            self._probes = self._make_probes()
            self._look_at_listed()
            self._look_at_processes()
            report("tls", ready=True)
            while not self._stopped:
                started = time.monotonic()
                self._look_at_processes()
                took_s = time.monotonic() - started
                self._looking.wait(max(PAUSE_S, took_s / SHARE))
                self._looking.clear()
        except TccapError as error:
            log("warning", f"TLS secrets cannot be read: {error}")

    def _look_at_listed(self) -> None:
        for path in (*common_libraries(), *self._listed):
            fd = mapped.open_file(path)
            if fd is None:
                log("warning", f"TLS: {path} cannot be opened.")
                continue
            try:
                self._look_at(fd, path)
            finally:
                os.close(fd)

    def _look_at_processes(self) -> None:
        for pid in filter(self._wants, proc.pids()):
            for file in mapped.files(pid):
                if file.identity not in self._known and not self._stopped:
                    self._look_at_mapped(file)

    def _look_at_mapped(self, file: Mapped) -> None:
        fd = mapped.opened(file)
        if fd is None:
            return
        try:
            self._known[file.identity] = self._look_at(fd, file.path)
        finally:
            os.close(fd)

    def _look_at(self, fd: int, path: str) -> Traced | None:
        """Return what became of a file; None: there is no TLS library in it."""
        status = os.fstat(fd)
        same = (status.st_dev, status.st_ino)
        if same not in self._same:
            self._same[same] = self._probe(fd, path)
        return self._same[same]

    def _probe(self, fd: int, path: str) -> Traced | None:
        if not _holds(fd, SIGNS):
            return None
        found = inspector.inspect(fd)
        refusal, probes = found.refusal, 0
        if found.handle_at is not None:
            self._handles_at = self._handles_at | {found.handle_at}
        with self._lock:
            for site in found.sites:
                if self._stopped or self._probes is None:
                    break
                try:
                    self._probes.attach(fd, site)
                    probes += 1
                except TccapError as error:
                    refusal = str(error)
        traced = Traced(path, found.library, probes, refusal)
        _tell(traced)
        return traced


def _tell(traced: Traced) -> None:
    if traced.refusal:
        log("warning", f"TLS: no secrets from {traced.path}: {traced.refusal}")
    elif traced.probes:
        what = f"{traced.library} in {traced.path}, {traced.probes} probes"
        log("info", f"TLS: secrets are read from {what}.")
    report("tls", path=traced.path, probes=traced.probes)


def common_libraries() -> Iterable[str]:
    """Return the paths of the TLS libraries that the dynamic linker knows."""
    done = subprocess.run(
        ["/sbin/ldconfig", "-p"], check=False, capture_output=True, text=True
    )
    for line in done.stdout.splitlines():
        name, _, path = line.strip().partition(" ")
        if name.startswith(COMMON) and " => " in path:
            yield path.rpartition(" => ")[2]


def _holds(fd: int, signs: tuple[bytes, ...]) -> bool:
    """Tell whether a file holds one of these."""
    offset, before = 0, b""
    while block := os.pread(fd, BLOCK_LEN, offset):
        searched = before + block
        if any(sign in searched for sign in signs):
            return True
        offset += len(block)
        before = block[1 - max(map(len, signs)) :]
    return False
