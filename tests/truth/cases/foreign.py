"""A container has given itself the address of another machine on its bridge."""

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Iterator

from support.netns import IFF_NO_PI, IFF_TAP, TUNSETIFF
from truth.cases.registry import CaseContext, case
from truth.elsewhere import IP, datagram, ipv4
from truth.network import BRIDGE
from truth.sockets import ANY4, udp
from truth.workers import Script, Worker

MACHINE, MACHINES_MAC = "10.79.0.77", "02:00:00:00:79:77"


@contextlib.contextmanager
def machine(context: CaseContext) -> Iterator[int]:
    """Have a machine on the bridge that is no container; yield its wire."""
    here = context.network.here
    fd = os.open("/dev/net/tun", os.O_RDWR)
    try:
        request = struct.pack("16sH22x", b"tap1", IFF_TAP | IFF_NO_PI)
        fcntl.ioctl(fd, TUNSETIFF, request)
        here.ip("link", "set", "tap1", "master", BRIDGE, "up")
        neighbour = (MACHINE, "lladdr", MACHINES_MAC, "dev", BRIDGE)
        here.ip("neigh", "replace", *neighbour)
        yield fd
        here.ip("neigh", "del", *neighbour)
    finally:
        os.close(fd)


def _pretends(port: int, peer: tuple[str, int]) -> Script:
    """Have a datagram socket on all addresses, from which something was sent."""
    with udp(ANY4) as sock:
        sock.bind((ANY4, port))
        sock.sendto(b"statement", peer)
        yield
        yield


def _send(context: CaseContext, wire: int, to: str, source: int, port: int) -> None:
    """Send a datagram from the machine to a station that has an address."""
    link = context.network.here.ip("-o", "link", "show", BRIDGE)
    station = link.split("link/ether ")[1].split()[0]
    ethernet = bytes.fromhex((station + MACHINES_MAC).replace(":", "")) + IP
    payload = datagram(source, port, b"answer")
    os.write(wire, ethernet + ipv4(socket.IPPROTO_UDP, (MACHINE, to), payload))


@case
def container_with_the_address_of_a_machine(context: CaseContext) -> Iterator[None]:
    """What goes to that machine, and comes from it, is not the container's."""

    def asks() -> Script:
        context.claim("udp", local=source, remote=port)
        with udp(ANY4) as sock:
            sock.bind((ANY4, source))
            yield
            sock.sendto(b"question", (MACHINE, port))
            yield
            assert sock.recv(100) == b"answer"
            yield

    network = context.network
    box, outside = network.bridged[1], network.outside
    port, source, drain = context.port(), context.port(), context.port()
    taken = ("addr", "add", f"{MACHINE}/32", "dev", "eth0")
    box.space.ip(*taken)
    yield
    with box.space.entered():
        pretender = Worker(_pretends(port, (box.near_address, drain)))
    context.claim("udp", local=port, remote=drain, pid=pretender.pid)
    client = Worker(asks())
    with machine(context) as wire:
        pretender.step()
        client.step()
        client.step()
        _send(context, wire, box.near_address, port, source)
        client.step()
        # What is forwarded from the machine has no trace of its station.
        _send(context, wire, outside.far_address, port, drain)
        os.read(wire, 2048)
    box.space.ip("addr", "del", f"{MACHINE}/32", "dev", "eth0")
