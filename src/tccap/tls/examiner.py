"""Examining files: whether one is a TLS library, and where it can be probed.

Each content is examined once: first for the marker that every TLS library holds, then
by the finder. Whatever goes wrong with a file is the refusal of that file alone.
"""

import os
import threading
from collections.abc import Iterable

from tccap.errors import TccapError
from tccap.ipc.status import TlsProbes, log, report
from tccap.tls import inspector, libraries, mapped
from tccap.tls.knownfiles import UNREADABLE, Content, KnownFiles, Outcome
from tccap.tls.mapped import Mapped
from tccap.tls.probedfiles import ProbedFiles
from tccap.tls.processscan import ProcessScan


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

    def examine_paths(self, paths: Iterable[str]) -> None:
        """Examine files before any process maps them."""
        for path in paths:
            fd = mapped.open_file(path)
            if fd is None:
                log("warning", f"TLS: {path} cannot be opened.")
                continue
            try:
                self._examine(fd, path)
            finally:
                os.close(fd)

    def examine_processes(self) -> None:
        """Examine the files that traced processes execute, unless they are known."""
        for file in self._scan.due():
            if self._stopped.is_set():
                return
            self._examine_mapped(file)
        if self._known.is_short_of_slots():
            self._detach_unused()

    def _examine_mapped(self, file: Mapped) -> None:
        fd = mapped.opened(file)
        if fd is None:
            return
        try:
            content = self._examine(fd, file.identity.path)
        finally:
            os.close(fd)
        self._known.set_content(file.identity, content)

    def _examine(self, fd: int, path: str) -> Content:
        content = UNREADABLE
        try:
            content = self._probed.content(fd)
            if not self._known.is_examined(content):
                self._probe(fd, path, content)
        except (TccapError, OSError) as error:
            refused = Outcome(path, "", 0, _reason(error))
            self._known.set_outcome(content, refused)
            _announce(refused)
        return content

    def _probe(self, fd: int, path: str, content: Content) -> None:
        # A file that is too large is not read here: the inspector refuses it.
        is_small = content.size <= inspector.FILE_LEN_MAX
        if is_small and not libraries.has_marker(fd, self._goes_on):
            self._known.set_outcome(content, None)
            return
        file = self._probed.watch(fd, path, content)
        if file is None:
            return
        found = inspector.inspect(fd)
        if found.handle_at is not None:
            self._known.add_handle_at(found.handle_at)
        if self._probed.free_slots < len(found.sites):
            self._detach_unused()
        outcome = self._probed.attach(fd, file, found)
        if outcome:
            _announce(outcome)

    def _detach_unused(self) -> None:
        self._probed.detach_unused(self._scan.contents_in_use)

    def _goes_on(self) -> bool:
        return not self._stopped.is_set()


def _reason(error: TccapError | OSError) -> str:
    return f"{error.strerror}." if isinstance(error, OSError) else str(error)


def _announce(outcome: Outcome) -> None:
    if outcome.refusal:
        log("warning", f"TLS: no secrets from {outcome.path}: {outcome.refusal}")
    elif outcome.probes:
        source = f"{outcome.library} in {outcome.path}, {outcome.probes} probes"
        log("info", f"TLS: secrets are read from {source}.")
    report(TlsProbes(outcome.path, outcome.probes))
