"""Containers that are made while the capture runs, and sockets that share a port."""

import contextlib
import itertools
import socket
import time
from collections.abc import Iterator

from support import netns
from support.netns import Namespace
from truth.cases.registry import CaseContext, case
from truth.network import BRIDGE, Container
from truth.sockets import ANY4, LO4, bind_again, tcp, udp
from truth.workers import Script, Worker, alternate, kill_all

DEADLINE_S = 90  # only against hanging: attaching takes long on a busy host
_numbers = itertools.count(10)


@contextlib.contextmanager
def moved_container(context: CaseContext, *, bridged: bool) -> Iterator[Container]:
    """Yield a container that is made in Docker's order, with its device captured.

    Both ends of the pair are devices here, before one moves, is renamed and set up.
    """
    here, number = context.network.here, next(_numbers)
    near = "10.79.0.1" if bridged else f"10.83.{number}.1"
    far = f"10.79.0.{number}" if bridged else f"10.83.{number}.2"
    device, other = f"late{number}", f"late{number}x"
    with netns.namespace() as there:
        here.ip("link", "add", device, "type", "veth", "peer", "name", other)
        if bridged:
            here.ip("link", "set", device, "master", BRIDGE)
        else:
            here.ip("addr", "add", f"{near}/24", "dev", device)
        here.ip("link", "set", other, "netns", there.name)
        there.ip("link", "set", other, "name", "eth0")
        there.ip("addr", "add", f"{far}/24", "dev", "eth0")
        there.ip("link", "set", "eth0", "up")
        here.ip("link", "set", device, "up")
        container = Container(there, device, near, far)
        _wait_until_captured(context, container)
        yield container


def _wait_until_captured(context: CaseContext, container: Container) -> None:
    """Send datagrams from there until one is in the file; a process claims them."""

    def script() -> Script:
        context.claim("udp", remote=port)
        with udp(LO4) as sock:
            deadline = time.monotonic() + DEADLINE_S
            while mark not in context.capture.read_bytes():
                assert time.monotonic() < deadline, "the device is not captured"
                sock.sendto(mark, (container.near_address, port))
                time.sleep(0.01)
        yield

    port = context.port()
    mark = b"from %s" % container.device.encode()
    with container.space.entered():
        prober = Worker(script())
    context.claim("udp", local=port)
    with udp(LO4) as sink:
        sink.bind((ANY4, port))
        alternate(prober)


@case
def moved_container_asks(context: CaseContext) -> None:
    scripts, port, other = context.scripts, context.port(), context.port()
    with moved_container(context, bridged=False) as container:
        with container.space.entered():
            client = Worker(scripts.client(port, container.near_address))
            sender = Worker(scripts.udp_client(other, container.near_address))
        alternate(Worker(scripts.server(port, ANY4)), client)
        alternate(Worker(scripts.udp_server(other, ANY4)), sender)


@case
def moved_container_serves(context: CaseContext) -> None:
    scripts, port = context.scripts, context.port()
    with moved_container(context, bridged=False) as container:
        with container.space.entered():
            server = Worker(scripts.server(port, ANY4))
        alternate(server, Worker(scripts.client(port, container.far_address)))


@case
def moved_container_on_a_bridge(context: CaseContext) -> None:
    scripts, port = context.scripts, context.port()
    with moved_container(context, bridged=True) as container:
        with container.space.entered():
            server = Worker(scripts.server(port, ANY4))
        with context.network.bridged[0].space.entered():
            client = Worker(scripts.client(port, container.far_address))
        alternate(server, client)


@case
def container_with_the_address_of_one_before(context: CaseContext) -> None:
    """A container is made anew, with the same address and port as the last one."""
    scripts, port = context.scripts, context.port()
    for _ in range(2):
        with moved_container(context, bridged=False) as container:
            with container.space.entered():
                server = Worker(scripts.server(port, ANY4))
            alternate(server, Worker(scripts.client(port, container.far_address)))


def bound(context: CaseContext, address: str, port: int, to: tuple[str, int]) -> Script:
    """Bind beside others and send once; then receive once."""
    context.claim("udp", local=port, remote=to[1])
    with udp(LO4) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((address, port))
        sock.sendto(b"statement", to)
        yield
        assert sock.recv(100)
        yield


@case
def container_udp_on_a_shared_port(context: CaseContext) -> None:
    """One program has all addresses, another one its own, and both send from there."""
    port, first, second = context.port(), context.port(), context.port()
    container = context.network.containers[0]
    near, far = container.near_address, container.far_address
    receivers = [Worker(context.scripts.udp_silent(p, ANY4)) for p in (first, second)]
    for one in receivers:
        one.step()
    with container.space.entered():
        specific = Worker(bound(context, far, port, (near, first)))
        wildcard = Worker(bound(context, ANY4, port, (near, second)))
    specific.step()
    wildcard.step()
    context.claim("udp", local=port, pid=specific.pid)
    alternate(Worker(context.scripts.udp_talker(port, far)))
    kill_all()


@case
def container_udp_connected_and_not(context: CaseContext) -> None:
    """One program is connected to a peer here, another one takes all others."""

    def here(number: int) -> Script:
        context.claim("udp", local=number)
        with udp(LO4) as sock:
            sock.bind((ANY4, number))
            yield
            sock.sendto(b"statement", (container.far_address, port))
            yield

    def connected() -> Script:
        context.claim("udp", local=port, remote=first)
        with udp(LO4) as sock:
            bind_again(sock, port)
            sock.connect((container.near_address, first))
            sock.send(b"statement")
            yield
            assert sock.recv(100)
            yield

    port, first, second = context.port(), context.port(), context.port()
    container = context.network.containers[0]
    one, two = Worker(here(first)), Worker(here(second))
    one.step()
    two.step()
    target = (container.near_address, second)
    with container.space.entered():
        wildcard = Worker(bound(context, ANY4, port, target))
        chosen = Worker(connected())
    for worker in (wildcard, chosen, one, two, chosen, wildcard):
        worker.step()
    kill_all()


@case
def container_bound_to_its_device(context: CaseContext) -> None:
    """SO_BINDTODEVICE names a device of the container's, by a number of its own."""

    def bind_to_device(sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, b"eth0")

    def serves() -> Script:
        context.claim("tcp", local=port)
        with tcp(LO4) as listening:
            bind_to_device(listening)
            listening.bind((ANY4, port))
            listening.listen()
            yield
            with listening.accept()[0] as connection:
                assert connection.recv(100)
                connection.sendall(b"answer")
                yield

    def receives() -> Script:
        context.claim("udp", local=other)
        with udp(LO4) as sock:
            bind_to_device(sock)
            sock.bind((ANY4, other))
            yield
            data, sender = sock.recvfrom(100)
            sock.sendto(data, sender)
            yield

    def asks() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as connection:
            connection.connect((container.far_address, port))
            connection.sendall(b"question")
            yield
            assert connection.recv(100)
            yield

    port, other = context.port(), context.port()
    container = context.network.containers[0]
    with container.space.entered():
        server, receiver = Worker(serves()), Worker(receives())
    alternate(server, Worker(asks()))
    client = context.scripts.udp_client(other, container.far_address)
    alternate(receiver, Worker(client))


@case
def container_by_link_local_ipv6(context: CaseContext) -> None:
    """Link-local addresses name no device: sockets have it as their scope."""
    container = context.network.containers[0]
    there = link_local(container.space, "eth0")
    near = link_local(context.network.here, container.device)
    port, other = context.port(), context.port()
    with container.space.entered():
        server = Worker(context.scripts.server(port, "::"))
        asks = Worker(_scoped_client(context, other, near, "eth0"))
    alternate(server, Worker(_scoped_client(context, port, there, container.device)))
    alternate(Worker(context.scripts.server(other, "::")), asks)


def _scoped_client(
    context: CaseContext, port: int, address: str, device: str
) -> Script:
    context.claim("tcp", remote=port)
    scope = socket.if_nametoindex(device)
    with tcp(address) as connection:
        connection.connect((address, port, 0, scope))
        yield
        connection.sendall(b"question")
        yield
        assert connection.recv(100)
        yield


def link_local(space: Namespace, device: str) -> str:
    """Return the device's link-local address as soon as it may be used."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        words = space.ip("-6", "-o", "addr", "show", "dev", device).split()
        found = [w for w in words if w.startswith("fe80:")]
        if found and "tentative" not in words:
            return found[0].partition("/")[0]
        time.sleep(0.01)
    raise AssertionError(f"{device} has no link-local address")
