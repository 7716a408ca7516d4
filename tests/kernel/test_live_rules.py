"""Rules that change destinations count at once, before the engine hears of them."""

import contextlib
import os
import signal
import socket

import pytest

from support import frames, netns, running
from tccap.bpf import features
from truth import network, packets
from truth.cases.tracked import answers_datagrams, asks_datagrams, inside
from truth.cases.translated import listens
from truth.network import OUTSIDE, Container
from truth.sockets import ANY4, listener, tcp, udp
from truth.translation import published, rules
from truth.verdict import tcp_flags
from truth.workers import Script, Worker, kill_all

PORT, OTHER = 20001, 20002
NAT = "type nat hook prerouting priority dstnat;"
FILTER = "type filter hook prerouting priority raw;"
# It makes the kernel track connections.
CONNTRACK = (
    "add chain ip t i { type filter hook input priority 0; }; "
    "add rule ip t i ct state established accept"
)
KINDS = {"tcp": socket.SOCK_STREAM, "udp": socket.SOCK_DGRAM}


def _binds(port: int) -> Script:
    """Bind a datagram socket, and use it without receiving from others."""
    with udp(ANY4) as sock:
        sock.bind((ANY4, port))
        sock.sendto(b"own", ("127.0.0.1", port))
        assert sock.recv(10) == b"own"
        yield


def _ask(space: netns.Namespace, protocol: str, address: str) -> bytes:
    """Ask on the port; return the content of a datagram that is sent after that."""
    mark = frames.marker()
    with space.entered(), socket.socket(type=KINDS[protocol]) as sock:
        sock.setblocking(False)
        sock.connect_ex((address, PORT))
        if protocol == "udp":
            sock.send(b"question")
        with socket.socket(type=socket.SOCK_DGRAM) as last:
            last.sendto(mark, (address, OTHER))
    return mark


def _say_last(outside: Container) -> bytes:
    """Return the content of a datagram from outside, which nobody gets."""
    mark = frames.marker()
    with outside.space.entered(), udp(ANY4) as last:
        last.sendto(mark, (outside.near_address, PORT))
    return mark


def _seen(engine: running.Engine, mark: bytes) -> list[packets.Packet]:
    """End the capture when it has a packet; return all."""
    assert engine.output
    engine.output.wait_for(mark)
    engine.end()
    return list(packets.read(engine.output.rest()))


@pytest.mark.skipif(not features.classifiers_read_kernel(), reason="lockdown")
# Each place with each protocol and each chain, and each of these with each other.
@pytest.mark.parametrize(
    ("inside", "protocol", "chain"),
    [
        pytest.param(False, "tcp", NAT, id="here-tcp-nat"),
        pytest.param(True, "tcp", FILTER, id="in-a-container-tcp-filter"),
        pytest.param(
            *(False, "udp", FILTER),
            id="here-udp-filter",
            marks=pytest.mark.full_matrix,
        ),
        pytest.param(
            *(True, "udp", NAT),
            id="in-a-container-udp-nat",
            marks=pytest.mark.full_matrix,
        ),
    ],
)
def test_a_rule_counts_while_the_engine_is_stopped(
    inside: bool, protocol: str, chain: str
) -> None:
    rule = f"{protocol} dport {PORT}"
    rule += (
        f" redirect to :{OTHER}" if chain == NAT else f" {protocol} dport set {OTHER}"
    )
    with netns.pair() as pair:
        server, client = (pair.far, pair.near) if inside else (pair.near, pair.far)
        address = pair.far_address if inside else pair.near_address
        with server.entered():
            bystander = Worker((listens if protocol == "tcp" else _binds)(PORT))
        with running.engine(pair.near, pair.near_device, label="short") as engine:
            bystander.step()
            os.kill(engine.process.pid, signal.SIGSTOP)
            server.run(
                "nft",
                f"add table ip t; add chain ip t c {{ {chain} }}; "
                f"add rule ip t c {rule}",
            )
            mark = _ask(client, protocol, address)
            os.kill(engine.process.pid, signal.SIGCONT)
            seen = _seen(engine, mark)
    kill_all()
    asked = [p for p in seen if p.ends and p.ends.receiver == PORT]
    assert asked
    for packet in asked:
        label = packet.label
        assert str(bystander.pid) not in {label.get("pid"), label.get("peer_pid")}


@pytest.mark.parametrize(
    "rule", [CONNTRACK, pytest.param("", marks=pytest.mark.full_matrix)]
)
def test_rules_that_leave_destinations_alone_do_not_count(rule: str) -> None:
    with netns.pair() as pair:
        pair.near.ip("link", "add", "br0", "type", "bridge")  # has a hook of its own
        pair.near.run("nft", f"add table ip t; {rule}")
        with pair.near.entered():
            server = Worker(listens(PORT))
        with running.engine(pair.near, pair.near_device, label="short") as engine:
            server.step()
            mark = _ask(pair.far, "tcp", pair.near_address)
            seen = _seen(engine, mark)
    kill_all()
    labels = [p.label for p in seen if p.ends and p.ends.receiver == PORT]
    assert labels
    for label in labels:
        assert str(server.pid) in {label.get("pid"), label.get("peer_pid")}


@pytest.mark.skipif(not features.classifiers_read_kernel(), reason="lockdown")
def test_no_entry_counts_while_nothing_translates() -> None:
    """All rules go and come back, as where a firewall is loaded again."""
    with network.network() as net, contextlib.ExitStack() as stack:
        box, outside = net.bridged[0], net.outside
        server = inside(box, answers_datagrams(OTHER, rounds=4))
        server.step()
        with net.here.entered():
            heir = Worker(answers_datagrams(PORT, rounds=2))
        client = inside(outside, asks_datagrams(outside.near_address, PORT, rounds=6))
        engine = stack.enter_context(running.engine(net.here, "any", label="short"))
        heir.step()
        chain = (
            f"add table ip t; add chain ip t c {{ {NAT} }}; "
            f"add rule ip t c udp dport {PORT} dnat to {box.far_address}:{OTHER}"
        )
        for receiver in (server, heir, server):
            if receiver is heir:
                net.here.run("nft", "flush", "ruleset")
            else:
                net.here.run("nft", chain)
            for _ in range(2):
                client.step()
                receiver.step()
        seen = _seen(engine, _say_last(outside))
    kill_all()
    named = [
        packet.label.get("peer_pid")
        for packet in seen
        if packet.device == OUTSIDE and packet.ends and packet.ends.receiver == PORT
    ]
    # The first one of the connection, and the last one, which has no connection.
    first, second, *others, fifth, sixth, last_one = named
    pids = str(server.pid), str(heir.pid)
    assert (first, second, fifth, sixth, last_one) == (
        None,
        pids[0],
        *pids[:1] * 2,
        None,
    )
    assert {*others} <= {None, pids[1]}


def _closes(port: int) -> Script:
    """Close a connection when it is accepted, and listen on."""
    with listener(port, ANY4) as listening:
        yield
        listening.accept()[0].close()
        yield


def _connects(address: str, port: int, source: int, times: int) -> Script:
    """Connect from one port again and again, each time until the server closes."""
    for _ in range(times):
        with tcp(ANY4) as sock:
            sock.bind((ANY4, source))
            sock.connect((address, port))
            yield
            assert sock.recv(1) == b""
    yield


@pytest.mark.skipif(not features.classifiers_read_kernel(), reason="lockdown")
def test_a_connection_like_one_before_may_get_elsewhere() -> None:
    """While the entry of that one is kept, by which its packets were known."""
    with network.network() as net:
        outside = net.outside
        client = inside(outside, _connects(outside.near_address, PORT, OTHER + 1, 2))
        servers = [inside(box, _closes(OTHER)) for box in net.bridged]
        with running.engine(net.here, "any", label="short") as engine:
            for box, server in zip(net.bridged, servers, strict=True):
                server.step()
                with published(net.here, "tcp", PORT, (box.far_address, OTHER)):
                    client.step()
                    server.step()
            client.step()
            seen = _seen(engine, _say_last(outside))
    kill_all()
    begun = [p.label for p in seen if p.device == OUTSIDE and tcp_flags(p) == "S"]
    # A SYN may be sent again.
    assert len(begun) >= 2
    assert {label.get("peer_pid") for label in begun} == {None}


def _is_refused(port: int) -> Script:
    """Answer a datagram by a socket that is connected then, until that is refused."""
    with udp(ANY4) as sock:
        sock.bind((ANY4, port))
        yield
        _, sender = sock.recvfrom(100)
        sock.connect(sender)
        sock.send(b"answer")
        with pytest.raises(ConnectionRefusedError):
            sock.recv(100)
        yield


@pytest.mark.skipif(not features.classifiers_read_kernel(), reason="lockdown")
def test_what_a_bridge_passes_straight_on_is_not_translated_back() -> None:
    """A container asks the host, by whose rule its neighbour answers, as itself."""
    with network.network() as net:
        net.here.run("sysctl", "-eqw", "net.bridge.bridge-nf-call-iptables=0")
        asking, serving = net.bridged
        address = net.outside.near_address
        server = inside(serving, _is_refused(OTHER))
        client = inside(asking, asks_datagrams(address, PORT, rounds=1))
        rule = f"ip daddr {address} udp dport {PORT} dnat to {serving.far_address}"
        with (
            rules(net.here, "straight", prerouting=f"{rule}:{OTHER}"),
            running.engine(net.here, "any", label="short") as engine,
        ):
            server.step()
            client.step()
            server.step()
            seen = _seen(engine, _say_last(net.outside))
    kill_all()
    answers = [p.label for p in seen if p.ends and p.ends.sender == OTHER]
    assert answers
    assert not [label for label in answers if label.get("peer_pid") == str(client.pid)]
