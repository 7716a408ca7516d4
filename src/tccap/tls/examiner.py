"""Examining files: whether one is a TLS library, and where it can be probed.

Each content is examined once: first for the marker that every TLS library holds, then
by the finder. Whatever goes wrong with a file is the refusal of that file alone.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable

from tccap.errors import TccapError
from tccap.ipc.status import TlsProbes, log, report
from tccap.ipc.values import Level
from tccap.tls import inspector, learned, libraries, mapped, unsupported
from tccap.tls.knownfiles import UNREADABLE, Content, KnownFiles, Outcome
from tccap.tls.mapped import Mapped
from tccap.tls.probedfiles import ProbedFiles, WatchedFile
from tccap.tls.processscan import Look, ProcessScan

WARNINGS_MAX = 100  # of refused files in a capture
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
        self._warned: set[str] = set()

    def examine_paths(self, paths: Iterable[str], level: Level) -> None:
        """Examine files before any process maps them; ``level`` is that of refusals."""
        for path in paths:
            fd = mapped.open_file(path)
            if fd is None:
                log("warning", f"TLS: {path} cannot be opened.")
                continue
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
        self._explain(look)

    def _explain(self, look: Look) -> None:
        """Warn once of what a process that speaks TLS has, and tccap cannot read."""
        refused = self._scan.refused(look)
        for outcome in refused:
            if self._is_new_warning(outcome.path):
                _log_refusal(outcome, "warning")
        identities = {file.identity for file in look.files}
        is_read = any(self._known.probes_in(each) != 0 for each in identities)
        if not refused and not is_read and look.files:
            self._explain_unknown(look)

    def _explain_unknown(self, look: Look) -> None:
        paths = [file.identity.path for file in look.files]
        if self._is_new_warning(f"{look.pid} {paths[0]}"):
            level: Level = "warning" if unsupported.found(paths) else "info"
            name = f"{paths[0]} (pid {look.pid})"
            log(level, f"TLS: no secrets from {name}: {unsupported.sentence(paths)}")

    def _is_new_warning(self, about: str) -> bool:
        is_new = about not in self._warned and len(self._warned) < WARNINGS_MAX
        if is_new:
            self._warned.add(about)
        return is_new

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
        _log_refusal(outcome, level)
    elif outcome.probes:
        source = f"{outcome.library} in {outcome.path}, probes: {outcome.probes}"
        log("info", f"TLS: secrets are read from {source}.")
    report(TlsProbes(outcome.path, outcome.probes))


def _log_refusal(outcome: Outcome, level: Level) -> None:
    log(level, f"TLS: no secrets from {outcome.path}: {outcome.refusal}")
