"""Connections in VRFs: the same addresses and ports are in use in each, and in none."""

import dataclasses
import socket
import subprocess
from dataclasses import dataclass
from typing import NamedTuple

from support.netns import Namespace
from truth.cases.bound_there import bind_to_device
from truth.cases.registry import CaseContext, case
from truth.network import add_addresses
from truth.scripts import answer_one, ask, asks
from truth.sockets import (
    ANY4,
    await_echo_reply,
    echo_request,
    tcp,
    udp,
)
from truth.workers import Script, Worker, alternate, kill_all


class Ends(NamedTuple):
    """The addresses of the captured namespace, and of the one beside it."""

    near: str
    far: str


ENDS = Ends("10.91.0.1", "10.91.0.2"), Ends("fd91::1", "fd91::2")
TAG = 7


@dataclass(frozen=True)
class Domain:
    """A VRF, or none, with one member that leads to a namespace of its own."""

    vrf: str  # empty: none
    table: int
    there: Namespace
    device: str
    bridge: str = ""  # the member, if the device is a port of one
    trunk: "Domain | None" = None  # whose device is below, if the member is a VLAN

    @property
    def devices(self) -> tuple[str, ...]:
        """Return those that the packets pass."""
        return (self.device, self.bridge) if self.bridge else (self.device,)

    @property
    def far(self) -> str:
        """Return the device there."""
        return f"{self.device}far"


def _prepare(here: Namespace, domain: Domain) -> None:
    if domain.vrf:
        here.ip("link", "add", domain.vrf, "type", "vrf", "table", str(domain.table))
        here.ip("link", "set", domain.vrf, "up")
    if domain.trunk:
        _add_vlan(here, domain, domain.trunk)
    else:
        pair = ("type", "veth", "peer", "name", domain.far, "netns", domain.there.name)
        here.ip("link", "add", domain.device, *pair)
    member = domain.bridge or domain.device
    if domain.bridge:
        here.ip("link", "add", domain.bridge, "type", "bridge")
        here.ip("link", "set", domain.device, "master", domain.bridge)
    if domain.vrf:
        here.ip("link", "set", member, "master", domain.vrf)
    here.ip("link", "set", domain.device, "up")
    add_addresses(here, member, [ends.near for ends in ENDS])
    add_addresses(domain.there, domain.far, [ends.far for ends in ENDS])


def _add_vlan(here: Namespace, domain: Domain, trunk: Domain) -> None:
    tag = ("type", "vlan", "id", str(TAG))
    here.ip("link", "add", "link", trunk.device, "name", domain.device, *tag)
    far = ("netns", domain.there.name, "link", trunk.far, "name", domain.far)
    trunk.there.ip("link", "add", *far, *tag)


class Conversations:
    """Scripts of processes at both ends, with the same ports in each domain."""

    def __init__(self, context: CaseContext, ends: Ends) -> None:
        self._log = context.log
        self._ends = ends
        self._port, self._source, self._away = (context.port() for _ in range(3))

    def _claim(
        self, domain: Domain, protocol: str, local: int = 0, remote: int = 0
    ) -> None:
        for device in domain.devices:
            self._log.claim(protocol, local=local, remote=remote, device=device)

    def serves(self, domain: Domain) -> Script:
        """Listen for what comes in the domain; accept and answer."""
        self._claim(domain, "tcp", local=self._port)
        with tcp(self._ends.near) as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bind_to_device(listening, domain.vrf)
            listening.bind(("", self._port))
            listening.listen()
            yield
            yield from answer_one(listening)

    def asks(self, domain: Domain) -> Script:
        """Connect from the other end, and ask."""
        self._claim(domain, "tcp", remote=self._port)
        yield from asks(self._ends.near, self._port, self._source)

    def serves_there(self, domain: Domain) -> Script:
        """Listen at the other end."""
        self._claim(domain, "tcp", local=self._away)
        with tcp(self._ends.far) as listening:
            listening.bind((self._ends.far, self._away))
            listening.listen()
            yield
            yield from answer_one(listening)

    def asks_from_here(self, domain: Domain) -> Script:
        """Connect to the other end by a socket of the domain, and ask."""
        self._claim(domain, "tcp", remote=self._away)
        with tcp(self._ends.near) as sock:
            bind_to_device(sock, domain.vrf)
            yield from ask(sock, self._ends.far, self._away, self._source)

    def echoes(self, domain: Domain) -> Script:
        """Return a datagram at the other end."""
        self._claim(domain, "udp", local=self._away)
        with udp(self._ends.far) as sock:
            sock.bind((self._ends.far, self._away))
            yield
            data, sender = sock.recvfrom(100)
            sock.sendto(data, sender)
            yield

    def talks(self, domain: Domain) -> Script:
        """Send a datagram by a connected socket, and receive the answer."""
        self._claim(domain, "udp", remote=self._away)
        with udp(self._ends.near) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            bind_to_device(sock, domain.vrf)
            sock.bind((self._ends.near, self._source))
            sock.connect((self._ends.far, self._away))
            sock.send(b"question")
            yield
            assert sock.recv(100)
            yield

    def pings(self, domain: Domain) -> Script:
        """Send an echo request with the same identifier; wait for the reply."""
        self._claim(domain, "icmp", local=self._port)
        with socket.socket(type=socket.SOCK_RAW, proto=socket.IPPROTO_ICMP) as sock:
            sock.settimeout(60)
            bind_to_device(sock, domain.vrf)
            sock.sendto(echo_request(4, self._port), (self._ends.far, 0))
            yield
            await_echo_reply(sock, 4)

    def hold(self, domains: list[Domain]) -> None:
        """Have all of them in each domain, a step in each in turn."""
        serving = [Worker(self.serves(domain)) for domain in domains]
        talking = [Worker(self.talks(domain)) for domain in domains]
        from_here = [Worker(self.asks_from_here(domain)) for domain in domains]
        asking, echoing, serving_there = [], [], []
        for domain in domains:
            with domain.there.entered():
                asking.append(Worker(self.asks(domain)))
                echoing.append(Worker(self.echoes(domain)))
                serving_there.append(Worker(self.serves_there(domain)))
        alternate(*serving, *asking)
        alternate(*echoing, *talking)
        alternate(*serving_there, *from_here)
        if self._ends is ENDS[0]:
            alternate(*(Worker(self.pings(domain)) for domain in domains))


def same_tuple_in(context: CaseContext, *domains: Domain) -> None:
    """Have conversations with the same addresses and ports in each, in both orders."""
    here = context.network.here
    try:
        for domain in domains:
            _prepare(here, domain)
    except subprocess.CalledProcessError as error:
        context.lacks(f"VRF or VLAN devices: {error.stderr}")
        return
    for ends in ENDS:
        for ordered in ([*domains], [*reversed(domains)]):
            Conversations(context, ends).hold(ordered)
    for device in [d for each in reversed(domains) for d in each.devices]:
        here.ip("link", "del", device)


@case
def same_tuple_in_two_vrfs(context: CaseContext) -> None:
    """In both, and in no VRF: servers, clients, connected datagrams, and pings."""
    one, two = context.network.containers
    same_tuple_in(
        context,
        Domain("red", 91, one.space, "red0"),
        Domain("blue", 92, two.space, "blue0"),
        Domain("", 0, context.network.outside.space, "plain0"),
    )


@case
def same_tuple_behind_a_bridge_in_a_vrf(context: CaseContext) -> None:
    one, two = context.network.containers
    same_tuple_in(
        context,
        Domain("green", 93, one.space, "green0", bridge="greenbr"),
        Domain("", 0, two.space, "plain1", bridge="plainbr"),
    )


@case
def same_tuple_on_a_vlan_in_a_vrf(context: CaseContext) -> None:
    """The device below belongs to none, or to another one."""
    one, two = context.network.containers
    plain = Domain("", 0, one.space, "trunk0")
    same_tuple_in(
        context,
        plain,
        Domain("lilac", 94, two.space, f"trunk0.{TAG}", trunk=plain),
    )
    black = dataclasses.replace(plain, vrf="black", table=95, device="trunk1")
    same_tuple_in(
        context,
        black,
        Domain("white", 96, two.space, f"trunk1.{TAG}", trunk=black),
    )


@case
def socket_outside_the_vrf_of_a_container(context: CaseContext) -> None:
    """It does not get what comes in the VRF: the container's kernel refuses that."""

    def waits() -> Script:
        with tcp(ANY4) as listening, udp(ANY4) as sock:
            listening.bind((ANY4, port))
            listening.listen()
            sock.bind((ANY4, port))
            sock.sendto(b"statement", ("127.0.0.1", away))
            yield
            yield

    here, there = context.network.here, context.network.containers[0].space
    near, far = "10.92.0.1", "10.92.0.2"
    try:
        there.ip("link", "add", "cage", "type", "vrf", "table", "97")
    except subprocess.CalledProcessError as error:
        context.lacks(f"VRF devices: {error.stderr}")
        return
    there.ip("link", "set", "cage", "up")
    pair = ("type", "veth", "peer", "name", "cagefar", "netns", there.name)
    here.ip("link", "add", "cage0", *pair)
    there.ip("link", "set", "cagefar", "master", "cage")
    add_addresses(here, "cage0", [near])
    add_addresses(there, "cagefar", [far])
    port, away, source = context.port(), context.port(), context.port()
    with there.entered():
        waiting = Worker(waits())
    waiting.step()
    Worker(context.scripts.refused_client(port, far, source)).step()
    Worker(context.scripts.udp_talker(port, far)).step()
    kill_all()
    there.ip("link", "del", "cage")
    here.ip("link", "del", "cage0")
