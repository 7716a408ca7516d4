"""Examining a file: whether it is a TLS library, and where it can be probed.

Each content is examined once: first for the marker that every TLS library holds, then
by the finder. Whatever goes wrong with a file is the refusal of that file alone.
"""

from collections.abc import Callable

from tccap.errors import TccapError
from tccap.ipc.status import TlsProbes, log, report
from tccap.ipc.values import Level
from tccap.tls import inspector, learned, libraries, unsupported
from tccap.tls.examinations import File
from tccap.tls.explainer import log_refusal
from tccap.tls.inspector import Inspector
from tccap.tls.knownfiles import Content, Outcome
from tccap.tls.probedfiles import WatchedFile
from tccap.tls.shared import Shared


class Examiner:
    """Examines files and has them probed; for any thread.

    ``in_use`` returns the contents, if known, of all files that processes execute.
    """

    def __init__(
        self, shared: Shared, inspector: Inspector, in_use: Callable[[], set[Content]]
    ) -> None:
        self._known = shared.known
        self._probed = shared.probed
        self._goes_on = shared.goes_on
        self._inspector = inspector
        self._in_use = in_use

    def examine(self, file: File) -> None:
        """Examine a file, unless its content is known, and probe it."""
        try:
            if not self._known.is_examined(file.content):
                self._probe(file)
        except (TccapError, OSError) as error:
            refused = Outcome(file.path, "", 0, _reason(error))
            self._known.set_outcome(file.content, refused)
            _announce(refused, file.refusal_level)
        if file.may_be_learned and self._known.is_probed(file.content):
            digest = self._inspector.digest(file.content)
            learned.keep(file.path, file.content, digest)

    def detach_unused(self) -> None:
        """Make room for probes, if files lack it, by those that nobody uses."""
        if self._known.is_short_of_slots():
            self._probed.detach_unused(self._in_use)

    def _probe(self, file: File) -> None:
        content = file.content
        if learned.digest(file.path, file.fd, content):
            self._watch_and_probe(file)
            return
        # The inspector refuses the other ones.
        has_usual_size = 0 < content.size <= inspector.FILE_LEN_MAX
        if libraries.only_reads(file.path) or (
            has_usual_size
            and not libraries.has_marker(file.fd, content.size, self._goes_on)
        ):
            self._known.set_outcome(content, None)
            return
        self._watch_and_probe(file)

    def _watch_and_probe(self, file: File) -> None:
        content = file.content
        watched = self._probed.watch(file.fd, file.path, content, file.user)
        if watched is None:
            return
        try:
            outcome = self._probe_watched(file.fd, watched)
        finally:
            self._probed.unwatch_unless_probed(watched)
        if outcome:
            _announce(outcome, file.refusal_level)

    def _probe_watched(self, fd: int, file: WatchedFile) -> Outcome | None:
        # It is watched by now: from here on, a change is noticed.
        digest = learned.digest(file.path, fd, file.content)
        known = self._inspector.answered(file.content, digest)
        found = known or self._inspector.inspect(fd)
        # Now: when the refusal is to be told, its process may have ended.
        found = unsupported.explained(found, fd, file.path, self._goes_on)
        if found.handle_at is not None:
            self._known.add_handle_at(file.content, found.handle_at)
        if self._probed.free_slots < len(found.sites):
            self._probed.detach_unused(self._in_use)
        return self._probed.attach(fd, file, found)


def _reason(error: TccapError | OSError) -> str:
    return f"{error.strerror}." if isinstance(error, OSError) else str(error)


def _announce(outcome: Outcome, level: Level) -> None:
    if outcome.refusal:
        log_refusal(outcome, level)
    elif outcome.probes:
        source = f"{outcome.library} in {outcome.path}, probes: {outcome.probes}"
        log("info", f"TLS: secrets are read from {source}.")
    report(TlsProbes(outcome.path, outcome.probes))
