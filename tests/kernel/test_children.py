"""--children: also those that were there before the capture."""

import socket
from collections import Counter
from pathlib import Path

import pytest

from support import netns
from truth import packets, theatre
from truth.actors import Actor, Script, kill_all
from truth.scripts import LO4, udp
from truth.world import World

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
    descendant = Actor(rest)
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
def test_the_old_ones_are_wanted(
    space: netns.Namespace, tmp_path: Path, options: tuple[str, ...]
) -> None:
    made = World(space, ())
    with space.entered():
        chosen, stranger = Actor(_ancestor(1)), Actor(_sender(STRANGER))
    file = tmp_path / "capture"
    with _sink(space, GRANDCHILD), _sink(space, STRANGER):
        for actor in (chosen, stranger):
            actor.step()
        with theatre.capture(made, file, "--pid", str(chosen.pid), *options):
            for actor in (chosen, stranger):
                actor.step()
        kill_all()
    seen = packets.read(file.with_suffix(".pcapng").read_bytes())
    sent = Counter(
        packet.ends.receiver for packet in seen if packet.ends and not packet.ends.reply
    )
    assert sent == ({GRANDCHILD: 3} if options else {})
