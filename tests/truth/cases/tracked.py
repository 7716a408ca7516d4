"""Connections that the kernel translates and tracks, seen on each device they pass."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator

from truth.cases.registry import CaseContext, case, last_case
from truth.cases.translated import listens
from truth.network import BRIDGE, BRIDGED, OUTSIDE, Container
from truth.scripts import asks
from truth.sockets import (
    ANY4,
    LO4,
    TIMEOUT_S,
    answer,
    await_echo_reply,
    echo_request,
    listener,
    tcp,
    udp,
)
from truth.translation import forget_connections, masquerade, published, rules
from truth.workers import Script, Worker, alternate

SERVICE = "10.96.0.10"
BRIDGE6, BOX6, NEAR6, FAR6 = "fd79::1", "fd79::3", "fd80::1", "fd80::2"
LARGE = 4000  # bytes of a datagram in several fragments


def answers(port: int, address: str = ANY4) -> Script:
    """Serve like `Scripts.server`, and claim nothing."""
    with listener(port, address) as listening:
        yield
        with listening.accept()[0] as connection:
            yield
            answer(connection)
            yield


def answers_datagrams(port: int, rounds: int = 3) -> Script:
    """Bind, and answer so many datagrams; claim nothing."""
    with udp(ANY4) as sock:
        sock.bind((ANY4, port))
        for _ in range(rounds):
            yield
            data, sender = sock.recvfrom(1 << 16)
            sock.sendto(data, sender)
        yield


def asks_datagrams(address: str, port: int, rounds: int = 3, length: int = 8) -> Script:
    """Connect a datagram socket, and ask so many times; claim nothing."""
    with udp(address) as sock:
        sock.connect((address, port))
        for _ in range(rounds):
            sock.send(bytes(length))
            yield
            assert len(sock.recv(1 << 16)) == length
        yield


def inside(box: Container, script: Script) -> Worker:
    """Return a worker in the container."""
    with box.space.entered():
        return Worker(script)


def _serve_published(
    context: CaseContext, box: Container, port: int, there: int
) -> tuple[Worker, Worker]:
    """Return a server in the box, and a client outside that asks the host."""
    outside = context.network.outside
    server = inside(box, answers(there))
    server.step()
    client = inside(outside, asks(outside.near_address, port))
    context.claim("tcp", local=port, pid=server.pid)
    context.claim("tcp", local=there, address=box.far_address, pid=server.pid)
    context.claim("tcp", remote=port, pid=client.pid)
    context.claim("tcp", remote=there, address=box.far_address, pid=client.pid)
    return client, server


def _ask(context: CaseContext, client: Worker, server: Worker, *ports: int) -> None:
    """Claim the ports as the server's and the client's, and let them talk."""
    exchange(context, "tcp", client, server, *ports)


def _talk(context: CaseContext, client: Worker, server: Worker, *ports: int) -> None:
    """The same with datagrams."""
    exchange(context, "udp", client, server, *ports)


def exchange(
    context: CaseContext, protocol: str, client: Worker, server: Worker, *ports: int
) -> None:
    """Claim the ports as the server's and the client's, and let them talk."""
    for port in ports:
        context.claim(protocol, local=port, pid=server.pid)
        context.claim(protocol, remote=port, pid=client.pid)
    server.step()
    alternate(client, server)


@case
def masqueraded_datagrams(context: CaseContext) -> None:
    network, port = context.network, context.port()
    with masquerade(network.here, port):
        server = inside(network.outside, answers_datagrams(port))
        client = asks_datagrams(network.outside.far_address, port)
        _talk(context, inside(network.bridged[0], client), server, port)


@case
def masqueraded_fragments(context: CaseContext) -> None:
    network, port = context.network, context.port()
    with masquerade(network.here, port):
        server = inside(network.outside, answers_datagrams(port))
        client = asks_datagrams(network.outside.far_address, port, length=LARGE)
        _talk(context, inside(network.bridged[0], client), server, port)


@case
def masqueraded_since_before_the_capture(context: CaseContext) -> Iterator[None]:
    network, port = context.network, context.port()
    with masquerade(network.here, port):
        server = inside(network.outside, answers(port))
        client = inside(network.bridged[0], asks(network.outside.far_address, port))
        context.claim("tcp", local=port, pid=server.pid)
        context.claim("tcp", remote=port, pid=client.pid)
        server.step()
        client.step()
        server.step()
        yield
        alternate(client, server)


@case
def one_source_port_of_two_boxes(context: CaseContext) -> None:
    """The second connection gets another port outside."""
    network, port, source = context.network, context.port(), context.port()
    outside = network.outside
    with masquerade(network.here, port):
        servers = inside(outside, _answers_twice(port))
        clients = [
            inside(box, asks(outside.far_address, port, source))
            for box in network.bridged
        ]
        context.claim("tcp", local=port, pid=servers.pid)
        for client, box in zip(clients, network.bridged, strict=True):
            address = box.far_address
            context.claim("tcp", remote=port, address=address, pid=client.pid)
        first, second = clients
        near = outside.near_address
        context.claim("tcp", remote=port, address=near, pid=second.pid)
        context.claim("tcp", local=source, remote=port, address=near, pid=first.pid)
        servers.step()
        for client in clients:
            client.step()
            client.step()
        servers.step()
        alternate(*clients, servers)


def _answers_twice(port: int) -> Script:
    with listener(port, ANY4) as listening, contextlib.ExitStack() as stack:
        yield
        for _ in range(2):
            answer(stack.enter_context(listening.accept()[0]))
        yield


@case
def two_boxes_behind_two_ports(context: CaseContext) -> None:
    """Both have the same port inside."""
    network = context.network
    first, second, there = context.port(), context.port(), context.port()
    one, two = network.bridged
    with (
        published(network.here, "tcp", first, (one.far_address, there)),
        published(network.here, "tcp", second, (two.far_address, there)),
    ):
        pairs = (
            *_serve_published(context, one, first, there),
            *_serve_published(context, two, second, there),
        )
        alternate(*pairs)


@case
def published_datagrams(context: CaseContext) -> None:
    network, port, there = context.network, context.port(), context.port()
    box, outside = network.bridged[0], network.outside
    with published(network.here, "udp", port, (box.far_address, there)):
        server = inside(box, answers_datagrams(there))
        client = inside(outside, asks_datagrams(outside.near_address, port))
        _talk(context, client, server, port, there)


@case
def published_and_masqueraded(context: CaseContext) -> None:
    """Both addresses of each packet are translated."""
    network, port, there = context.network, context.port(), context.port()
    box = network.bridged[0]
    hides = rules(
        network.here,
        f"hides-{port}",
        postrouting=f"oifname {BRIDGE} tcp dport {there} masquerade",
    )
    with published(network.here, "tcp", port, (box.far_address, there)), hides:
        alternate(*_serve_published(context, box, port, there))


@case
def published_and_reset(context: CaseContext) -> None:
    network, scripts = context.network, context.scripts
    port, there, source = context.port(), context.port(), context.port()
    box, outside = network.bridged[0], network.outside
    with published(network.here, "tcp", port, (box.far_address, there)):
        server = inside(box, scripts.resetting_server(there, rounds=1))
        server.step()
        context.claim("tcp", local=port, pid=server.pid)
        client = scripts.reset_client(port, outside.near_address, source)
        asking = inside(outside, client)
        context.claim("tcp", remote=there, pid=asking.pid)
        alternate(asking, server)


@case
def published_and_refused(context: CaseContext) -> None:
    """Nobody listens in the container."""
    network, port, there = context.network, context.port(), context.port()
    box, outside, source = network.bridged[0], network.outside, context.port()
    with published(network.here, "tcp", port, (box.far_address, there)):
        client = context.scripts.refused_client(port, outside.near_address, source)
        asking = inside(outside, client)
        context.claim("tcp", remote=there, pid=asking.pid)
        alternate(asking)


@case
def error_about_a_published_datagram(context: CaseContext) -> None:
    """No socket in the container has the port: its kernel answers."""

    def script() -> Script:
        with udp(LO4) as sock:
            sock.connect((outside.near_address, port))
            sock.send(b"statement")
            with contextlib.suppress(ConnectionRefusedError):
                sock.recv(100)
            yield

    network, port, there = context.network, context.port(), context.port()
    box, outside = network.bridged[0], network.outside
    with published(network.here, "udp", port, (box.far_address, there)):
        client = inside(outside, script())
        context.claim("udp", remote=port, pid=client.pid)
        context.claim("udp", remote=there, pid=client.pid)
        alternate(client)


@case
def hairpin_to_the_neighbour(context: CaseContext) -> None:
    """A container asks the host's published port, behind which is another one."""
    one, two = context.network.bridged
    _hairpin(context, one, two)


@case
def hairpin_to_itself(context: CaseContext) -> None:
    box = context.network.bridged[0]
    turns = ("link", "set", box.device, "type", "bridge_slave", "hairpin")
    context.network.here.ip(*turns, "on")
    try:
        _hairpin(context, box, box)
    finally:
        context.network.here.ip(*turns, "off")


def _hairpin(context: CaseContext, asking: Container, serving: Container) -> None:
    port, there = context.port(), context.port()
    address = context.network.outside.near_address
    to = f"{serving.far_address}:{there}"
    turning = rules(
        context.network.here,
        f"hairpin-{port}",
        prerouting=f"ip daddr {address} tcp dport {port} dnat to {to}",
        postrouting=f"oifname {BRIDGE} ip saddr {BRIDGED} masquerade",
    )
    with turning:
        server = inside(serving, answers(there))
        _ask(context, inside(asking, asks(address, port)), server, port, there)


@contextlib.contextmanager
def _service(
    context: CaseContext, port: int, box: Container, there: int
) -> Iterator[None]:
    """Have an address that no device has, as kube-proxy makes for a service."""
    rule = f"ip daddr {SERVICE} tcp dport {port} dnat to {box.far_address}:{there}"
    with rules(context.network.here, f"service-{port}", prerouting=rule, local=rule):
        yield


@case
def service_address(context: CaseContext) -> None:
    """A container with a route and a device of its own asks."""
    port, there = context.port(), context.port()
    asking, box = context.network.containers[0], context.network.bridged[0]
    way = (SERVICE, "via", asking.near_address)
    back = ("10.79.0.0/24", "via", asking.near_address)
    for route in (way, back):
        asking.space.ip("route", "add", *route)
    with _service(context, port, box, there):
        server = inside(box, answers(there))
        _ask(context, inside(asking, asks(SERVICE, port)), server, port, there)
    for route in (way, back):
        asking.space.ip("route", "del", *route)


@case
def service_address_asked_from_here(context: CaseContext) -> Iterator[None]:
    port, there, box = context.port(), context.port(), context.network.bridged[0]
    context.network.here.ip("route", "add", SERVICE, "dev", BRIDGE)
    with _service(context, port, box, there):
        yield
        server = inside(box, answers(there))
        _ask(context, Worker(asks(SERVICE, port)), server, port, there)
    context.network.here.ip("route", "del", SERVICE, "dev", BRIDGE)


@case
def service_address_on_a_bridge(context: CaseContext) -> None:
    """Netfilter sees bridged packets, so that answers are translated back there."""
    here, port, there = context.network.here, context.port(), context.port()
    one, two = context.network.bridged
    try:
        here.run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=1")
    except subprocess.CalledProcessError:
        context.lacks("br_netfilter")
        return
    with _service(context, port, two, there):
        server = inside(two, answers(there))
        _ask(context, inside(one, asks(SERVICE, port)), server, port, there)
    here.run("sysctl", "-qw", "net.bridge.bridge-nf-call-iptables=0")


@case
def redirected_to_another_port_here(context: CaseContext) -> Iterator[None]:
    """A process here listens on the port that is redirected."""
    network, port, there = context.network, context.port(), context.port()
    rule = f"iifname {OUTSIDE} tcp dport {port} redirect to :{there}"
    with rules(network.here, f"redirect-{port}", prerouting=rule):
        yield
        bystander, server = Worker(listens(port)), Worker(answers(there))
        bystander.step()
        client = inside(network.outside, asks(network.outside.near_address, port))
        _ask(context, client, server, port, there)


@case
def own_connection_with_another_port(context: CaseContext) -> Iterator[None]:
    network, port = context.network, context.port()
    near, first = network.outside.near_address, context.port()
    rule = f"tcp dport {port} snat to {near}:{first}-{first + 1}"
    context.port()
    with rules(network.here, f"own-{port}", postrouting=rule):
        yield
        server = inside(network.outside, answers(port))
        client = Worker(asks(network.outside.far_address, port))
        _ask(context, client, server, port)


@case
def asked_by_way_of_a_proxy(context: CaseContext) -> None:
    """A proxy here passes on what a process asks at 127.0.0.1: nothing translates."""

    def proxies() -> Script:
        with listener(port) as listening:
            yield
            with listening.accept()[0] as near, tcp(LO4) as far:
                far.connect((box.far_address, there))
                yield
                far.sendall(near.recv(100))
                yield
                near.sendall(far.recv(100))
                yield

    network, port, there = context.network, context.port(), context.port()
    box = network.bridged[0]
    with published(network.here, "tcp", port, (box.far_address, there)):
        server, proxy = inside(box, answers(there)), Worker(proxies())
        client = Worker(asks(LO4, port))
        context.claim("tcp", local=port, pid=proxy.pid)
        context.claim("tcp", remote=port, pid=client.pid)
        context.claim("tcp", local=there, pid=server.pid)
        context.claim("tcp", remote=there, pid=proxy.pid)
        for one in (proxy, server, client, proxy, server, client, proxy, server, proxy):
            one.step()
        alternate(client, proxy, server)


@case
def published_in_a_zone(context: CaseContext) -> None:
    """Only with its zone would the kernel find the entry of a packet from outside."""
    network, port, there = context.network, context.port(), context.port()
    box = network.bridged[0]
    zone = f"iifname {{ {OUTSIDE}, {BRIDGE} }} ct zone set 7"
    with (
        rules(network.here, f"zone-{port}", input=zone),
        published(network.here, "tcp", port, (box.far_address, there)),
    ):
        alternate(*_serve_published(context, box, port, there))


@case
def forwarded_and_untracked(context: CaseContext) -> None:
    network, port = context.network, context.port()
    outside, way = network.outside, (BRIDGED, "via", network.outside.near_address)
    outside.space.ip("route", "add", *way)
    rule = f"tcp dport {port} notrack; tcp sport {port} notrack"
    with rules(network.here, f"notrack-{port}", input=rule):
        server = inside(outside, answers(port))
        client = inside(network.bridged[0], asks(outside.far_address, port))
        _ask(context, client, server, port)
    outside.space.ip("route", "del", *way)


@case
def published_port_that_gets_back_to_us(context: CaseContext) -> None:
    """The rule and its entries go; a process here then gets the same client's data."""
    network, port, there = context.network, context.port(), context.port()
    box, outside = network.bridged[0], network.outside
    client = inside(outside, asks_datagrams(outside.near_address, port, rounds=4))
    with published(network.here, "udp", port, (box.far_address, there)):
        server = inside(box, answers_datagrams(there, rounds=2))
        server.step()
        _claim_datagrams(context, client, server, port, there)
        for _ in range(2):
            client.step()
            server.step()
    forget_connections(network.here)
    heir = Worker(answers_datagrams(port, rounds=2))
    heir.step()
    context.claim("udp", local=port, pid=heir.pid)
    alternate(client, heir)


@case
def published_port_that_gets_to_another_box(context: CaseContext) -> None:
    """The same client's datagrams go to another container."""
    network, port, there = context.network, context.port(), context.port()
    outside = network.outside
    client = inside(outside, asks_datagrams(outside.near_address, port, rounds=4))
    for box in network.bridged:
        with published(network.here, "udp", port, (box.far_address, there)):
            server = inside(box, answers_datagrams(there, rounds=2))
            server.step()
            address = box.far_address
            context.claim("udp", local=port, pid=server.pid)
            context.claim("udp", local=there, address=address, pid=server.pid)
            context.claim("udp", remote=port, pid=client.pid)
            context.claim("udp", remote=there, pid=client.pid)
            for _ in range(2):
                client.step()
                server.step()
        forget_connections(network.here)


def _claim_datagrams(
    context: CaseContext, client: Worker, server: Worker, *ports: int
) -> None:
    for port in ports:
        context.claim("udp", local=port, pid=server.pid)
        context.claim("udp", remote=port, pid=client.pid)


@contextlib.contextmanager
def ipv6(context: CaseContext) -> Iterator[None]:
    """Have IPv6 addresses on the way from the first container to outside."""
    network = context.network
    box, outside, here = network.bridged[0], network.outside, network.here
    here.run("sysctl", "-qw", "net.ipv6.conf.all.forwarding=1")
    places = (
        (here, BRIDGE, BRIDGE6),
        (box.space, "eth0", BOX6),
        (here, OUTSIDE, NEAR6),
        (outside.space, "eth0", FAR6),
    )
    for space, device, address in places:
        space.ip("addr", "add", f"{address}/64", "dev", device, "nodad")
    box.space.ip("route", "add", "default", "via", BRIDGE6)
    yield
    box.space.ip("route", "del", "default", "via", BRIDGE6)
    for space, device, address in places:
        space.ip("addr", "del", f"{address}/64", "dev", device)


@case
def masqueraded_over_ipv6(context: CaseContext) -> None:
    network, port = context.network, context.port()
    rule = f"oifname {OUTSIDE} ip6 saddr fd79::/64 masquerade"
    with ipv6(context), rules(network.here, f"m-{port}", "ip6", postrouting=rule):
        server = inside(network.outside, answers(port, "::"))
        client = inside(network.bridged[0], asks(FAR6, port))
        _ask(context, client, server, port)


@case
def published_over_ipv6(context: CaseContext) -> None:
    network, port, there = context.network, context.port(), context.port()
    rule = f"iifname {OUTSIDE} tcp dport {port} dnat to [{BOX6}]:{there}"
    with ipv6(context), rules(network.here, f"p-{port}", "ip6", prerouting=rule):
        server = inside(network.bridged[0], answers(there, "::"))
        client = inside(network.outside, asks(NEAR6, port))
        _ask(context, client, server, port, there)


@last_case  # the kernel keeps the table, and its hooks
def translated_by_iptables(context: CaseContext) -> None:
    """The older tables of the kernel, with rules as Docker makes them."""
    network, port, there = context.network, context.port(), context.port()
    box = network.bridged[0]
    to = f"{box.far_address}:{there}"
    published_to = (
        *("PREROUTING", "-i", OUTSIDE, "-p", "tcp", "--dport", str(port)),
        *("-j", "DNAT", "--to-destination", to),
    )
    try:
        _iptables(context, "-A", *published_to)
    except (OSError, subprocess.CalledProcessError):
        context.lacks("iptables-legacy")
        return
    alternate(*_serve_published(context, box, port, there))
    _iptables(context, "-D", *published_to)


def _iptables(context: CaseContext, *arguments: str) -> None:
    context.network.here.run("iptables-legacy", "-w", "-t", "nat", *arguments)


@case
def masqueraded_ping(context: CaseContext) -> None:
    """The kernel outside answers."""
    network, identifier = context.network, context.port()
    with masquerade(network.here, identifier):
        client = inside(network.bridged[0], _pings(network.outside, identifier))
        context.claim("icmp", local=identifier, pid=client.pid)
        alternate(client)


def _pings(outside: Container, identifier: int) -> Script:
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.settimeout(TIMEOUT_S)
        sock.sendto(echo_request(4, identifier), (outside.far_address, 0))
        await_echo_reply(sock, 4)
        yield
