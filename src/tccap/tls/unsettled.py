"""Processes whose files are still being examined."""

from collections.abc import Iterable, Iterator

from tccap.tls.knownfiles import Content
from tccap.tls.processscan import Look

PROCESSES_MAX = 4096


class Unsettled:
    """The last look at each of them, and the contents that it waits for."""

    def __init__(self) -> None:
        self._looks: dict[int, tuple[Look, set[Content]]] = {}  # by pid
        self._pids: dict[Content, set[int]] = {}

    def add(self, look: Look, pending: set[Content]) -> bool:
        """Keep a look until its contents are examined; return whether it is kept.

        It is not if there are none, or too many processes.
        """
        self._looks.pop(look.pid, None)
        if not pending or len(self._looks) == PROCESSES_MAX:
            return False
        self._looks[look.pid] = look, pending
        for content in pending:
            self._pids.setdefault(content, set()).add(look.pid)
        return True

    def take_settled(self, examined: Iterable[Content]) -> Iterator[Look]:
        """Yield the looks that waited only for these contents."""
        for content in examined:
            for pid in self._pids.pop(content, ()):
                look, pending = self._looks.get(pid, (None, set[Content]()))
                pending.discard(content)
                if look and not pending:
                    del self._looks[pid]
                    yield look
