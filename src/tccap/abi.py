"""The engine's side of bpf/abi.h, which states what each value means."""

import struct
from typing import NamedTuple, Self

from tccap.errors import TccapError

BLOCK_MAX = 262144
EPB_HEADER_LEN = 28
OPTIONS_MAX = 2048
CAPLEN_MAX = BLOCK_MAX - EPB_HEADER_LEN - OPTIONS_MAX

# Interfaces that one capture can describe; counters[] has as many entries.
INTERFACES = 4096
PAGE_LEN = 4096


def defines(snaplen: int, cpus: int) -> dict[str, int]:
    """Return the -D definitions that concern blocks."""
    snaplen = min(snaplen, CAPLEN_MAX)
    return {
        "SNAPLEN": snaplen,
        "SNAPLEN_PADDED": (snaplen + 3) & ~3,
        "CPUS": cpus,
        "INTERFACES": INTERFACES,
    }


LABEL_LEN_SHORT = 128
LABEL_LEN_FULL = 1024


_PROCESS_MESSAGE = struct.Struct("=QIII16sB")


class ProcessMessage(NamedTuple):
    """A process was seen for the first time, or looks different now."""

    start_ns: int  # since boot
    pid: int
    euid: int
    comm: bytes

    @classmethod
    def parse(cls, raw: bytes | memoryview) -> Self:
        """Read a struct process_message."""
        if len(raw) != _PROCESS_MESSAGE.size:
            raise TccapError("The kernel sent a message that is not known.")
        start_ns, pid, _zero, euid, comm, _kind = _PROCESS_MESSAGE.unpack(raw)
        return cls(start_ns, pid, euid, comm.partition(b"\0")[0])


def ring_pages(mib: int) -> int:
    """Return the pages of a ring of at least ``mib`` MiB: a power of two."""
    pages = mib * (1 << 20) // PAGE_LEN
    return 1 << (pages - 1).bit_length()
