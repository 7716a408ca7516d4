"""Translation by rules of other kinds, and of what processes of this host ask."""

import contextlib
import socket
import subprocess
from collections.abc import Iterator

from truth.cases.other_hosts import used_datagram_server
from truth.cases.registry import CaseContext, case
from truth.cases.tracked import (
    BOX6,
    FAR6,
    answers,
    answers_datagrams,
    asks_datagrams,
    exchange,
    inside,
    ipv6,
)
from truth.network import BRIDGE, BRIDGED, OUTSIDE
from truth.scripts import asks
from truth.sockets import ANY4, LO4, udp
from truth.translation import MASQUERADE, device_rules, rules
from truth.workers import Script, Worker, alternate, kill_all

MAPPED = "10.86.0"  # a network that becomes that of the bridge, address by address
MAPPED6 = "fd86::/64"  # as which that of the bridge is seen outside
IP_TRANSPARENT, IP_RECVORIGDSTADDR = 19, 20  # include/uapi/linux/in.h


@contextlib.contextmanager
def setting(context: CaseContext, name: str, value: str) -> Iterator[bool]:
    """Have a setting of the captured namespace; False where the kernel lacks it."""
    here = context.network.here
    try:
        before = here.run("sysctl", "-n", name).strip()
    except subprocess.CalledProcessError:
        context.lacks(name)
        yield False
        return
    here.run("sysctl", "-qw", f"{name}={value}")
    try:
        yield True
    finally:
        here.run("sysctl", "-qw", f"{name}={before}")


@case
def published_port_asked_at_localhost(context: CaseContext) -> Iterator[None]:
    """Docker without a proxy: what 127.0.0.1 sends goes to the container."""
    network, port, there = context.network, context.port(), context.port()
    box = network.bridged[0]
    rule = f"ip daddr {LO4} tcp dport {port} dnat to {box.far_address}:{there}"
    hides = f"oifname {BRIDGE} ip saddr {LO4} masquerade"
    table = rules(network.here, f"local-{port}", local=rule, postrouting=hides)
    with setting(context, "net.ipv4.conf.all.route_localnet", "1"), table:
        yield
        server = inside(box, answers(there))
        exchange(context, "tcp", Worker(asks(LO4, port)), server, port, there)


@case
def hairpin_where_netfilter_sees_bridged_packets(context: CaseContext) -> None:
    """The published port of a neighbour, as Docker has it by default."""
    network, port, there = context.network, context.port(), context.port()
    asking, serving = network.bridged
    address = network.outside.near_address
    turning = rules(
        network.here,
        f"hairpin-{port}",
        prerouting=f"ip daddr {address} udp dport {port} dnat to "
        f"{serving.far_address}:{there}",
        postrouting=f"oifname {BRIDGE} ip saddr {BRIDGED} masquerade",
    )
    with setting(context, "net.bridge.bridge-nf-call-iptables", "1") as there_is:
        if there_is:
            with turning:
                server = inside(serving, answers_datagrams(there))
                client = inside(asking, asks_datagrams(address, port))
                exchange(context, "udp", client, server, port, there)


@case
def network_mapped_to_another_one(context: CaseContext) -> None:
    """NETMAP: each address of a network becomes another one's with the same number."""
    network, port = context.network, context.port()
    outside, box = network.outside, network.bridged[0]
    address = f"{MAPPED}.{box.far_address.rpartition('.')[2]}"
    way = (f"{MAPPED}.0/24", "via", outside.near_address)
    rule = f"dnat ip prefix to ip daddr map {{ {MAPPED}.0/24 : {BRIDGED} }}"
    with rules(network.here, f"map-{port}", prerouting=rule):
        outside.space.ip("route", "add", *way)
        server = inside(box, answers(port))
        exchange(context, "tcp", inside(outside, asks(address, port)), server, port)
        outside.space.ip("route", "del", *way)


@case
def prefix_of_ipv6_without_tracking(context: CaseContext) -> None:
    """What leaves gets another prefix by a rule that is not of type nat."""
    network, port = context.network, context.port()
    prefix = f"oifname {OUTSIDE} ip6 saddr {BOX6} ip6 saddr set fd86::3"
    with ipv6(context), rules(network.here, f"npt-{port}", "ip6", leaving=prefix):
        client = inside(network.bridged[0], _says(FAR6, port))
        context.claim("udp", remote=port, pid=client.pid)
        alternate(client)


def _says(address: str, port: int) -> Script:
    with udp(address) as sock:
        sock.sendto(b"statement", (address, port))
        yield


@case
def masqueraded_at_random(context: CaseContext) -> None:
    network, port = context.network, context.port()
    rule = f"{MASQUERADE} random,fully-random"
    with rules(network.here, f"random-{port}", postrouting=rule):
        server = inside(network.outside, answers_datagrams(port))
        client = asks_datagrams(network.outside.far_address, port)
        exchange(context, "udp", inside(network.bridged[0], client), server, port)


@case
def redirected_to_a_proxy_here(context: CaseContext) -> Iterator[None]:
    """What a process asks at one port of this host gets to another one."""
    network, port, there = context.network, context.port(), context.port()
    rule = f"tcp dport {port} redirect to :{there}"
    with rules(network.here, f"out-{port}", local=rule):
        yield
        bystander, server = Worker(answers(port)), Worker(answers(there))
        bystander.step()
        exchange(context, "tcp", Worker(asks(LO4, port)), server, port, there)


@case
def sources_translated_on_their_way_in(context: CaseContext) -> Iterator[None]:
    """A process here sees another source than the packet has."""
    network, port = context.network, context.port()
    outside = network.outside
    rule = f"iifname {OUTSIDE} tcp dport {port} snat to 10.80.0.77"
    with rules(network.here, f"inward-{port}", inward=rule):
        yield
        server = Worker(answers(port))
        client = inside(outside, asks(outside.near_address, port))
        exchange(context, "tcp", client, server, port)


@case
def datagrams_of_a_transparent_proxy(context: CaseContext) -> None:
    """TPROXY: a socket gets datagrams for all addresses, and answers from these."""

    def proxies() -> Script:
        with udp(ANY4) as sock, udp(ANY4) as back:
            for each in (sock, back):
                each.setsockopt(socket.IPPROTO_IP, IP_TRANSPARENT, 1)
                each.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((ANY4, there))
            yield
            data, sender = sock.recvfrom(100)
            back.bind((address, port))
            back.sendto(data, sender)
            yield

    network, port, there = context.network, context.port(), context.port()
    outside, address = network.outside, network.outside.near_address
    rule = f"iifname {OUTSIDE} udp dport {port} tproxy to :{there}"
    with rules(network.here, f"tproxy-{port}", mangle=rule):
        bystander = Worker(_has(port))
        bystander.step()
        proxy = Worker(proxies())
        client = inside(outside, asks_datagrams(address, port, rounds=1))
        context.claim("udp", local=port, pid=proxy.pid)
        context.claim("udp", remote=port, pid=client.pid)
        proxy.step()
        alternate(client, proxy)
    kill_all()


def _has(port: int) -> Script:
    with udp(ANY4) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((ANY4, port))
        yield
        yield


@case
def port_rewritten_at_a_device(context: CaseContext) -> Iterator[None]:
    """A chain of family netdev changes the port before connections are tracked."""
    network, port, there = context.network, context.port(), context.port()
    rule = f"udp dport {port} udp dport set {there}"
    with device_rules(network.here, f"device-{port}", OUTSIDE, rule):
        yield
        bystander = Worker(used_datagram_server(context, port))
        server = Worker(used_datagram_server(context, there))
        bystander.step()
        server.step()
        client = inside(network.outside, _says(network.outside.near_address, port))
        context.claim("udp", remote=port, pid=client.pid)
        context.claim("udp", local=port, pid=server.pid)
        alternate(client)
        server.step()
