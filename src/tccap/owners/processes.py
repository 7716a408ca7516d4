"""Processes that the kernel has seen: their blocks in the stream, and full labels."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from tccap.bpf.collection import Collection
from tccap.host import proc, users
from tccap.host.access import Caller
from tccap.host.proc import Details
from tccap.ipc.channel import Message, Seen
from tccap.ipc.plan import Plan
from tccap.owners import label
from tccap.stream.abi import ProcessMessage

if TYPE_CHECKING:
    from tccap.stream.blocks import Section


class Processes:
    """Answers each message about a process, in the carrier.

    The kernel has what a short label says. For a full one the engine reads /proc.
    """

    def __init__(
        self,
        plan: Plan,
        collection: Collection,
        section: "Section",
        ask: Callable[[Message], None],
    ) -> None:
        self._is_full = plan.label == "full"
        self._collection = collection
        self._section = section
        self._ask = ask

    def answer(self, message: bytes) -> bytes:
        """Return a process's Process Information Block; have its record completed."""
        seen = ProcessMessage.parse(message)
        number, block = self._section.describe_process(seen.pid, seen.comm)
        if self._is_full:
            start_ns, pid, euid, version, comm = seen
            self._ask(Seen(start_ns, pid, euid, version, number, comm))
        else:
            complete(self._collection, seen, number, b"")
        return block


class FullLabels:
    """Completes the records of processes with what /proc knows, in the engine."""

    def __init__(self, plan: Plan, caller: Caller, collection: Collection) -> None:
        self._caller = caller
        self._collection = collection
        self._len_max = label.len_max(plan.label)
        self._users = users.local_names() if plan.label == "full" else {}

    def complete(self, seen: Seen) -> None:
        """Write the label of a process, and its number in the stream."""
        process = ProcessMessage(
            seen.start_ns, seen.pid, seen.euid, seen.version, seen.comm
        )
        complete(self._collection, process, seen.number, self._label(process))

    def _label(self, seen: ProcessMessage) -> bytes:
        short = label.basic(seen.pid, seen.comm, seen.euid)
        details = self._details(seen)
        return label.full(short, details, self._len_max) if details else short

    def _details(self, seen: ProcessMessage) -> Details | None:
        """Return what /proc has, if the caller may know it before and after."""
        if not self._caller.sees_details_of(seen.pid):
            return None
        details = proc.details(seen.pid, seen.start_ns)
        if details is None or not self._caller.sees_details_of(seen.pid):
            return None
        return details._replace(user=self._users.get(seen.euid, b""))


def complete(
    collection: Collection, seen: ProcessMessage, number: int, text: bytes
) -> None:
    """Add the block's number, and a label if there is a text, to a process's record.

    They count while the record is what was seen (struct completion).
    """
    table = collection.table("completions")
    key = table.Key(seen.start_ns, seen.pid, 0)
    table[key] = table.Leaf(
        seen.version, seen.euid, seen.comm, number + 1, len(text), text
    )
    collection.invalidate_lookups()
