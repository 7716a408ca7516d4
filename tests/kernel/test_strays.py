"""Segments for a listening socket that ask for no connection are none of its."""

import socket
import struct
from pathlib import Path

import pytest

from support import netns
from truth import packets, theatre
from truth.actors import Actor, Script, kill_all
from truth.scripts import LO4, listener
from truth.world import World

PORT, SENDER = 20001, 20002
SYN, ACK, PSH = 2, 16, 8


def _server() -> Script:
    with listener(PORT):
        yield
        yield


def _segment(flags: int) -> bytes:
    return struct.pack("!HHIIBBHHH", SENDER, PORT, 1, 1, 5 << 4, flags, 1000, 0, 0)


@pytest.mark.parametrize(
    ("flags", "is_the_listeners"), [(SYN, True), (ACK, False), (PSH | ACK, False)]
)
def test_whose_a_segment_is(
    space: netns.Namespace, tmp_path: Path, flags: int, is_the_listeners: bool
) -> None:
    file = tmp_path / "capture"
    with space.entered():
        server = Actor(_server())
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with raw, theatre.capture(World(space, ()), file):
        server.step()
        raw.sendto(_segment(flags), (LO4, 0))
    pid = str(server.pid)
    kill_all()
    seen = packets.read(file.with_suffix(".pcapng").read_bytes())
    (label,) = [p.label for p in seen if p.ends and p.ends.receiver == PORT]
    assert (pid in {label.get("pid"), label.get("peer_pid")}) == is_the_listeners
