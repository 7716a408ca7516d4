"""Containers that serve many ports at once, on a busy host."""

import contextlib
import select
import socket
from collections.abc import Iterator

from truth.cases.registry import CaseContext, case
from truth.cases.tracked import inside
from truth.network import OUTSIDE
from truth.sockets import ANY4, TIMEOUT_S, udp
from truth.translation import rules
from truth.workers import Script, Worker

PORTS, ROUNDS = 40, 50  # of a container
BUSY = 4  # processes that only take time


def _serves(ports: list[int], rounds: int) -> Script:
    """Answer so many datagrams at each port."""
    with contextlib.ExitStack() as stack:
        waiting = select.poll()
        sockets: dict[int, socket.socket] = {}
        for port in ports:
            sock = stack.enter_context(udp(ANY4))
            sock.bind((ANY4, port))
            sockets[sock.fileno()] = sock
            waiting.register(sock, select.POLLIN)
        yield
        for _ in range(rounds * len(ports)):
            [(fd, _), *_] = waiting.poll(1000 * TIMEOUT_S)
            data, sender = sockets[fd].recvfrom(100)
            sockets[fd].sendto(data, sender)
        yield


def _floods(address: str, ports: list[int], rounds: int) -> Script:
    """Ask at all ports before the first answer is read, so many times."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(udp(address)) for _ in ports]
        for sock, port in zip(sockets, ports, strict=True):
            sock.connect((address, port))
        for _ in range(rounds):
            for sock in sockets:
                sock.send(b"question")
            for sock in sockets:
                assert sock.recv(100)
        yield


def _asks_anew(address: str, ports: list[int], rounds: int) -> Script:
    """Ask with a socket for each question."""
    for _ in range(rounds):
        for port in ports:
            with udp(address) as sock:
                sock.sendto(b"question", (address, port))
                assert sock.recv(100)
    yield


def _burns() -> Script:
    yield
    while True:
        pass


@case
def published_datagrams_under_load(context: CaseContext) -> Iterator[None]:
    """Two containers serve 40 ports each, and are asked at all of them at once."""
    network = context.network
    address = network.outside.near_address
    with contextlib.ExitStack() as stack:
        talking: list[Worker] = []
        for box, asks in zip(network.bridged, (_floods, _asks_anew), strict=True):
            ports = [context.port() for _ in range(PORTS)]
            rule = (
                f"iifname {OUTSIDE} udp dport {ports[0]}-{ports[-1]} "
                f"dnat to {box.far_address}"
            )
            name = f"load-{ports[0]}"
            stack.enter_context(rules(network.here, name, prerouting=rule))
            server = inside(box, _serves(ports, ROUNDS))
            server.step()
            client = inside(network.outside, asks(address, ports, ROUNDS))
            for port in ports:
                context.claim("udp", local=port, pid=server.pid)
                context.claim("udp", remote=port, pid=client.pid)
            talking += server, client
        yield
        busy = [Worker(_burns()) for _ in range(BUSY)]
        for one in busy:
            one.step()
            one.start()
        for one in talking:
            one.start()
        for one in talking:
            one.wait()
        for one in busy:
            one.kill()
