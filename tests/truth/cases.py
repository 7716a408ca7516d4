"""The cases: ways to use sockets, each with ports of its own.

A case may have a part before the capture starts (a generator's first step);
the rest is played while it runs.
"""

import contextlib
import itertools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from truth import uring
from truth.actors import (
    Actor,
    Script,
    alternate,
    end_this_thread,
    kill_all,
    rename,
)
from truth.claims import ClaimLog
from truth.scripts import (
    ANSWER,
    LO4,
    LO6,
    Scripts,
    answer,
    echo_request,
    listener,
    receive_descriptor,
    reset_on_close,
    send_descriptor,
    settle,
    tcp,
    try_accept,
    udp,
)
from truth.world import NOBODY, SAME_ADDRESS, World

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
ATTEMPTS = 50
GROUP = "239.7.7.7"
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
PROTOCOLS = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
ADDRESSES = {4: LO4, 6: LO6}
AT_ONCE = 50  # short-lived processes at a time

Case = Callable[["Stage"], Iterator[None] | None]
CASES: dict[str, Case] = {}


class Stage:
    """What a case has: the world, its claims, and ports."""

    def __init__(self, world: World, log: ClaimLog, many: int) -> None:
        self.world = world
        self.many = many
        self.log = log
        self.claim = log.claim
        self.scripts = Scripts(log)
        self._ports = itertools.count(20000)

    def port(self) -> int:
        """Return a port, or ICMP identifier, that nobody has used."""
        return next(self._ports)


def case(function: Case) -> Case:
    """Enter a case into the list."""
    CASES[function.__name__.replace("_", "-")] = function
    return function


# TCP


@case
def tcp_client_and_server(stage: Stage) -> None:
    play, port = stage.scripts, stage.port()
    alternate(Actor(play.server(port)), Actor(play.client(port)))


@case
def tcp_refused(stage: Stage) -> None:
    def script() -> Script:
        with tcp(LO4) as sock, contextlib.suppress(ConnectionRefusedError):
            stage.claim("tcp", remote=port)
            sock.connect((LO4, port))
        yield

    port = stage.port()
    alternate(Actor(script()))


@case
def tcp_ipv6(stage: Stage) -> None:
    play, port = stage.scripts, stage.port()
    alternate(Actor(play.server(port, LO6)), Actor(play.client(port, LO6)))


@case
def tcp_ipv4_mapped(stage: Stage) -> None:
    play, port = stage.scripts, stage.port()
    client = play.client(port, f"::ffff:{LO4}")
    alternate(Actor(play.server(port)), Actor(client))


@case
def tcp_dual_stack(stage: Stage) -> None:
    play, port = stage.scripts, stage.port()
    server = Actor(play.server(port, "::", rounds=2))
    server.step()
    for address in (LO4, LO6):
        client = Actor(play.client(port, address))
        alternate_once(client, server)


def alternate_once(client: Actor, server: Actor) -> None:
    """Play one round with a server that goes on."""
    while not client.ended:
        client.step()
        if not client.ended:
            server.step()


@case
def tcp_exit_without_close(stage: Stage) -> None:
    def client() -> Script:
        stage.claim("tcp", remote=port)
        sock = tcp(LO4)
        sock.connect((LO4, port))
        yield
        sock.sendall(b"question")
        yield
        assert sock.recv(100)
        os._exit(0)

    play, port = stage.scripts, stage.port()
    server, one = Actor(play.server(port)), Actor(client())
    alternate(server, one)


@case
def tcp_killed(stage: Stage) -> None:
    """The server is killed with data unread, which makes an RST."""
    play, port = stage.scripts, stage.port()
    server, client = Actor(play.server(port)), Actor(play.client(port))
    for actor in (server, client, server, client):
        actor.step()
    server.kill()
    client.kill()


@case
def tcp_reset(stage: Stage) -> None:
    def client() -> Script:
        stage.claim("tcp", remote=port)
        with tcp(LO4) as sock:
            sock.connect((LO4, port))
            reset_on_close(sock)
        yield

    play, port = stage.scripts, stage.port()
    server, one = Actor(play.server(port)), Actor(client())
    server.step()
    server.start()
    alternate(one)
    server.wait()
    server.kill()


@case
def tcp_server_never_sends(stage: Stage) -> None:
    def server() -> Script:
        stage.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            with listening.accept()[0] as connection:
                yield
                while connection.recv(100):
                    pass

    def client() -> Script:
        stage.claim("tcp", remote=port)
        with tcp(LO4) as sock:
            sock.connect((LO4, port))
            yield
            sock.sendall(b"statement")
        yield

    port = stage.port()
    alternate(Actor(server()), Actor(client()))


@case
def tcp_data_before_accept(stage: Stage) -> None:
    """Another process accepts than listens: the data were the listener's."""

    def listens() -> Script:
        stage.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            worker = Actor(accepts(listening))
            yield
            worker.step()
            yield
            worker.step()
            yield
            worker.step()
            yield

    def accepts(listening: socket.socket) -> Script:
        connection = listening.accept()[0]
        stage.claim("tcp", local=port, remote=connection.getpeername()[1])
        yield
        answer(connection)
        yield
        connection.close()

    port = stage.port()
    server, client = Actor(listens()), Actor(stage.scripts.client(port))
    for actor in (server, client, client, *(server,) * 3, client, server, client):
        if not actor.ended:
            actor.step()
    kill_all()


@case
def tcp_sendfile(stage: Stage) -> None:
    def client() -> Script:
        stage.claim("tcp", remote=port)
        with tcp(LO4) as sock, Path(__file__).open("rb") as file:
            sock.connect((LO4, port))
            yield
            os.sendfile(sock.fileno(), file.fileno(), 0, 90)
            yield
            assert sock.recv(100)
            yield

    port = stage.port()
    alternate(Actor(stage.scripts.server(port)), Actor(client()))


@case
def tcp_splice(stage: Stage) -> None:
    """Both ways through pipes; another process than the one that connected."""

    def moves(sock: socket.socket) -> Script:
        stage.claim("tcp", remote=port)
        out, into = os.pipe()
        os.write(into, b"question")
        os.splice(out, sock.fileno(), 8)
        yield
        # Blocking: Python's timeout would be a poll before.
        assert os.splice(sock.fileno(), into, 100)
        yield

    def client() -> Script:
        stage.claim("tcp", remote=port)
        with tcp(LO4) as sock:
            sock.connect((LO4, port))
            sock.setblocking(True)
            yield
            worker = Actor(moves(sock))
            worker.step()
            yield
            worker.step()
            worker.step()
            stage.claim("tcp", remote=port, pid=worker.pid)
            yield

    port = stage.port()
    alternate(Actor(stage.scripts.server(port)), Actor(client()))


@case
def tcp_io_uring(stage: Stage) -> None:
    """Connect and send by the kernel's worker threads."""

    def client() -> Script:
        stage.claim("tcp", remote=port)
        with tcp(LO4) as sock, uring.Ring() as ring:
            sock.setblocking(True)
            ring.connect(sock.fileno(), LO4, port)
            yield
            ring.send(sock.fileno(), b"question")
            yield
            assert sock.recv(100)
            yield

    if not uring.is_available():
        return
    port = stage.port()
    alternate(Actor(stage.scripts.server(port)), Actor(client()))


@case
def tcp_threads(stage: Stage) -> None:
    def client() -> Script:
        stage.claim("tcp", remote=port)
        with tcp(LO4) as sock:
            in_thread(lambda: sock.connect((LO4, port)))
            yield
            in_thread(lambda: sock.sendall(b"question"))
            yield
            in_thread(lambda: sock.recv(100))
            yield

    port = stage.port()
    alternate(Actor(stage.scripts.server(port)), Actor(client()))


def in_thread(action: Callable[[], object]) -> None:
    """Do it in a thread of its own."""
    thread = threading.Thread(target=action)
    thread.start()
    thread.join()


@case
def tcp_prefork(stage: Stage) -> None:
    """One listens, its children take turns to accept."""

    def listens() -> Script:
        stage.claim("tcp", local=port)
        listening = listener(port)
        yield
        for _ in range(2):
            worker = Actor(accepts(listening))
            yield
            for _ in range(3):
                worker.step()
                yield
        listening.close()

    def accepts(listening: socket.socket) -> Script:
        connection = listening.accept()[0]
        stage.claim("tcp", local=port, remote=connection.getpeername()[1])
        yield
        answer(connection)
        yield
        connection.close()

    port = stage.port()
    server = Actor(listens())
    server.step()
    for _ in range(2):
        client = Actor(stage.scripts.client(port))
        server.step()
        alternate_once(client, server)
    kill_all()


@case
def tcp_listener_taken_over(stage: Stage) -> None:
    """The process that listened is gone; a child of it goes on."""

    def listens(listening: socket.socket) -> Script:
        listening.listen(8)
        yield
        yield

    def accepts(listening: socket.socket) -> Script:
        assert try_accept(listening) is None
        stage.claim("tcp", local=port)
        yield
        connection = try_accept(listening)
        assert connection
        yield
        answer(connection)
        yield
        connection.close()

    port = stage.port()
    with tcp(LO4) as listening:
        listening.bind((LO4, port))
        first, worker = Actor(listens(listening)), Actor(accepts(listening))
        first.step()
    first.kill()
    worker.step()
    client = Actor(stage.scripts.client(port))
    alternate(client, worker)


@case
def tcp_reuseport(stage: Stage) -> None:
    def server() -> Script:
        with listener(port, reuseport=True) as listening:
            yield
            while True:
                connection = try_accept(listening)
                if connection:
                    peer = connection.getpeername()[1]
                    stage.claim("tcp", local=port, remote=peer, since_ns=0)
                    answer(connection)
                    connection.close()
                yield

    port = stage.port()
    servers = [Actor(server()) for _ in range(2)]
    for one in servers:
        one.step()
    for _ in range(6):
        client = Actor(stage.scripts.client(port))
        client.step()
        client.step()
        for one in servers:
            one.step()
        client.step()
        client.step()
    kill_all()


# UDP


@case
def udp_unconnected(stage: Stage) -> None:
    play, port = stage.scripts, stage.port()
    alternate(Actor(play.udp_server(port)), Actor(play.udp_client(port)))


@case
def udp_connected(stage: Stage) -> None:
    play, port = stage.scripts, stage.port()
    client = play.udp_client(port, connected=True)
    alternate(Actor(play.udp_server(port)), Actor(client))


@case
def udp_ipv6(stage: Stage) -> None:
    play, port = stage.scripts, stage.port()
    alternate(Actor(play.udp_server(port, LO6)), Actor(play.udp_client(port, LO6)))


@case
def udp_ipv4_mapped(stage: Stage) -> None:
    play, port = stage.scripts, stage.port()
    client = play.udp_client(port, f"::ffff:{LO4}")
    alternate(Actor(play.udp_server(port, "::")), Actor(client))


@case
def udp_silent_server(stage: Stage) -> None:
    play, port = stage.scripts, stage.port()
    server, client = Actor(play.udp_silent(port, "0.0.0.0")), play.udp_talker(port)
    alternate(server, Actor(client))


@case
def udp_nobody_there(stage: Stage) -> None:
    """An ICMP error comes back to the sender."""
    alternate(Actor(stage.scripts.udp_talker(stage.port())))


@case
def udp_multicast(stage: Stage) -> None:
    def member() -> Script:
        stage.claim("udp", local=port)
        with udp(LO4) as sock:
            sock.bind(("0.0.0.0", port))
            group = socket.inet_aton(GROUP) + socket.inet_aton(LO4)
            sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
            yield
            assert sock.recv(100)
            yield

    port = stage.port()
    alternate(Actor(member()), Actor(stage.scripts.udp_talker(port, GROUP)))


# ICMP


@case
def ping_raw(stage: Stage) -> None:
    ping_raw_by_version(stage, 4)


@case
def ping_raw_ipv6(stage: Stage) -> None:
    ping_raw_by_version(stage, 6)


def ping_raw_by_version(stage: Stage, version: int) -> None:
    """Send an echo request with a header of our own making."""

    def script() -> Script:
        stage.claim("icmp", local=identifier)
        family, protocol = FAMILIES[version], PROTOCOLS[version]
        with socket.socket(family, socket.SOCK_RAW, protocol) as sock:
            sock.settimeout(60)
            sock.sendto(echo_request(version, identifier), (ADDRESSES[version], 0))
            assert sock.recv(100)
            yield

    identifier = stage.port()
    alternate(Actor(script()))


@case
def ping_socket(stage: Stage) -> None:
    ping_socket_by_version(stage, 4)


@case
def ping_socket_ipv6(stage: Stage) -> None:
    ping_socket_by_version(stage, 6)


def ping_socket_by_version(stage: Stage, version: int) -> None:
    """Send an echo request that the kernel gives its identifier."""

    def script() -> Script:
        family, protocol = FAMILIES[version], PROTOCOLS[version]
        with socket.socket(family, socket.SOCK_DGRAM, protocol) as sock:
            sock.settimeout(60)
            sock.sendto(echo_request(version, 1), (ADDRESSES[version], 0))
            stage.claim("icmp", local=sock.getsockname()[1], since_ns=0)
            assert sock.recv(100)
            yield

    alternate(Actor(script()))


# Descriptors that go from process to process


@case
def descriptor_passed(stage: Stage) -> None:
    def connects(channel: socket.socket) -> Script:
        stage.claim("tcp", remote=port)
        sock = tcp(LO4)
        sock.connect((LO4, port))
        send_descriptor(channel, sock)
        sock.close()
        yield

    def uses(channel: socket.socket) -> Script:
        sock = receive_descriptor(channel)
        stage.claim("tcp", remote=port)
        sock.sendall(b"question")
        yield
        assert sock.recv(100)
        sock.close()
        yield

    port = stage.port()
    one, other = socket.socketpair()
    server = Actor(stage.scripts.server(port))
    first, second = Actor(connects(one)), Actor(uses(other))
    for actor in (server, first, server, second, server, second, server, server):
        if not actor.ended:
            actor.step()
    kill_all()


@case
def descriptor_inherited(stage: Stage) -> None:
    """Parent and child use a connection in turn."""

    def parent() -> Script:
        stage.claim("tcp", remote=port)
        with tcp(LO4) as sock:
            sock.connect((LO4, port))
            child = Actor(user(sock))
            yield
            child.step()
            yield
            child.step()
            stage.claim("tcp", remote=port)
            assert sock.recv(100) == ANSWER
            sock.sendall(b"again")
            yield
            settle(sock, len(ANSWER))
            stage.claim("tcp", remote=port, pid=child.pid)
            child.step()
            yield
            child.step()
            stage.claim("tcp", remote=port)
            assert sock.recv(1) == ANSWER[:1]
            yield
            child.kill()

    def user(sock: socket.socket) -> Script:
        stage.claim("tcp", remote=port)
        sock.sendall(b"question")
        yield
        settle(sock, len(ANSWER))
        yield
        sock.sendall(b"more")
        yield
        settle(sock, 2 * len(ANSWER))
        yield

    def server() -> Script:
        stage.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            with listening.accept()[0] as connection:
                for size in (8, 5, 4):
                    yield
                    assert len(connection.recv(size)) == size
                    connection.sendall(ANSWER)
                yield

    port = stage.port()
    alternate(Actor(server()), Actor(parent()))


@case
def connection_of_a_dead_parent(stage: Stage) -> None:
    """The process that connected is gone; its child receives, and sends."""

    def uses(sock: socket.socket) -> Script:
        stage.claim("tcp", remote=port)
        sock.sendall(b"question")
        yield
        assert sock.recv(100)
        sock.close()
        yield

    def connects(sock: socket.socket) -> Script:
        stage.claim("tcp", remote=port)
        sock.connect((LO4, port))
        yield

    port = stage.port()
    with tcp(LO4) as sock:
        server = Actor(stage.scripts.server(port))
        first, second = Actor(connects(sock)), Actor(uses(sock))
    for actor in (server, first, server, first, second, server, second, server, server):
        if not actor.ended:
            actor.step()
    kill_all()


# Sockets older than the capture


@case
def old_connection_idle(stage: Stage) -> Iterator[None]:
    """Nothing of the server but what the kernel answers for it."""

    def server() -> Script:
        stage.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            with listening.accept()[0]:
                yield
                yield

    def client() -> Script:
        stage.claim("tcp", remote=port)
        with tcp(LO4) as sock:
            sock.connect((LO4, port))
            yield
            sock.sendall(b"statement")
            yield

    port = stage.port()
    one, two = Actor(server()), Actor(client())
    for actor in (one, two, one):
        actor.step()
    yield
    alternate(two, one)


@case
def old_listener(stage: Stage) -> Iterator[None]:
    port = stage.port()
    server = Actor(stage.scripts.server(port))
    server.step()
    yield
    alternate(Actor(stage.scripts.client(port)), server)


@case
def old_listener_shared(stage: Stage) -> Iterator[None]:
    """Of those that have it, the eldest is the one that listened."""

    def listens() -> Script:
        stage.claim("tcp", local=port)
        with listener(port) as listening:
            worker = Actor(accepts(listening))
            yield
            for _ in range(3):
                worker.step()
                yield

    def accepts(listening: socket.socket) -> Script:
        connection = listening.accept()[0]
        stage.claim("tcp", local=port, remote=connection.getpeername()[1])
        yield
        answer(connection)
        yield
        connection.close()

    port = stage.port()
    server = Actor(listens())
    server.step()
    yield
    alternate_once(Actor(stage.scripts.client(port)), server)
    server.kill()


@case
def old_udp(stage: Stage) -> Iterator[None]:
    def connected(port: int) -> Script:
        stage.claim("udp", remote=port)
        with udp(LO4) as sock:
            sock.connect((LO4, port))
            yield
            sock.send(b"question")
            yield
            assert sock.recv(100)
            yield

    port, silent = stage.port(), stage.port()
    server, client = Actor(stage.scripts.udp_server(port)), Actor(connected(port))
    mute = Actor(stage.scripts.udp_silent(silent, "0.0.0.0"))
    for actor in (server, client, mute):
        actor.step()
    yield
    alternate(client, server)
    alternate(Actor(stage.scripts.udp_talker(silent)), mute)


@case
def old_connection_closing(stage: Stage) -> Iterator[None]:
    """Half closed before the capture; what its kernel says belongs to nobody."""

    def server() -> Script:
        stage.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            with listening.accept()[0] as connection:
                yield
                connection.sendall(b"statement")
                yield

    def client() -> Script:
        with tcp(LO4) as sock:
            stage.claim("tcp", remote=port)
            sock.connect((LO4, port))
            sock.shutdown(socket.SHUT_WR)
            yield
            assert sock.recv(100)
            yield

    port = stage.port()
    one, two = Actor(server()), Actor(client())
    for actor in (one, two, one):
        actor.step()
    yield
    alternate(one, two)


# Namespaces


@case
def container_serves(stage: Stage) -> None:
    play, port, box = stage.scripts, stage.port(), stage.world.containers[0]
    with box.space.entered():
        server = Actor(play.server(port, "0.0.0.0"))
    alternate(server, Actor(play.client(port, box.far_address)))


@case
def container_asks(stage: Stage) -> None:
    play, port, box = stage.scripts, stage.port(), stage.world.containers[0]
    server = Actor(play.server(port, "0.0.0.0"))
    with box.space.entered():
        client = Actor(play.client(port, box.near_address))
    alternate(server, client)


@case
def container_udp(stage: Stage) -> None:
    play, box = stage.scripts, stage.world.containers[0]
    port, other = stage.port(), stage.port()
    with box.space.entered():
        server = Actor(play.udp_server(port, "0.0.0.0"))
        client = Actor(play.udp_client(other, box.near_address))
    alternate(server, Actor(play.udp_client(port, box.far_address)))
    alternate(Actor(play.udp_server(other, "0.0.0.0")), client)


@case
def container_refused(stage: Stage) -> None:
    """Nobody listens, on either side."""

    def script(port: int, address: str) -> Script:
        stage.claim("tcp", remote=port)
        with tcp(address) as sock, contextlib.suppress(ConnectionRefusedError):
            sock.connect((address, port))
        yield

    box = stage.world.containers[0]
    alternate(Actor(script(stage.port(), box.far_address)))
    with box.space.entered():
        inside = Actor(script(stage.port(), box.near_address))
    alternate(inside)


@case
def container_is_pinged(stage: Stage) -> None:
    box = stage.world.containers[0]
    alternate(Actor(ping(stage, box.far_address)))


@case
def container_pings(stage: Stage) -> None:
    box = stage.world.containers[0]
    with box.space.entered():
        inside = Actor(ping(stage, box.near_address))
    alternate(inside)


def ping(stage: Stage, address: str) -> Script:
    """Ask for an echo by a raw socket, and get it."""
    identifier = stage.port()
    stage.claim("icmp", local=identifier)
    with socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP) as sock:
        sock.settimeout(60)
        sock.sendto(echo_request(4, identifier), (address, 0))
        assert sock.recv(100)
    yield


@case
def fragments(stage: Stage) -> None:
    """Datagrams that do not fit into a frame, both ways."""

    def server() -> Script:
        stage.claim("udp", local=port)
        with udp(LO4) as sock:
            sock.bind(("0.0.0.0", port))
            yield
            data, sender = sock.recvfrom(5000)
            sock.sendto(data, sender)
            yield

    def client() -> Script:
        stage.claim("udp", remote=port)
        with udp(LO4) as sock:
            sock.sendto(bytes(4000), (box.far_address, port))
            yield
            assert len(sock.recv(5000)) == 4000
            yield

    port, box = stage.port(), stage.world.containers[0]
    with box.space.entered():
        far = Actor(server())
    alternate(far, Actor(client()))


@case
def same_tuple_in_two_namespaces(stage: Stage) -> None:
    def script(device: str) -> Script:
        stage.claim("udp", local=near, remote=far, device=device)
        stage.claim("tcp", local=near, remote=far, device=device)
        with udp(LO4) as datagrams, tcp(LO4) as stream:
            datagrams.bind((SAME_ADDRESS, near))
            datagrams.sendto(b"statement", (NOBODY, far))
            stream.bind((SAME_ADDRESS, near))
            stream.setblocking(False)
            stream.connect_ex((NOBODY, far))
            yield
            datagrams.sendto(b"statement", (NOBODY, far))
            yield

    near, far = stage.port(), stage.port()
    actors = []
    for box in stage.world.containers:
        with box.space.entered():
            actors.append(Actor(script(box.device)))
    alternate(*actors)


# Processes


@case
def short_lived_processes(stage: Stage) -> None:
    def server() -> Script:
        stage.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            for _ in range(stage.many):
                connection = listening.accept()[0]
                connection.recv(100)
                connection.close()
            yield

    def client() -> None:
        sock = tcp(LO4)
        began_ns = time.time_ns()  # a port may come round again
        sock.connect((LO4, port))
        own_port = sock.getsockname()[1]
        stage.claim("tcp", local=own_port, remote=port, since_ns=began_ns)
        sock.sendall(b"statement")
        os._exit(0)

    port = stage.port()
    serving = Actor(server())
    serving.step()
    serving.start()
    for started in range(stage.many):
        if not os.fork():
            client()
        if started >= AT_ONCE:
            os.wait()
    serving.wait()
    serving.kill()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


@case
def pid_reuse(stage: Stage) -> None:
    """Two processes, one after the other, have the same pid."""

    def play(number: int) -> Actor:
        port = stage.port()
        server = Actor(stage.scripts.server(port))
        server.step()
        if wanted:
            LAST_PID.write_text(str(wanted - 1))
        client = Actor(stage.scripts.client(port), comm=b"reuse %d" % number)
        alternate(client, server)
        return client

    wanted = 0
    wanted = play(1).pid
    assert any(play(number + 2).pid == wanted for number in range(ATTEMPTS))


@case
def odd_names(stage: Stage) -> None:
    for name in (
        b"two words",
        b'"quoted"',
        b"back\\slash",
        b"new\nline",
        b"\xff\xfe\x80",
        "zwölf".encode(),
        b"%s{}=,;",
        b"fifteen  bytes!",
        b"\x01" * 15,
        b"fourteen bytes\x01",
        b"thirteen byte\x01\x02",
        b" ",
    ):
        play, port = stage.scripts, stage.port()
        server = Actor(play.server(port))
        alternate(server, Actor(play.client(port), comm=name))


@case
def renamed(stage: Stage) -> None:
    def script() -> Script:
        with udp(LO4) as sock:
            for name in (b"before", b"after it"):
                rename(name)
                stage.claim("udp", remote=port)
                sock.sendto(b"statement", (LO4, port))
                yield

    port = stage.port()
    alternate(Actor(stage.scripts.udp_silent(port)), Actor(script()))


@case
def other_user(stage: Stage) -> None:
    def script() -> Script:
        with udp(LO4) as sock:
            for user in (0, 1234, 4321):
                os.setresuid(-1, user, 0)
                stage.claim("udp", remote=port)
                sock.sendto(b"statement", (LO4, port))
                yield
                os.setresuid(-1, 0, 0)

    port = stage.port()
    alternate(Actor(stage.scripts.udp_silent(port)), Actor(script()))


@case
def executes_another_program(stage: Stage) -> None:
    def script() -> Script:
        sock = tcp(LO4)
        stage.claim("tcp", remote=port)
        sock.connect((LO4, port))
        yield
        fd = sock.fileno()
        sock.setblocking(True)
        os.set_inheritable(fd, True)
        stage.claim("tcp", remote=port, comm="sh")
        os.execl("/bin/sh", "sh", "-c", f"echo question >&{fd}; read line <&{fd}")

    port = stage.port()
    server, client = Actor(stage.scripts.server(port)), Actor(script())
    for actor in (server, client, server):
        actor.step()
    client.start()
    server.step()
    server.step()
    client.wait()


def speaking(stage: Stage, port: int) -> socket.socket:
    """Return a socket that the caller has used."""
    stage.claim("udp", remote=port)
    sock = udp(LO4)
    sock.connect((LO4, port))
    sock.send(b"before")
    return sock


def speak_twice(client: Actor, server: Actor) -> None:
    """Let the server answer in between, and stay until the client is gone."""
    for actor in (server, client, server, client):
        actor.step()
    server.kill()


@case
def exec_in_a_thread(stage: Stage) -> None:
    """The first thread ends, and the one that calls exec(2) takes its place."""

    def script() -> Script:
        sock = speaking(stage, port)
        yield
        fd = sock.fileno()
        os.set_inheritable(fd, True)
        stage.claim("udp", remote=port, comm="sh")
        program = ("/bin/sh", "sh", "-c", f"echo once >&{fd}; echo again >&{fd}")
        in_thread(lambda: os.execl(*program))

    port = stage.port()
    speak_twice(Actor(script()), Actor(stage.scripts.udp_server(port)))


@case
def first_thread_ends(stage: Stage) -> None:
    """Another thread of the process goes on."""

    def go_on(sock: socket.socket) -> None:
        state = Path(f"/proc/self/task/{os.getpid()}/stat")
        while b") Z" not in state.read_bytes():
            time.sleep(0.001)
        for _ in range(3):
            sock.send(b"after")
        os._exit(0)

    def script() -> Script:
        sock = speaking(stage, port)
        yield
        threading.Thread(target=go_on, args=(sock,)).start()
        end_this_thread()

    port = stage.port()
    speak_twice(Actor(script()), Actor(stage.scripts.udp_server(port)))


# The process that a capture with --pid is asked for


@case
def chosen_process(stage: Stage) -> Iterator[None]:
    """It exists before the capture does, and then does several things."""

    def script() -> Script:
        yield
        yield from stage.scripts.client(served)

    def serving() -> Script:
        yield
        yield from stage.scripts.server(serves)

    served, serves = stage.port(), stage.port()
    client, server = Actor(script(), b"chosen"), Actor(serving(), b"chosen too")
    client.step()
    server.step()
    stage.log.claim("none", local=1, pid=client.pid)
    stage.log.claim("none", local=2, pid=server.pid)
    yield
    alternate(Actor(stage.scripts.server(served)), client)
    alternate(server, Actor(stage.scripts.client(serves)))
