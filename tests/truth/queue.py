"""A queue of netfilter: a process decides on packets of others, and lets them go."""

import contextlib
import socket
import struct
import subprocess
from collections.abc import Iterator

from support.netns import Namespace
from truth.translation import rules
from truth.workers import Script

NETLINK_NETFILTER = 12
# include/uapi/linux/netfilter/nfnetlink.h and nfnetlink_queue.h
_VERDICT, _CONFIG = 3 << 8 | 1, 3 << 8 | 2
_CONFIG_COMMAND, _CONFIG_PARAMETERS, _VERDICT_HEADER = 1, 2, 2
_BIND, _COPY_NOTHING, _ACCEPT = 1, 1, 1
_REQUEST = 1
_PACKET_ID_AT = 24  # behind the headers and the first attribute's


@contextlib.contextmanager
def queued(space: Namespace, number: int, port: int) -> Iterator[bool]:
    """Queue what leaves for a port of UDP; False where the kernel cannot."""
    with contextlib.ExitStack() as stack:
        try:
            rule = f"udp dport {port} queue num {number}"
            stack.enter_context(rules(space, f"queue-{port}", output=rule))
        except subprocess.CalledProcessError:
            try:
                stack.enter_context(_queued_by_iptables(space, number, port))
            except (OSError, subprocess.CalledProcessError):
                yield False
                return
        yield True


@contextlib.contextmanager
def _queued_by_iptables(space: Namespace, number: int, port: int) -> Iterator[None]:
    command = ("iptables-legacy", "-w", "-t", "mangle")
    rule = ("OUTPUT", "-p", "udp", "--dport", str(port))
    target = ("-j", "NFQUEUE", "--queue-num", str(number))
    space.run(*command, "-A", *rule, *target)
    try:
        yield
    finally:
        space.run(*command, "-D", *rule, *target)


def lets_go(number: int) -> Script:
    """Have a queue; then let a packet go at each step."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETLINK_NETFILTER) as queue:
        _configure(queue, number, _CONFIG_COMMAND, struct.pack(">BxH", _BIND, 0))
        parameters = struct.pack(">IB", 0, _COPY_NOTHING)
        _configure(queue, number, _CONFIG_PARAMETERS, parameters)
        yield
        while True:
            packet_id = queue.recv(1 << 16)[_PACKET_ID_AT : _PACKET_ID_AT + 4]
            verdict = struct.pack(">I", _ACCEPT) + packet_id
            queue.send(_message(_VERDICT, number, _VERDICT_HEADER, verdict))
            yield


def _configure(queue: socket.socket, number: int, kind: int, data: bytes) -> None:
    queue.send(_message(_CONFIG, number, kind, data))


def _message(message_type: int, number: int, kind: int, data: bytes) -> bytes:
    attribute = struct.pack("=HH", 4 + len(data), kind) + data
    body = struct.pack(">BBH", 0, 0, number) + attribute + bytes(-len(data) % 4)
    return struct.pack("=IHHII", 16 + len(body), message_type, _REQUEST, 0, 0) + body
