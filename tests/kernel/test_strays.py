"""Segments other than SYN that resolve to a listener do not belong to it.

Nor do resets that the kernel sends in its name.
"""

import contextlib
import socket
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import netns
from support.netns import Namespace
from truth import packets, run
from truth.sockets import ANY4, LO4, listener
from truth.workers import Script, Worker, kill_all

PORT, SENDER = 20001, 20002
FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
FLAGS = [(SYN, True)] + [
    (flags, False)
    for flags in (ACK, PSH | ACK, FIN | ACK, SYN | ACK, SYN | FIN, RST, RST | ACK, 0)
]


def _server() -> Script:
    with listener(PORT, ANY4):
        yield
        yield


def _segment(flags: int, source: str, destination: str) -> bytes:
    head = (SENDER, PORT, 1, 1, 5 << 4, flags, 1000)
    segment = struct.pack("!HHIIBBHHH", *head, 0, 0)
    addresses = socket.inet_aton(source) + socket.inet_aton(destination)
    pseudo = addresses + struct.pack("!HH", socket.IPPROTO_TCP, len(segment))
    total = sum(struct.unpack("!16H", pseudo + segment))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return struct.pack("!HHIIBBHHH", *head, ~total & 0xFFFF, 0)


@contextlib.contextmanager
def _raw(space: Namespace) -> Iterator[socket.socket]:
    with space.entered():
        raw = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
    with raw:
        yield raw


def _labels(
    space: Namespace, server: Worker, flags: int, ends: tuple[str, str], file: Path
) -> tuple[dict[str, str], list[dict[str, str]]]:
    """Send a segment to the server; return its label, and those of the answers."""
    with _raw(space) as raw, run.capture(space, file):
        server.step()
        raw.sendto(_segment(flags, *ends), (ends[1], 0))
    kill_all()
    seen = list(packets.read(file.with_suffix(".pcapng").read_bytes()))
    # A reset may follow: no socket here has sent the segment.
    label = next(p.label for p in seen if p.ends and p.ends.receiver == PORT)
    return label, [p.label for p in seen if p.ends and p.ends.sender == PORT]


def _named(label: dict[str, str]) -> set[str | None]:
    return {label.get("pid"), label.get("peer_pid")}


@pytest.mark.parametrize(("flags", "belongs"), FLAGS)
def test_only_a_syn_belongs_to_the_listener(
    space: Namespace, tmp_path: Path, flags: int, belongs: bool
) -> None:
    with space.entered():
        server = Worker(_server())
    pid, ends = str(server.pid), (LO4, LO4)
    label, answers = _labels(space, server, flags, ends, tmp_path / "capture")
    assert (pid in _named(label)) == belongs
    # The answer to a SYN is the listener's, a reset is nobody's.
    assert [pid in _named(answer) for answer in answers] == [belongs] * len(answers)


@pytest.mark.full_matrix
@pytest.mark.parametrize(("flags", "belongs"), FLAGS[:4])
def test_so_it_is_in_a_container(tmp_path: Path, flags: int, belongs: bool) -> None:
    with netns.pair() as joined:
        with joined.far.entered():
            server = Worker(_server())
        pid, ends = str(server.pid), (joined.near_address, joined.far_address)
        near, file = joined.near, tmp_path / "capture"
        label, answers = _labels(near, server, flags, ends, file)
    assert (pid in _named(label)) == belongs
    assert [pid in _named(answer) for answer in answers] == [belongs] * len(answers)
