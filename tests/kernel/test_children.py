"""--children: also children that are older than the capture."""

import socket
from collections import Counter
from pathlib import Path

import pytest

from support import netns
from truth import packets, run
from truth.sockets import LO4, udp
from truth.workers import Script, Worker, kill_all

GRANDCHILD, STRANGER = 20001, 20002


def _sender(port: int) -> Script:
    with udp(LO4) as sock:
        sock.connect((LO4, port))
        yield
        for _ in range(3):
            sock.send(b"statement")
        yield


def _ancestor(generations: int) -> Script:
    rest = _ancestor(generations - 1) if generations else _sender(GRANDCHILD)
    descendant = Worker(rest)
    while True:
        descendant.step()
        yield


def _sink(space: netns.Namespace, port: int) -> socket.socket:
    with space.entered():
        sock = udp(LO4)
    sock.bind((LO4, port))
    return sock


@pytest.mark.parametrize(
    "options",
    [("--children",), pytest.param((), marks=pytest.mark.same_everywhere)],
)
def test_older_children_are_captured(
    space: netns.Namespace, tmp_path: Path, options: tuple[str, ...]
) -> None:
    with space.entered():
        chosen, stranger = Worker(_ancestor(1)), Worker(_sender(STRANGER))
    file = tmp_path / "capture"
    with _sink(space, GRANDCHILD), _sink(space, STRANGER):
        for worker in (chosen, stranger):
            worker.step()
        with run.capture(space, file, "--pid", str(chosen.pid), *options):
            for worker in (chosen, stranger):
                worker.step()
        kill_all()
    seen = packets.read(file.with_suffix(".pcapng").read_bytes())
    sent = Counter(
        packet.ends.receiver for packet in seen if packet.ends and not packet.ends.reply
    )
    assert sent == ({GRANDCHILD: 3} if options else {})
