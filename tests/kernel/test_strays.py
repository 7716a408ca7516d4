"""Segments other than SYN that resolve to a listener do not belong to it."""

import socket
import struct
from pathlib import Path

import pytest

from support import netns
from truth import packets, run
from truth.sockets import LO4, listener
from truth.workers import Script, Worker, kill_all

PORT, SENDER = 20001, 20002
SYN, ACK, PSH = 2, 16, 8


def _server() -> Script:
    with listener(PORT):
        yield
        yield


def _segment(flags: int) -> bytes:
    return struct.pack("!HHIIBBHHH", SENDER, PORT, 1, 1, 5 << 4, flags, 1000, 0, 0)


@pytest.mark.parametrize(
    ("flags", "belongs"), [(SYN, True), (ACK, False), (PSH | ACK, False)]
)
def test_only_a_syn_belongs_to_the_listener(
    space: netns.Namespace, tmp_path: Path, flags: int, belongs: bool
) -> None:
    file = tmp_path / "capture"
    with space.entered():
        server = Worker(_server())
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with raw, run.capture(space, file):
        server.step()
        raw.sendto(_segment(flags), (LO4, 0))
    pid = str(server.pid)
    kill_all()
    seen = packets.read(file.with_suffix(".pcapng").read_bytes())
    (label,) = [p.label for p in seen if p.ends and p.ends.receiver == PORT]
    assert (pid in {label.get("pid"), label.get("peer_pid")}) == belongs
