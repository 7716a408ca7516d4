"""Datagram sockets that several processes have, when the one that used them has not."""

import os
import socket
from collections.abc import Callable

from truth.cases.registry import CaseContext, case
from truth.sockets import LO4, receive_descriptor, send_descriptor, udp
from truth.workers import Script, Worker, alternate, kill_all


def _used(port: int) -> socket.socket:
    """Return a socket that its process has used."""
    sock = udp(LO4)
    sock.bind((LO4, port))
    sock.sendto(b"statement", (LO4, port))
    assert sock.recv(100)
    return sock


def _takes(channel: socket.socket) -> Script:
    with receive_descriptor(channel):
        yield
        yield


def _ask_taker(
    context: CaseContext, port: int, taker: Worker, steps: tuple[Worker, ...]
) -> None:
    """Have workers pass a socket on in so many steps, then ask the one that has it."""
    for one in steps:
        one.step()
    context.claim("udp", local=port, pid=taker.pid)
    alternate(Worker(context.scripts.udp_talker(port)))
    kill_all()


@case
def datagram_socket_passed_on_before_another_message(context: CaseContext) -> None:
    """The giver gets a message, as if with the socket that it has, and closes that."""

    def gives() -> Script:
        context.claim("udp", local=port)
        sock, above = _used(port), os.open(os.devnull, os.O_RDONLY)
        yield
        send_descriptor(giving, sock)
        yield
        os.close(above)  # the socket's descriptor is the last one now
        yield
        sock.close()
        yield

    port = context.port()
    giving, taking = socket.socketpair()
    giver, taker = Worker(gives()), Worker(_takes(taking))
    _ask_taker(context, port, taker, (giver, giver, taker, giver, giver))


@case
def datagram_socket_passed_on_with_other_files(context: CaseContext) -> None:
    """The taker gets these last."""

    def takes(taking: socket.socket) -> Script:
        assert len(socket.recv_fds(taking, 1, 3)[1]) == 3
        yield
        yield

    _passed_on_with_others(context, 2, takes)


@case
def datagram_socket_passed_on_into_a_gap(context: CaseContext) -> None:
    """The taker gets it under a much lower number than what comes with it."""

    def takes(taking: socket.socket) -> Script:
        first, *_ = [os.open(os.devnull, os.O_RDONLY) for _ in range(40)]
        os.close(first)
        assert socket.recv_fds(taking, 1, 2)[1][0] == first
        yield
        yield

    _passed_on_with_others(context, 1, takes)


def _passed_on_with_others(
    context: CaseContext, others: int, takes: Callable[[socket.socket], Script]
) -> None:
    """Pass a socket on before so many other files of the message, and close it."""

    def gives() -> Script:
        context.claim("udp", local=port)
        sock = _used(port)
        files = [os.open(os.devnull, os.O_RDONLY) for _ in range(others)]
        socket.send_fds(giving, [b"x"], [sock.fileno(), *files])
        yield
        sock.close()
        yield

    port = context.port()
    giving, taking = socket.socketpair()
    giver, taker = Worker(gives()), Worker(takes(taking))
    _ask_taker(context, port, taker, (giver, taker, giver))


@case
def datagram_socket_closed_when_another_process_has_a_child(
    context: CaseContext,
) -> None:
    """As many descriptors lead to the socket as before: of two other processes."""

    def gives() -> Script:
        context.claim("udp", local=port)
        sock = _used(port)
        send_descriptor(giving, sock)
        yield
        yield  # the giver has been told something since it gave
        child = Worker(waits())
        child.step()
        yield
        child.kill()

    def waits() -> Script:
        yield
        yield

    def takes() -> Script:
        with receive_descriptor(taking) as sock:
            context.claim("udp", local=port)
            sock.sendto(b"statement", (LO4, port))
            assert sock.recv(100)
            yield
        yield

    port = context.port()
    giving, taking = socket.socketpair()
    giver, taker = Worker(gives()), Worker(takes())
    for one in (giver, giver, taker, giver, taker):
        one.step()
    context.log.disclaim("udp", local=port)
    alternate(Worker(context.scripts.udp_talker(port)))
    giver.step()
    kill_all()
