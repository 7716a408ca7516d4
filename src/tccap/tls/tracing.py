"""The thread that looks for TLS libraries to probe while we capture.

It examines the TLS libraries of the system and those that the user names, and then,
again and again, the files that traced processes execute. A probe is on a file, so it
serves every process that has the file mapped, now or later.
"""

import contextlib
import functools
import hashlib
import os
import threading
import time
from collections.abc import Callable, Iterator

from tccap.errors import TccapError
from tccap.ipc.channel import GotNoSecrets, HandlesAt, MayTrace, Message, Verdict
from tccap.ipc.status import Timing, TlsReady, log, report
from tccap.ipc.values import Level
from tccap.tls import libraries
from tccap.tls.examiner import Examiner
from tccap.tls.knownfiles import KnownFiles
from tccap.tls.probedfiles import ProbedFiles
from tccap.tls.processscan import ProcessScan
from tccap.tls.uprobes import Uprobes
from tccap.tls.verdicts import Program, Verdicts

# Scanning all processes takes about this share of one CPU, and looking at those that
# the packets' loop asks for.
SHARE, LOOKS_SHARE = 0.02, 0.2
PAUSE_S = 0.5
# After files were examined: files that change all the time take half a CPU at most.
EXAMINED_PAUSE_S = 10.0


class Tracing(threading.Thread):
    """The thread, which dies with the process; other methods are for the engine's.

    It answers the carrier (`engine.parts.Service`).

    ``wants`` returns whether a process may be traced; ``probes`` makes the probes, and
    is called in the thread. With ``shows_paths`` the user may see everybody's paths.
    """

    requests = frozenset({MayTrace, GotNoSecrets})

    def __init__(
        self,
        probes: Callable[[], Uprobes],
        wants: Callable[[int], bool],
        listed: tuple[str, ...],
        *,
        shows_paths: bool,
    ) -> None:
        super().__init__(name="tracing", daemon=True)
        self._make_probes = probes
        self._wants = wants
        self._listed = listed
        self._shows_paths = shows_paths
        self._known = KnownFiles()
        self._news_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._verdicts = Verdicts(lambda: os.eventfd_write(self._news_fd, 1))
        self._number_key = os.urandom(16)
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
        started = time.monotonic()
        if self._probed:
            self._probed.close()
        report(Timing("detach probes", time.monotonic() - started))

    def run(self) -> None:
        """Look for files and probe them, until the end."""
        try:
            self._probed = ProbedFiles(self._make_probes(), self._known, self._stopped)
            self._look(self._probed)
        except TccapError as error:
            log("warning", f"TLS secrets cannot be read: {error}")
        except OSError as error:
            log("warning", f"TLS secrets cannot be read: {error.strerror}.")
        finally:
            self._verdicts.close()

    def _look(self, probed: ProbedFiles) -> None:
        scan = ProcessScan(self._wants, self._known, self._verdicts)
        examiner = Examiner(self._known, probed, scan, self._stopped)
        self._examine_listed(examiner)
        answer = functools.partial(self._answer, scan, examiner)
        examiner.examine_processes(answer)
        examiner.examine_learned(answer, only_public=not self._shows_paths)
        report(TlsReady())
        due = 0.0
        while not self._stopped.is_set():
            if time.monotonic() >= due:
                pause_s = self._scan(probed, scan, examiner, answer)
                due = time.monotonic() + pause_s
            answer()
            self._verdicts.wait(due - time.monotonic())

    def _examine_listed(self, examiner: Examiner) -> None:
        for path in _common_libraries():
            self._examine_path(examiner, path, "info")
        for path in self._listed:
            self._examine_path(examiner, path, "warning")

    def _examine_path(self, examiner: Examiner, path: str, level: Level) -> None:
        examiner.examine_path(path, level)
        # Now: its secrets come from now on, and the next file may take seconds.
        self._verdicts.record_listed(self._known.listed_handles_at)

    def _scan(
        self,
        probed: ProbedFiles,
        scan: ProcessScan,
        examiner: Examiner,
        answer: Callable[[], None],
    ) -> float:
        """Scan all processes; return the seconds until the next time."""
        started = time.monotonic()
        if probed.take_lost():
            self._examine_listed(examiner)
        examiner.examine_processes(answer)
        examining_s = scan.examining_s
        scanning_s = time.monotonic() - started - examining_s
        return max(PAUSE_S, scanning_s / SHARE, min(examining_s, EXAMINED_PAUSE_S))

    def _answer(self, scan: ProcessScan, examiner: Examiner) -> None:
        """Look at the processes that the loop has asked for."""
        started, examined_s = time.monotonic(), scan.examining_s
        for pid in self._verdicts.take_asked():
            if not self._stopped.is_set():
                examiner.examine_process(pid)
        for pid, since in self._verdicts.take_silent().items():
            if not self._stopped.is_set():
                examiner.explain_silence(pid, since)
        # Each file is examined once; connections that wait should not wait for more.
        taken_s = time.monotonic() - started - (scan.examining_s - examined_s)
        self._stopped.wait(taken_s / LOOKS_SHARE - taken_s)


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
