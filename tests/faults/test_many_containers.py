"""Containers that are started and stopped during a capture leave nothing behind.

Cgroups, network namespaces and files that the test makes stand for Docker itself, which
takes longer. Each container lives until a packet names it. 500 of them: make
many-containers.
"""

import contextlib
import functools
import operator
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple, Self

import pytest

from faults import traffic
from faults.use import Use
from support import bpf, netns, place, running
from support.netns import Namespace
from truth import packets
from truth.packets import Packet

COUNT = int(traffic.seconds("TCCAP_CONTAINERS", 40))
AT_ONCE = 8
LATE_NS = 100_000_000
GROWTH_KIB = 4096
GATEWAY, MAC, PORT = "10.99.255.1", "02:00:00:00:99:01", 9980
SERVER = f"""
import socket
listener = socket.create_server(("", {PORT}), backlog=100)
print("ready", flush=True)
while True:
    served, _ = listener.accept()
    with served:
        served.sendall(served.recv(100))
"""
# Maps whose entries go with their containers, by the first letters of their names. The
# others forget by themselves what was used least.
FOLLOWING = "devices", "container_addre", "local_networks"


class State(NamedTuple):
    """What a capture uses."""

    uses: list[Use]  # of the engine and the carrier
    entries: dict[str, int]  # of maps

    @classmethod
    def of(cls, engine: running.Engine) -> Self:
        pid = engine.process.pid
        uses = [Use.of(each) for each in (pid, running.carrier(pid))]
        return cls(uses, bpf.entries_of(pid))

    def counts(self) -> list[int]:
        """Return what must not be more when all containers have gone."""
        descriptors = [number for use in self.uses for number in use[1:]]
        return [*descriptors, *(self.entries[name] for name in FOLLOWING)]


@pytest.fixture
def space() -> Iterator[Namespace]:
    """A host with a bridge for containers."""
    with netns.namespace() as made:
        # Its own addresses would come after a while.
        made.run("sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1")
        # Without an address of its own, it would change with its ports.
        made.ip("link", "add", "br0", "address", MAC, "type", "bridge")
        made.ip("addr", "add", f"{GATEWAY}/16", "dev", "br0")
        made.ip("link", "set", "br0", "up")
        yield made


@pytest.mark.timeout(0 if COUNT > 100 else 600)
@pytest.mark.full_matrix
def test_many_containers_are_named_and_leave_nothing_behind(space: Namespace) -> None:
    names = [place.own(f"web-{number:04}") for number in range(COUNT)]
    with _server(space), running.engine(space, "any", label="short") as engine:
        _run(space, engine, names[:AT_ONCE])
        pid = engine.process.pid
        running.until(lambda: bpf.entries_of(pid)["devices"] == 2, "lo and br0 alone")
        states = [State.of(engine)]
        for quarter in range(4):
            some = names[AT_ONCE:][quarter::4]
            _run(space, engine, some)
            states.append(_settled(engine, states[0]))
        found = list(packets.read(_output(engine)))
    print("", f"{COUNT} containers", *states, sep="\n")  # noqa: T201
    print(_late(found), "were named later than after 0.1 s")  # noqa: T201
    for warm, late in zip(states[2].uses, states[4].uses, strict=True):
        assert late.memory_kib - warm.memory_kib < GROWTH_KIB


def _output(engine: running.Engine) -> bytes:
    engine.end()
    assert engine.output
    return engine.output.rest()


def _settled(engine: running.Engine, before: State) -> State:
    """Return the state when the engine has seen that all have gone."""
    latest = before

    def is_settled() -> bool:
        nonlocal latest
        latest = State.of(engine)
        return all(map(operator.le, latest.counts(), before.counts()))

    with contextlib.suppress(AssertionError):  # the next one shows the difference
        running.until(is_settled, "as before")
    assert is_settled(), (latest, before)
    return latest


def _late(found: Iterable[Packet]) -> int:
    """Return how many containers were named late; no packet is another one's."""
    seen: dict[str, int] = {}
    named: dict[str, int] = {}
    for packet in found:
        keys = ("container_name", "peer_container_name")
        names = {packet.label[key] for key in keys if key in packet.label}
        for each in names:
            named.setdefault(each, packet.time_ns)
        _, is_ours, name = packet.data.rpartition(b"I am ")
        if is_ours:
            assert names <= {name.decode()}, packet
            seen.setdefault(name.decode(), packet.time_ns)
    return sum(named[name] - since > LATE_NS for name, since in seen.items())


def _run(space: Namespace, engine: running.Engine, names: list[str]) -> None:
    """Start and stop containers, some at once."""
    assert engine.output
    for at in range(0, len(names), AT_ONCE):
        some = names[at : at + AT_ONCE]
        with contextlib.ExitStack() as stack:
            pids = [stack.enter_context(_container(space, name)) for name in some]
            for pid, name in zip(pids, some, strict=True):
                engine.output.wait_for(f"container_name={name}".encode())
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)


@contextlib.contextmanager
def _container(space: Namespace, name: str) -> Iterator[int]:
    """Yield the process of a new container; when it has ended, the rest is removed."""
    number = int(name.rpartition("-")[2])
    address, device = f"10.99.{number // 250}.{number % 250 + 1}", f"box{number}"
    with place.docker(os.urandom(32).hex(), name) as folder, netns.namespace() as box:
        _ip(
            space,
            f"link add {device} type veth peer name eth0 netns {box.name}",
            f"link set {device} master br0 up",
        )
        _ip(box, f"addr add {address}/16 dev eth0", "link set eth0 up")
        yield place.start(folder, functools.partial(_live, box, name))


def _ip(space: Namespace, *commands: str) -> None:
    batch = ["ip", "-n", space.name, "-batch", "-"]
    subprocess.run(batch, input="\n".join(commands), text=True, check=True)


def _live(box: Namespace, name: str) -> None:
    """Ask the host again and again, until killed."""
    mark = f"I am {name}".encode()
    with box.entered():
        while True:
            with socket.create_connection((GATEWAY, PORT), 20) as client:
                client.sendall(mark)
                assert client.recv(100) == mark
            time.sleep(0.02)


@contextlib.contextmanager
def _server(space: Namespace) -> Iterator[None]:
    """Have a process of the host that answers."""
    with running.started(space.command(*running.python(SERVER))) as process:
        assert process.stdout
        assert process.stdout.readline() == b"ready\n"
        yield
