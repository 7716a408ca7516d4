"""Containers: other network namespaces behind a veth."""

import contextlib
import socket

from truth.cases.registry import CaseContext, case
from truth.network import NOBODY, SAME_ADDRESS
from truth.sockets import ANY4, LO4, await_echo_reply, echo_request, tcp, udp
from truth.workers import Script, Worker, alternate


@case
def container_serves(context: CaseContext) -> None:
    scripts, port = context.scripts, context.port()
    container = context.network.containers[0]
    with container.space.entered():
        server = Worker(scripts.server(port, ANY4))
    alternate(server, Worker(scripts.client(port, container.far_address)))


@case
def container_asks(context: CaseContext) -> None:
    scripts, port = context.scripts, context.port()
    container = context.network.containers[0]
    server = Worker(scripts.server(port, ANY4))
    with container.space.entered():
        client = Worker(scripts.client(port, container.near_address))
    alternate(server, client)


@case
def container_udp(context: CaseContext) -> None:
    scripts, container = context.scripts, context.network.containers[0]
    port, other = context.port(), context.port()
    with container.space.entered():
        server = Worker(scripts.udp_server(port, ANY4))
        client = Worker(scripts.udp_client(other, container.near_address))
    alternate(server, Worker(scripts.udp_client(port, container.far_address)))
    alternate(Worker(scripts.udp_server(other, ANY4)), client)


@case
def container_refused(context: CaseContext) -> None:
    """Nobody listens, on either side."""

    def script(port: int, address: str) -> Script:
        context.claim("tcp", remote=port)
        with tcp(address) as sock, contextlib.suppress(ConnectionRefusedError):
            sock.connect((address, port))
        yield

    container = context.network.containers[0]
    alternate(Worker(script(context.port(), container.far_address)))
    with container.space.entered():
        inside = Worker(script(context.port(), container.near_address))
    alternate(inside)


@case
def container_is_pinged(context: CaseContext) -> None:
    container = context.network.containers[0]
    alternate(Worker(ping(context, context.port(), container.far_address)))


@case
def container_pings(context: CaseContext) -> None:
    container = context.network.containers[0]
    with container.space.entered():
        inside = Worker(ping(context, context.port(), container.near_address))
    alternate(inside)


def ping(context: CaseContext, identifier: int, address: str) -> Script:
    """Send an echo request by a raw socket, and receive the reply."""
    context.claim("icmp", local=identifier)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.settimeout(60)
        sock.sendto(echo_request(4, identifier), (address, 0))
        await_echo_reply(sock, 4)
    yield


@case
def fragments(context: CaseContext) -> None:
    """Datagrams that do not fit into a frame, both ways."""

    def server() -> Script:
        context.claim("udp", local=port)
        with udp(LO4) as sock:
            sock.bind((ANY4, port))
            yield
            data, sender = sock.recvfrom(5000)
            sock.sendto(data, sender)
            yield

    def client() -> Script:
        context.claim("udp", remote=port)
        with udp(LO4) as sock:
            sock.sendto(bytes(4000), (container.far_address, port))
            yield
            assert len(sock.recv(5000)) == 4000
            yield

    port, container = context.port(), context.network.containers[0]
    with container.space.entered():
        far = Worker(server())
    alternate(far, Worker(client()))


@case
def same_tuple_in_two_namespaces(context: CaseContext) -> None:
    def script(device: str) -> Script:
        context.claim("udp", local=near, remote=far, device=device)
        context.claim("tcp", local=near, remote=far, device=device)
        with udp(LO4) as datagrams, tcp(LO4) as stream:
            datagrams.bind((SAME_ADDRESS, near))
            datagrams.sendto(b"statement", (NOBODY, far))
            stream.bind((SAME_ADDRESS, near))
            stream.setblocking(False)
            stream.connect_ex((NOBODY, far))
            yield
            datagrams.sendto(b"statement", (NOBODY, far))
            yield

    near, far = context.port(), context.port()
    workers = []
    for container in context.network.containers:
        with container.space.entered():
            workers.append(Worker(script(container.device)))
    alternate(*workers)
