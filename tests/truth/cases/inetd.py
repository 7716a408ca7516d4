"""A server that has another program for each connection."""

import os
import socket

from truth.cases.registry import CaseContext, case
from truth.sockets import LO4, listener, tcp
from truth.workers import Script, Worker


@case
def program_for_a_connection(context: CaseContext) -> None:
    """The parent accepts, closes at once, and never sends; as inetd(8)."""

    def serves() -> Script:
        context.claim("tcp", local=port)
        with listener(port) as listening:
            yield
            connection = listening.accept()[0]
            child = os.fork()
            if not child:
                for number in (0, 1):
                    os.dup2(connection.fileno(), number)
                connection.close()
                context.claim("tcp", local=port, comm="cat")
                os.execl("/bin/cat", "cat")
            connection.close()
            yield
            os.waitpid(child, 0)

    def asks() -> Script:
        context.claim("tcp", remote=port)
        with tcp(LO4) as sock:
            sock.connect((LO4, port))
            yield
            for _ in range(2):
                sock.sendall(b"question")
                assert sock.recv(100)
            sock.shutdown(socket.SHUT_WR)
            assert not sock.recv(100)
        yield

    port = context.port()
    server, client = Worker(serves()), Worker(asks())
    for one in (server, client, server, client, server):
        one.step()
