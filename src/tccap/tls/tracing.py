"""The thread that looks for TLS libraries to probe while we capture.

It examines the TLS libraries of the system and those that the user names, and then,
again and again, the files that traced processes execute. A probe is on a file, so it
serves every process that has the file mapped, now or later.
"""

import contextlib
import hashlib
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator

from tccap.errors import TccapError
from tccap.ipc.channel import GotNoSecrets, HandlesAt, MayTrace, Message, Verdict
from tccap.ipc.status import Timing, TlsReady, log, report
from tccap.tls import libraries
from tccap.tls.examinations import Examinations
from tccap.tls.examiner import Examiner
from tccap.tls.explainer import Explainer
from tccap.tls.filesearch import FileSearch
from tccap.tls.inspector import Inspector
from tccap.tls.knownfiles import KnownFiles
from tccap.tls.newprograms import NewPrograms
from tccap.tls.probedfiles import ProbedFiles
from tccap.tls.processscan import ProcessScan
from tccap.tls.shared import Shared
from tccap.tls.spending import Spending
from tccap.tls.uprobes import Uprobes
from tccap.tls.verdicts import Program, Verdicts

SHARE = 0.02  # of one CPU, for scanning all processes
PAUSE_S = 0.5
# After files were examined: files that change all the time take half a CPU at most.
EXAMINED_PAUSE_S = 10.0
# Python's threads pass on the interpreter after this time, instead of 5 ms: a program
# may live for ten.
SWITCH_S = 0.0005


class Tracing(threading.Thread):
    """The thread, which dies with the process; other methods are for the engine's.

    It answers the carrier (`engine.parts.Service`).

    ``wants`` returns whether a process may be traced; ``make`` makes the probes and the
    reports of new programs, and is called in the thread. With ``shows_paths`` the user
    may see everybody's paths. ``is_surely_traced`` returns whether no process filter
    keeps the probes from a process that is wanted.
    """

    requests = frozenset({MayTrace, GotNoSecrets})

    def __init__(
        self,
        make: Callable[[], tuple[Uprobes, NewPrograms | None]],
        wants: Callable[[int], bool],
        listed: tuple[str, ...],
        *,
        shows_paths: bool,
        is_surely_traced: Callable[[int], bool] = lambda _pid: True,
    ) -> None:
        super().__init__(name="tracing", daemon=True)
        self._make = make
        self._wants = wants
        self._listed = listed
        self._shows_paths = shows_paths
        self._is_surely_traced = is_surely_traced
        self._known = KnownFiles()
        self._news_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._verdicts = Verdicts(lambda: os.eventfd_write(self._news_fd, 1))
        self._number_key = os.urandom(16)
        self._inspector = Inspector()
        self._probed: ProbedFiles | None = None  # until the thread has made the probes
        self._stopped = threading.Event()

    @property
    def news_fd(self) -> int:
        """The descriptor that is readable when there are messages to take."""
        return self._news_fd

    def answer(self, request: Message) -> Iterator[Message]:
        """Take a question about a process; `take` returns later answers."""
        if isinstance(request, GotNoSecrets):
            self._verdicts.got_no_secrets(request.pid, request.waited_ms / 1000)
            return
        assert isinstance(request, MayTrace)
        may_give = self.may_trace(request.pid)
        if may_give is not None:
            yield Verdict(request.pid, may_give)

    def take(self) -> Iterator[Message]:
        """Yield what has become known of processes since the last call."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._news_fd)
        for pid, offsets in self._verdicts.take_handles().items():
            yield HandlesAt(pid, bytes(sorted(offsets)))
        for pid, may_give, program in self._verdicts.take_answers():
            yield Verdict(pid, may_give, self._number(program))

    def may_trace(self, pid: int) -> bool | None:
        """Return whether secrets of a process may come: a file that it has is probed.

        None if that is not known yet: `take` will tell. Secrets of a process that has
        ended may come: they may be on their way.
        """
        return self._verdicts.may_give(pid)

    def _number(self, program: Program) -> int:
        """Return a number that stands for a program: the carrier sees no inodes."""
        if program is None:
            return 0
        text = b"%d %d" % program
        made = hashlib.blake2b(text, digest_size=8, key=self._number_key)
        return int.from_bytes(made.digest())

    def addresses_changed(self) -> None:
        """Ignore that addresses of this host have changed."""

    def close(self) -> None:
        """Detach all probes; does not wait for the thread, which may be reading."""
        self._stopped.set()
        self._verdicts.wake()
        self._inspector.close()
        started = time.monotonic()
        if self._probed:
            self._probed.close()
        report(Timing("detach probes", time.monotonic() - started))

    def run(self) -> None:
        """Look for files and probe them, until the end."""
        sys.setswitchinterval(SWITCH_S)
        try:
            probes, programs = self._make()
            self._probed = ProbedFiles(probes, self._known, self._stopped)
            self._look(self._probed, programs)
        except TccapError as error:
            log("warning", f"TLS secrets cannot be read: {error}")
        except OSError as error:
            log("warning", f"TLS secrets cannot be read: {error.strerror}.")
        finally:
            self._verdicts.close()

    def _look(self, probed: ProbedFiles, programs: NewPrograms | None) -> None:
        spending = Spending()
        shared = Shared(self._known, probed, self._verdicts, self._stopped)
        scan = ProcessScan(self._wants, self._known, self._verdicts, spending)
        examiner = Examiner(shared, self._inspector, scan.contents_in_use)
        wake = self._verdicts.wake
        examinations = Examinations(examiner.examine, spending, on_done=wake)
        explainer = Explainer(self._known, scan, shared.goes_on, self._is_surely_traced)
        search = FileSearch(shared, scan, examinations, programs, explainer)
        try:
            self._begin(search)
            while not self._stopped.is_set():
                pause_s = self._scan(search, spending)
                examiner.detach_unused()
                search.answer_until(time.monotonic() + pause_s)
                if probed.take_lost():
                    self._add_listed(search)
        finally:
            examinations.close()

    def _begin(self, search: FileSearch) -> None:
        """Have all examined that may be in use already."""
        self._add_listed(search)
        search.add_of_processes()
        search.add_learned(only_public=not self._shows_paths)
        search.finish()
        report(TlsReady())
        self._inspector.prepare()  # not before, as it takes the start's time

    def _add_listed(self, search: FileSearch) -> None:
        for path in _common_libraries():
            search.add_path(path, "info")
        for path in self._listed:
            search.add_path(path, "warning")

    def _scan(self, search: FileSearch, spending: Spending) -> float:
        """Scan all processes; return the seconds until the next time."""
        started = time.thread_time()
        search.add_of_processes()
        scanning_s = time.thread_time() - started
        examining_s = min(spending.total_s, EXAMINED_PAUSE_S)
        return max(PAUSE_S, scanning_s / SHARE, examining_s)


def _common_libraries() -> list[str]:
    try:
        return libraries.common()
    except OSError as error:
        reason = f"{libraries.LDCONFIG} cannot be run ({error.strerror})"
        log(
            "warning",
            f"TLS: libraries are found only when they are in use: {reason}.",
        )
        return []
