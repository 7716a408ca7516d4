"""Which files to probe for TLS secrets: a thread that looks for them while we capture.

It looks at the TLS libraries that the system has, at what the user names, and again
and again at what the traced processes execute. A probe is on a file, so that it
serves every process that has the file mapped, and those that will. Each file is looked
at once: first for the labels that every TLS library holds, then by the finder.

The kernel would put its breakpoints into a file's new content, too, where they break
it. So probed files are watched: one that changes loses its probes, and is looked at
anew.
"""

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from tccap.errors import TccapError
from tccap.host import proc
from tccap.ipc.status import (
    Timing,
    TlsDetached,
    TlsProbes,
    TlsReady,
    log,
    report,
)
from tccap.tls import inspector, libraries, mapped, probetable
from tccap.tls.filewatch import FileWatch
from tccap.tls.mapped import Identity, Mapped
from tccap.tls.sites import Inspection
from tccap.tls.uprobes import Uprobes

# Of one CPU, the looks at processes take at most this share.
SHARE = 0.02
PAUSE_S = 0.5


class Content(NamedTuple):
    """A file with what it holds: the numbers of inodes are used again."""

    device: int
    inode: int
    changed_ns: int
    size: int


# Of files that do not even tell what they are: they are not asked again and again.
UNREADABLE = Content(-1, -1, -1, -1)


class Watched(NamedTuple):
    """A file that would lose its probes if it changed."""

    path: str
    content: Content
    slots: list[int]


class Traced(NamedTuple):
    """What became of a file that holds a TLS library."""

    path: str
    library: str
    probes: int
    refusal: str  # empty: its secrets are read
    lacks_room: bool = False  # it is tried again when other probes go


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
        self._watch: FileWatch | None = None
        # What is not in the second one has to be looked at (again).
        self._known: dict[Identity, Content] = {}
        self._found: dict[Content, Traced | None] = {}
        self._watched: dict[int, Watched] = {}  # by the number of the watch
        self._maps: dict[int, int] = {}  # of each process at the last look, as hashes
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
            try:
                found = self._found[self._known[identity]]
            except KeyError:
                self._looking.set()
                return True
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
        if self._watch:
            self._watch.close()
        report(Timing("detach probes", time.monotonic() - started))

    # The thread itself.

    def run(self) -> None:
        """Look for files and probe them, until the end."""
        try:
            self._watch = FileWatch(self._changed)
            self._probes = self._make_probes()
            self._look_at_listed()
            self._look_at_processes()
            report(TlsReady())
            while not self._stopped:
                started = time.monotonic()
                self._look_at_processes()
                took_s = time.monotonic() - started
                self._looking.wait(max(PAUSE_S, took_s / SHARE))
                self._looking.clear()
        except TccapError as error:
            log("warning", f"TLS secrets cannot be read: {error}")
        except OSError as error:
            log("warning", f"TLS secrets cannot be read: {error.strerror}.")

    def _look_at_listed(self) -> None:
        for path in (*_common_libraries(), *self._listed):
            fd = mapped.open_file(path)
            if fd is None:
                log("warning", f"TLS: {path} cannot be opened.")
                continue
            try:
                self._look_at(fd, path)
            finally:
                os.close(fd)

    def _look_at_processes(self) -> None:
        before, self._maps = self._maps, {}
        looked_at: set[Identity] = set()
        for pid in filter(self._wants, proc.pids()):
            files = tuple(mapped.files(pid))
            self._maps[pid] = hash(files)
            # Whoever has started something may have started a new file of an old name.
            is_new = before.get(pid) != self._maps[pid]
            for file in files:
                is_due = is_new and file.identity not in looked_at
                if (is_due or not self._is_known(file)) and not self._stopped:
                    looked_at.add(file.identity)
                    self._look_at_mapped(file)
        if self._without_room():
            self._forget_unused()

    def _is_known(self, file: Mapped) -> bool:
        return self._known.get(file.identity) in self._found

    def _look_at_mapped(self, file: Mapped) -> None:
        fd = mapped.opened(file)
        if fd is None:
            return
        try:
            self._known[file.identity] = self._look_at(fd, file.identity.path)
        finally:
            os.close(fd)

    def _look_at(self, fd: int, path: str) -> Content:
        """Find out what becomes of a file; see `_found`."""
        content = UNREADABLE
        try:
            content = self._content(fd)
            if content not in self._found:
                self._probe(fd, path, content)
        except OSError as error:
            refused = Traced(path, "", 0, f"{error.strerror}.")
            self._found[content] = refused
            _tell(refused)
        return content

    def _content(self, fd: int) -> Content:
        status = os.fstat(fd)
        inode = (status.st_dev, status.st_ino)
        with self._lock:
            # As long as it is watched its number stays, and its content. But its time
            # also changes when another file takes its name.
            for watched in self._watched.values():
                if watched.content[:2] == inode:
                    return watched.content
        return Content(*inode, status.st_ctime_ns, status.st_size)

    def _probe(self, fd: int, path: str, content: Content) -> None:
        # The inspector refuses what is too large for it, so nobody reads that.
        is_small = content.size <= inspector.FILE_LEN_MAX
        if is_small and not libraries.has_sign(fd, lambda: not self._stopped):
            self._found[content] = None
            return
        assert self._watch
        watched = Watched(path, content, [])
        with self._lock:
            watch = self._watch.add(fd)
            self._watched[watch] = watched
        found = inspector.inspect(fd)
        if found.handle_at is not None:
            self._handles_at = self._handles_at | {found.handle_at}
        if self._probes and self._probes.room < len(found.sites):
            self._forget_unused()
        with self._lock:
            if self._watched.get(watch) is not watched:
                return  # it has changed since: the next look is at all of it
            traced = self._attach(fd, found, watched)
            self._found[content] = traced
        _tell(traced)

    def _attach(self, fd: int, found: Inspection, watched: Watched) -> Traced:
        assert self._probes
        if self._probes.room < len(found.sites):  # a part of them would be of no use
            refusal = f"All {probetable.SLOTS} probes are in use."
            return Traced(watched.path, found.library, 0, refusal, lacks_room=True)
        refusal = found.refusal
        for site in found.sites:
            if self._stopped:
                break
            try:
                watched.slots.append(self._probes.attach(fd, site))
            except (TccapError, OSError) as error:
                refusal = str(error)
        return Traced(watched.path, found.library, len(watched.slots), refusal)

    def _forget_unused(self) -> None:
        """Make room: detach the probes of what nobody runs or finds by its name."""
        with self._lock:
            watched = self._watched.copy()
        # The names first: what begins to be run by its name after that has it.
        gone = [n for n, w in watched.items() if w.slots and not _has_its_name(w)]
        in_use = {
            self._known.get(identity)
            for pid in filter(self._wants, proc.pids())
            for identity in mapped.in_use(pid)
        }
        for watch in gone:
            if watched[watch].content not in in_use:
                self._forget(watch, "is run no more")

    # The thread of the watch.

    def _changed(self, watch: int) -> None:
        self._forget(watch, "has changed")

    # Both threads.

    def _without_room(self) -> list[Content]:
        """Return what would be probed if there were room."""
        found = list(self._found.items())  # at once: the other thread changes it
        return [content for content, traced in found if traced and traced.lacks_room]

    def _forget(self, watch: int, why: str) -> None:
        """Detach a file's probes, and forget what was known of it."""
        with self._lock:
            watched = self._watched.pop(watch, None)
            if watched is None or self._stopped:
                return
            assert self._watch
            assert self._probes
            self._watch.remove(watch)
            self._found.pop(watched.content, None)
            self._probes.detach(watched.slots)
            for content in self._without_room() if watched.slots else ():
                self._found.pop(content, None)
        if watched.slots:
            told = f"TLS: {watched.path} {why}: its probes are detached."
            log("info", told)
        report(TlsDetached(watched.path, len(watched.slots)))


def _has_its_name(watched: Watched) -> bool:
    """Tell whether the file is found where it was, as we see the files."""
    try:
        status = Path(watched.path).stat()
    except OSError:
        return False
    return (status.st_dev, status.st_ino) == watched.content[:2]


def _tell(traced: Traced) -> None:
    if traced.refusal:
        log("warning", f"TLS: no secrets from {traced.path}: {traced.refusal}")
    elif traced.probes:
        what = f"{traced.library} in {traced.path}, {traced.probes} probes"
        log("info", f"TLS: secrets are read from {what}.")
    report(TlsProbes(traced.path, traced.probes))


def _common_libraries() -> list[str]:
    try:
        return libraries.common()
    except OSError as error:
        why = f"{libraries.LDCONFIG} cannot be run ({error.strerror})"
        log("warning", f"TLS: libraries are found only when they are in use: {why}.")
        return []
