"""Processors on which the ring cannot rely on the order of memory accesses.

The ring (bpf/ring.h) has no barriers: x86 makes the writes of a processor visible in
their order, and reads in theirs. Elsewhere a block could be passed on before it is
written.
"""

import os

from tccap.errors import TccapError

_ORDERED = "x86_64"


def refuse_weak_order(machine: str | None = None) -> None:
    """Raise TccapError on a machine, as uname(2) names it, that is not an x86_64."""
    machine = machine or os.uname().machine
    if machine != _ORDERED:
        raise TccapError(
            f"tccap cannot capture on {machine} yet: capture on a machine with an "
            "x86-64 processor."
        )
