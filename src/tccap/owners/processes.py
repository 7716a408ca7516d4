"""Processes that the kernel has seen: their blocks in the stream, and full labels."""

import contextlib
import ctypes
from typing import TYPE_CHECKING

from tccap.bpf.collection import Collection
from tccap.bpf.maps import Map
from tccap.host import proc, users
from tccap.host.access import Caller
from tccap.host.proc import Details
from tccap.ipc.plan import Plan
from tccap.owners import label
from tccap.stream.abi import ProcessMessage

if TYPE_CHECKING:
    from tccap.stream.blocks import Section


class Processes:
    """Answers each message about a process; a full label adds what /proc knows."""

    def __init__(
        self, plan: Plan, caller: Caller, collection: Collection, section: "Section"
    ) -> None:
        self._label = plan.label
        self._caller = caller
        self._collection = collection
        self._section = section
        self._records = collection.table("processes")
        self._users = users.local_names() if plan.label == "full" else {}

    def answer(self, message: bytes) -> bytes:
        """Return a process's Process Information Block; complete its record."""
        seen = ProcessMessage.parse(message)
        number, block = self._section.describe_process(seen.pid, seen.comm)
        text = self._full_label(seen) if self._label == "full" else b""
        with contextlib.suppress(KeyError):  # evicted: too many
            complete(self._records, seen, number, text)
            self._collection.invalidate_lookups()
        return block

    def _full_label(self, seen: ProcessMessage) -> bytes:
        short = label.basic(seen.pid, seen.comm, seen.euid)
        details = self._details(seen)
        len_max = label.len_max(self._label)
        return label.full(short, details, len_max) if details else short

    def _details(self, seen: ProcessMessage) -> Details | None:
        """Return what /proc has, if the caller may know it before and after."""
        if not self._caller.sees_details_of(seen.pid):
            return None
        details = proc.details(seen.pid, seen.start_ns)
        if details is None or not self._caller.sees_details_of(seen.pid):
            return None
        return details._replace(user=self._users.get(seen.euid, b""))


def complete(records: Map, seen: ProcessMessage, number: int, text: bytes) -> None:
    """Add the block's number, and a label, to the kernel's record of a process.

    The whole record is read and written back, and the kernel may write in between. It
    then sends another message, which finds the older version and deletes it. KeyError
    if there is no record any more.
    """
    key = records.Key(seen.start_ns, seen.pid, 0)
    process = records[key]
    if process.version > seen.version:
        return  # another message is on its way
    if process.version < seen.version:
        del records[key]  # the process's next use of a socket records it again
        return
    process.block_number = number + 1
    if text:
        field = type(process).label
        ctypes.memset(ctypes.addressof(process) + field.offset, 0, field.size)
        process.label, process.label_len = text, len(text)
    records[key] = process
