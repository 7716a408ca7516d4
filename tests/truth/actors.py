"""Processes that do what a schedule says, one command at a time.

All channels are made before the first process is forked, so that the schedule can
talk to processes that other processes have forked.
"""

import os
import pickle
import select
import signal
import socket
from collections.abc import Callable
from typing import Any, NoReturn

from support.netns import Namespace
from truth.sockets import (
    reset_on_close,
    tcp,
    udp,
    wait_for_datagram,
)

Address = tuple[str, int]


class Actors:
    """The schedule's side: channels to the processes."""

    def __init__(self, most: int) -> None:
        kind = socket.SOCK_SEQPACKET
        self._commands = [socket.socketpair(socket.AF_UNIX, kind) for _ in range(most)]
        self._gifts = [socket.socketpair(socket.AF_UNIX, kind) for _ in range(most)]
        self.pids: dict[int, int] = {}

    def start(self, number: int) -> None:
        """Fork a process that has no sockets."""
        self.pids[number] = self.fork(number, {})

    def fork(self, number: int, sockets: dict[int, socket.socket]) -> int:
        """Fork a process that has these sockets; return its pid."""
        pid = os.fork()
        if not pid:
            _Actor(self, number, sockets).run(self._commands[number][1])
        return pid

    def give(self, taker: int, sock: socket.socket) -> None:
        """Send a descriptor; called by the giver."""
        socket.send_fds(self._gifts[taker][0], [b"x"], [sock.fileno()])

    def take(self, number: int) -> socket.socket:
        """Receive a descriptor; called by the taker."""
        _, fds, _, _ = socket.recv_fds(self._gifts[number][1], 1, 1)
        return socket.socket(fileno=fds[0])

    def begin(self, number: int, command: str, *arguments: object) -> None:
        """Have a process begin with a command."""
        self._commands[number][0].send(pickle.dumps((command, arguments)))

    def finish(self, number: int) -> Any:
        """Return the result of the command."""
        failed, result = pickle.loads(self._commands[number][0].recv(1 << 16))
        assert not failed, result
        return result

    def do(self, number: int, command: str, *arguments: object) -> Any:
        """Have a process do a command; return the result."""
        self.begin(number, command, *arguments)
        return self.finish(number)

    def end(self, number: int) -> None:
        """Kill a process, and return when its descriptors are closed."""
        pidfd = os.pidfd_open(self.pids.pop(number))
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        # Nobody waits for a process that another one has forked: poll(2) does.
        wait_for_exit(pidfd)
        os.close(pidfd)


def wait_for_exit(pidfd: int) -> None:
    """Return when a process has exited."""
    ready = select.poll()
    ready.register(pidfd, select.POLLIN)
    ready.poll()


class _Actor:
    """A process's side: its sockets by number."""

    def __init__(
        self, actors: Actors, number: int, sockets: dict[int, socket.socket]
    ) -> None:
        self._actors = actors
        self._number = number
        self._sockets = sockets
        self._connection: socket.socket | None = None

    def run(self, channel: socket.socket) -> NoReturn:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        while True:
            command, arguments = pickle.loads(channel.recv(1 << 16))
            try:
                action: Callable[..., object] = getattr(self, command)
                answer = (False, action(*arguments))
            except Exception as error:  # noqa: BLE001  # the schedule raises it
                answer = (True, f"{command} {arguments}: {error!r}")
            channel.send(pickle.dumps(answer))

    def make(self, sock: int, address: Address, space: str) -> None:
        """Make a socket, bound to the address, in a namespace."""
        with Namespace(space).entered():
            self._sockets[sock] = udp(address[0])
        self._sockets[sock].bind(address)

    def send(self, sock: int, data: bytes, to: Address) -> None:
        """Send a datagram."""
        self._sockets[sock].sendto(data, to)

    def await_datagram(self, sock: int) -> None:
        """Return when a datagram is there; this does not use the socket."""
        wait_for_datagram(self._sockets[sock])

    def receive(self, sock: int) -> bytes:
        """Receive a datagram."""
        return self._sockets[sock].recv(100)

    def give(self, sock: int, taker: int) -> None:
        """Pass a descriptor on."""
        self._actors.give(taker, self._sockets[sock])

    def take(self, sock: int) -> None:
        """Take the descriptor that was passed on."""
        self._sockets[sock] = self._actors.take(self._number)

    def close(self, sock: int) -> None:
        """Close a descriptor."""
        self._sockets.pop(sock).close()

    def fork(self, number: int) -> int:
        """Fork a process with the same sockets; return its pid."""
        return self._actors.fork(number, dict(self._sockets))

    def listen(self, port: int) -> None:
        """Make a listener."""
        self._connection = tcp("127.0.0.1")
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._connection.bind(("127.0.0.1", port))
        self._connection.listen()

    def serve(self) -> None:
        """Accept, answer, reset the connection, and close the listener."""
        assert self._connection
        with self._connection.accept()[0] as connection:
            assert connection.recv(100)
            connection.sendall(b"answer")
            assert connection.recv(100)
            reset_on_close(connection)
        self._connection.close()

    def ask(self, port: int, source: int) -> None:
        """Connect from a port, ask, and wait for the end by RST."""
        with tcp("127.0.0.1") as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(("127.0.0.1", source))
            sock.connect(("127.0.0.1", port))
            sock.sendall(b"question")
            assert sock.recv(100)
            sock.sendall(b"thanks")
            try:
                assert not sock.recv(100)
            except ConnectionResetError:
                return
