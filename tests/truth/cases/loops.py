"""What this host sends comes back in, or goes by a device without an end here."""

import socket
from collections.abc import Iterator

from truth.cases.groups import GROUP, member, talks_to_group, used_socket
from truth.cases.registry import CaseContext, case
from truth.elsewhere import host
from truth.network import UPLINK
from truth.scripts import answer_one
from truth.sockets import ANY4, listener, udp
from truth.workers import Script, Worker, alternate, kill_all

EVERYBODY = "10.82.0.255"  # on the network of the uplink


@case
def multicast_that_comes_back(context: CaseContext) -> None:
    """A member here gets what another process here sends to the network."""
    port = context.port()
    one = Worker(member(context, port, GROUP, UPLINK))
    with host():
        one.step()
        alternate(Worker(talks_to_group(context, port, GROUP, UPLINK)), one)
    kill_all()


@case
def broadcast_that_comes_back(context: CaseContext) -> None:
    def receives() -> Script:
        with used_socket(context, port, EVERYBODY) as sock:
            context.claim("udp", local=port)
            yield
            assert sock.recv(100)
            yield

    def talks() -> Script:
        context.claim("udp", remote=port)
        with udp(ANY4) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.sendto(b"statement", (EVERYBODY, port))
            yield

    port = context.port()
    one = Worker(receives())
    with host():
        one.step()
        alternate(Worker(talks()), one)
    kill_all()


@case
def container_with_a_macvlan_device(context: CaseContext) -> Iterator[None]:
    """It asks a server here, which has another one of the same device."""
    here, there = context.network.here, context.network.containers[0].space
    near, far = "10.93.0.1", "10.93.0.2"
    for space, name, address in ((here, "mac0", near), (there, "mac1", far)):
        kind = ("type", "macvlan", "mode", "bridge")
        here.ip("link", "add", "link", UPLINK, "name", name, *kind)
        if space is there:
            here.ip("link", "set", name, "netns", there.name)
        space.ip("addr", "add", f"{address}/24", "dev", name)
        space.ip("link", "set", name, "up")
    yield

    def serves() -> Script:
        context.claim("tcp", local=port)
        with listener(port, ANY4) as listening:
            yield
            yield from answer_one(listening)

    port, dead = context.port(), context.port()
    with host():
        with there.entered():
            client = Worker(context.scripts.client(port, near))
        alternate(Worker(serves()), client)
        alternate(Worker(context.scripts.refused_client(dead, far, port)))
    here.ip("link", "del", "mac0")
    there.ip("link", "del", "mac1")
