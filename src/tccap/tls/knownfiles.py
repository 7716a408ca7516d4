"""The outcome for each file that was examined, shared by all threads.

/proc identifies a mapped file cheaply, but not for good (`mapped.Identity`); the
`Content` of an opened file does. The outcome of an examination belongs to a content.
"""

import os
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, Self

from tccap.tls.mapped import Identity


class Content(NamedTuple):
    """Identifies a file and what it holds; inode numbers are reused after deletion."""

    device: int
    inode: int
    changed_ns: int
    size: int

    @classmethod
    def of(cls, fd: int) -> Self:
        """Return the content of an open file; OSError by fstat(2)."""
        status = os.fstat(fd)
        return cls(status.st_dev, status.st_ino, status.st_ctime_ns, status.st_size)

    def is_at(self, path: str) -> bool:
        """Return whether a path leads to the file, in our mount namespace."""
        try:
            status = Path(path).stat()
        except OSError:
            return False
        return (status.st_dev, status.st_ino) == (self.device, self.inode)


# More are forgotten when they are no longer in use: many short-lived programs.
KNOWN_MAX = 4096
# Stands for all files that fstat(2) fails on: they are not examined again.
UNREADABLE = Content(-1, -1, -1, -1)


class Outcome(NamedTuple):
    """The outcome for a file that holds a TLS library."""

    path: str
    library: str
    probes: int
    refusal: str  # empty: its secrets are read
    lacks_slots: bool = False  # it is examined again when other probes are detached
    probed_at: float = 0.0  # time.monotonic
    unread: str = ""  # a library that the file has, too, and that is not read


class KnownFiles:
    """The contents of files, and the outcome of each; None: it is no TLS library.

    For any thread. Methods take the lock and call nothing outside, so that they may be
    called with any other lock held.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._contents: dict[Identity, Content] = {}
        self._outcomes: dict[Content, Outcome | None] = {}
        self._handles_at: dict[Content, int] = {}
        self._listed: set[Content] = set()

    @property
    def listed_handles_at(self) -> frozenset[int]:
        """The offsets of handles in the libraries that were listed."""
        with self._lock:
            at = (self._handles_at.get(content) for content in self._listed)
            return frozenset(offset for offset in at if offset is not None)

    def handles_at(self, identities: Iterable[Identity]) -> frozenset[int]:
        """Return the offsets of handles in mapped files (`sites.Inspection`)."""
        contents = self.contents(identities)
        with self._lock:
            at = (self._handles_at.get(content) for content in contents)
            return frozenset(offset for offset in at if offset is not None)

    def add_handle_at(self, content: Content, offset: int) -> None:
        """Record the offset that a library has."""
        with self._lock:
            self._handles_at[content] = offset

    def add_listed(self, content: Content) -> None:
        """Record that a content is of the system, or was named by the user."""
        with self._lock:
            self._listed.add(content)

    def set_content(self, identity: Identity, content: Content) -> None:
        """Record the content of a mapped file."""
        with self._lock:
            self._contents[identity] = content

    def contents(self, identities: Iterable[Identity]) -> set[Content]:
        """Return the contents of mapped files, as far as they are known."""
        with self._lock:
            return {
                self._contents[identity]
                for identity in identities
                if identity in self._contents
            }

    def probes_in(self, identity: Identity) -> int | None:
        """Return how many probes a mapped file has; None: it has to be examined."""
        with self._lock:
            content = self._contents.get(identity)
            if content is None or content not in self._outcomes:
                return None
            outcome = self._outcomes[content]
            return outcome.probes if outcome else 0

    def outcomes(self, identities: Iterable[Identity]) -> list[Outcome | None]:
        """Return the outcomes of those mapped files that were examined."""
        contents = self.contents(identities)
        with self._lock:
            return [self._outcomes[c] for c in contents if c in self._outcomes]

    def refused(self, identities: Iterable[Identity]) -> list[Outcome]:
        """Return the outcomes of mapped files with TLS libraries that are refused."""
        return [each for each in self.outcomes(identities) if each and each.refusal]

    def is_examined(self, content: Content) -> bool:
        """Return whether the outcome for a content is known."""
        with self._lock:
            return content in self._outcomes

    def is_probed(self, content: Content) -> bool:
        """Return whether a content has probes."""
        with self._lock:
            return _is_probed(self._outcomes.get(content))

    def set_outcome(self, content: Content, outcome: Outcome | None) -> None:
        """Record the outcome for a content."""
        with self._lock:
            self._outcomes[content] = outcome

    def forget(self, content: Content) -> None:
        """Forget the outcome: the file is examined again when it is seen again."""
        with self._lock:
            self._outcomes.pop(content, None)

    def prune(self, in_use: set[Identity]) -> None:
        """Forget files that are not in use, if there are very many."""
        with self._lock:
            if len(self._contents) <= KNOWN_MAX and len(self._outcomes) <= KNOWN_MAX:
                return
            for identity in self._contents.keys() - in_use:
                del self._contents[identity]
            kept = self._listed | {*self._contents.values()}
            for content in self._outcomes.keys() - kept:
                if not _is_probed(self._outcomes[content]):
                    del self._outcomes[content]
            for content in self._handles_at.keys() - kept:
                del self._handles_at[content]

    def is_short_of_slots(self) -> bool:
        """Return whether a file is not probed because all slots are in use."""
        with self._lock:
            return bool(self._lacking_slots())

    def forget_lacking_slots(self) -> None:
        """Forget the outcomes of files that lacked slots: they are examined again."""
        with self._lock:
            for content in self._lacking_slots():
                del self._outcomes[content]

    def _lacking_slots(self) -> list[Content]:
        return [c for c, outcome in self._outcomes.items() if _lacks_slots(outcome)]


def _is_probed(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.probes > 0


def _lacks_slots(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.lacks_slots
