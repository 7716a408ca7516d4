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
RING_LEN_MAX = 1 << 30
RING_CHUNKS_MAX = RING_LEN_MAX // RING_CHUNK_LEN_MAX
RING_GRANULE_LEN = 1 << 16
RING_LINE = 8  # words of a cache line
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
TRANSLATED_DESTINATIONS, TRANSLATED_SOURCES, CHANGED_AT_DEVICE = 1, 2, 4
BELOW_BY_TAG, BELOW = 1, 2  # DeviceEntry.below_vrf

# Cgroups that are known at a time, bytes of what a label says of one, and the ring of
# new ones.
CGROUPS, CGROUP_TEXT_LEN = 8192, 256
CGROUP_EVENT_PAGES, CGROUP_PATH_LEN = 128, 1024
NEW_PROGRAM_PAGES = 16
RUNTIME_PREFIX_LEN = 24

_MESSAGE_HEAD = struct.Struct("=QQ")
_PROCESS_MESSAGE = struct.Struct("=QIIII16sB")
_HELLO_MESSAGE = struct.Struct("=40s32sIIB")
_SECRET_MESSAGE = struct.Struct("=III40s32s48sB")
_HELD_MESSAGE = struct.Struct("=40sQIIIBBBB")
_CGROUP_EVENT = struct.Struct("=Q1024s")
_CAPTURED_LEN_AT = 20  # in a block
_PROTOCOL_AT, _MARK_ID_AT, FLOW_LEN = 38, 40, 48  # in a `QuicPacket.flow`
_TCP = (6).to_bytes(2, sys.byteorder)


def defines(cpus: int) -> dict[str, int]:
    """Return the -D definitions that concern blocks, on a number of possible CPUs."""
    return {"CPUS": cpus, "INTERFACES": INTERFACES}


def bytes_kept(snaplen: int) -> int:
    """Return how many bytes of a frame fit into a block that Wireshark takes."""
    return min(snaplen, CAPLEN_MAX)


class RingShape(NamedTuple):
    """The sizes of the ring in memory (bpf/ring.h), in bytes."""

    length: int  # how much has room; a power of two, as the next two
    chunk_len: int
    messages_len: int  # the ring buffer of messages
    block_max: int  # the longest block
    cpus: int  # how many are possible

    @property
    def chunks(self) -> int:
        """Return their number."""
        return self.length // self.chunk_len

    @property
    def chunk_size(self) -> int:
        """Return the length of struct ring_chunk, as the kernel rounds it in a map."""
        return (self.chunk_len + self.block_max + 7) & ~7

    @property
    def moved_at(self) -> int:
        """Return where struct ring_control says which chunks moved, in words."""
        return RING_LINE * (1 + self.cpus)

    @property
    def starts_at(self) -> int:
        """Return the place of the starts in struct ring_control, in words."""
        return self.moved_at + RING_CHUNKS_MAX

    @property
    def control_words(self) -> int:
        """Return the length of struct ring_control in words."""
        return self.starts_at + self.length // RING_GRANULE_LEN


def ring_shape(snaplen: int, cpus: int, mib: int) -> RingShape:
    """Return the shape of a ring with room for at least ``mib`` MiB."""
    length = (1 << 20) << (mib - 1).bit_length()
    padded = (bytes_kept(snaplen) + 3) & ~3
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
    HELD_KEYED = 6
    HELD_END = 7
    QUIC = 8


# Of a `HeldPacket`: HELD_SERVER_HELLO, HELD_ANSWER (data from the client), HELD_KEYED
# (data that only a client with secrets sends), HELD_END (FIN or RST), or HELD for any
# other.
HELD_KINDS = frozenset(kind for kind in MessageKind if kind.name.startswith("HELD"))


def has_packet(message: bytes) -> bool:
    """Return whether a message is a `HeldPacket` or `QuicPacket`; not if empty."""
    return bool(message) and message[-1] in {*HELD_KINDS, MessageKind.QUIC}


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
        held = _HELD_MESSAGE.unpack_from(view, block_len)
        _flow, connection, sender_pid, receiver_pid, *_, kind = held
        return cls(connection, kind, view[:block_len], sender_pid, receiver_pid)


class QuicPacket(NamedTuple):
    """A packet of a marked connection that the carrier reads, as those of QUIC."""

    flow: bytes  # struct tls_flow, the key of its mark, and the id of that
    sender_pid: int  # as in `HelloMessage`
    receiver_pid: int
    is_end: bool  # a FIN or RST of TCP
    from_client: bool
    datagram: bytes  # what UDP or TCP carries, as far as it was captured
    block: memoryview

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Read a block with a struct held_message behind it."""
        view = memoryview(raw)
        block_len = len(raw) - _HELD_MESSAGE.size
        held = _HELD_MESSAGE.unpack_from(view, block_len)
        sender_pid, receiver_pid, payload_at, _, is_end, from_client, _ = held[2:]
        flow = raw[block_len : block_len + FLOW_LEN]
        (captured_len,) = struct.unpack_from("=I", view, _CAPTURED_LEN_AT)
        datagram = bytes(view[payload_at : EPB_HEADER_LEN + captured_len])
        pids = sender_pid, receiver_pid
        ends = bool(is_end), bool(from_client)
        return cls(flow, *pids, *ends, datagram, view[:block_len])


def is_tcp(flow: bytes) -> bool:
    """Return whether a struct tls_flow is of TCP."""
    return flow[_PROTOCOL_AT:_MARK_ID_AT] == _TCP


def mark_id(flow: bytes) -> int:
    """Return the id of the mark in a `QuicPacket.flow`."""
    return int.from_bytes(flow[_MARK_ID_AT:], sys.byteorder)


def cgroup_event(raw: bytes | memoryview) -> tuple[int, str]:
    """Return number and path of a struct cgroup_event; the path may be empty."""
    number, path = _unpack(_CGROUP_EVENT, raw)
    path = path.partition(b"\0")[0]
    is_whole = len(path) < CGROUP_PATH_LEN - 1
    return number, path.decode(errors="surrogateescape") if is_whole else ""


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
