"""abi.py, and others, mirror bpf/abi.h: compared with what a compiler makes of it."""

import itertools
import re
import struct
import sys
from pathlib import Path

import pytest

from support import clayout
from tccap.engine.classifier import DeviceEntry, DeviceKey
from tccap.errors import TccapError
from tccap.filter import language
from tccap.ipc import values
from tccap.ipc.values import RING_MIB_MAX
from tccap.owners import addresses, container_addresses, localroutes
from tccap.paths import BPF_DIR
from tccap.stream import abi, ring
from tccap.stream.abi import MessageKind, Statistics
from tccap.tls import marks

HEADER = (Path(BPF_DIR) / "abi.h").read_text()
LAYOUT = clayout.layout("abi.h")
CPUS = 2
SNAPLENS = [1, 2, 3, 4, 5, 65535, abi.CAPLEN_MAX - 1, abi.CAPLEN_MAX, 262144]
# What tccap.owners gives: it asks the kernel for some of it.
ATTRIBUTION = {
    *{"LABEL_MAX", "HOOKS", "FENTRY", "CGROUP_SUBSYS", "CGROUP_HIERARCHY"},
    *{"CALLERS", "READS_KERNEL", "HAS_SOCK_FROM_FILE", "SOCKET_FILE_OPS"},
}

MIRRORED = {
    **{name: getattr(abi, name) for name in ("BLOCK_MAX", "OPTIONS_MAX", "CAPLEN_MAX")},
    "EPB_HEADER_LEN": abi.EPB_HEADER_LEN,
    "RING_GRANULE_LEN": abi.RING_GRANULE_LEN,
    "RING_CHUNK_LEN_MAX": abi.RING_CHUNK_LEN_MAX,
    "RING_LEN_MAX": RING_MIB_MAX << 20,
    "MESSAGE_PROCESS": MessageKind.PROCESS,
    "MESSAGE_HELLO": MessageKind.HELLO,
    "MESSAGE_SECRET": MessageKind.SECRET,
    "MESSAGE_HELD": MessageKind.HELD,
    "MESSAGE_HELD_SERVER_HELLO": MessageKind.HELD_SERVER_HELLO,
    "MESSAGE_HELD_ANSWER": MessageKind.HELD_ANSWER,
    "MESSAGE_HELD_KEYED": MessageKind.HELD_KEYED,
    "MESSAGE_HELD_END": MessageKind.HELD_END,
    "MESSAGE_QUIC": MessageKind.QUIC,
    "QUIC_UNMARKED": marks.QUIC_UNMARKED,
    "ELSEWHERE": abi.ELSEWHERE,
    "TRANSLATED_DESTINATIONS": abi.TRANSLATED_DESTINATIONS,
    "TRANSLATED_SOURCES": abi.TRANSLATED_SOURCES,
    "BELOW_BY_TAG": abi.BELOW_BY_TAG,
    "BELOW": abi.BELOW,
    "CHANGED_AT_DEVICE": abi.CHANGED_AT_DEVICE,
    "FIRST_IP": abi.FIRST_IP,
    "FIRST_ETHERNET": abi.FIRST_ETHERNET,
    "FIRST_UNREAD": abi.FIRST_UNREAD,
    "OWN_NAMESPACE": addresses.OWN_NAMESPACE,
    "NOT_LOCAL": localroutes.Kind.NOT_LOCAL,
    "LOCAL_UNICAST": localroutes.Kind.UNICAST,
    "LOCAL_BROADCAST": localroutes.Kind.BROADCAST,
    "CGROUPS": abi.CGROUPS,
    "CGROUP_TEXT_MAX": abi.CGROUP_TEXT_LEN,
    "CGROUP_EVENT_PAGES": abi.CGROUP_EVENT_PAGES,
    "NEW_PROGRAM_PAGES": abi.NEW_PROGRAM_PAGES,
    "CGROUP_PATH_MAX": abi.CGROUP_PATH_LEN,
    "RUNTIME_PREFIX_MAX": abi.RUNTIME_PREFIX_LEN,
    "COMM_LEN": values.COMM_LEN_MAX + 1,
}
# Only the programs use these.
C_ONLY = {
    *{"EPB_TYPE", "OPT_COMMENT", "EPB_FLAGS", "EPB_DROPCOUNT", "EPB_PROCESS_THREAD"},
    *{"EPB_DARWIN_PROCESS", "EPB_INBOUND", "EPB_OUTBOUND"},
    *{"SIZED_LATER", "PEER_MAX", "TID_MAX", "QUIC_MARKED", "FILLER_TYPE"},
    # The structures that these are lengths in are compared.
    *{"TLS_RANDOM_LEN", "TLS_LABEL_MAX", "TLS_SECRET_MAX"},
}
MESSAGES = {
    "process_message": abi._PROCESS_MESSAGE,
    "hello_message": abi._HELLO_MESSAGE,
    "secret_message": abi._SECRET_MESSAGE,
    "held_message": abi._HELD_MESSAGE,
}
FORMATS = {**MESSAGES, "cgroup_event": abi._CGROUP_EVENT}
TUPLES = {
    "device_key": DeviceKey._fields,
    "device": DeviceEntry._fields,
    "local_network": addresses.LocalNetwork._fields,
    "container_address": container_addresses.ContainerAddress._fields,
    "place": container_addresses.Place._fields,
}


@pytest.mark.parametrize("name", MIRRORED)
def test_constants(name: str) -> None:
    assert LAYOUT.constants[name] == MIRRORED[name]


def test_no_constant_is_forgotten() -> None:
    assert LAYOUT.constants.keys() == MIRRORED.keys() | C_ONLY


def test_the_header_length_is_the_structs() -> None:
    assert LAYOUT.sizes["epb_header"] == abi.EPB_HEADER_LEN


def test_the_ring_is_laid_out_as_its_reader_reads_it() -> None:
    control = {each.name: each.offset for each in LAYOUT.members["ring_control"]}
    assert control == {
        "end": 8 * ring._END,
        "released": 8 * ring._RELEASED,
        "wakes_at": 8 * ring._WAKES_AT,
        "unused": 24,
        "unfinished": 8 * abi.RING_LINE,
        "moved": 8 * abi.ring_shape(96, CPUS, 1).moved_at,
        "starts": 8 * abi.ring_shape(96, CPUS, 1).starts_at,
    }
    longest = abi.ring_shape(96, CPUS, RING_MIB_MAX)
    assert longest.length == abi.RING_LEN_MAX
    assert LAYOUT.sizes["ring_control"] == 8 * longest.control_words
    assert LAYOUT.sizes["unfinished"] == 8 * abi.RING_LINE
    assert LAYOUT.at("unfinished", "position") == 0


def test_every_message_begins_with_its_head() -> None:
    form = abi._MESSAGE_HEAD
    assert _fields(form) == [*LAYOUT.flat("message_head")]
    for name in MESSAGES:
        assert LAYOUT.at(name, "head") == 0


def _fields(form: struct.Struct) -> list[tuple[int, int]]:
    """Return offset and size of each field."""
    order, codes = form.format[0], re.findall(r"\d*s|[A-Z]", form.format)
    ends = [struct.calcsize(order + "".join(codes[:n])) for n in range(len(codes) + 1)]
    return [(at, end - at) for at, end in itertools.pairwise(ends)]


@pytest.mark.parametrize("name", FORMATS)
def test_messages(name: str) -> None:
    form = FORMATS[name]
    if name in MESSAGES:
        form = struct.Struct(abi._MESSAGE_HEAD.format + form.format[1:])
    assert form.size == LAYOUT.sizes[name]
    fields = _fields(form)
    whole = {(member.offset, member.size) for member in LAYOUT.members[name]}
    # What C has as a structure, Python has as bytes or as each of its members.
    assert {*fields} <= whole | {*LAYOUT.flat(name)}
    assert {at for at, _ in whole} <= {at for at, _ in fields}


@pytest.mark.parametrize("name", TUPLES)
def test_tuples_have_the_members_of_their_structures(name: str) -> None:
    assert [member.name for member in LAYOUT.members[name]] == [*TUPLES[name]]


def test_statistics_are_counters() -> None:
    counters = {member.name for member in LAYOUT.members["counters"]}
    assert counters == {*Statistics._fields}


def test_names_in_filters_are_as_long_as_those_of_processes() -> None:
    assert LAYOUT.sizes["comm"] - 1 == language.COMM_LEN
    first, second = language.comm_words("x" * 20)
    assert max(first, second) < 1 << LAYOUT.sizes["comm"] * 4


@pytest.mark.parametrize("length", [abi.LABEL_LEN_SHORT, abi.LABEL_LEN_FULL])
def test_labels_and_options_fit(length: int) -> None:
    peer, thread = LAYOUT.constants["PEER_MAX"], LAYOUT.constants["TID_MAX"]
    for number in (length, peer, thread):
        assert number & (number - 1) == 0
    assert 64 + length + peer + thread < LAYOUT.constants["OPTIONS_MAX"]


def test_every_definition_is_documented_and_given() -> None:
    comment = HEADER[: HEADER.index("*/")]
    documented = set(re.findall(r"^ \*   (\w+)", comment, re.MULTILINE))
    given = set(abi.defines(CPUS)) | {
        *("KERNEL_OFFSETS", "HAS_MPTCP", "HAS_NETFILTER", "HAS_GROUPS6"),
        *("HAS_CONNTRACK", "HAS_ZONES", "HAS_CGROUPS", "HAS_CGROUP_NAMES"),
        *("HAS_ROUTES", "HAS_MIGRATION"),
    }
    assert given < documented
    assert documented - given == ATTRIBUTION


@pytest.mark.parametrize("snaplen", SNAPLENS)
def test_the_largest_block_is_one_that_wireshark_takes(snaplen: int) -> None:
    kept = abi.bytes_kept(snaplen)
    assert kept == min(snaplen, abi.CAPLEN_MAX)
    block_len = abi.ring_shape(snaplen, CPUS, 1).block_max
    assert block_len % 4 == 0
    assert 0 <= block_len - abi.EPB_HEADER_LEN - abi.OPTIONS_MAX - kept < 4
    assert block_len <= abi.BLOCK_MAX


@pytest.mark.parametrize("mib", [1, 2, 3, 5, 64, 100, RING_MIB_MAX])
def test_a_ring_is_large_enough_for_every_kernel(mib: int) -> None:
    """Linux 5.10 takes values of an array of up to 4 MiB (KMALLOC_MAX_SIZE)."""
    shape = abi.ring_shape(262144, 4, mib)
    for length in (shape.length, shape.chunk_len, shape.messages_len):
        assert length & (length - 1) == 0
    assert mib << 20 <= shape.length < mib << 21
    assert shape.block_max <= shape.chunk_len <= shape.length
    assert shape.chunk_len % abi.RING_GRANULE_LEN == 0
    assert shape.chunk_len + shape.block_max <= 4 << 20


def test_a_hello_is_read() -> None:
    pids = (7).to_bytes(4, sys.byteorder) + (8).to_bytes(4, sys.byteorder)
    raw = b"f" * 40 + b"r" * 32 + pids + bytes([MessageKind.HELLO])
    assert len(raw) % 4 == 1
    assert abi.HelloMessage.parse(raw) == (b"f" * 40, b"r" * 32, 7, 8)


def test_a_secret_is_read() -> None:
    head = b"".join(n.to_bytes(4, sys.byteorder) for n in (7, 2, 32))
    raw = (
        head
        + b"LABEL".ljust(40, b"\0")
        + b"r" * 32
        + b"s" * 48
        + bytes([MessageKind.SECRET])
    )
    assert len(raw) % 4 == 1
    assert abi.SecretMessage.parse(raw) == (7, 2, b"LABEL", b"r" * 32, b"s" * 32)


@pytest.mark.parametrize("kind", range(3, 7))
def test_a_packet_that_waits_is_read(kind: int) -> None:
    client_random = bytes(range(32))
    number = abi.connection_id(client_random)
    held = (bytes(40), number, 7, abi.ELSEWHERE, 0, 0, 0, 0, kind)
    raw = b"b" * 64 + abi._HELD_MESSAGE.pack(*held)
    assert abi.has_packet(raw)
    packet = abi.HeldPacket.parse(raw)
    assert (packet.connection, packet.kind) == (number, kind)
    assert (packet.sender_pid, packet.receiver_pid) == (7, abi.ELSEWHERE)
    assert packet.block == b"b" * 64


@pytest.mark.parametrize("message", [abi.HelloMessage, abi.SecretMessage])
def test_other_lengths_are_refused(message: type[abi.HelloMessage]) -> None:
    with pytest.raises(TccapError, match="a message that is not known"):
        message.parse(b"\0" * 13)
