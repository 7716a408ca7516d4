"""Addresses of this host that no device has: networks, and broadcasts.

Routes are there before the capture starts: a change counts a moment late.
"""

import socket
from collections.abc import Iterator

from truth.cases.registry import CaseContext, case
from truth.cases.translated import listens
from truth.elsewhere import SYN, host
from truth.network import UPLINK_ADDRESS
from truth.sockets import ANY4, LO4, udp
from truth.workers import Script, Worker, alternate, kill_all


@case
def listener_on_a_local_network(context: CaseContext) -> Iterator[None]:
    scripts, port = context.scripts, context.port()
    here = context.network.here
    here.ip("route", "add", "local", "10.84.0.0/24", "dev", "lo")
    yield
    server = Worker(scripts.server(port, ANY4))
    alternate(server, Worker(scripts.client(port, "10.84.0.7")))


@case
def listener_on_a_local_network_of_ipv6(context: CaseContext) -> Iterator[None]:
    scripts, port = context.scripts, context.port()
    context.network.here.ip("route", "add", "local", "fd84::/48", "dev", "lo")
    yield
    server = Worker(scripts.server(port, "::"))
    alternate(server, Worker(scripts.client(port, "fd84::7")))


@case
def listener_on_a_large_local_network(context: CaseContext) -> Iterator[None]:
    scripts, port = context.scripts, context.port()
    context.network.here.ip("route", "add", "local", "10.88.0.0/16", "dev", "lo")
    yield
    server = Worker(scripts.server(port, ANY4))
    alternate(server, Worker(scripts.client(port, "10.88.0.7")))


@case
def listener_on_a_local_network_asked_by_a_container(
    context: CaseContext,
) -> Iterator[None]:
    scripts, port = context.scripts, context.port()
    container = context.network.containers[1]
    context.network.here.ip("route", "add", "local", "10.85.0.0/24", "dev", "lo")
    container.space.ip("route", "add", "10.85.0.0/24", "via", container.near_address)
    yield
    with container.space.entered():
        client = Worker(scripts.client(port, "10.85.0.7"))
    alternate(Worker(scripts.server(port, ANY4)), client)


@case
def address_of_a_container_in_a_local_network(context: CaseContext) -> Iterator[None]:
    """A route to a single address comes before that network, on which one listens."""
    scripts, port, here = context.scripts, context.port(), context.network.here
    one, two = context.network.containers
    network, address = "10.89.0.0/24", "10.89.0.7"
    here.ip("route", "add", "local", network, "dev", "lo")
    one.space.ip("addr", "add", f"{address}/32", "dev", "lo")
    one.space.ip("route", "add", two.far_address, "via", one.near_address)
    two.space.ip("route", "add", network, "via", two.near_address)
    here.ip("route", "add", address, "via", one.far_address)
    yield
    bystander = Worker(listens(port))
    bystander.step()
    with one.space.entered():
        server = Worker(scripts.server(port, ANY4))
    with two.space.entered():
        client = Worker(scripts.client(port, address))
    alternate(server, client)


def broadcasts(context: CaseContext, port: int, address: str) -> Script:
    context.claim("udp", remote=port)
    with udp(address) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        sock.sendto(b"statement", (address, port))
        yield
        sock.sendto(b"statement", (address, port))
        yield


def used_receiver(context: CaseContext, port: int, times: int) -> Script:
    """Send once, so that the process is known; then receive."""
    context.claim("udp", local=port)
    with udp(LO4) as sock:
        sock.bind((ANY4, port))
        sock.sendto(b"statement", (LO4, port))
        assert sock.recv(100)
        for _ in range(times):
            yield
            assert sock.recv(100)


@case
def broadcast_from_a_container(context: CaseContext) -> None:
    """No device is configured with the broadcast address of its network."""
    port, container = context.port(), context.network.containers[0]
    receiver = Worker(used_receiver(context, port, times=2))
    receiver.step()
    with container.space.entered():
        alternate(Worker(broadcasts(context, port, "10.78.1.255")), receiver)


@case
def broadcast_into_a_container(context: CaseContext) -> None:
    port, container = context.port(), context.network.containers[0]
    with container.space.entered():
        receiver = Worker(used_receiver(context, port, times=2))
    receiver.step()
    alternate(Worker(broadcasts(context, port, "10.78.1.255")), receiver)


@case
def connection_to_a_broadcast_address(context: CaseContext) -> None:
    """The kernel discards it, though a process listens on the port."""
    port, source = context.port(), context.port()
    bystander = Worker(listens(port))
    bystander.step()
    with host() as other:
        other.send_segment(source, port, SYN, 1, UPLINK_ADDRESS[:-1] + "255")
        other.send_segment(source, port, SYN, 1, "255.255.255.255")
    kill_all()
