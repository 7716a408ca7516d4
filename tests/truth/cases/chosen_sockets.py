"""The kernel chooses one of several sockets on a port: by a program, or by a device."""

import contextlib
import ctypes
import re
import socket
import struct
import subprocess
import time
from collections.abc import Iterator

from support.netns import Namespace
from truth.cases.registry import CaseContext, case
from truth.network import BRIDGE, Container
from truth.sockets import (
    ANY4,
    LO4,
    TIMEOUT_S,
    answer,
    listener,
    loopback,
    mptcp,
    mptcp_listener,
    receive_descriptor,
    send_descriptor,
    tcp,
    udp,
)
from truth.workers import Script, Worker, alternate, kill_all

SO_ATTACH_REUSEPORT_CBPF = 51
MEMBERS = 4


def choose_member(sock: socket.socket, number: int) -> None:
    """Have a program choose always the same member of the SO_REUSEPORT group."""
    program = ctypes.create_string_buffer(struct.pack("=HBBI", 6, 0, 0, number))
    fprog = struct.pack("=H6xQ", 1, ctypes.addressof(program))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, fprog)


@case
def reuseport_program_of_listeners(context: CaseContext) -> None:
    """Only the last member gets connections; the hash would choose others."""

    def member(number: int) -> Script:
        with listener(port, ANY4, reuseport=True) as listening:
            if number == MEMBERS - 1:
                choose_member(listening, number)
                context.claim("tcp", local=port)
            yield
            while True:
                with listening.accept()[0] as connection:
                    answer(connection)
                yield

    port = context.port()
    members = [Worker(member(number)) for number in range(MEMBERS)]
    for one in members:
        one.step()
    for number in range(MEMBERS):
        client = Worker(context.scripts.client(port, loopback(number)))
        client.step()
        client.step()
        members[-1].step()
        client.step()
        client.step()
    kill_all()


@contextlib.contextmanager
def group_member(
    context: CaseContext, number: int, port: int, drain: int
) -> Iterator[socket.socket]:
    """Yield a datagram socket of the group on a port, which has sent a datagram."""
    context.claim("udp", local=port, address=loopback(number))
    with udp(LO4) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind((ANY4, port))
        sock.sendto(b"statement", (loopback(number), drain))
        yield sock


@case
def reuseport_program_of_datagrams(context: CaseContext) -> None:
    def member(number: int) -> Script:
        with group_member(context, number, port, drain) as sock:
            if number == MEMBERS - 1:
                choose_member(sock, number)
                context.claim("udp", local=port)
            yield
            while True:
                assert sock.recv(100)
                yield

    port, drain = context.port(), context.port()
    dropping = Worker(context.scripts.udp_silent(drain, ANY4))
    dropping.step()
    members = [Worker(member(number)) for number in range(MEMBERS)]
    for one in members:
        one.step()
    for number in range(2 * MEMBERS):
        address = loopback(MEMBERS + number)
        alternate(Worker(context.scripts.udp_talker(port, address)))
        members[-1].step()
    kill_all()


def wait_until_settled(context: CaseContext) -> None:
    """Return when SO_REUSEPORT sockets that were made before have labels.

    Without kprobes that takes two seconds, as a program may yet be attached.
    """

    def member() -> Script:
        with udp(LO4) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((LO4, port))
            context.claim("udp", local=port)
            yield
            while True:
                assert sock.recv(100)

    port = context.port()
    mark = b"settled? %d" % port
    one = Worker(member())
    one.step()
    one.start()
    labelled = re.compile(
        re.escape(mark) + rb".{,120}peer_pid=%d " % one.pid, re.DOTALL
    )
    context.claim("udp", remote=port)
    with udp(LO4) as sock:
        deadline = time.monotonic() + TIMEOUT_S
        while not labelled.search(context.capture.read_bytes()):
            assert time.monotonic() < deadline, "no label"
            sock.sendto(mark, (LO4, port))
            time.sleep(0.05)
    one.kill()


@case
def reuseport_program_and_members_that_no_longer_share(context: CaseContext) -> None:
    """All but the last have switched SO_REUSEPORT off, and are of its group still."""

    def member(number: int) -> Script:
        with group_member(context, number, port, drain) as sock:
            yield
            if number == MEMBERS - 1:
                choose_member(sock, number)
                context.claim("udp", local=port)
            else:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 0)
            yield
            yield

    port, drain = context.port(), context.port()
    dropping = Worker(context.scripts.udp_silent(drain, ANY4))
    dropping.step()
    members = [Worker(member(number)) for number in range(MEMBERS)]
    for one in members * 2:
        one.step()
    wait_until_settled(context)
    for number in range(2 * MEMBERS):
        address = loopback(MEMBERS + number)
        alternate(Worker(context.scripts.udp_talker(port, address)))
    kill_all()


@case
def socket_of_a_bridge(context: CaseContext) -> None:
    """A container's packets come by a port of the bridge to whom has the bridge."""
    bound_or_not(context, context.network.bridged[0], BRIDGE, gets_it=True)


@case
def socket_of_a_port_of_a_bridge(context: CaseContext) -> None:
    """They are the bridge's when sockets are looked for, and no longer the port's."""
    box = context.network.bridged[0]
    bound_or_not(context, box, box.device, gets_it=False)


@case
def socket_of_a_vlan(context: CaseContext) -> None:
    here, box = context.network.here, context.network.containers[0]
    near, far, device = "10.86.5.1", "10.86.5.2", f"{box.device}.5"
    try:
        _add_vlan(here, box.device, device, near)
    except subprocess.CalledProcessError as error:
        context.lacks(f"VLAN devices: {error.stderr}")
        return
    _add_vlan(box.space, "eth0", "eth0.5", far)
    there = Container(box.space, device, near, far)
    bound_or_not(context, there, device, gets_it=True)
    here.ip("link", "del", device)  # others have no label on the device below
    box.space.ip("link", "del", "eth0.5")


def _add_vlan(space: Namespace, device: str, name: str, address: str) -> None:
    kind = ("type", "vlan", "id", "5")
    space.ip("link", "add", "link", device, "name", name, *kind)
    space.ip("addr", "add", f"{address}/24", "dev", name)
    space.ip("link", "set", name, "up")


@case
def socket_of_a_vrf(context: CaseContext) -> None:
    """A device that is enslaved: sockets of others do not get its packets."""
    here, there = context.network.here, context.network.containers[1].space
    near, far = "10.87.0.1", "10.87.0.2"
    try:
        here.ip("link", "add", "vrf0", "type", "vrf", "table", "87")
    except subprocess.CalledProcessError as error:
        context.lacks(f"VRF devices: {error.stderr}")
        return
    here.ip("link", "set", "vrf0", "up")
    pair = ("type", "veth", "peer", "name", "slave1")
    here.ip("link", "add", "slave0", *pair, "netns", there.name)
    here.ip("link", "set", "slave0", "master", "vrf0")
    here.ip("addr", "add", f"{near}/24", "dev", "slave0")
    here.ip("link", "set", "slave0", "up")
    there.ip("addr", "add", f"{far}/24", "dev", "slave1")
    there.ip("link", "set", "slave1", "up")
    bound_or_not(context, Container(there, "slave0", near, far), "vrf0", gets_it=True)


def bound_or_not(
    context: CaseContext, box: Container, device: str, *, gets_it: bool
) -> None:
    """Have a socket that is bound to a device beside another process's that is not.

    ``gets_it``: whether the first one gets what the container sends.
    """

    def binds(device: str) -> Script:
        context.claim("udp", local=port)
        with udp(LO4) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((ANY4, port))
            sock.sendto(b"statement", (LO4, away))
            name = device.encode()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, name)
            yield
            assert sock.recv(100)

    port, away = context.port(), context.port()
    silent = Worker(context.scripts.udp_silent(away))
    with box.space.entered():
        client = Worker(context.scripts.udp_talker(port, box.near_address))
    others, chosen = Worker(binds("")), Worker(binds(device))
    for worker in (silent, others, chosen):
        worker.step()
    receiver = chosen if gets_it else others
    context.claim("udp", local=port, pid=receiver.pid)
    alternate(client)
    receiver.step()
    kill_all()


@case
def descriptor_passed_and_only_received_by(context: CaseContext) -> None:
    """The one that connected has closed its descriptor, or has exited."""

    def connects(channel: socket.socket) -> Script:
        context.claim("tcp", remote=port)
        sock = tcp(LO4)
        sock.connect((LO4, port))
        send_descriptor(channel, sock)
        sock.close()
        yield

    def receives(channel: socket.socket) -> Script:
        sock = receive_descriptor(channel)
        context.claim("tcp", remote=port)
        yield
        assert sock.recv(100)
        yield
        sock.close()

    port = context.port()
    one, other = socket.socketpair()
    server, first, second = (
        Worker(context.scripts.speaker(port)),
        Worker(connects(one)),
        Worker(receives(other)),
    )
    for worker in (server, first, server, second, server, second, second, server):
        worker.step()
    kill_all()


@case
def multipath_tcp(context: CaseContext) -> None:
    """The socket that processes have is not the one that packets carry."""

    def serves() -> Script:
        context.claim("tcp", local=port)
        with mptcp_listener(port) as listening:
            yield
            connection = listening.accept()[0]
            yield
            answer(connection)
            yield
            connection.close()

    def asks() -> Script:
        context.claim("tcp", remote=port)
        with mptcp() as connection:
            connection.connect((LO4, port))
            yield
            connection.sendall(b"question")
            yield
            assert connection.recv(100)
            yield

    if not context.has_multipath():
        return
    port = context.port()
    alternate(Worker(serves()), Worker(asks()))
