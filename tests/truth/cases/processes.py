"""Processes that end, are renamed, change users, or execute another program."""

import contextlib
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path

from truth.cases.registry import CaseContext, case
from truth.cases.tcp import in_thread
from truth.other_bpf import reading_a_map
from truth.sockets import (
    ANY4,
    LO4,
    listener,
    loopback,
    tcp,
    udp,
    wait_for_datagram,
)
from truth.workers import (
    Script,
    Worker,
    alternate,
    end_this_thread,
    rename,
    set_thread_filesystem_user,
    set_thread_users,
)

LAST_PID = Path("/proc/sys/kernel/ns_last_pid")
ATTEMPTS = 50
AT_ONCE = 50  # short-lived processes at a time


@case
def short_lived_processes(context: CaseContext) -> None:
    def server() -> Script:
        context.claim("tcp", local=port)
        with listener(port, ANY4) as listening:
            yield
            for _ in range(context.many):
                connection = listening.accept()[0]
                connection.recv(100)
                connection.close()
            yield

    def client(address: str) -> None:
        try:
            context.claim("tcp", remote=port, address=address)
            sock = tcp(address)
            sock.connect((address, port))
            sock.sendall(b"statement")
        finally:
            os._exit(0)

    port = context.port()
    serving = Worker(server())
    serving.step()
    serving.start()
    for started in range(context.many):
        if not os.fork():
            client(loopback(started))
        if started >= AT_ONCE:
            os.wait()
    serving.wait()
    serving.kill()
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


@case
def pid_reuse(context: CaseContext) -> None:
    """Two processes, one after the other, have the same pid."""

    def run(number: int, wanted: int) -> int:
        port = context.port()
        server = Worker(context.scripts.server(port))
        server.step()
        if wanted:
            LAST_PID.write_text(str(wanted - 1))
        client = Worker(context.scripts.client(port), comm=b"reuse %d" % number)
        alternate(client, server)
        return client.pid

    # Another program's process may get the pid first, and keep it: then try the next.
    pids = [run(1, 0)]
    while pids[-1] not in pids[:-1]:
        assert len(pids) <= ATTEMPTS
        pids.append(run(len(pids) + 1, pids[-1]))


@case
def odd_names(context: CaseContext) -> None:
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
        scripts, port = context.scripts, context.port()
        server = Worker(scripts.server(port))
        alternate(server, Worker(scripts.client(port), comm=name))


@case
def renamed(context: CaseContext) -> None:
    def script() -> Script:
        with udp(LO4) as sock:
            for name in (b"before", b"after it"):
                rename(name)
                context.claim("udp", remote=port)
                sock.sendto(b"statement", (LO4, port))
                yield

    port = context.port()
    alternate(Worker(context.scripts.udp_receiver(port, 2)), Worker(script()))


@case
def other_user(context: CaseContext) -> None:
    def script() -> Script:
        with udp(LO4) as sock:
            for user in (0, 1234, 4321):
                os.setresuid(-1, user, 0)
                context.claim("udp", remote=port)
                sock.sendto(b"statement", (LO4, port))
                yield
                os.setresuid(-1, 0, 0)

    port = context.port()
    alternate(Worker(context.scripts.udp_receiver(port, 3)), Worker(script()))


@case
def changes_beside_users_of_bpf(context: CaseContext) -> None:
    """The kernel runs no kprobe program on a CPU in the midst of bpf(2) on a map."""

    def script() -> Script:
        with udp(LO4) as sock:
            for number in range(context.many):
                os.setresuid(-1, number, 0)
                rename(f"number {number}".encode())
                context.claim("udp", remote=port)
                sock.sendto(b"statement", (LO4, port))
                os.setresuid(-1, 0, 0)
                yield

    port = context.port()
    receiver = Worker(context.scripts.udp_receiver(port, context.many))
    with reading_a_map():
        alternate(receiver, Worker(script()))


@case
def executes_another_program(context: CaseContext) -> None:
    def script() -> Script:
        sock = tcp(LO4)
        context.claim("tcp", remote=port)
        sock.connect((LO4, port))
        yield
        fd = sock.fileno()
        sock.setblocking(True)
        os.set_inheritable(fd, True)
        context.claim("tcp", remote=port, comm="sh")
        os.execl("/bin/sh", "sh", "-c", f"echo question >&{fd}; read line <&{fd}")

    port = context.port()
    server, client = Worker(context.scripts.server(port)), Worker(script())
    for worker in (server, client, server):
        worker.step()
    client.start()
    server.step()
    server.step()
    client.wait()


@case
def thread_with_its_own_user(context: CaseContext) -> None:
    """A thread takes on another user; the process keeps its own, as ps(1) shows it.

    Python and the C library change all threads: the system call changes one.
    """

    def script() -> Script:
        context.claim("udp", remote=port)
        with udp(LO4) as sock:
            for change in (set_thread_users, set_thread_filesystem_user):

                def send(change: Callable[[int], None] = change) -> None:
                    change(4321)
                    sock.sendto(b"statement", (LO4, port))

                in_thread(send)
                yield
                sock.sendto(b"statement", (LO4, port))
                yield

    port = context.port()
    alternate(Worker(context.scripts.udp_receiver(port, 4)), Worker(script()))


def speaking(context: CaseContext, port: int) -> socket.socket:
    """Return a socket by which the caller has sent a datagram."""
    context.claim("udp", remote=port)
    sock = udp(LO4)
    sock.connect((LO4, port))
    sock.send(b"before")
    return sock


def speak_twice(client: Worker, server: Worker) -> None:
    """Let the server answer in between, and end it after the client."""
    for worker in (server, client, server, client):
        worker.step()
    server.kill()


@case
def exec_in_a_thread(context: CaseContext) -> None:
    """A thread calls execve(2), which ends the first thread and takes its id."""

    def script() -> Script:
        sock = speaking(context, port)
        yield
        wait_for_datagram(sock)
        fd = sock.fileno()
        os.set_inheritable(fd, True)
        context.claim("udp", remote=port, comm="sh")
        program = ("/bin/sh", "sh", "-c", f"echo once >&{fd}; echo again >&{fd}")
        in_thread(lambda: os.execl(*program))

    port = context.port()
    speak_twice(Worker(script()), Worker(context.scripts.udp_server(port)))


@case
def first_thread_ends(context: CaseContext) -> None:
    """Another thread of the process goes on."""

    def go_on(sock: socket.socket) -> None:
        state = Path(f"/proc/self/task/{os.getpid()}/stat")
        while b") Z" not in state.read_bytes():
            time.sleep(0.001)
        for _ in range(3):
            sock.send(b"after")
        os._exit(0)

    def script() -> Script:
        sock = speaking(context, port)
        yield
        threading.Thread(target=go_on, args=(sock,)).start()
        end_this_thread()

    port = context.port()
    speak_twice(Worker(script()), Worker(context.scripts.udp_server(port)))
