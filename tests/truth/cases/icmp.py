"""ICMP echo, by raw sockets and by ping sockets."""

import socket
import time

from truth.cases.registry import CaseContext, case
from truth.sockets import LO4, LO6, await_echo_reply, echo_request
from truth.workers import Script, Worker, alternate

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
PROTOCOLS = {4: socket.IPPROTO_ICMP, 6: socket.IPPROTO_ICMPV6}
ADDRESSES = {4: LO4, 6: LO6}


@case
def ping_raw(context: CaseContext) -> None:
    ping_raw_by_version(context, 4)


@case
def ping_raw_ipv6(context: CaseContext) -> None:
    ping_raw_by_version(context, 6)


def ping_raw_by_version(context: CaseContext, version: int) -> None:
    """Send an echo request whose header the process makes itself."""

    def script() -> Script:
        context.claim("icmp", local=identifier)
        family, protocol = FAMILIES[version], PROTOCOLS[version]
        with socket.socket(family, socket.SOCK_RAW, protocol) as sock:
            sock.settimeout(60)
            sock.sendto(echo_request(version, identifier), (ADDRESSES[version], 0))
            await_echo_reply(sock, version)
            yield

    identifier = context.port()
    alternate(Worker(script()))


@case
def ping_socket(context: CaseContext) -> None:
    ping_socket_by_version(context, 4)


@case
def ping_socket_ipv6(context: CaseContext) -> None:
    ping_socket_by_version(context, 6)


def ping_socket_by_version(context: CaseContext, version: int) -> None:
    """Send an echo request whose identifier the kernel chooses.

    It may be that of another case, whose packets are all from before the claim.
    """

    def script() -> Script:
        family, protocol = FAMILIES[version], PROTOCOLS[version]
        with socket.socket(family, socket.SOCK_DGRAM, protocol) as sock:
            sock.settimeout(60)
            began_ns = time.time_ns()
            sock.sendto(echo_request(version, 1), (ADDRESSES[version], 0))
            context.claim("icmp", local=sock.getsockname()[1], since_ns=began_ns)
            assert sock.recv(100)
            yield

    alternate(Worker(script()))
