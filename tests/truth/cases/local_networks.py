"""Addresses that no device has: networks, broadcasts, and those of other hosts."""

import socket

from truth.cases.registry import CaseContext, case
from truth.cases.translated import listens
from truth.elsewhere import SYN, host
from truth.network import (
    LARGE,
    LOCAL,
    LOCAL6,
    THROUGH_BOX,
    UPLINK_ADDRESS,
    Container,
)
from truth.sockets import ANY4, LO4, tcp, udp
from truth.workers import Script, Worker, alternate, kill_all


@case
def listener_on_a_local_network(context: CaseContext) -> None:
    ask_on_all_addresses(context, LOCAL, ANY4)


@case
def listener_on_a_local_network_of_ipv6(context: CaseContext) -> None:
    ask_on_all_addresses(context, LOCAL6, "::")


@case
def listener_on_a_large_local_network(context: CaseContext) -> None:
    ask_on_all_addresses(context, LARGE, ANY4)


def ask_on_all_addresses(context: CaseContext, address: str, every: str) -> None:
    """Have a server on all addresses, and a client that asks on one of them."""
    scripts, port = context.scripts, context.port()
    server = Worker(scripts.server(port, every))
    alternate(server, Worker(scripts.client(port, address)))


@case
def listener_on_a_local_network_asked_by_a_container(context: CaseContext) -> None:
    scripts, port = context.scripts, context.port()
    container = context.network.containers[1]
    container.space.ip("route", "add", LOCAL, "via", container.near_address)
    with container.space.entered():
        client = Worker(scripts.client(port, LOCAL))
    alternate(Worker(scripts.server(port, ANY4)), client)


@case
def address_of_a_container_in_a_local_network(context: CaseContext) -> None:
    """A route to a single address comes before that network, on which one listens."""
    scripts, port = context.scripts, context.port()
    one, two = context.network.containers
    one.space.ip("addr", "add", f"{THROUGH_BOX}/32", "dev", "lo")
    one.space.ip("route", "add", two.far_address, "via", one.near_address)
    two.space.ip("route", "add", THROUGH_BOX, "via", two.near_address)
    bystander = Worker(listens(port))
    bystander.step()
    with one.space.entered():
        server = Worker(scripts.server(port, ANY4))
    with two.space.entered():
        client = Worker(scripts.client(port, THROUGH_BOX))
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


IP_FREEBIND, IP_TRANSPARENT = 15, 19  # include/uapi/linux/in.h


def route_between(one: Container, two: Container) -> None:
    """Have us forward between two containers."""
    one.space.ip("route", "replace", two.far_address, "via", one.near_address)
    two.space.ip("route", "replace", one.far_address, "via", two.near_address)


@case
def listener_on_an_address_of_another_host(context: CaseContext) -> None:
    """A stand-by has the port, too, for when it gets the address."""

    def stands_by() -> Script:
        with tcp(ANY4) as listening:
            listening.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
            listening.bind((two.far_address, port))
            listening.listen()
            yield
            yield

    one, two = context.network.containers
    port = context.port()
    Worker(stands_by()).step()
    route_between(one, two)
    with two.space.entered():
        server = Worker(context.scripts.server(port, ANY4))
    with one.space.entered():
        client = Worker(context.scripts.client(port, two.far_address))
    alternate(server, client)
    kill_all()


@case
def datagrams_for_an_address_of_another_host(context: CaseContext) -> None:
    """A proxy uses the address of its client, or of its server."""

    def stands_by() -> Script:
        with udp(ANY4) as sock:
            sock.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
            sock.bind((two.far_address, port))
            context.claim("udp", local=port, remote=drain)
            sock.sendto(b"statement", (LO4, drain))
            yield
            yield

    one, two = context.network.containers
    port, drain = context.port(), context.port()
    Worker(context.scripts.udp_silent(drain, ANY4)).step()
    Worker(stands_by()).step()
    route_between(one, two)
    with two.space.entered():
        server = Worker(context.scripts.udp_server(port, ANY4))
    with one.space.entered():
        client = Worker(context.scripts.udp_client(port, two.far_address))
    alternate(server, client)
    kill_all()
