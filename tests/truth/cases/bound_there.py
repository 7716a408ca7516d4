"""Sockets in containers that are bound to devices, beside others that are not."""

import socket

from truth.cases.registry import CaseContext, case
from truth.network import Container
from truth.scripts import answer_one
from truth.sockets import ANY4, tcp, udp
from truth.workers import Script, Worker, alternate, kill_all


def bind_to_device(sock: socket.socket, device: str) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())


def datagram_socket(port: int, device: str) -> socket.socket:
    sock = udp(ANY4)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bind_to_device(sock, device)
    sock.bind((ANY4, port))
    return sock


@case
def container_bound_and_unbound_datagrams(context: CaseContext) -> None:
    """The one that is bound to the container's device gets them."""
    datagrams_to(context, context.network.containers[0], "eth0", gets_it=True)


@case
def container_bound_to_a_device_with_the_number_of_ours(context: CaseContext) -> None:
    """It does not get what comes by another device there."""
    container = context.network.containers[1]
    number = str(socket.if_nametoindex(container.device))
    there = ("link", "add", "same0", "index", number, "type", "veth", "peer", "same1")
    container.space.ip(*there)
    container.space.ip("link", "set", "same0", "up")
    datagrams_to(context, container, "same0", gets_it=False)


def datagrams_to(
    context: CaseContext, container: Container, device: str, *, gets_it: bool
) -> None:
    def has(name: str) -> Script:
        with datagram_socket(port, name) as sock:
            context.claim("udp", local=port, remote=drain)
            sock.sendto(b"statement", (container.far_address, drain))
            yield
            assert sock.recv(100)
            yield

    port, drain = context.port(), context.port()
    with container.space.entered():
        dropping = Worker(context.scripts.udp_silent(drain, ANY4))
        unbound, bound = Worker(has("")), Worker(has(device))
    for worker in (dropping, unbound, bound):
        worker.step()
    receiver = bound if gets_it else unbound
    context.claim("udp", local=port, pid=receiver.pid)
    alternate(Worker(context.scripts.udp_talker(port, container.far_address)))
    receiver.step()
    kill_all()


@case
def container_bound_and_unbound_listeners(context: CaseContext) -> None:
    """Of two listeners, the one that is bound to the container's device accepts."""

    def serves(device: str) -> Script:
        with tcp(ANY4) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            bind_to_device(listening, device)
            listening.bind((ANY4, port))
            listening.listen()
            yield
            yield from answer_one(listening)

    port, container = context.port(), context.network.containers[0]
    with container.space.entered():
        unbound, bound = Worker(serves("")), Worker(serves("eth0"))
    unbound.step()
    bound.step()
    context.claim("tcp", local=port, pid=bound.pid)
    alternate(Worker(context.scripts.client(port, container.far_address)), bound)
    kill_all()
