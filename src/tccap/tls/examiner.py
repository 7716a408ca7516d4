"""Examining files: whether one is a TLS library, and where it can be probed.

Each content is examined once: first for the marker that every TLS library holds, then
by the finder. Whatever goes wrong with a file is the refusal of that file alone.
"""

import os
import threading
import time
from collections.abc import Callable

from tccap.errors import TccapError
from tccap.ipc.status import TlsProbes, log, report
from tccap.ipc.values import Level
from tccap.tls import inspector, learned, libraries, mapped
from tccap.tls.explainer import Explainer, log_refusal
from tccap.tls.knownfiles import UNREADABLE, Content, KnownFiles, Outcome
from tccap.tls.mapped import Mapped
from tccap.tls.probedfiles import ProbedFiles, WatchedFile
from tccap.tls.processscan import ProcessScan

LEARNED_S = 10.0  # for files of earlier captures, at the start


class Examiner:
    """Examines files and has them probed; for the tracing thread alone."""

    def __init__(
        self,
        known: KnownFiles,
        probed: ProbedFiles,
        scan: ProcessScan,
        stopped: threading.Event,
    ) -> None:
        self._known = known
        self._probed = probed
        self._scan = scan
        self._stopped = stopped
        self._explainer = Explainer(known, scan, self._goes_on)

    def examine_path(self, path: str, level: Level) -> None:
        """Examine a file before any process maps it; ``level`` is that of refusals."""
        fd = mapped.open_file(path)
        if fd is None:
            log("warning", f"TLS: {path} cannot be opened.")
            return
        try:
            self._known.add_listed(self._examine(fd, path, level))
        finally:
            os.close(fd)

    def examine_learned(self, answer: Callable[[], None], *, only_public: bool) -> None:
        """Examine files that were probed in earlier captures; see `examine_processes`.

        Their answers are in the cache, unless that was emptied. Large files take time
        nevertheless, and any user may have made them: so there is a limit of time.
        """
        deadline = time.monotonic() + LEARNED_S
        for path, fd in learned.files(only_public=only_public):
            try:
                if self._stopped.is_set() or time.monotonic() > deadline:
                    return
                answer()
                self._examine(fd, path, "info")
            finally:
                os.close(fd)

    def examine_processes(self, answer: Callable[[], None]) -> None:
        """Examine the files that traced processes execute, unless they are known.

        ``answer`` is called before each file: connections that wait come first.
        """
        for file in self._scan.due():
            answer()
            if self._stopped.is_set():
                return
            self._examine_mapped(file, mapped.opened(file))
        if self._known.is_short_of_slots():
            self._detach_unused()

    def examine_process(self, pid: int) -> None:
        """Examine the files of a process that speaks TLS; warn of what is refused."""
        look = self._scan.look(pid)
        # All at once: the process may end while the first one is examined.
        opened = {
            file: mapped.opened(file)
            for file in look.files
            if self._known.probes_in(file.identity) is None
        }
        for file in self._scan.due_of(look):
            fd = opened.pop(file, None)
            self._examine_mapped(file, mapped.opened(file) if fd is None else fd)
        for fd in filter(None, opened.values()):
            os.close(fd)
        self._explainer.explain(look)

    def explain_silence(self, pid: int, since: float) -> None:
        """Say why a connection got no secrets, although its process is traced.

        ``since`` is when it began, by `time.monotonic`.
        """
        self._explainer.explain_silence(self._scan.look(pid), since)

    def _examine_mapped(self, file: Mapped, fd: int | None) -> None:
        if fd is None:
            return
        try:
            content = self._examine(fd, file.identity.path, "info")
        finally:
            os.close(fd)
        self._known.set_content(file.identity, content)
        if self._known.probes_in(file.identity):
            learned.keep(file.identity.path, content)

    def _examine(self, fd: int, path: str, level: Level) -> Content:
        content = UNREADABLE
        try:
            content = self._probed.content(fd)
            if not self._known.is_examined(content):
                self._probe(fd, path, content, level)
        except (TccapError, OSError) as error:
            refused = Outcome(path, "", 0, _reason(error))
            self._known.set_outcome(content, refused)
            _announce(refused, level)
        return content

    def _probe(self, fd: int, path: str, content: Content, level: Level) -> None:
        # The inspector refuses the other ones.
        has_usual_size = 0 < content.size <= inspector.FILE_LEN_MAX
        if libraries.only_reads(path) or (
            has_usual_size and not libraries.has_marker(fd, content.size, self._goes_on)
        ):
            self._known.set_outcome(content, None)
            return
        file = self._probed.watch(fd, path, content)
        if file is None:
            return
        try:
            outcome = self._probe_watched(fd, file)
        finally:
            self._probed.unwatch_unless_probed(file)
        if outcome:
            _announce(outcome, level)

    def _probe_watched(self, fd: int, file: WatchedFile) -> Outcome | None:
        found = inspector.inspect(fd)
        if found.handle_at is not None:
            self._known.add_handle_at(file.content, found.handle_at)
        if self._probed.free_slots < len(found.sites):
            self._detach_unused()
        return self._probed.attach(fd, file, found)

    def _detach_unused(self) -> None:
        self._probed.detach_unused(self._scan.contents_in_use)

    def _goes_on(self) -> bool:
        return not self._stopped.is_set()


def _reason(error: TccapError | OSError) -> str:
    return f"{error.strerror}." if isinstance(error, OSError) else str(error)


def _announce(outcome: Outcome, level: Level) -> None:
    if outcome.refusal:
        log_refusal(outcome, level)
    elif outcome.probes:
        source = f"{outcome.library} in {outcome.path}, probes: {outcome.probes}"
        log("info", f"TLS: secrets are read from {source}.")
    report(TlsProbes(outcome.path, outcome.probes))
