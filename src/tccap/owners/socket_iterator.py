"""Running bpf/owners/seed.c: one pass over the open files of all processes."""

import os

from tccap.bpf import progs
from tccap.bpf.maps import Map
from tccap.bpf.uapi import AttachType, ProgType
from tccap.errors import TccapError

PROGRAM = "bpf_iter__task_file"
TARGET = "bpf_iter_task_file"  # the kernel's function, by whose number it is known
_NO_ITERATOR = (
    "The kernel lets no program look through open files for their processes: set the "
    "label to off, and capture without process filters."
)


class Seeding:
    """The iterator program; each `run` is one pass.

    ``instructions`` are those of PROGRAM, ``btf_id`` TARGET's number in the kernel's
    BTF, ``seed_round`` the map that counts passes.
    """

    def __init__(self, instructions: bytes, btf_id: int, seed_round: Map) -> None:
        self._round = seed_round
        try:
            program_fd = progs.load(
                ProgType.TRACING, PROGRAM, instructions, AttachType.TRACE_ITER, btf_id
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
                "The iterator over open files cannot be started."
            ) from None
        try:
            while os.read(iterator_fd, 4096):
                pass
        finally:
            os.close(iterator_fd)
