"""The kernel's blocks against those of python-pcapng."""

import io
import socket
import struct
import sys

import pytest
from pcapng import FileScanner, FileWriter
from pcapng import blocks as pcapng_blocks

from support import frames, netns, running, stream

NAMES = ("arp", "smallest", "one byte", "two bytes", "three bytes", "qinq", "1500")


@pytest.fixture(scope="module")
def written() -> bytes:
    """Return a stream with the named frames."""
    with (
        netns.pair() as pair,
        running.engine(pair.near, "veth0", label="off") as engine,
    ):
        with pair.near.entered():
            sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
        with sock:
            sock.bind(("veth0", 0))
            for name in NAMES:
                sock.send(frames.CATALOGUE[name])
        engine.end()
        assert engine.output
        return engine.output.rest()


def _by_pcapng(frame: stream.Frame) -> bytes:
    """Return the block as python-pcapng writes it."""
    order = "<" if sys.byteorder == "little" else ">"
    section = pcapng_blocks.SectionHeader(endianness=order)
    section.new_member(
        pcapng_blocks.InterfaceDescription,
        link_type=1,
        snaplen=262144,
        options={"if_tsresol": b"\x09"},
    )
    output = io.BytesIO()
    writer = FileWriter(output, section)
    output.seek(0)
    output.truncate()
    block = section.new_member(
        pcapng_blocks.EnhancedPacket,
        interface_id=frame.interface,
        packet_len=frame.original_len,
        packet_data=frame.data,
        timestamp_high=frame.time_ns >> 32,
        timestamp_low=frame.time_ns & 0xFFFFFFFF,
        options={"epb_flags": frame.direction},
    )
    writer.write_block(block)
    return output.getvalue()


def test_blocks_are_byte_for_byte_pcapngs(written: bytes) -> None:
    packets = [
        struct.pack("=II", kind, len(body) + 12)
        + body
        + struct.pack("=I", len(body) + 12)
        for kind, body in stream.blocks(written)
        if kind == stream.EPB
    ]
    found = stream.parse(written).frames
    assert [frame.data for frame in found] == [frames.CATALOGUE[n] for n in NAMES]
    assert packets == [_by_pcapng(frame) for frame in found]


def test_pcapng_and_our_reader_read_the_same(written: bytes) -> None:
    ours = stream.parse(written)
    theirs = list(FileScanner(io.BytesIO(written)))
    packets = [b for b in theirs if isinstance(b, pcapng_blocks.EnhancedPacket)]
    assert [p.packet_data for p in packets] == [f.data for f in ours.frames]
    assert [p.timestamp_high << 32 | p.timestamp_low for p in packets] == [
        f.time_ns for f in ours.frames
    ]
    interface = next(
        b for b in theirs if isinstance(b, pcapng_blocks.InterfaceDescription)
    )
    assert interface.options["if_name"] == "veth0"
    assert interface.options["if_MACaddr"] == "02:00:00:00:09:01"
    assert interface.options["if_IPv4addr"] == ("10.9.0.1", "255.255.255.0")
    statistics = [b for b in theirs if isinstance(b, pcapng_blocks.InterfaceStatistics)]
    assert [s.options["isb_ifrecv"] for s in statistics] == [len(NAMES)]
