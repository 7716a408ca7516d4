"""Which routes make addresses local, and that their changes are noticed."""

import ipaddress
import os
import re
import select
import socket
import sys

import pytest

from support import netns, running
from tccap.engine import devices
from tccap.host import netlink
from tccap.owners import localroutes
from tccap.owners.localroutes import Kind
from truth.sockets import ANY4, LO4, udp
from truth.workers import Script, Worker, kill_all

PORT = 20001
NETWORK = "route add local 10.84.0.0/24 dev lo"
NETWORK6 = "route add local fd84::/32 dev lo"
EXCEPTION6 = "route add unreachable fd84::7 dev lo table local"
LATER = "addr add 10.84.0.1/24 dev lo; rule add pref 9 lookup local; rule del pref 0"
UP = "link add d0 type veth peer name d1; link set d0 up; link set d1 up"


def _kind(address: str) -> Kind:
    """Return what the address is by the longest prefix."""
    sought = ipaddress.ip_address(address)
    with netlink.connect() as here:
        found = {
            ipaddress.ip_network((network.address, network.prefix_len)): kind
            for network, kind in localroutes.read(here).items()
        }
    fits = [n for n in found if n.version == sought.version and sought in n]
    return found[max(fits, key=lambda n: n.prefixlen)] if fits else Kind.NOT_LOCAL


def _set_up(space: netns.Namespace, commands: str) -> None:
    for command in filter(None, commands.split(";")):
        space.ip(*command.split())


@pytest.mark.parametrize(
    ("commands", "address", "kind"),
    [
        ("", "10.84.0.7", Kind.NOT_LOCAL),
        (NETWORK, "10.84.0.7", Kind.UNICAST),
        (NETWORK, "10.85.0.7", Kind.NOT_LOCAL),
        ("addr add 10.84.0.1/24 dev lo", "10.84.0.1", Kind.UNICAST),
        (f"{UP}; addr add 10.84.0.1/24 dev d0", "10.84.0.255", Kind.BROADCAST),
        ("route add local 10.84.0.0/16 dev lo", "10.84.0.7", Kind.NOT_LOCAL),
        (
            f"{NETWORK}; route add unreachable 10.84.0.7 table local",
            "10.84.0.7",
            Kind.NOT_LOCAL,
        ),
        (f"{NETWORK}; route add unreachable 10.84.0.7", "10.84.0.7", Kind.NOT_LOCAL),
        (f"{NETWORK}; route add unreachable 10.84.0.7", "10.84.0.8", Kind.UNICAST),
        (f"{NETWORK}; route add unreachable 10.84.0.0/24", "10.84.0.7", Kind.UNICAST),
        (f"{NETWORK} tos 4", "10.84.0.7", Kind.NOT_LOCAL),
        (LATER, "10.84.0.1", Kind.UNICAST),
        (
            f"{LATER}; rule add pref 5 to 10.84.0.1 lookup 7",
            "10.84.0.1",
            Kind.NOT_LOCAL,
        ),
        (f"{LATER}; rule add pref 5 fwmark 7 lookup 7", "10.84.0.1", Kind.UNICAST),
        (f"{LATER}; rule add pref 10 lookup 7", "10.84.0.1", Kind.UNICAST),
        (NETWORK6, "fd84::7", Kind.UNICAST),
        (f"{NETWORK6}; {EXCEPTION6}", "fd84::7", Kind.NOT_LOCAL),
    ],
)
def test_what_is_local(
    space: netns.Namespace, commands: str, address: str, kind: Kind
) -> None:
    _set_up(space, commands)
    with space.entered():
        assert _kind(address) == kind


def test_a_link_local_address_is_local_on_its_device_and_on_lo(
    space: netns.Namespace,
) -> None:
    _set_up(space, UP)
    space.ip("addr", "add", "fe80::7/64", "dev", "d0", "nodad")
    with space.entered():
        devices_of_it = {socket.if_nametoindex(name) for name in ("lo", "d0")}
        with netlink.connect() as here:
            found = {n.address for n in localroutes.read(here)}
    scopes = {
        int.from_bytes(address[4:8], sys.byteorder)
        for address in found
        if address[:2] == b"\xfe\x80" and address[8:] == bytes(7) + b"\7"
    }
    assert scopes == devices_of_it


def test_the_kernel_agrees_that_longer_prefixes_come_first(
    space: netns.Namespace,
) -> None:
    _set_up(space, f"{NETWORK}; {UP}; route add 10.84.0.7 dev d0")
    assert space.ip("route", "get", "10.84.0.7").startswith("10.84.0.7 dev d0")
    assert space.ip("route", "get", "10.84.0.8").startswith("local 10.84.0.8 ")


@pytest.mark.parametrize(
    ("command", "is_heard"),
    [
        (NETWORK, True),
        (NETWORK6, True),
        ("route add 10.84.0.7 dev lo", True),
        ("route add 10.84.0.0/24 dev lo", False),
        ("route add fd84::/64 dev lo", False),
        ("route add 10.84.0.7 dev lo table 7", False),
        ("addr add 10.84.0.1/24 dev lo", True),
        ("link set lo mtu 1500", True),
        ("rule add pref 5 lookup 7", True),
        ("-6 rule add pref 5 lookup 7", True),
    ],
)
def test_changes_of_what_is_local_are_heard(
    space: netns.Namespace, command: str, is_heard: bool
) -> None:
    with space.entered(), devices.Watch() as watch:
        space.ip(*command.split())
        # The kernel notifies before ip(8) has its answer.
        assert bool(select.select([watch], [], [], 0)[0]) == is_heard


def test_the_kernel_agrees_that_rules_may_come_before_the_local_table(
    space: netns.Namespace,
) -> None:
    _set_up(space, f"{LATER}; {UP}; route add 10.84.0.1 dev d0 table 7")
    assert space.ip("route", "get", "10.84.0.1").startswith("local 10.84.0.1 ")
    space.ip("rule", "add", "pref", "5", "to", "10.84.0.1", "lookup", "7")
    assert space.ip("route", "get", "10.84.0.1").startswith("10.84.0.1 dev d0")


def _binds() -> Script:
    """Bind a datagram socket, and use it without receiving from others."""
    with udp(ANY4) as sock:
        sock.bind((ANY4, PORT))
        sock.sendto(b"own", (LO4, PORT))
        assert sock.recv(10) == b"own"
        yield


@pytest.mark.full_matrix
def test_a_network_that_becomes_local_during_the_capture_counts(
    space: netns.Namespace,
) -> None:
    with space.entered():
        server = Worker(_binds())
    with running.engine(space, "lo", label="short") as engine, space.entered():
        server.step()
        space.ip(*NETWORK.split())
        label = re.compile(b"pid=%d .* peer_pid=%d " % (os.getpid(), server.pid))

        def is_labelled() -> bool:
            assert engine.output
            with udp(ANY4) as sock:
                sock.sendto(b"statement", ("10.84.0.7", PORT))
            return label.search(engine.output.so_far()) is not None

        running.until(is_labelled, "a label")
        engine.end()
    kill_all()
