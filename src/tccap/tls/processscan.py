"""Which files the traced processes execute, and which of them are to be examined."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from tccap.host import proc
from tccap.tls import mapped
from tccap.tls.knownfiles import Content, KnownFiles, Outcome
from tccap.tls.mapped import Identity, Mapped
from tccap.tls.verdicts import Verdicts

# How long the files of one user keep those of others waiting, in each scan.
USER_S = 30.0


class Look(NamedTuple):
    """What a process executes, and its user; it may end at any moment."""

    pid: int
    files: tuple[Mapped, ...]
    user: int | None  # None: it has ended


class ProcessScan:
    """Scans the processes again and again; for the tracing thread alone.

    What it finds about a process goes to ``verdicts``.
    """

    def __init__(
        self, wants: Callable[[int], bool], known: KnownFiles, verdicts: Verdicts
    ) -> None:
        self._wants = wants
        self._known = known
        self._verdicts = verdicts
        self._mapped: dict[int, int] = {}  # hash of each pid's files at the last look
        self._spent_s: dict[int, float] = {}  # by user, in this scan

    def due(self) -> Iterator[Mapped]:
        """Scan the processes once; yield the files that have to be examined.

        Each is examined before the scan goes on, so that it is yielded once.
        """
        self._spent_s.clear()
        running = proc.pids()
        seen: set[Identity] = set()
        yielded: set[Identity] = set()
        for pid in running:
            look = self.look(pid)
            seen.update(file.identity for file in look.files)
            yield from self._due_of(look, yielded)
            self._record(look)
        self._mapped = {pid: self._mapped.get(pid, 0) for pid in running}
        self._verdicts.keep(running)
        self._known.prune(seen)

    def look(self, pid: int) -> Look:
        """Look at a process."""
        files = tuple(mapped.files(pid)) if self._wants(pid) else ()
        return Look(pid, files, proc.euid(pid) if files else None)

    def due_of(self, look: Look) -> Iterator[Mapped]:
        """Yield what is due of one process that the loop has asked for, and answer."""
        yield from self._due_of(look, set())
        gives = self._record(look)
        may_give = gives or mapped.has_ended(look.pid)  # secrets may be on their way
        self._verdicts.answer(look.pid, may_give, mapped.program(look.pid))

    @property
    def examining_s(self) -> float:
        """How long files were examined since the last scan began."""
        return sum(self._spent_s.values())

    def refused(self, look: Look) -> list[Outcome]:
        """Return the outcomes of the process's TLS libraries that are not probed."""
        return self._known.refused({file.identity for file in look.files})

    def has_time(self, look: Look) -> bool:
        """Return whether files of the process's user may be read in this scan."""
        return look.user is not None and self._spent_s.get(look.user, 0.0) < USER_S

    @contextlib.contextmanager
    def charged(self, look: Look) -> Iterator[None]:
        """Charge the process's user, who is known, with the time of the block."""
        assert look.user is not None
        started = time.monotonic()
        try:
            yield
        finally:
            taken_s = time.monotonic() - started
            self._spent_s[look.user] = self._spent_s.get(look.user, 0.0) + taken_s

    def contents_in_use(self) -> set[Content]:
        """Return the contents, if known, of all files that traced processes execute."""
        in_use = map(mapped.in_use, filter(self._wants, proc.pids()))
        return self._known.contents(set[Identity]().union(*in_use))

    def _due_of(self, look: Look, yielded: set[Identity]) -> Iterator[Mapped]:
        pid, files, _ = look
        # A file that it newly mapped may have the identity of a deleted one.
        has_changed = self._mapped.get(pid) != hash(files)
        for file in files:
            is_new = has_changed and file.identity not in yielded
            if not is_new and self._known.probes_in(file.identity) is not None:
                continue
            if not self.has_time(look):
                return  # looked at again in the next scan
            yielded.add(file.identity)
            with self.charged(look):
                yield file
        self._mapped[pid] = hash(files)

    def _record(self, look: Look) -> bool:
        """Record what is known of a process; return whether it may give secrets."""
        identities = {file.identity for file in look.files}
        gives = any(self._known.probes_in(each) != 0 for each in identities)
        self._verdicts.record(look.pid, gives, self._known.handles_at(identities))
        return gives
