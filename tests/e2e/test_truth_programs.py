"""The processes of real servers and clients, which say themselves who served whom.

`make truth-programs` runs all of them, and more connections. Otherwise only those run
that the tests need anyway.
"""

import contextlib
import os
import select
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import running, servers, sshd
from support.netns import Pair
from support.servers import SERVERS, Running, Server
from support.wireshark import Captures, Wireshark, tshark
from truth import exchanges, packets
from truth.exchanges import Exchange, Process

ALL = bool(os.environ.get("TCCAP_TRUTH_PROGRAMS"))
MANY = 40 if ALL else 4  # clients at a time
SHORT = ("nginx",)
REQUEST = b"GET / HTTP/1.1\r\nHost: server\r\n\r\n"
LO = "127.0.0.1"
SOL_MPTCP, MPTCP_INFO = 284, 1  # include/linux/socket.h, include/uapi/linux/mptcp.h
# Each but once, so that no packet can be another connection's. The kernel chooses none
# of these.
CLIENT_PORTS = iter(range(20000, 32768))
# A user who is not root gets a process of sshd's own.
USER = "someone"
PASSWD = f"{USER}:x:54321:54321::/:/bin/sh\n"
WITH_PASSWD = 'mount --bind "$0" /etc/passwd && exec "$@"'


@pytest.fixture
def place() -> Iterator[Path]:
    """Yield a folder that every user can enter."""
    with tempfile.TemporaryDirectory(prefix="tccap-test-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def _capture(wireshark: Wireshark, pair: Pair, file: Path) -> Iterator[Captures]:
    file.touch()
    file.chmod(0o666)
    full = ("-o", "extcap.tccap_any.label:full", "-w", str(file))
    with tshark(wireshark, pair.near, *full, devices=("any",)) as captures:
        yield captures
        captures.interrupt()
        captures.finish()
        assert captures.left() == []


class Clients:
    """Programs that ask a server, here and in another namespace."""

    def __init__(self, pair: Pair, server: Running) -> None:
        self._pair = pair
        self._server = server
        self._port = server.server.port
        self._seen: dict[int, Process] = {}  # some end by a reload
        self.done: list[Exchange] = []

    def _family(self) -> set[int]:
        """Return the server's processes, and remember them."""
        for pid in self._server.family():
            with contextlib.suppress(OSError):
                self._seen[pid] = Process.read(pid)
        return set(self._seen)

    def ask(self, many: int) -> None:
        """Run clients at once, on both sides."""
        self._family()
        started = [self._start(here) for here in (True, False) for _ in range(many)]
        for process, client_at in started:
            output, _ = process.communicate(timeout=running.DEADLINE_S)
            assert process.returncode == 0
            self._add(int(output), client_at, Process(process.pid, "curl", 0))

    def _start(self, here: bool) -> "tuple[subprocess.Popen[bytes], exchanges.Address]":
        space = self._pair.near if here else self._pair.far
        to, own = (
            (LO, LO) if here else (self._pair.near_address, self._pair.far_address)
        )
        port = next(CLIENT_PORTS)
        curl = ("curl", "-sS", "--local-port", str(port), f"http://{to}:{self._port}/")
        command = space.command(*curl)
        return subprocess.Popen(command, stdout=subprocess.PIPE), (own, port)

    def _add(self, pid: int, client_at: exchanges.Address, client: Process) -> None:
        accepting = frozenset(self._family())
        server = self._seen[pid]
        self.done.append(Exchange(client_at, self._port, client, server, accepting))

    @contextlib.contextmanager
    def held(self) -> Iterator[socket.socket]:
        """Yield a connection that was answered once."""
        self._family()
        kind = socket.AF_INET, socket.SOCK_STREAM, self._server.server.protocol
        with self._pair.far.entered():
            sock = socket.socket(*kind)
        with sock:
            sock.bind(("", next(CLIENT_PORTS)))
            sock.connect((self._pair.near_address, self._port))
            pid = answered_by(sock)
            if self._server.server.protocol == servers.IPPROTO_MPTCP:
                sock.getsockopt(SOL_MPTCP, MPTCP_INFO, 1)  # OSError: it is plain TCP
            self._add(pid, sock.getsockname(), Process.read(os.getpid()))
            yield sock


def answered_by(sock: socket.socket) -> int:
    """Ask on a connection; return the pid in the answer, 0: it was closed."""
    with contextlib.suppress(ConnectionError):
        sock.sendall(REQUEST)
        answer = b""
        while not answer.partition(b"\r\n\r\n")[2].endswith(b"\n"):
            data = sock.recv(1000)
            if not data:
                return 0
            answer += data
        return int(answer.split()[-1])
    return 0


def _ask_before_and_after_a_reload(clients: Clients, server: Running) -> None:
    clients.ask(MANY)
    with clients.held() as sock:
        server.reload()
        clients.ask(MANY)
        pid = answered_by(sock)
        assert pid in (0, clients.done[-1 - 2 * MANY].server.pid)
    clients.ask(MANY)


def _report(name: str, file: Path, done: list[Exchange]) -> None:
    report = exchanges.judge(packets.read(file.read_bytes()), done)
    _print(exchanges.head(), report.line(name), *report.examples)
    assert report.counts["right"]
    assert not report.counts["wrong"]


def _print(*lines: str) -> None:
    print("", *lines, sep="\n")  # noqa: T201  # the table to be seen


def _skip_if_missing(name: str, lacks: str) -> None:
    if lacks:
        _print(f"{name}: not installed: {lacks}")
        pytest.skip(f"not installed: {lacks}")


@pytest.mark.parametrize("server", SERVERS, ids=lambda server: server.name)
def test_servers_and_their_clients(
    wireshark: Wireshark, pair: Pair, place: Path, server: Server
) -> None:
    if not ALL and server.name not in SHORT:
        pytest.skip("make truth-programs runs it")
    _skip_if_missing(server.name, server.missing())
    file = place / "file.pcapng"
    with servers.serving(server, pair.near, place) as started:
        clients = Clients(pair, started)
        with _capture(wireshark, pair, file):
            _ask_before_and_after_a_reload(clients, started)
    _report(server.name, file, clients.done)


class Session:
    """A login that echoes lines."""

    def __init__(self, pair: Pair, host: sshd.Host, user: str) -> None:
        command = ("echo $PPID $SSH_CONNECTION; cat",)
        self._process = subprocess.Popen(
            pair.far.command(*host.ssh, "-l", user, "HOST", *command),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        accepting = self._family_until_output(host.pid)
        pid, address, port, *_ = self._line().decode().split()
        self.exchange = Exchange(
            (address, int(port)),
            sshd.PORT,
            Process(self._process.pid, "ssh", 0),
            Process.read(int(pid)),
            frozenset(accepting),
            served_ns=time.time_ns(),
        )

    def _family_until_output(self, listener: int) -> set[int]:
        """Collect the processes that serve the login; some of them end meanwhile."""
        assert self._process.stdout
        found = servers.family(listener)
        while not select.select([self._process.stdout], [], [], 0.002)[0]:
            found |= servers.family(listener)
        return found | servers.family(listener)

    def _line(self) -> bytes:
        assert self._process.stdout
        return self._process.stdout.readline()

    def talk(self) -> None:
        """Send lines, and wait for each."""
        assert self._process.stdin
        for number in range(MANY):
            line = b"line %d\n" % number
            self._process.stdin.write(line)
            self._process.stdin.flush()
            assert self._line() == line

    def end(self) -> None:
        """Log out."""
        self._process.communicate(timeout=running.DEADLINE_S)
        assert self._process.returncode == 0


@pytest.mark.parametrize("user", ["root", USER])
def test_sshd_and_its_clients(
    wireshark: Wireshark, pair: Pair, place: Path, user: str
) -> None:
    if not ALL and user == "root":
        pytest.skip("make truth-programs runs it")
    _skip_if_missing("sshd", servers.missing(sshd.PROGRAM, "ssh"))
    file, passwd = place / "file.pcapng", place / "passwd"
    passwd.write_text(Path("/etc/passwd").read_text() + PASSWD)
    prefix = ("sh", "-c", WITH_PASSWD, str(passwd))
    done = []
    with (
        sshd.host(pair.near, pair.near_address, place, prefix) as host,
        _capture(wireshark, pair, file),
    ):
        first = Session(pair, host, user)
        first.talk()
        host.reload()
        second = Session(pair, host, user)
        for session in (first, second):
            session.talk()
            session.end()
            done.append(session.exchange)
    _report(f"sshd, {user}", file, done)
