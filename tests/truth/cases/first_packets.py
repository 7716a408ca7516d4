"""What a socket sends first, to another host: nothing has shown who uses it."""

import os
import socket

from truth.cases.registry import CaseContext, case
from truth.elsewhere import host
from truth.network import UPLINK
from truth.packets import ELSEWHERE
from truth.sockets import ANY4, echo_request, receive_descriptor, send_descriptor, udp
from truth.workers import Script, Worker, alternate


@case
def first_datagram_to_another_host(context: CaseContext) -> None:
    """As a question for a name: each has a socket of its own."""

    def asks() -> Script:
        for number in range(3):
            context.claim("udp", remote=port + number, device=UPLINK)
            with udp(ANY4) as sock:
                sock.sendto(b"question", (ELSEWHERE, port + number))
            yield
        with udp(ANY4) as sock:
            context.claim("udp", remote=other, device=UPLINK)
            sock.connect((ELSEWHERE, other))
            sock.send(b"question")
        yield

    [port, *_], other = [context.port() for _ in range(3)], context.port()
    with host():
        alternate(Worker(asks(), comm=b"resolves"))


@case
def first_ping_to_another_host(context: CaseContext) -> None:
    """By a raw socket; the other host does not answer."""

    def pings() -> Script:
        context.claim("icmp", local=identifier)
        kind = (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
        with socket.socket(*kind) as sock:
            sock.sendto(echo_request(4, identifier), (ELSEWHERE, 0))
        yield

    identifier = context.port()
    with host():
        alternate(Worker(pings(), comm=b"pings"))


def _child_that_sends(
    context: CaseContext,
    sock: socket.socket,
    to: int,
    begin: socket.socket | None = None,
) -> int:
    """Fork a child that sends, once it has a word from ``begin``; return its pid."""
    child = os.fork()
    if not child:
        if begin:
            begin.recv(1)
        context.claim("udp", local=sock.getsockname()[1])
        sock.sendto(b"statement", (ELSEWHERE, to))
        os._exit(0)
    return child


@case
def first_datagram_of_an_heir(context: CaseContext) -> None:
    """A parent makes the socket and closes its own descriptor."""

    def has_heir() -> Script:
        with udp(ANY4) as sock:
            sock.bind((ANY4, port))
            child = _child_that_sends(context, sock, other, closed)
        told.send(b"x")
        os.waitpid(child, 0)
        yield

    port, other = context.port(), context.port()
    told, closed = socket.socketpair()
    with host(), told, closed:
        alternate(Worker(has_heir()))


@case
def first_datagram_by_a_socket_of_two(context: CaseContext) -> None:
    """The parent has it, too, and the processor may have been at the parent's work."""

    def has_heir() -> Script:
        with udp(ANY4) as sock:
            sock.bind((ANY4, port))
            os.waitpid(_child_that_sends(context, sock, other), 0)
            yield

    port, other = context.port(), context.port()
    with host():
        alternate(Worker(has_heir()))


@case
def first_datagram_by_a_socket_that_was_passed_on(context: CaseContext) -> None:
    """The process that made it closes it without having sent."""

    def gives() -> Script:
        with udp(ANY4) as sock:
            sock.bind((ANY4, port))
            send_descriptor(giving, sock)
        yield

    def takes() -> Script:
        with receive_descriptor(taking) as sock:
            context.claim("udp", local=port)
            sock.sendto(b"statement", (ELSEWHERE, other))
        yield

    port, other = context.port(), context.port()
    giving, taking = socket.socketpair()
    with host(), giving, taking:
        alternate(Worker(gives()))
        alternate(Worker(takes()))
