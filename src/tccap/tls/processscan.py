"""Which files the traced processes execute, and which of them are to be examined."""

from collections.abc import Callable, Iterator

from tccap.host import proc
from tccap.tls import mapped
from tccap.tls.knownfiles import Content, KnownFiles
from tccap.tls.mapped import Identity, Mapped


class ProcessScan:
    """Scans the processes again and again; for the tracing thread alone."""

    def __init__(self, wants: Callable[[int], bool], known: KnownFiles) -> None:
        self._wants = wants
        self._known = known
        self._mapped: dict[int, int] = {}  # hash of each pid's files at the last scan

    def due(self) -> Iterator[Mapped]:
        """Scan the processes once; yield the files that have to be examined.

        Each is examined before the scan goes on, so that it is yielded once.
        """
        before, self._mapped = self._mapped, {}
        yielded: set[Identity] = set()
        for pid in self._traced_pids():
            files = tuple(mapped.files(pid))
            self._mapped[pid] = hash(files)
            # A file that it newly mapped may have the identity of a deleted one.
            has_changed = before.get(pid) != self._mapped[pid]
            for file in files:
                is_due = has_changed and file.identity not in yielded
                if is_due or self._known.probes_in(file.identity) is None:
                    yielded.add(file.identity)
                    yield file

    def contents_in_use(self) -> set[Content]:
        """Return the contents, if known, of all files that traced processes execute."""
        in_use = map(mapped.in_use, self._traced_pids())
        return self._known.contents(set[Identity]().union(*in_use))

    def _traced_pids(self) -> Iterator[int]:
        return filter(self._wants, proc.pids())
