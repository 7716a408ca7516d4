"""The kernel chooses one of several sockets on a port: by a program, or by a device."""

import ctypes
import socket
import struct

from truth.cases.registry import CaseContext, case
from truth.network import BRIDGE
from truth.sockets import (
    ANY4,
    LO4,
    answer,
    listener,
    loopback,
    receive_descriptor,
    send_descriptor,
    tcp,
    udp,
)
from truth.workers import Script, Worker, alternate, kill_all

SO_ATTACH_REUSEPORT_CBPF = 51
IPPROTO_MPTCP = 262
IP_MULTICAST_ALL = 49
GROUP = "239.7.7.8"
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


@case
def reuseport_program_of_datagrams(context: CaseContext) -> None:
    def member(number: int) -> Script:
        context.claim("udp", local=port, address=loopback(number))
        with udp(LO4) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            sock.bind((ANY4, port))
            sock.sendto(b"statement", (loopback(number), drain))
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


@case
def socket_of_a_bridge(context: CaseContext) -> None:
    """A container's packets come by a port of the bridge to whom has the bridge."""

    def binds(device: str) -> Script:
        with udp(LO4) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if device:
                sock.setsockopt(
                    socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode()
                )
            sock.bind((ANY4, port))
            context.claim("udp", local=port)
            sock.sendto(b"statement", (box.far_address, away))
            yield
            assert sock.recv(100)

    port, away, box = context.port(), context.port(), context.network.bridged[0]
    with box.space.entered():
        silent = Worker(context.scripts.udp_silent(away, ANY4))
        client = Worker(context.scripts.udp_talker(port, box.near_address))
    silent.step()
    wildcard, chosen = Worker(binds("")), Worker(binds(BRIDGE))
    wildcard.step()
    chosen.step()
    alternate(client)
    chosen.step()
    kill_all()


@case
def multicast_with_a_bystander(context: CaseContext) -> None:
    """Another process has the port, too, and wants no groups but its own: none."""
    one_member(context, bystander_first=True)
    one_member(context, bystander_first=False)


def one_member(context: CaseContext, *, bystander_first: bool) -> None:
    """Have a member of a group and a bystander, and send to the group."""

    def has(port: int, *, member: bool) -> Script:
        context.claim("udp", local=port)
        with udp(LO4) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setsockopt(socket.IPPROTO_IP, IP_MULTICAST_ALL, 0)
            sock.bind((ANY4, port))
            sock.sendto(b"statement", (LO4, drain))
            if member:
                group = socket.inet_aton(GROUP) + socket.inet_aton(LO4)
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            yield
            assert sock.recv(100)

    port, drain = context.port(), context.port()
    dropping = Worker(context.scripts.udp_silent(drain))
    dropping.step()
    order = (False, True) if bystander_first else (True, False)
    workers = {member: Worker(has(port, member=member)) for member in order}
    for member in order:
        workers[member].step()
    context.claim("udp", local=port, pid=workers[True].pid)
    alternate(Worker(context.scripts.udp_talker(port, GROUP)))
    workers[True].step()
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

    def speaks() -> Script:
        context.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            with listening.accept()[0] as connection:
                yield
                connection.sendall(b"statement")
                yield

    port = context.port()
    one, other = socket.socketpair()
    server, first, second = (
        Worker(speaks()),
        Worker(connects(one)),
        Worker(receives(other)),
    )
    for worker in (server, first, server, second, server, second, second, server):
        worker.step()
    kill_all()


@case
def multipath_tcp(context: CaseContext) -> None:
    """The socket that processes have is not the one that packets carry."""

    def mptcp() -> socket.socket:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, IPPROTO_MPTCP)
        sock.settimeout(60)
        return sock

    def serves() -> Script:
        context.claim("tcp", local=port)
        with mptcp() as listening:
            listening.bind((LO4, port))
            listening.listen()
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

    try:
        mptcp().close()
    except OSError as error:
        context.lacks(f"Multipath TCP: {error.strerror}")
        return
    port = context.port()
    alternate(Worker(serves()), Worker(asks()))
