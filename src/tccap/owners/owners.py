"""Owners of sockets while a capture runs: the carrier's share in finding them."""

from collections.abc import Iterable

from tccap.bpf.collection import Collection
from tccap.ipc.channel import Message, Searched
from tccap.owners.polling import Polling
from tccap.owners.processes import Processes
from tccap.stream.abi import MessageKind


class Owners:
    """Answers messages about processes.

    ``polling`` asks for the sockets that no hook sees; None where hooks see all.
    """

    kinds = frozenset({MessageKind.PROCESS})
    hears = frozenset({Searched})

    def __init__(
        self,
        collection: Collection,
        processes: Processes,
        polling: Polling | None = None,
    ) -> None:
        self._overflows = collection.table("overflows")
        self._processes = processes
        self._polling = polling

    def answer(self, message: bytes) -> Iterable[bytes]:
        """Return the Process Information Block of a process."""
        return (self._processes.answer(message),)

    def read_text(self, _text: bytes) -> Iterable[bytes]:
        """Ignore what the front sends."""
        return ()

    def hear(self, message: Message) -> Iterable[bytes]:
        """Take note that the engine has searched."""
        if self._polling and isinstance(message, Searched):
            self._polling.searched(message.seconds)
        return ()

    @property
    def timeout_s(self) -> float | None:
        """Return after how long `poll` has to be called; None: never."""
        return self._polling.timeout_s if self._polling else None

    def poll(self) -> Iterable[bytes]:
        """Look for new sockets where nothing else finds them, if it is time to."""
        if self._polling:
            self._polling.poll()
        return ()

    def finish(self) -> Iterable[bytes]:
        """Return nothing: no block waits here."""
        return ()

    def counts(self) -> dict[str, int]:
        """Return what could not be recorded in the kernel, over all CPUs.

        Of owners, ``overflowed_sockets`` did not fit into their table, or, where that
        is in the sockets (bpf_sk_storage_get), the kernel had no memory for
        ``unrecorded_sockets``. ``overflowed_processes`` are packets without a label, as
        their process had been evicted.
        """
        shares = self._overflows[self._overflows.Key(0)]
        sockets = "unrecorded_sockets" if self._polling else "overflowed_sockets"
        return {
            sockets: sum(share.sockets for share in shares),
            "overflowed_processes": sum(share.processes for share in shares),
        }

    def close(self) -> None:
        """Do nothing: `counts` has reported all there is."""
