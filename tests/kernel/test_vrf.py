"""VRFs: who chooses one gets its members, and no packet of it has a wrong label.

Two sockets with the same addresses and ports in and outside of VRFs are a case of the
ground truth (tests/truth/cases/vrfs.py).
"""

import contextlib
import errno
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from support import frames, netns, probes, running, stream
from tccap.engine.surroundings import Survey
from tccap.owners import container_addresses
from truth import packets
from truth.cases.bound_there import bind_to_device
from truth.packets import Packet
from truth.sockets import ANY4, listener, tcp
from truth.workers import Script, Worker

VRF = "red"
ENDS = ("10.9.0.1", "10.9.0.2"), ("fd91::1", "fd91::2")
PORTS = range(7000, 8000)


@dataclass
class Red:
    """A VRF with one member, which leads to another namespace, and its capture."""

    pair: netns.Pair
    engine: running.Engine
    _ports: Iterator[int]

    def port(self) -> int:
        """Return a port that no other test uses."""
        return next(self._ports)

    def seen(self, device: str, port: int) -> list[Packet]:
        """Return the packets of a device so far that go to or come from a port."""
        assert self.engine.output
        so_far = stream.whole_blocks(self.engine.output.so_far())
        return [
            packet
            for packet in packets.read(so_far)
            if packet.device == device
            and packet.ends
            and port in (packet.ends.sender, packet.ends.receiver)
        ]

    def wait_for(self, device: str, port: int, text: bytes) -> Packet:
        """Return the packet with a text, when it has been captured."""
        found: list[Packet] = []

        def has_come() -> bool:
            found[:] = [p for p in self.seen(device, port) if text in p.data]
            return bool(found)

        running.until(has_come, f"{text!r} on {device}")
        return found[0]

    @contextlib.contextmanager
    def worker(self, script: Callable[[], Script]) -> Iterator[Worker]:
        """Have a process in the captured namespace."""
        with self.pair.near.entered():
            worker = Worker(script())
        try:
            yield worker
        finally:
            worker.kill()


@pytest.fixture(scope="module")
def red() -> Iterator[Red]:
    with netns.pair(quiet=False) as pair:
        near = pair.near
        there = probes.can_add(near, VRF, "type", "vrf", "table", "91")
        probes.skip_unless(there, "VRF devices", since=(4, 3))
        near.ip("link", "set", VRF, "up")
        near.ip("link", "set", pair.near_device, "master", VRF)
        six = ((near, pair.near_device), (pair.far, pair.far_device))
        for (space, device), address in zip(six, ENDS[1], strict=True):
            space.ip("addr", "add", f"{address}/64", "dev", device, "nodad")
        with running.engine(near, VRF, label="short") as engine:
            yield Red(pair, engine, iter(PORTS))
            engine.stop()


def _in_vrf(sock: socket.socket) -> socket.socket:
    bind_to_device(sock, VRF)
    return sock


@pytest.mark.parametrize("ends", ENDS)
def test_what_a_member_carries_is_on_the_member(
    red: Red, ends: tuple[str, str]
) -> None:
    """It names who sends from here; nobody knows who receives."""
    _, far = ends
    port = red.port()

    def asks() -> Script:
        with _in_vrf(tcp(far)) as sock:
            sock.connect((far, port))
            sock.sendall(b"question")
            assert sock.recv(100) == b"response"
            yield
            yield

    with red.pair.far.entered():
        listening = listener(port, far)
    with listening, red.worker(asks) as client:
        client.start()
        with listening.accept()[0] as connection:
            assert connection.recv(100) == b"question"
            connection.sendall(b"response")
            client.wait()
        response = red.wait_for(red.pair.near_device, port, b"response")
        question = red.wait_for(red.pair.near_device, port, b"question")
        assert red.seen(VRF, port) == []
    assert question.label["pid"] == str(client.pid)
    assert response.label.get("peer_pid", str(client.pid)) == str(client.pid)


@pytest.mark.parametrize("ends", ENDS)
def test_what_the_host_sends_to_itself_in_the_vrf_is_on_the_vrf(
    red: Red, ends: tuple[str, str]
) -> None:
    near, _ = ends
    port = red.port()

    def serves() -> Script:
        with _in_vrf(tcp(near)) as listening:
            listening.bind((near, port))
            listening.listen()
            yield
            with listening.accept()[0] as connection:
                connection.sendall(b"welcome")
                assert connection.recv(100) == b"question"
                yield
                yield

    def asks() -> Script:
        with _in_vrf(tcp(near)) as sock:
            sock.connect((near, port))
            assert sock.recv(100) == b"welcome"
            sock.sendall(b"question")
            yield
            yield

    with red.worker(serves) as server, red.worker(asks) as client:
        server.step()
        server.start()
        client.step()
        server.wait()
        question = red.wait_for(VRF, port, b"question")
    assert question.label["pid"] == str(client.pid)
    assert question.label.get("peer_pid", str(server.pid)) == str(server.pid)
    seen = [packet.data for packet in red.seen(VRF, port) if b"question" in packet.data]
    assert len(seen) == 1
    assert red.seen(red.pair.near_device, port) == []


def test_a_connection_that_is_none_of_the_vrf_has_no_receiver_there(red: Red) -> None:
    """An unbound socket does not receive what comes in the VRF: it is refused."""
    port = red.port()
    near, _ = ENDS[0]

    def waits() -> Script:
        with listener(port, ANY4):
            yield
            yield

    with red.worker(waits) as server:
        server.step()
        with red.pair.far.entered(), tcp(near) as sock:
            assert sock.connect_ex((near, port)) == errno.ECONNREFUSED
        running.until(
            lambda: len(red.seen(red.pair.near_device, port)) >= 2, "the refusal"
        )
    seen = red.seen(red.pair.near_device, port)
    named = {packet.label.get(key) for packet in seen for key in ("pid", "peer_pid")}
    assert str(server.pid) not in named


def test_a_later_member_is_captured_and_a_device_that_is_none_is_not(red: Red) -> None:
    near = red.pair.near
    for name in "later", "other":
        near.ip("link", "add", name, "type", "veth", "peer", "name", f"{name}far")
        near.ip("link", "set", name, "up")
        near.ip("link", "set", f"{name}far", "up")
    near.ip("link", "set", "later", "master", VRF)
    mark = frames.marker()

    def seen() -> bool:
        for name in "other", "later":
            with near.entered():
                sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
            with sock:
                sock.bind((name, 0))
                sock.send(frames.ethernet(frames.EXPERIMENT, mark))
        assert red.engine.output
        return mark in red.engine.output.so_far()

    running.until(seen, "a packet of a later member")
    assert red.engine.output
    found = stream.parse(stream.whole_blocks(red.engine.output.so_far()))
    assert {each.name for each in found.interfaces} == {VRF, "veth0", "later"}


def test_a_device_in_the_vrf_of_a_container_is_known() -> None:
    """No socket is looked up by its addresses: that would be one of no VRF."""
    with netns.pair() as pair:
        there = probes.can_add(pair.far, "cage", "type", "vrf", "table", "91")
        probes.skip_unless(there, "VRF devices", since=(4, 3))

        def found() -> tuple[bool, bool]:
            with pair.near.entered():
                around = [e for e in Survey().read().values() if e.far_ifindex]
                return around[0].far_in_vrf, bool(container_addresses._present())

        assert found() == (False, True)
        pair.far.ip("link", "set", pair.far_device, "master", "cage")
        assert found() == (True, False)
