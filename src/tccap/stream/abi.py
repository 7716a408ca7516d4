"""The engine's side of bpf/abi.h, which states what each value means."""

import struct
import sys
from enum import IntEnum
from typing import Any, NamedTuple, Self

from tccap.errors import TccapError

BLOCK_MAX = 262144
EPB_HEADER_LEN = 28
OPTIONS_MAX = 2048
CAPLEN_MAX = BLOCK_MAX - EPB_HEADER_LEN - OPTIONS_MAX
# With the longest block behind it, a chunk is below the 4 MiB of Linux 5.10.
RING_CHUNK_LEN_MAX = 1 << 21
RING_GRANULE_LEN = 1 << 16
MESSAGES_LEN_MIN = 1 << 18

# Interfaces that one capture can describe; counters[] has as many entries.
INTERFACES = 4096
PAGE_LEN = 4096
# DeviceEntry.first_header: the first header of a device's frames.
FIRST_IP, FIRST_ETHERNET, FIRST_UNREAD = 0, 1, 2
# Bytes of a label, by the option of that name.
LABEL_LEN_SHORT = 128
LABEL_LEN_FULL = 1024
# In place of a pid: the process is on another host.
ELSEWHERE = 0xFFFFFFFF
TRANSLATED_DESTINATIONS, TRANSLATED_SOURCES = 1, 2

_MESSAGE_HEAD = struct.Struct("=QQ")
_PROCESS_MESSAGE = struct.Struct("=QIIII16sB")
_HELLO_MESSAGE = struct.Struct("=40s32sIIB")
_SECRET_MESSAGE = struct.Struct("=III40s32s48sB")
_HELD_MESSAGE = struct.Struct("=QIIB")


def defines(snaplen: int, cpus: int, mib: int) -> dict[str, int]:
    """Return the -D definitions that concern blocks and the ring.

    ``snaplen`` is in bytes, ``cpus`` the number of possible CPUs; ``mib`` MiB have room
    in the ring.
    """
    shape = ring_shape(snaplen, cpus, mib)
    snaplen = min(snaplen, CAPLEN_MAX)
    return {
        "SNAPLEN": snaplen,
        "SNAPLEN_PADDED": (snaplen + 3) & ~3,
        "CPUS": cpus,
        "INTERFACES": INTERFACES,
        "RING_LEN": shape.length,
        "RING_CHUNK_LEN": shape.chunk_len,
        "MESSAGE_PAGES": shape.messages_len // PAGE_LEN,
    }


class RingShape(NamedTuple):
    """The sizes of the ring in memory (bpf/ring.h), in bytes."""

    length: int  # how much has room; a power of two, as the next two
    chunk_len: int
    messages_len: int  # the ring buffer of messages
    block_max: int  # the longest block
    cpus: int  # how many are possible


def ring_shape(snaplen: int, cpus: int, mib: int) -> RingShape:
    """Return the shape of a ring with room for at least ``mib`` MiB."""
    length = (1 << 20) << (mib - 1).bit_length()
    padded = (min(snaplen, CAPLEN_MAX) + 3) & ~3
    return RingShape(
        length=length,
        chunk_len=min(length, RING_CHUNK_LEN_MAX),
        messages_len=max(length // 16, MESSAGES_LEN_MIN),
        block_max=EPB_HEADER_LEN + padded + OPTIONS_MAX,
        cpus=cpus,
    )


class MessageKind(IntEnum):
    """What a message is, in its last byte: MESSAGE_* of bpf/abi.h."""

    PROCESS = 0
    HELLO = 1
    SECRET = 2
    HELD = 3
    HELD_SERVER_HELLO = 4
    HELD_ANSWER = 5
    HELD_END = 6


# Of a `HeldPacket`: HELD_SERVER_HELLO, HELD_ANSWER (data from the client), HELD_END
# (FIN or RST), or HELD for any other.
HELD_KINDS = frozenset(kind for kind in MessageKind if kind.name.startswith("HELD"))


def is_held_packet(message: bytes) -> bool:
    """Return whether a message is a `HeldPacket`; an empty one is not."""
    return bool(message) and message[-1] in HELD_KINDS


class ProcessMessage(NamedTuple):
    """A process was seen for the first time, or looks different now."""

    start_ns: int  # since boot
    pid: int
    euid: int
    version: int
    comm: bytes

    @classmethod
    def parse(cls, raw: bytes | memoryview) -> Self:
        """Read a struct process_message; TccapError for another length."""
        start_ns, pid, _zero, euid, version, comm, _ = _unpack(_PROCESS_MESSAGE, raw)
        return cls(start_ns, pid, euid, version, comm.partition(b"\0")[0])


class HelloMessage(NamedTuple):
    """A ClientHello was captured; its packet comes next."""

    flow: bytes  # struct tls_flow, the key of the connection's mark
    client_random: bytes
    sender_pid: int  # 0: not known; or ELSEWHERE
    receiver_pid: int

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a struct hello_message; TccapError for another length."""
        return cls(*_unpack(_HELLO_MESSAGE, raw)[:-1])


class SecretMessage(NamedTuple):
    """A process has a new secret. Its contents are not checked yet."""

    pid: int
    site_kind: int  # an index into tls.sites.KINDS
    label: bytes
    client_random: bytes
    secret: bytes

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a struct secret_message; TccapError for another length."""
        pid, kind, length, label, random, secret, _ = _unpack(_SECRET_MESSAGE, raw)
        return cls(pid, kind, label.partition(b"\0")[0], random, secret[:length])


class HeldPacket(NamedTuple):
    """A packet that waits for the secrets of its connection."""

    connection: int  # bytes 8 to 15 of the client random
    kind: int  # of HELD_KINDS
    block: memoryview
    # Of a ServerHello, as in `HelloMessage`.
    sender_pid: int = 0
    receiver_pid: int = 0

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a block with a struct held_message behind it."""
        view = memoryview(raw)
        block_len = len(raw) - _HELD_MESSAGE.size
        connection, *pids, kind = _HELD_MESSAGE.unpack_from(view, block_len)
        return cls(connection, kind, view[:block_len], *pids)


def connection_id(client_random: bytes) -> int:
    """Return the `HeldPacket.connection` of a client random."""
    return int.from_bytes(client_random[8:16], sys.byteorder)


MESSAGE_HEAD_LEN = _MESSAGE_HEAD.size


def message_head(raw: bytes) -> tuple[int, int]:
    """Return the position and the block_len of a struct message_head."""
    position, block_len = _MESSAGE_HEAD.unpack_from(raw)
    return position, block_len


class Statistics(NamedTuple):
    """The packets of one interface, over all CPUs (struct counters)."""

    received: int  # seen by the classifier
    accepted: int  # passed the filters
    dropped: int  # accepted, but lost because the ring was full
    unattributed: int  # passed over by a process filter: owner not known


def _unpack(form: struct.Struct, raw: bytes | memoryview) -> tuple[Any, ...]:
    if len(raw) != form.size:
        raise TccapError("The kernel sent a message that is not known.")
    return form.unpack(raw)
