"""The socket iterator (bpf/owners/socket_iterator.c): a pass over all open files."""

import os

from tccap.bpf import btf, progs
from tccap.bpf.collection import Collection
from tccap.bpf.uapi import AttachType, ProgType
from tccap.errors import TccapError

PROGRAM = "bpf_iter__task_file"
TARGET = "bpf_iter_task_file"  # the kernel's function; BTF knows its number
_NO_ITERATOR = (
    "The kernel lets no program look through open files for their processes: set the "
    "label to off, and capture without process filters."
)


class SocketIterator:
    """The iterator program; each `run` is one pass. TccapError if it is refused."""

    def __init__(self, collection: Collection) -> None:
        self._round = collection.table("iterator_round")
        instructions = collection.instructions(PROGRAM)
        number = btf.functions(TARGET).get(TARGET, 0)
        try:
            program_fd = progs.load(
                ProgType.TRACING, PROGRAM, instructions, AttachType.TRACE_ITER, number
            )
            self._link_fd = progs.link_iterator(program_fd)
        except OSError:
            raise TccapError(_NO_ITERATOR) from None
        self._runs = 0

    def run(self) -> None:
        """Record the owners of the sockets that are open now."""
        self._runs += 1
        self._round[self._round.Key(0)] = self._round.Leaf(self._runs)
        try:
            iterator_fd = progs.start_iterator(self._link_fd)
        except OSError:
            raise TccapError(
                "The sockets that are open already cannot be listed."
            ) from None
        try:
            while os.read(iterator_fd, 4096):
                pass
        finally:
            os.close(iterator_fd)
