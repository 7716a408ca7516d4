"""Running bpf/seed.c: one pass over the open files of all processes."""

import os
from typing import Any

from tccap.errors import TccapError

BPF_PROG_TYPE_TRACING = 26  # include/uapi/linux/bpf.h
PROGRAM = "bpf_iter__task_file"
_NO_ITERATOR = (
    "The kernel lets no program look through open files for their processes: set the "
    "label to off, and capture without process filters."
)


class Seeding:
    """The iterator program; each `run` is one pass."""

    def __init__(self, bpf: Any, lib: Any) -> None:
        self._round = bpf["seed_round"]
        self._lib = lib
        try:
            program = bpf.load_func(PROGRAM, BPF_PROG_TYPE_TRACING)
        except Exception:  # noqa: BLE001  # bcc raises nothing narrower
            raise TccapError(_NO_ITERATOR) from None
        self._link_fd = lib.bcc_iter_attach(program.fd, None, 0)
        if self._link_fd < 0:
            raise TccapError(_NO_ITERATOR)
        self._runs = 0

    def run(self) -> None:
        """Record the owners of the sockets that are open now."""
        self._runs += 1
        self._round[self._round.Key(0)] = self._round.Leaf(self._runs)
        iterator_fd = self._lib.bcc_iter_create(self._link_fd)
        if iterator_fd < 0:
            raise TccapError("The iterator over open files cannot be started.")
        try:
            while os.read(iterator_fd, 4096):
                pass
        finally:
            os.close(iterator_fd)
