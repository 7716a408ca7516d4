"""Strict readers for captures: tccap's pcapng, tcpdump's pcap.

They assert every rule about blocks, also those that lenient readers ignore, such as
zero padding.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

SHB, IDB, ISB, EPB = 0x0A0D0D0A, 1, 5, 6
PROCESS = 0x80000001  # macOS's Process Information Block
SECRETS = 10  # Decryption Secrets Block
BLOCK_MAX = 262144  # Wireshark 4.0 refuses larger ones
INBOUND, OUTBOUND = 1, 2
COOKED = 113  # LINKTYPE_LINUX_SLL: 16 bytes before the frame

Options = dict[int, bytes]


@dataclass(frozen=True)
class Frame:
    """An Enhanced Packet Block."""

    interface: int
    time_ns: int
    data: bytes
    original_len: int
    direction: int
    dropcount: int


@dataclass(frozen=True)
class Interface:
    """An Interface Description Block."""

    name: str
    linktype: int
    snaplen: int
    options: Options


@dataclass(frozen=True)
class Counts:
    """An Interface Statistics Block."""

    received: int
    accepted: int
    dropped: int


@dataclass
class Stream:
    """A whole pcapng stream; ``counts`` are the last ones of an interface."""

    interfaces: list[Interface] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)
    counts: dict[int, Counts] = field(default_factory=dict)

    def of(self, device: str) -> list[Frame]:
        """Return the frames of a device, by the name in its IDB."""
        ids = {i for i, idb in enumerate(self.interfaces) if idb.name == device}
        return [frame for frame in self.frames if frame.interface in ids]


def whole_blocks(data: bytes) -> bytes:
    """Return a stream that is still being written without its last, cut block."""
    at = 0
    while at + 8 <= len(data):
        length = struct.unpack_from("=I", data, at + 4)[0]
        if at + length > len(data):
            break
        at += length
    return data[:at]


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of every block."""
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("=II", data, at)
        assert length % 4 == 0
        assert 12 <= length <= BLOCK_MAX
        assert struct.unpack_from("=I", data, at + length - 4)[0] == length
        yield kind, data[at + 8 : at + length - 4]
        at += length
    assert at == len(data), "the last block is cut off"


def parse(data: bytes) -> Stream:
    """Read a stream of one section."""
    stream = Stream()
    for number, (kind, body) in enumerate(blocks(data)):
        assert (kind == SHB) == (number == 0)
        if kind == IDB:
            stream.interfaces.append(_interface(body))
        elif kind == ISB:
            interface, *_ = struct.unpack_from("=III", body)
            assert interface < len(stream.interfaces)
            stream.counts[interface] = _counts(_options(body[12:]))
        elif kind == EPB:
            frame = _frame(body)
            assert frame.interface < len(stream.interfaces)
            stream.frames.append(frame)
        else:
            assert kind in (SHB, PROCESS, SECRETS)
    return stream


def pcap(data: bytes) -> list[bytes]:
    """Return the frames of a pcap file, as the device had them."""
    linktype = struct.unpack_from("=I", data, 20)[0]
    skip = 16 if linktype == COOKED else 0
    at, frames = 24, []
    while at < len(data):
        captured, original = struct.unpack_from("=II", data, at + 8)
        assert captured == original
        frames.append(data[at + 16 + skip : at + 16 + captured])
        at += 16 + captured
    return frames


def _frame(body: bytes) -> Frame:
    interface, high, low, captured, original = struct.unpack_from("=IIIII", body)
    assert captured <= original
    padded = -(-captured // 4) * 4
    assert not any(body[20 + captured : 20 + padded]), "padding shows something"
    options = _options(body[20 + padded :])
    return Frame(
        interface,
        high << 32 | low,
        body[20 : 20 + captured],
        original,
        int.from_bytes(options[2], "little"),
        int.from_bytes(options.get(4, b""), "little"),
    )


def _interface(body: bytes) -> Interface:
    linktype, reserved, snaplen = struct.unpack_from("=HHI", body)
    assert reserved == 0
    options = _options(body[8:])
    assert options[9] == b"\x09", "times are not in ns"
    return Interface(options[2].decode(), linktype, snaplen, options)


def _counts(options: Options) -> Counts:
    received, dropped, accepted = (
        int.from_bytes(options[code], "little") for code in (4, 5, 6)
    )
    return Counts(received, accepted, dropped)


def _options(data: bytes) -> Options:
    found: Options = {}
    at = 0
    while True:
        code, length = struct.unpack_from("=HH", data, at)
        start, end = at + 4, at + 4 + length
        at += 4 + -(-length // 4) * 4
        assert not any(data[end:at]), "padding that is not zero"
        if code == 0:
            assert length == 0
            assert at == len(data), "bytes behind the last option"
            return found
        found.setdefault(code, data[start:end])
