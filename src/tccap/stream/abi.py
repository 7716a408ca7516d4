"""The engine's side of bpf/abi.h, which states what each value means."""

import struct
import sys
from typing import Any, NamedTuple, Self

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


# What a message is: its last byte.
PROCESS, HELLO, SECRET, HELD, HELD_SERVER_HELLO = range(5)

_PROCESS_MESSAGE = struct.Struct("=QIIII16sB")
_HELLO_MESSAGE = struct.Struct("=40s32sIIB")
_SECRET_MESSAGE = struct.Struct("=III40s32s48sB")
_HELD_TAIL = struct.Struct("=QB")


def is_held_packet(message: bytes) -> bool:
    """Tell whether a message is a packet that has to wait (`HeldPacket`)."""
    return message[-1:] in (bytes([HELD]), bytes([HELD_SERVER_HELLO]))


class ProcessMessage(NamedTuple):
    """A process was seen for the first time, or looks different now."""

    start_ns: int  # since boot
    pid: int
    euid: int
    version: int
    comm: bytes

    @classmethod
    def parse(cls, raw: bytes | memoryview) -> Self:
        """Read a struct process_message."""
        start_ns, pid, _zero, euid, version, comm, _ = _unpack(_PROCESS_MESSAGE, raw)
        return cls(start_ns, pid, euid, version, comm.partition(b"\0")[0])


# In place of a pid: the process is on another host.
ELSEWHERE = 0xFFFFFFFF


class HelloMessage(NamedTuple):
    """A ClientHello was captured; its packet comes next."""

    flow: bytes  # struct tls_flow, the key of the connection's mark
    client_random: bytes
    sender_pid: int  # 0: not known; or ELSEWHERE
    receiver_pid: int

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a struct hello_message."""
        return cls(*_unpack(_HELLO_MESSAGE, raw)[:-1])


class SecretMessage(NamedTuple):
    """A process has a new secret. Nothing of it has been checked."""

    pid: int
    site_kind: int  # its place in tlssites.KINDS
    label: bytes
    client_random: bytes
    secret: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a struct secret_message."""
        pid, kind, length, label, random, secret, _ = _unpack(_SECRET_MESSAGE, raw)
        return cls(pid, kind, label.partition(b"\0")[0], random, secret[:length])


class HeldPacket(NamedTuple):
    """A packet that has to wait for the secrets of its connection."""

    connection: int  # bytes 8 to 15 of the client random
    is_server_hello: bool
    block: memoryview

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a block with the struct held_tail behind it."""
        view = memoryview(raw)
        connection, kind = _HELD_TAIL.unpack_from(view, len(raw) - _HELD_TAIL.size)
        return cls(
            connection, kind == HELD_SERVER_HELLO, view[: len(raw) - _HELD_TAIL.size]
        )


def connection_id(client_random: bytes) -> int:
    """Return what `HeldPacket.connection` says of a client random."""
    return int.from_bytes(client_random[8:16], sys.byteorder)


def _unpack(form: struct.Struct, raw: bytes | memoryview) -> tuple[Any, ...]:
    if len(raw) != form.size:
        raise TccapError("The kernel sent a message that is not known.")
    return form.unpack(raw)


class Statistics(NamedTuple):
    """The counts of one interface: packets, over all CPUs (struct counters)."""

    received: int  # seen by the classifier
    accepted: int  # passed the filters
    dropped: int  # accepted, but lost for want of room
    unattributed: int  # owner unknown, so a process filter passed it over


def ring_pages(mib: int) -> int:
    """Return the pages of a ring of at least ``mib`` MiB: a power of two."""
    pages = mib * (1 << 20) // PAGE_LEN
    return 1 << (pages - 1).bit_length()
