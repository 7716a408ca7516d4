"""Files with TLS libraries: the probes in them, and the watch over their contents.

The kernel would put its breakpoints into a file's new content, too, and break it. So a
file is watched before it is inspected; when it changes, its probes are detached at
once, and it is examined anew.

Locking. Many threads come here: those that examine files, the tracing thread, which
asks for contents, that of `FileWatch`, which reports changes, and the engine's, which
closes. ``_lock`` guards all state, so that a change comes either before probes are
attached, and then none are, or after that, and then all of them are detached. It is not
held while a file is read or inspected, nor around FileWatch.close, which waits for a
report that is under way.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tccap.errors import TccapError
from tccap.ipc.status import TlsDetached, log, report
from tccap.tls import probetable
from tccap.tls.filewatch import FileWatch
from tccap.tls.knownfiles import Content, KnownFiles, Outcome
from tccap.tls.sites import BUT_NOT, Inspection
from tccap.tls.uprobes import Uprobes

ROOT = 0  # a user's id


@dataclass(frozen=True, eq=False)
class WatchedFile:
    """A file that loses its probes when it changes."""

    watch: int  # FileWatch's number
    path: str
    content: Content
    user: int  # whose process has it mapped, or root
    slots: list[int] = field(default_factory=list)  # of its probes


class ProbedFiles:
    """All watched files of a capture; their outcomes go to ``known``.

    After ``stopped`` was set, nothing is watched or attached any more. OSError if files
    cannot be watched at all.
    """

    def __init__(
        self, probes: Uprobes, known: KnownFiles, stopped: threading.Event
    ) -> None:
        self._probes = probes
        self._known = known
        self._stopped = stopped
        self._lock = threading.Lock()
        self._files: dict[int, WatchedFile] = {}  # by watch
        self._has_lost = threading.Event()
        self._watch = FileWatch(self._changed, self._has_lost.set)

    @property
    def free_slots(self) -> int:
        """How many more probes there can be."""
        with self._lock:
            return self._probes.free_slots

    def content(self, fd: int) -> Content:
        """Return the content of an open file."""
        found = Content.of(fd)
        with self._lock:
            # A watched file keeps its inode number and its content. Its change time
            # does not stay: it also changes when the file gets or loses a name.
            for file in self._files.values():
                if file.content[:2] == found[:2]:
                    return file.content
        return found

    def watch(
        self, fd: int, path: str, content: Content, user: int
    ) -> WatchedFile | None:
        """Begin to watch an open file; None after the end."""
        with self._lock:
            if self._stopped.is_set():
                return None
            file = WatchedFile(self._watch.add(fd), path, content, user)
            self._files[file.watch] = file
            return file

    def attach(self, fd: int, file: WatchedFile, found: Inspection) -> Outcome | None:
        """Probe all sites of a watched file, or none; return the outcome.

        None if the file has changed since it was first watched, or after the end.
        TccapError or OSError if the kernel refuses a probe.
        """
        with self._lock:
            if self._stopped.is_set() or self._files.get(file.watch) is not file:
                return None
            outcome = self._attach(fd, file, found)
            self._known.set_outcome(file.content, outcome)
            return outcome

    def _attach(self, fd: int, file: WatchedFile, found: Inspection) -> Outcome:
        refusal = self._why_no_slots(file.user, len(found.sites))
        if refusal:
            return Outcome(file.path, found.library, 0, refusal, lacks_slots=True)
        try:
            self._attach_each(fd, file, found)
        except (TccapError, OSError):
            # Some of a connection's secrets do not decrypt it.
            self._probes.detach(file.slots)
            file.slots.clear()
            raise
        return Outcome(
            *(file.path, found.library, len(file.slots), found.refusal),
            probed_at=time.monotonic(),
            unread=found.how.partition(BUT_NOT)[2],
        )

    def _why_no_slots(self, user: int, wanted: int) -> str:
        """Return why a user's file gets no probes; empty if it does."""
        if self._probes.free_slots < wanted:
            return f"All {probetable.SLOTS} probes are in use."
        of_user = (len(f.slots) for f in self._files.values() if f.user == user)
        most = probetable.SLOTS // 2
        if user != ROOT and sum(of_user) + wanted > most:
            return f"All {most} probes of its user are in use."
        return ""

    def _attach_each(self, fd: int, file: WatchedFile, found: Inspection) -> None:
        for site in found.sites:
            if self._stopped.is_set():
                return  # `close` waits for the lock, and detaches the others
            file.slots.append(self._probes.attach(fd, site, found.label_strings))

    def unwatch_unless_probed(self, file: WatchedFile) -> None:
        """Stop watching a file that has no probes: root has only so many watches."""
        with self._lock:
            if not file.slots and self._files.get(file.watch) is file:
                del self._files[file.watch]
                self._watch.remove(file.watch)

    def take_lost(self) -> bool:
        """Return whether files have lost their probes without having changed."""
        if not self._has_lost.is_set():
            return False
        self._has_lost.clear()
        return True

    def detach_unused(self, in_use: Callable[[], set[Content]]) -> None:
        """Detach the probes of files that have lost their name and are not ``in_use``.

        The names are checked first: a process that maps a file by its name after that
        is seen by ``in_use``.
        """
        with self._lock:
            probed = [file for file in self._files.values() if file.slots]
        nameless = [file for file in probed if not file.content.is_at(file.path)]
        used = in_use()
        for file in nameless:
            if file.content not in used:
                self._detach(file.watch, "is no longer in use")

    def close(self) -> None:
        """Detach all probes; ``stopped`` must be set."""
        with self._lock:
            self._probes.close()
        self._watch.close()

    def _changed(self, watch: int) -> None:
        self._detach(watch, "has changed")

    def _detach(self, watch: int, reason: str) -> None:
        """Detach a file's probes, and have it examined again if it is seen again."""
        with self._lock:
            file = self._files.pop(watch, None)
            if file is None or self._stopped.is_set():
                return
            self._watch.remove(watch)
            self._known.forget(file.content)
            self._probes.detach(file.slots)
            if file.slots:
                self._known.forget_lacking_slots()
        if file.slots:
            log("info", f"TLS: {file.path} {reason}: its probes are detached.")
        report(TlsDetached(file.path, len(file.slots)))
