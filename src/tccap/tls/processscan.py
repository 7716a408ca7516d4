"""Which files the traced processes execute, and which of them are to be examined."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

from tccap.host import proc
from tccap.tls import mapped
from tccap.tls.knownfiles import Content, KnownFiles
from tccap.tls.mapped import Identity, Mapped
from tccap.tls.spending import Spending
from tccap.tls.verdicts import Verdicts

# How long the files of one user keep those of others waiting, in each scan.
USER_S = 30.0


class Look(NamedTuple):
    """What a process executes, and its user; it may end at any moment."""

    pid: int
    files: tuple[Mapped, ...]
    user: int | None  # None: it has ended


class Due(NamedTuple):
    """A file that has to be examined, and whose process has it mapped."""

    file: Mapped
    user: int


class ProcessScan:
    """Scans the processes again and again; for the tracing thread alone.

    What it finds about a process goes to ``verdicts``; ``spending`` is how long the
    files of each user have taken.
    """

    def __init__(
        self,
        wants: Callable[[int], bool],
        known: KnownFiles,
        verdicts: Verdicts,
        spending: Spending,
    ) -> None:
        self._wants = wants
        self._known = known
        self._verdicts = verdicts
        self._spending = spending
        self._mapped: dict[int, int] = {}  # hash of each pid's files at the last look

    def scan(
        self, before_each: Callable[[], None]
    ) -> Iterator[tuple[Look, Iterator[Due]]]:
        """Scan the processes once; yield each, with files that have to be examined.

        ``before_each`` is called before each look.
        """
        self._spending.clear()
        running = proc.pids()
        seen: set[Identity] = set()
        yielded: set[Identity] = set()
        for pid in running:
            before_each()
            look = self.look(pid)
            seen.update(file.identity for file in look.files)
            yield look, self._due_of(look, yielded)
        self._mapped = {pid: self._mapped.get(pid, 0) for pid in running}
        self._verdicts.keep(running)
        self._known.prune(seen)

    def look(self, pid: int) -> Look:
        """Look at a process."""
        files = tuple(mapped.files(pid)) if self._wants(pid) else ()
        return Look(pid, files, proc.euid(pid) if files else None)

    def due_of(self, look: Look) -> Iterator[Due]:
        """Yield the files of one process that have to be examined."""
        return self._due_of(look, set())

    def unknown_of(self, look: Look) -> Iterator[Due]:
        """Yield files of one process that were never examined.

        Quicker than `due_of`, which also looks whether the others are still the same.
        """
        for file in look.files:
            if look.user is not None and self._known.probes_in(file.identity) is None:
                if not self.has_time(look):
                    return
                yield Due(file, look.user)

    def record(self, look: Look) -> bool:
        """Record what is known of a process; return whether it may give secrets."""
        identities = {file.identity for file in look.files}
        gives = any(self._known.probes_in(each) != 0 for each in identities)
        self._verdicts.record(look.pid, gives, self._known.handles_at(identities))
        return gives

    def answer(self, look: Look) -> None:
        """Answer the loop, which has asked for the process."""
        # Of one that has ended, secrets may be on their way.
        may_give = self.record(look) or mapped.has_ended(look.pid)
        self._verdicts.answer(look.pid, may_give, mapped.program(look.pid))

    def has_time(self, look: Look) -> bool:
        """Return whether files of the process's user may be read in this scan."""
        return look.user is not None and self._spending.of(look.user) < USER_S

    def charged(self, look: Look) -> AbstractContextManager[None]:
        """Charge the process's user, who is known, with the time of a block."""
        assert look.user is not None
        return self._spending.charged(look.user)

    def contents_in_use(self) -> set[Content]:
        """Return the contents, if known, of all files that traced processes execute."""
        in_use = map(mapped.in_use, filter(self._wants, proc.pids()))
        return self._known.contents(set[Identity]().union(*in_use))

    def _due_of(self, look: Look, yielded: set[Identity]) -> Iterator[Due]:
        pid, files, user = look
        # A file that it newly mapped may have the identity of a deleted one.
        has_changed = self._mapped.get(pid) != hash(files)
        for file in files:
            is_new = has_changed and file.identity not in yielded
            if not is_new and self._known.probes_in(file.identity) is not None:
                continue
            if user is None or not self.has_time(look):
                return  # looked at again in the next scan
            yielded.add(file.identity)
            yield Due(file, user)
        self._mapped[pid] = hash(files)
