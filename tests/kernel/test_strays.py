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
from truth.packets import Packet
from truth.sockets import ANY4, LO4, listener
from truth.workers import Script, Worker, kill_all

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
FLAGS = [(SYN, True)] + [
    (flags, False)
    for flags in (ACK, PSH | ACK, FIN | ACK, SYN | ACK, SYN | FIN, RST, RST | ACK, 0)
]
IN_A_CONTAINER = FLAGS[:4]
SENDER = 20000
PORTS = {flags: 20001 + number for number, (flags, _) in enumerate(FLAGS)}


def _server(port: int) -> Script:
    with listener(port, ANY4):
        yield
        yield


def _segment(flags: int, source: str, destination: str) -> bytes:
    head = (SENDER, PORTS[flags], 1, 1, 5 << 4, flags, 1000)
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


class Seen:
    """What was captured of segments, each to a server of its own."""

    def __init__(self, servers: dict[int, Worker], seen: list[Packet]) -> None:
        self._servers = servers
        self._seen = seen

    def check(self, flags: int, *, belongs: bool) -> None:
        """Check the label of a segment with these flags, and those of its answers."""
        pid, port = str(self._servers[flags].pid), PORTS[flags]
        # A reset may follow: no socket here has sent the segment.
        label = next(p.label for p in self._seen if p.ends and p.ends.receiver == port)
        assert (pid in _named(label)) == belongs
        answers = [p.label for p in self._seen if p.ends and p.ends.sender == port]
        # The answer to a SYN is the listener's, a reset is nobody's.
        assert [pid in _named(label) for label in answers] == [belongs] * len(answers)


def _captured(
    space: Namespace, servers: dict[int, Worker], ends: tuple[str, str], file: Path
) -> Seen:
    """Send a segment to each server."""
    with _raw(space) as raw, run.capture(space, file):
        for flags, server in servers.items():
            server.step()
            raw.sendto(_segment(flags, *ends), (ends[1], 0))
    kill_all()
    return Seen(servers, list(packets.read(file.with_suffix(".pcapng").read_bytes())))


def _servers(space: Namespace, some: list[tuple[int, bool]]) -> dict[int, Worker]:
    with space.entered():
        return {flags: Worker(_server(PORTS[flags])) for flags, _ in some}


def _named(label: dict[str, str]) -> set[str | None]:
    return {label.get("pid"), label.get("peer_pid")}


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    file = tmp_path_factory.mktemp("here") / "capture"
    with netns.namespace() as space:
        return _captured(space, _servers(space, FLAGS), (LO4, LO4), file)


@pytest.fixture(scope="module")
def in_a_container(tmp_path_factory: pytest.TempPathFactory) -> Seen:
    file = tmp_path_factory.mktemp("container") / "capture"
    with netns.pair() as joined:
        servers = _servers(joined.far, IN_A_CONTAINER)
        ends = (joined.near_address, joined.far_address)
        return _captured(joined.near, servers, ends, file)


@pytest.mark.parametrize(("flags", "belongs"), FLAGS)
def test_only_a_syn_belongs_to_the_listener(
    here: Seen, flags: int, belongs: bool
) -> None:
    here.check(flags, belongs=belongs)


@pytest.mark.full_matrix
@pytest.mark.parametrize(("flags", "belongs"), IN_A_CONTAINER)
def test_so_it_is_in_a_container(
    in_a_container: Seen, flags: int, belongs: bool
) -> None:
    in_a_container.check(flags, belongs=belongs)
