"""The thread that looks for TLS libraries to probe while we capture.

It examines the TLS libraries of the system and those that the user names, and then,
again and again, the files that traced processes execute. A probe is on a file, so it
serves every process that has the file mapped, now or later.
"""

import threading
import time
from collections.abc import Callable

from tccap.errors import TccapError
from tccap.ipc.status import Timing, TlsReady, log, report
from tccap.tls import libraries, mapped
from tccap.tls.examiner import Examiner
from tccap.tls.knownfiles import KnownFiles
from tccap.tls.probedfiles import ProbedFiles
from tccap.tls.processscan import ProcessScan
from tccap.tls.uprobes import Uprobes

# Scanning the processes takes at most this share of one CPU.
SHARE = 0.02
PAUSE_S = 0.5


class Tracing(threading.Thread):
    """The thread, which dies with the process; other methods are for the engine's.

    ``wants`` returns whether a process may be traced; ``probes`` makes the probes, and
    is called in the thread.
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
        self._known = KnownFiles()
        self._probed: ProbedFiles | None = None  # until the thread has made the probes
        self._wakeup = threading.Event()
        self._stopped = threading.Event()

    @property
    def handle_at(self) -> int | None:
        """The offset of handles in descriptions of keys; None: not (uniquely) known."""
        return self._known.handle_at

    def may_trace(self, pid: int) -> bool:
        """Return whether secrets of a process may come: a file that it has is probed.

        So may those of a process with a file that is yet to be examined, and those of a
        process that has ended: they may be on their way.
        """
        if not self._wants(pid):
            return mapped.has_ended(pid)
        files = mapped.in_use(pid)
        for identity in files:
            probes = self._known.probes_in(identity)
            if probes is None:
                self._wakeup.set()
                return True
            if probes:
                return True
        return not files

    def close(self) -> None:
        """Detach all probes; does not wait for the thread, which may be reading."""
        self._stopped.set()
        self._wakeup.set()
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

    def _look(self, probed: ProbedFiles) -> None:
        scan = ProcessScan(self._wants, self._known)
        examiner = Examiner(self._known, probed, scan, self._stopped)
        examiner.examine_paths((*_common_libraries(), *self._listed))
        examiner.examine_processes()
        report(TlsReady())
        while not self._stopped.is_set():
            started = time.monotonic()
            examiner.examine_processes()
            taken_s = time.monotonic() - started
            self._wakeup.wait(max(PAUSE_S, taken_s / SHARE))
            self._wakeup.clear()


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
