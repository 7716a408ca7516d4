"""Where handles are in libraries' descriptions of keys: what the tracing has found."""

LISTED = 0  # in place of a pid: the libraries that were listed


class Handles:
    """The offsets by process, as the engine reports them.

    Processes that have ended are reported, too, so that these are not kept for ever.
    """

    def __init__(self) -> None:
        self._offsets: dict[int, bytes] = {}

    def record(self, pid: int, offsets: bytes) -> None:
        """Take the offsets of a process's libraries, one a byte; empty: none."""
        self._offsets.pop(pid, None)
        if offsets:
            self._offsets[pid] = offsets

    def offset(self, pid: int) -> int | None:
        """Return the offset of handles in descriptions of keys in a process.

        None if its libraries do not say it, or if two of them differ. As long as the
        process is not known, the listed libraries count: nobody but root has made them.
        """
        found = self._offsets.get(pid) or self._offsets.get(LISTED, b"")
        return found[0] if len(found) == 1 else None
