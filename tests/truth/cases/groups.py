"""Multicast: members of a group receive, and others on the same port do not."""

import socket
import struct

from truth.cases.containers import link_local
from truth.cases.registry import CaseContext, case
from truth.sockets import ANY4, LO4, LO6, family, loopback, udp
from truth.workers import Script, Worker, alternate, kill_all

IP_BLOCK_SOURCE, IP_MULTICAST_ALL = 38, 49  # include/uapi/linux/in.h
GROUP, OTHER_GROUP = "239.7.7.8", "239.7.7.9"
GROUP6 = "ff15::7:8"


def talks_to_group(context: CaseContext, port: int, group: str, device: str) -> Script:
    """Send to a group by a device, twice."""
    context.claim("udp", remote=port)
    with udp(group) as sock:
        set_device(sock, group, device)
        sock.sendto(b"statement", (group, port))
        yield
        sock.sendto(b"statement", (group, port))
        yield


def set_device(sock: socket.socket, group: str, device: str) -> None:
    """Choose the device by which a socket sends to groups."""
    number = socket.if_nametoindex(device)
    if ":" in group:
        level, option = socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_IF
        sock.setsockopt(level, option, number)
    else:
        choice = struct.pack("=4s4si", bytes(4), bytes(4), number)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, choice)


def join(sock: socket.socket, group: str, device: str) -> None:
    """Join a group on a device."""
    number = socket.if_nametoindex(device)
    address = socket.inet_pton(family(group), group)
    if ":" in group:
        member = struct.pack("=16si", address, number)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP, member)
    else:
        member = struct.pack("=4s4si", address, bytes(4), number)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)


def used_socket(context: CaseContext, port: int, group: str) -> socket.socket:
    """Return a socket on a port, of a process that is known."""
    own = LO6 if ":" in group else LO4
    context.claim("udp", local=port, address=own)
    sock = udp(group)
    sock.bind(("", port))
    sock.sendto(b"statement", (own, port))
    assert sock.recv(100)
    return sock


def member(context: CaseContext, port: int, group: str, device: str) -> Script:
    with used_socket(context, port, group) as sock:
        join(sock, group, device)
        context.claim("udp", local=port)
        yield
        assert sock.recv(100)
        yield
        assert sock.recv(100)


def bystander(context: CaseContext, port: int, group: str) -> Script:
    """Have the port, and get nothing: claim nothing."""
    with used_socket(context, port, group):
        yield


@case
def multicast_with_only_a_bystander(context: CaseContext) -> None:
    port = context.port()
    one = Worker(bystander(context, port, GROUP))
    one.step()
    alternate(Worker(talks_to_group(context, port, GROUP, "lo")))
    kill_all()


@case
def multicast_with_one_member(context: CaseContext) -> None:
    port = context.port()
    one = Worker(member(context, port, GROUP, "lo"))
    one.step()
    alternate(Worker(talks_to_group(context, port, GROUP, "lo")), one)
    kill_all()


@case
def multicast_into_a_container(context: CaseContext) -> None:
    """To a member, and to a process that is no member."""
    container = context.network.containers[0]
    port, other = context.port(), context.port()
    with container.space.entered():
        one = Worker(member(context, port, GROUP, "eth0"))
        two = Worker(bystander(context, other, GROUP))
    one.step()
    two.step()
    alternate(Worker(talks_to_group(context, port, GROUP, container.device)), one)
    alternate(Worker(talks_to_group(context, other, GROUP, container.device)))
    kill_all()


@case
def multicast_from_a_container(context: CaseContext) -> None:
    from_a_container(context, GROUP)


@case
def multicast_of_ipv6_from_a_container(context: CaseContext) -> None:
    link_local(context.network.containers[0].space, "eth0")
    from_a_container(context, GROUP6)


def from_a_container(context: CaseContext, group: str) -> None:
    """To a member, and to a process that is no member."""
    container = context.network.containers[0]
    port, other = context.port(), context.port()
    one = Worker(member(context, port, group, container.device))
    two = Worker(bystander(context, other, group))
    one.step()
    two.step()
    with container.space.entered():
        talker = Worker(talks_to_group(context, port, group, "eth0"))
        last = Worker(talks_to_group(context, other, group, "eth0"))
    alternate(talker, one)
    alternate(last)
    kill_all()


@case
def multicast_to_a_member_on_another_device(context: CaseContext) -> None:
    """The group is joined, but not on the device by which the datagram comes."""
    port = context.port()
    device = context.network.containers[0].device
    one = Worker(member(context, port, GROUP, device))
    one.step()
    context.log.disclaim("udp", local=port)
    alternate(Worker(talks_to_group(context, port, GROUP, "lo")))
    kill_all()


@case
def multicast_without_the_sender(context: CaseContext) -> None:
    """A member that has excluded the source does not receive."""

    def blocks() -> Script:
        with used_socket(context, port, GROUP) as sock:
            join(sock, GROUP, "lo")
            parts = map(socket.inet_aton, (GROUP, LO4, source))
            place = struct.pack("=4s4s4s", *parts)
            sock.setsockopt(socket.IPPROTO_IP, IP_BLOCK_SOURCE, place)
            yield

    def talks() -> Script:
        context.claim("udp", remote=port)
        with udp(LO4) as sock:
            sock.bind((source, 0))
            set_device(sock, GROUP, "lo")
            sock.sendto(b"statement", (GROUP, port))
        yield

    port, source = context.port(), loopback(5)
    one = Worker(blocks())
    one.step()
    alternate(Worker(talks()))
    kill_all()


@case
def multicast_with_a_bystander(context: CaseContext) -> None:
    """Another process has the port, too, and gets only its own groups: none."""
    one_member(context, bystander_first=True)
    one_member(context, bystander_first=False)


@case
def multicast_with_a_member_of_another_group(context: CaseContext) -> None:
    one_member(context, bystander_first=True, other_group=OTHER_GROUP)
    one_member(context, bystander_first=False, other_group=OTHER_GROUP)


def one_member(
    context: CaseContext, *, bystander_first: bool, other_group: str = ""
) -> None:
    """Have a member of a group and a bystander, and send to the group."""

    def has(port: int, group: str) -> Script:
        context.claim("udp", local=port)
        with udp(LO4) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
            sock.bind((ANY4, port))
            sock.sendto(b"statement", (LO4, drain))
            if group:
                member = socket.inet_aton(group) + socket.inet_aton(LO4)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
            yield
            assert sock.recv(100)

    port, drain = context.port(), context.port()
    dropping = Worker(context.scripts.udp_silent(drain))
    dropping.step()
    groups = (other_group, GROUP) if bystander_first else (GROUP, other_group)
    workers = {group: Worker(has(port, group)) for group in groups}
    for group in groups:
        workers[group].step()
    context.claim("udp", local=port, pid=workers[GROUP].pid)
    alternate(Worker(context.scripts.udp_talker(port, GROUP)))
    workers[GROUP].step()
    kill_all()
