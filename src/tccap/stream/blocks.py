"""The blocks of the stream that are not packets (pcapng sections 4.1, 4.2, 4.6, 4.7).

python-pcapng builds them; packet blocks come finished from the kernel. A Section lives
as long as the capture and numbers its interfaces and processes.
"""

import io
import struct
import sys
from ipaddress import IPv4Interface, IPv6Interface
from typing import NamedTuple

from pcapng import FileWriter, blocks
from pcapng.structs import IntField, Option, OptionsField, PacketBytes

from tccap import __version__
from tccap.stream.abi import Statistics

NANOSECONDS = bytes([9])  # if_tsresol: 10^-9 s
FILTER_TEXT = 0  # if_filter: a libpcap filter string follows
EPB_TYPE = 6
TLS_KEY_LOG = 0x544C534B  # secrets type of a Decryption Secrets Block
_HEAD = struct.Struct("=II")  # of every block: its type and its length
_ENDIANNESS = "<" if sys.byteorder == "little" else ">"


def count_packets(text: bytes | memoryview, after: int = 0) -> int:
    """Return how many packets of a text of whole blocks end behind ``after`` bytes.

    They are Enhanced Packet Blocks (pcapng section 4.3).
    """
    count = at = 0
    while at < len(text):
        kind, length = _HEAD.unpack_from(text, at)
        at += length
        count += kind == EPB_TYPE and at > after
    return count


class Interface(NamedTuple):
    """The contents of an Interface Description Block."""

    name: str
    description: str
    linktype: int
    snaplen: int
    mac: bytes  # 6 bytes, or empty
    ipv4: tuple[IPv4Interface, ...]
    ipv6: tuple[IPv6Interface, ...]
    speed_bps: int  # 0: unknown
    filter: str  # empty: none


@blocks.register_block
class ProcessInformation(blocks.SectionMemberBlock):
    """The Process Information Block of macOS, which Wireshark 4.6 reads."""

    magic_number = 0x80000001
    __slots__ = ()
    schema = (
        ("process_id", IntField(32, signed=False), 0),
        ("options", OptionsField([Option(2, "name")]), None),
    )


@blocks.register_block
class DecryptionSecrets(blocks.SectionMemberBlock):
    """The Decryption Secrets Block, which python-pcapng lacks."""

    magic_number = 0x0000000A
    __slots__ = ()
    schema = (
        ("secrets_type", IntField(32, signed=False), TLS_KEY_LOG),
        ("secrets_len", IntField(32, signed=False), 0),
        ("secrets", PacketBytes("secrets_len"), b""),
    )


class _Described(NamedTuple):
    """What FileWriter asks about an interface whose description is written."""

    interface_id: int


class Section:
    """The one section of the stream."""

    def __init__(self, os_name: str, hardware: str) -> None:
        self._os_name = os_name
        self._shb = blocks.SectionHeader(
            endianness=_ENDIANNESS,
            options={
                "shb_hardware": hardware,
                "shb_os": os_name,
                "shb_userappl": f"tccap {__version__}",
            },
        )
        self._process_count = 0
        self._written = io.BytesIO()
        self._writer = FileWriter(self._written, self._shb)
        self.header = self._take()  # the Section Header Block

    @property
    def interface_count(self) -> int:
        """Return how many are described: their ids are 0 to one less."""
        return len(self._shb.interfaces)

    def describe(self, interface: Interface) -> tuple[int, bytes]:
        """Return a new interface's id and its Interface Description Block."""
        block = self._shb.new_member(
            blocks.InterfaceDescription,
            link_type=interface.linktype,
            snaplen=interface.snaplen,
            options=self._interface_options(interface),
        )
        return block.interface_id, self._encoded_interface(block)

    def count_interface(self) -> None:
        """Count an interface that the same Section has described in another process."""
        block = self._shb.new_member(blocks.InterfaceDescription, link_type=0)
        self._encoded_interface(block)

    def describe_process(self, pid: int, name: bytes) -> tuple[int, bytes]:
        """Return a process's number in the stream and its Process Information Block."""
        number, self._process_count = self._process_count, self._process_count + 1
        block = self._shb.new_member(
            ProcessInformation, process_id=pid, options={"name": name}
        )
        return number, self._encoded(block)

    def tls_secrets(self, key_log: bytes) -> bytes:
        """Return a Decryption Secrets Block with lines of a key log."""
        block = self._shb.new_member(
            DecryptionSecrets, secrets_len=len(key_log), secrets=key_log
        )
        return self._encoded(block)

    def statistics(self, interface_id: int, at_ns: int, counts: Statistics) -> bytes:
        """Return an Interface Statistics Block; ``at_ns`` is ns since 1970."""
        block = self._shb.new_member(
            blocks.InterfaceStatistics,
            interface_id=interface_id,
            timestamp_high=at_ns >> 32,
            timestamp_low=at_ns & 0xFFFFFFFF,
            options={
                "isb_ifrecv": counts.received,
                "isb_ifdrop": counts.dropped,
                "isb_filteraccept": counts.accepted,
                "isb_osdrop": 0,
                "isb_usrdeliv": counts.accepted - counts.dropped,
            },
        )
        return self._encoded(block)

    def _interface_options(self, interface: Interface) -> dict[str, object]:
        options: dict[str, object] = {
            "if_name": interface.name,
            "if_description": interface.description,
            "if_IPv4addr": [(str(a.ip), str(a.netmask)) for a in interface.ipv4],
            "if_IPv6addr": [
                (str(a.ip), bytes([a.network.prefixlen])) for a in interface.ipv6
            ],
            "if_MACaddr": interface.mac.hex(":"),
            "if_speed": interface.speed_bps,
            "if_tsresol": NANOSECONDS,
            "if_filter": [(FILTER_TEXT, interface.filter.encode())],
            "if_os": self._os_name,
        }
        absent = {
            "if_MACaddr": not interface.mac,
            "if_speed": not interface.speed_bps,
            "if_filter": not interface.filter,
        }
        return {k: v for k, v in options.items() if not absent.get(k) and v != []}

    def _encoded_interface(self, block: blocks.InterfaceDescription) -> bytes:
        """Encode a description, and keep its id alone: there can be thousands."""
        encoded = self._encoded(block)
        self._shb.interfaces[block.interface_id] = _Described(block.interface_id)
        return encoded

    def _encoded(self, block: blocks.Block) -> bytes:
        self._writer.write_block(block)
        return self._take()

    def _take(self) -> bytes:
        written = self._written.getvalue()
        self._written.seek(0)
        self._written.truncate()
        return written
