"""Paths of Multipath TCP that another process has the kernel make."""

import contextlib
import socket
import struct
from collections.abc import Iterator

from support.netns import Namespace
from truth.cases.registry import CaseContext, case
from truth.sockets import LO4, answer, mptcp, mptcp_listener
from truth.workers import Script, Worker, kill_all

LO_2 = "127.0.0.2"
# include/linux/socket.h, include/uapi/linux/mptcp.h
SOL_MPTCP, MPTCP_INFO, INFO_LEN, TOKEN_AT = 284, 1, 64, 12
# include/uapi/linux/netlink.h, genetlink.h
NETLINK_GENERIC, REQUEST, ACK = 16, 1, 4
GENL_ID_CTRL, GET_FAMILY, FAMILY_ID, FAMILY_NAME = 16, 3, 1, 2
NLMSG_ERROR = 2
# include/uapi/linux/mptcp_pm.h
CREATE_SUBFLOW, ATTR_ADDR, ATTR_TOKEN, ATTR_ADDR_REMOTE = 10, 1, 4, 6
ADDR_FAMILY, ADDR_ID, ADDR_4, ADDR_PORT, NESTED = 1, 2, 3, 5, 0x8000


def _attribute(kind: int, data: bytes) -> bytes:
    return struct.pack("=HH", 4 + len(data), kind) + data + bytes(-len(data) % 4)


def _ask(sock: socket.socket, family: int, command: int, attributes: bytes) -> bytes:
    """Return the answer behind its headers; OSError if the kernel refuses."""
    body = struct.pack("=BBH", command, 1, 0) + attributes
    sock.send(struct.pack("=IHHII", 16 + len(body), family, REQUEST | ACK, 1, 0) + body)
    data = sock.recv(1 << 16)
    if struct.unpack_from("=H", data, 4)[0] == NLMSG_ERROR:
        error = struct.unpack_from("=i", data, 16)[0]
        if error:
            raise OSError(-error, "the kernel makes no path")
    return data[20:]


def _make_path(token: int, port: int) -> None:
    """Have the kernel connect a second path, from another address."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_GENERIC) as sock:
        name = _attribute(FAMILY_NAME, b"mptcp_pm\0")
        found = _ask(sock, GENL_ID_CTRL, GET_FAMILY, name)
        assert sock.recv(1 << 16)  # that was all
        at = 0
        while struct.unpack_from("=H", found, at + 2)[0] != FAMILY_ID:
            at += -(-struct.unpack_from("=H", found, at)[0] // 4) * 4
        family = struct.unpack_from("=H", found, at + 4)[0]
        inet = _attribute(ADDR_FAMILY, struct.pack("=H", socket.AF_INET))
        near = inet + _attribute(ADDR_ID, b"\1")
        near += _attribute(ADDR_4, socket.inet_aton(LO_2))
        far = inet + _attribute(ADDR_4, socket.inet_aton(LO4))
        far += _attribute(ADDR_PORT, struct.pack("=H", port))
        attributes = _attribute(ATTR_TOKEN, struct.pack("=I", token))
        attributes += _attribute(ATTR_ADDR | NESTED, near)
        attributes += _attribute(ATTR_ADDR_REMOTE | NESTED, far)
        _ask(sock, family, CREATE_SUBFLOW, attributes)


@contextlib.contextmanager
def _made_by_processes(space: Namespace) -> Iterator[None]:
    """Have processes decide about paths, rather than the kernel."""
    space.run("sysctl", "-qw", "net.mptcp.pm_type=1")
    try:
        yield
    finally:
        space.run("sysctl", "-qw", "net.mptcp.pm_type=0")


@case
def path_made_by_another_process(context: CaseContext) -> None:
    """As mptcpd does; the process of the connection has nothing to do with it."""

    def asks() -> Script:
        context.claim("tcp", remote=port)
        with mptcp() as connection:
            connection.connect((LO4, port))
            connection.sendall(b"question")
            info = connection.getsockopt(SOL_MPTCP, MPTCP_INFO, INFO_LEN)
            yield struct.unpack_from("=I", info, TOKEN_AT)[0]
            assert connection.recv(100)
            yield

    def serves() -> Script:
        context.claim("tcp", local=port)
        with mptcp_listener(port) as listening:
            yield
            with listening.accept()[0] as connection:
                answer(connection)
                yield

    def makes() -> Script:
        try:
            _make_path(token, port)
        except OSError as error:
            context.lacks(f"paths that processes make: {error.strerror}")
        yield

    if not context.has_multipath():
        return
    port = context.port()
    with _made_by_processes(context.network.here):
        server, client = Worker(serves()), Worker(asks())
        server.step()
        token = client.step()
        server.step()
        maker = Worker(makes())
        maker.step()
        client.step()
    kill_all()
