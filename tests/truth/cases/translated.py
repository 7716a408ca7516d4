"""Address translation: the same tuple means two sockets, here and in a container.

Most cases make their rules while the capture runs; some have them before it starts.
"""

import contextlib
import socket
import subprocess
from collections.abc import Iterator

from truth.cases.registry import CaseContext, case
from truth.cases.tcp import alternate_once
from truth.elsewhere import SYN, segment
from truth.network import OUTSIDE
from truth.scripts import answer_one
from truth.sockets import ANY4, LO4, bind_again, listener, tcp, udp
from truth.translation import masquerade, published, rules, untracked
from truth.workers import Script, Worker, alternate, kill_all

IP_TRANSPARENT = 19  # include/uapi/linux/in.h


@case
def masqueraded(context: CaseContext) -> None:
    """A container behind a bridge asks a server outside."""
    scripts, port = context.scripts, context.port()
    network = context.network
    with network.outside.space.entered():
        server = Worker(scripts.server(port, ANY4))
    with network.bridged[0].space.entered():
        client = Worker(scripts.client(port, network.outside.far_address))
    with masquerade(network.here, port):
        alternate(server, client)


@case
def masqueraded_as_a_closed_connection(context: CaseContext) -> Iterator[None]:
    """The tuple on the outer device is that of a process's connection before."""
    network, scripts = context.network, context.scripts
    port, source = context.port(), context.port()
    address = network.outside.far_address
    with masquerade(network.here, port):
        yield
        with network.outside.space.entered():
            server = Worker(scripts.resetting_server(port, rounds=2))
        server.step()
        with untracked(network.here, port):
            alternate_once(Worker(scripts.reset_client(port, address, source)), server)
        with network.bridged[0].space.entered():
            client = Worker(scripts.reset_client(port, address, source))
        alternate_once(client, server)


@case
def simultaneous_open_behind_masquerading(context: CaseContext) -> None:
    """The SYN from outside is translated back to a container that connects there.

    A process here listens on the port.
    """

    def connects() -> Script:
        context.claim("tcp", remote=port)
        with tcp(ANY4) as sock:
            bind_again(sock, source)
            sock.setblocking(False)
            sock.connect_ex((outside.far_address, port))
            yield

    def crosses() -> Script:
        context.claim("tcp", local=port)
        ends = (outside.far_address, outside.near_address)
        kind = (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_TCP)
        with socket.socket(*kind) as sock:
            sock.sendto(segment(ends, (port, source), SYN, 1), (ends[1], 0))
            yield

    port, source = context.port(), context.port()
    network, outside = context.network, context.network.outside
    silent = rules(outside.space, f"silent-{port}", input=f"tcp dport {port} drop")
    with silent, masquerade(network.here, port):
        bystander = Worker(listens(source))
        bystander.step()
        with network.bridged[0].space.entered():
            client = Worker(connects())
        with outside.space.entered():
            server = Worker(crosses())
        client.step()
        server.step()
        kill_all()


@case
def masqueraded_from_a_listeners_port(context: CaseContext) -> None:
    """A process here listens on the port that the container's connection has."""
    network, scripts = context.network, context.scripts
    port, source = context.port(), context.port()
    with masquerade(network.here, port):
        bystander = Worker(listens(source))
        bystander.step()
        with network.outside.space.entered():
            server = Worker(scripts.server(port, ANY4))
        with network.bridged[0].space.entered():
            client = Worker(scripts.client(port, network.outside.far_address, source))
        alternate(server, client)


def listens(port: int) -> Script:
    """Listen, and get no connection: claim nothing."""
    with listener(port, ANY4):
        yield


def binds(context: CaseContext, port: int) -> Script:
    """Bind a datagram socket that gets only what it has sent to itself."""
    context.claim("udp", local=port, address=LO4)
    with udp(LO4) as sock:
        sock.bind((ANY4, port))
        sock.sendto(b"statement", (LO4, port))
        assert sock.recv(100)
        yield


@case
def published_port(context: CaseContext) -> None:
    """A proxy here listens on the port, as Docker's does, and gets no connection."""
    network, scripts = context.network, context.scripts
    port, there = context.port(), context.port()
    box, outside = network.bridged[0], network.outside
    with published(network.here, "tcp", port, (box.far_address, there)):
        proxy = Worker(listens(port))
        proxy.step()
        with box.space.entered():
            server = Worker(scripts.server(there, ANY4))
        server.step()
        context.claim("tcp", local=port, pid=server.pid)
        with outside.space.entered():
            client = Worker(scripts.client(port, outside.near_address))
        context.claim("tcp", remote=there, pid=client.pid)
        alternate(client, server)


@case
def published_udp_port(context: CaseContext) -> None:
    """A datagram socket here has the port, and gets none of the datagrams."""
    network, scripts = context.network, context.scripts
    port, there = context.port(), context.port()
    box, outside = network.bridged[0], network.outside
    with published(network.here, "udp", port, (box.far_address, there)):
        proxy = Worker(binds(context, port))
        proxy.step()
        with box.space.entered():
            server = Worker(scripts.udp_server(there, ANY4))
        server.step()
        context.claim("udp", local=port, pid=server.pid)
        with outside.space.entered():
            client = Worker(scripts.udp_client(port, outside.near_address))
        context.claim("udp", remote=there, pid=client.pid)
        alternate(client, server)


@case
def port_rewritten_without_tracking(context: CaseContext) -> None:
    """A chain that is not of type nat changes the port of each packet."""
    network, scripts = context.network, context.scripts
    port, there = context.port(), context.port()
    rewriting = rules(
        network.here,
        f"rewrites-{port}",
        input=f"iifname {OUTSIDE} tcp dport {port} tcp dport set {there}",
        output=f"tcp sport {there} tcp sport set {port}",
    )
    with rewriting:
        bystander, server = Worker(listens(port)), Worker(scripts.server(there, ANY4))
        bystander.step()
        server.step()
        context.claim("tcp", local=port, pid=server.pid)
        with network.outside.space.entered():
            client = Worker(scripts.client(port, network.outside.near_address))
        alternate(client, server)


@case
def transparent_proxy(context: CaseContext) -> None:
    """Connections to a port, on which a process listens, go to another one's socket."""

    def serves() -> Script:
        context.claim("tcp", local=port)
        with listener(there, ANY4) as listening:
            listening.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
            yield
            yield from answer_one(listening)

    network, port, there = context.network, context.port(), context.port()
    rule = f"iifname {OUTSIDE} tcp dport {port} tproxy to :{there} accept"
    try:
        redirecting = contextlib.ExitStack()
        redirecting.enter_context(rules(network.here, "tproxy", mangle=rule))
    except subprocess.CalledProcessError:
        context.lacks("nft_tproxy")
        return
    with redirecting:
        bystander, server = Worker(listens(port)), Worker(serves())
        bystander.step()
        server.step()
        with network.outside.space.entered():
            client = Worker(context.scripts.client(port, network.outside.near_address))
        alternate(client, server)


@case
def published_port_of_a_dead_proxy(context: CaseContext) -> Iterator[None]:
    """No process here has the port: nothing is to be found on the outer device."""
    network, scripts = context.network, context.scripts
    port, box = context.port(), network.bridged[0]
    with published(network.here, "tcp", port, (box.far_address, port)):
        yield
        with box.space.entered():
            server = Worker(scripts.server(port, ANY4))
        with network.outside.space.entered():
            client = Worker(scripts.client(port, network.outside.near_address))
        context.claim("tcp", remote=port, pid=client.pid)
        alternate(server, client)


@case
def box_in_a_box(context: CaseContext) -> None:
    """The outer box translates, and has a listener on the inner connection's port."""
    network, scripts = context.network, context.scripts
    port, source = context.port(), context.port()
    box = network.bridged[0]
    with rules(box.space, "inner", postrouting="oifname eth0 masquerade"):
        with box.space.entered():
            bystander = Worker(listens(source))
        bystander.step()
        server = Worker(scripts.server(port, ANY4))
        with network.inner.space.entered():
            client = Worker(scripts.client(port, box.near_address, source))
        alternate(server, client)


@case
def box_in_a_box_serves(context: CaseContext) -> None:
    """The outer box passes a port on, on which a process of its own listens."""
    network, scripts = context.network, context.scripts
    port, box, inner = context.port(), network.bridged[0], network.inner
    rule = f"iifname eth0 tcp dport {port} dnat to {inner.far_address}:{port}"
    with rules(box.space, "serves", prerouting=rule):
        with box.space.entered():
            bystander = Worker(listens(port))
        bystander.step()
        with inner.space.entered():
            server = Worker(scripts.server(port, ANY4))
        client = Worker(scripts.client(port, box.far_address))
        context.claim("tcp", remote=port, pid=client.pid)
        alternate(server, client)


@case
def error_about_a_masqueraded_datagram(context: CaseContext) -> None:
    """A process here has the port from which the datagram left."""

    def script() -> Script:
        context.claim("udp", remote=port)
        with udp(LO4) as sock:
            sock.bind((ANY4, source))
            sock.connect((network.outside.far_address, port))
            sock.send(b"statement")
            try:
                sock.recv(100)
            except ConnectionRefusedError:
                yield

    network, port, source = context.network, context.port(), context.port()
    with masquerade(network.here, port):
        bystander = Worker(binds(context, source))
        bystander.step()
        with network.bridged[0].space.entered():
            client = Worker(script())
        alternate(client)


@case
def bridged_boxes(context: CaseContext) -> None:
    """Two containers on a bridge; the bridge device itself does not see them."""
    scripts, port = context.scripts, context.port()
    one, two = context.network.bridged
    with one.space.entered():
        server = Worker(scripts.server(port, ANY4))
    with two.space.entered():
        client = Worker(scripts.client(port, one.far_address))
    alternate(server, client)


@case
def bridged_box_asks(context: CaseContext) -> None:
    """The host answers; the bridge sees the packets, too."""
    scripts, port, other = context.scripts, context.port(), context.port()
    box = context.network.bridged[0]
    with box.space.entered():
        client = Worker(scripts.client(port, box.near_address))
        sender = Worker(scripts.udp_client(other, box.near_address))
    alternate(Worker(scripts.server(port, ANY4)), client)
    alternate(Worker(scripts.udp_server(other, ANY4)), sender)


@case
def bridged_box_serves(context: CaseContext) -> None:
    scripts, port, other = context.scripts, context.port(), context.port()
    box = context.network.bridged[0]
    with box.space.entered():
        server = Worker(scripts.server(port, ANY4))
        receiver = Worker(scripts.udp_server(other, ANY4))
    alternate(server, Worker(scripts.client(port, box.far_address)))
    alternate(receiver, Worker(scripts.udp_client(other, box.far_address)))
