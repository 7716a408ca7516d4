"""Captures from inside of containers: cgroups, files and namespaces stand for Docker.

Each container has lo, and eth0 whose other end is in the engine's namespace.
"""

import contextlib
import functools
import operator
import os
import signal
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support import bpf, netns, place, running
from support.decrypting import READY
from support.netns import Namespace
from support.tls import TlsHost
from tccap.engine.inside import DEVICES
from tccap.host.access import ALL, OWN, Caller
from tccap.owners.occupied import ForbiddenError, Insiders, Occupant
from tccap.owners.placenames import Described
from truth import packets
from truth.network import veth
from truth.packets import Packet

needs_tcx = pytest.mark.skipif(not bpf.has_tcx(), reason="TCX came with Linux 6.6")
# Of those that are run in virtual machines the first three say what differs there.
everywhere = pytest.mark.same_everywhere
PORT, OTHER_PORT = 9981, 9982
WEB = place.own("web-*")
CHOSEN: dict[str, Any] = {"inside": True, "containers": (WEB,), "label": "short"}
# A TLS server in Python and curl suffice: libraries have tests of their own.
PAGE = "from-inside"
MARK = b"by the pair"


class Container(NamedTuple):
    """A container that runs; the engine's host reaches it by ``device``."""

    name: str  # of this run alone
    box: Namespace
    folder: Path  # its cgroup
    device: str
    address: str
    gateway: str

    def run(self, work: Callable[[], None]) -> None:
        """Do some work in a new process of the container, to its end."""
        place.run(self.folder, functools.partial(_in_box, self.box, work))


def _in_box(box: Namespace, work: Callable[[], None]) -> None:
    with box.entered():
        work()


@contextlib.contextmanager
def container(space: Namespace, name: str, number: int) -> Iterator[Container]:
    """Yield a container with a process that does nothing; all of it goes at the end.

    Its name is that of this run.
    """
    name = place.own(name)
    device, gateway, address = f"v{number}", f"10.7.{number}.1", f"10.7.{number}.2"
    with (
        place.docker(os.urandom(32).hex(), name) as folder,
        netns.namespace() as box,
    ):
        veth(space, device, box)
        for where, own, to_add in ((space, device, gateway), (box, "eth0", address)):
            where.run("sysctl", "-qw", f"net.ipv6.conf.{own}.disable_ipv6=1")
            where.ip("addr", "add", f"{to_add}/24", "dev", own)
            where.ip("link", "set", own, "up")
        pid = place.start(folder, functools.partial(_in_box, box, signal.pause))
        try:
            yield Container(name, box, folder, device, address, gateway)
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def say(mark: bytes, address: str) -> None:
    """Send a datagram to a socket of one's own, which is not connected, and back."""
    with (
        socket.socket(type=socket.SOCK_DGRAM) as one,
        socket.socket(type=socket.SOCK_DGRAM) as other,
    ):
        one.bind((address, PORT))
        other.bind((address, OTHER_PORT))
        one.sendto(mark + b" there", other.getsockname())
        assert other.recvfrom(100)[1] == one.getsockname()
        other.sendto(mark + b" back", one.getsockname())
        assert one.recv(100) == mark + b" back"


def serve(space: Namespace, gateway: str, mark: bytes, box: Container) -> None:
    """Have a process of the container fetch a mark from one of the host, by TCP."""
    # Tests that run beside this one have cgroups of other names.
    with place.cgroup(f"/{space.name}") as folder, space.entered():
        with socket.create_server((gateway, PORT)) as server:
            serving = place.start(folder, functools.partial(_serve, server, mark))
        box.run(functools.partial(_fetch, gateway, mark))
        assert os.waitpid(serving, 0)[1] == 0


def _serve(server: socket.socket, mark: bytes) -> None:
    accepted, _ = server.accept()
    with accepted:
        accepted.sendall(mark)
        accepted.recv(1)  # its end


def _fetch(gateway: str, mark: bytes) -> None:
    with socket.create_connection((gateway, PORT)) as client:
        assert client.recv(100) == mark


def captured(engine: running.Engine, until: bytes) -> list[Packet]:
    """Stop when the stream has the bytes; return the packets."""
    assert engine.output
    engine.output.wait_for(until)
    engine.end()
    return list(packets.read(engine.output.rest()))


def interfaces(engine: running.Engine) -> list[str]:
    """Return the names of all interfaces of an engine that has ended."""
    return [each.name for each in engine.whole().interfaces]


def names_of(packet: Packet) -> set[str | None]:
    """Return the containers of the sender and the receiver."""
    return {packet.label.get(f"{end}container_name") for end in ("", "peer_")}


def of(found: list[Packet], mark: bytes) -> list[Packet]:
    return [packet for packet in found if mark in packet.data]


@needs_tcx
def test_lo_of_chosen_containers_is_captured_and_nothing_twice(
    space: Namespace,
) -> None:
    with (
        container(space, "web-1", 1) as web,
        container(space, "db-1", 2) as other,
        running.engine(space, "any", **CHOSEN) as engine,
    ):
        other.run(functools.partial(say, b"in db", "127.0.0.1"))
        web.run(functools.partial(say, b"by lo", "127.0.0.1"))
        web.run(functools.partial(say, b"by own address", web.address))
        web.run(functools.partial(place.exchange, b"by TCP"))
        serve(space, web.gateway, b"by veth", web)
        found = captured(engine, b"by veth")
    names = interfaces(engine)
    assert f"{web.name}/lo" in names
    left_out = (f"{web.name}/eth0", f"{other.name}/lo", f"{other.name}/eth0")
    assert not {*left_out} & {*names}
    assert of(found, b"in db") == []
    for mark in (b"by lo", b"by own address", b"by TCP"):
        assert [each.device for each in of(found, mark)] == [f"{web.name}/lo"] * 2, mark
        first, *later = map(names_of, of(found, mark))
        # Without kprobes a socket that was never used has no owner yet.
        assert first in ({web.name}, {web.name, None}), mark
        assert later == [{web.name}], mark
    [packet] = of(found, b"by veth")
    assert packet.device == web.device
    assert packet.label["peer_container_name"] == web.name


@needs_tcx
def test_containers_with_the_same_addresses_and_ports_are_kept_apart(
    space: Namespace,
) -> None:
    """Also by the numbers of their devices, which are those of the host's."""
    with (
        container(space, "web-1", 1) as one,
        container(space, "web-2", 2) as two,
        running.engine(space, "any", **CHOSEN) as engine,
    ):
        for turn in range(3):
            for box in (one, two):
                mark = f"{box.name} turn {turn}".encode()
                box.run(functools.partial(say, mark, "127.0.0.1"))
        with space.entered():
            say(b"of no container", "127.0.0.1")
        serve(space, one.gateway, b"the end", one)
        found = captured(engine, b"the end")
    for box in (one, two):
        marked = of(found, f"{box.name} turn".encode())
        assert {packet.device for packet in marked} == {f"{box.name}/lo"}
        assert len(marked) == 6
        for packet in marked:
            assert names_of(packet) - {None} == {box.name}, packet
        answers = [packet for packet in marked if packet.data.endswith(b" back")]
        assert [names_of(packet) for packet in answers] == [{box.name}] * 3
    assert of(found, b"of no container") == []


@needs_tcx
@everywhere
def test_a_container_that_starts_later_is_taken_up_and_leaves_nothing_behind(
    space: Namespace,
) -> None:
    names = ("web-0", "web-1", "web-2")
    with running.engine(space, "any", **CHOSEN) as engine:
        assert engine.output
        before: list[int] = []
        for number, name in enumerate(names):
            with container(space, name, number) as box:
                knock(box, engine)
                box.run(functools.partial(say, b"now in " + name.encode(), "127.0.0.1"))
                engine.output.wait_for(b"now in " + name.encode() + b" back")
            # The end of the pair in the container goes with its namespace alone.
            running.until(lambda: _devices(space) == {"lo"}, "the namespace's end")
            # After the first one all tables are in use.
            before = before or _uses(engine)
            running.until(functools.partial(_is_as, engine, before), "as before")
        found = captured(engine, b"now in web-2 back")
    for name in names:
        marked = of(found, f"now in {name}".encode())
        assert [packet.device for packet in marked] == [f"{place.own(name)}/lo"] * 2


def knock(box: Container, engine: running.Engine) -> None:
    """Exchange something in a container until the capture has it."""
    assert engine.output
    work = functools.partial(_in_box, box.box, place.exchange_for_ever)
    knocking = place.start(box.folder, work)
    engine.output.wait_for(f"container_name={box.name}".encode())
    os.kill(knocking, signal.SIGTERM)
    assert os.waitpid(knocking, 0)[1] == 0


def _devices(space: Namespace) -> set[str]:
    with space.entered():
        return {name for _, name in socket.if_nameindex()}


def _uses(engine: running.Engine) -> list[int]:
    """Return the descriptors, entries of maps and programs when lo alone is left."""
    pid, entries = engine.process.pid, dict[str, int]()

    def is_alone() -> bool:
        nonlocal entries
        entries = bpf.entries_of(pid)
        return entries["devices"] == 1

    running.until(is_alone, "no device but lo")
    descriptors = len([*Path(f"/proc/{pid}/fd").iterdir()])
    addresses = (entries[name] for name in ("local_networks", "container_addre"))
    return [descriptors, len(bpf.programs_of(pid)), *addresses]


def _is_as(engine: running.Engine, before: list[int]) -> bool:
    return all(map(operator.le, _uses(engine), before))


@needs_tcx
@everywhere
def test_filters_hold_inside(space: Namespace) -> None:
    """Numbers of devices are the host's; a word chooses containers as options do."""
    text = f"container {WEB} and (udp port {PORT} or ifindex 1) and not pid 1"
    with (
        container(space, "web-1", 1) as web,
        container(space, "db-1", 2) as other,
        running.engine(
            space, "any", inside=True, label="short", filters=(text,)
        ) as engine,
    ):
        web.run(functools.partial(place.exchange, b"left out"))
        for box in (other, web):
            mark = box.name.encode()
            box.run(functools.partial(say, mark, "127.0.0.1"))
        found = captured(engine, b"web-1 back")
    assert {packet.device for packet in found} == {f"{web.name}/lo"}
    assert len(found) == 2


@needs_tcx
@everywhere
def test_what_is_captured_is_counted_by_interface(space: Namespace) -> None:
    with (
        container(space, "web-1", 1) as web,
        running.engine(space, "any", **CHOSEN) as engine,
    ):
        web.run(functools.partial(say, b"counted", "127.0.0.1"))
        captured(engine, b"counted back")
    stream = engine.whole()
    number = interfaces(engine).index(f"{web.name}/lo")
    counts = stream.counts[number]
    assert (counts.received, counts.accepted, counts.dropped) == (2, 2, 0)


@needs_tcx
@everywhere
def test_a_pair_between_two_containers_is_seen_at_one_end(space: Namespace) -> None:
    with container(space, "web-1", 1) as one, container(space, "web-2", 2) as two:
        one.box.ip(
            *("link", "add", "pair0", "type", "veth"),
            *("peer", "name", "pair0", "netns", two.box.name),
        )
        for number, each in enumerate((one, two), 1):
            each.box.ip("addr", "add", f"10.6.0.{number}/24", "dev", "pair0")
            each.box.ip("link", "set", "pair0", "up")
        with running.engine(space, "any", **CHOSEN) as engine:
            with two.box.entered():
                server = socket.create_server(("10.6.0.2", PORT))
            serving = place.start(two.folder, functools.partial(_serve, server, MARK))
            one.run(functools.partial(_fetch, "10.6.0.2", MARK))
            assert os.waitpid(serving, 0)[1] == 0
            server.close()
            found = captured(engine, MARK)
    [name] = {f"{each.name}/pair0" for each in (one, two)} & {*interfaces(engine)}
    assert [packet.device for packet in of(found, MARK)] == [name]


@needs_tcx
@everywhere
def test_devices_of_a_container_beyond_a_limit_are_named(space: Namespace) -> None:
    pairs = range(DEVICES // 2)
    commands = [f"link add a{n} up type veth peer name b{n}" for n in pairs]
    commands += [f"link set b{n} up" for n in pairs]
    with (
        container(space, "web-1", 1) as web,
        running.engine(space, "any", **CHOSEN, link_types="ethernet") as engine,
    ):
        knock(web, engine)
        batch = ["ip", "-n", web.box.name, "-batch", "-"]
        subprocess.run(batch, input="\n".join(commands), text=True, check=True)
        engine.wait_for(f"{web.name} has more than {DEVICES} devices: the rest is not")
        engine.end()
    found = [n for n in interfaces(engine) if n.startswith(f"{web.name}/")]
    assert len(found) == DEVICES


@needs_tcx
@everywhere
def test_tls_inside_is_decrypted(space: Namespace, tmp_path: Path) -> None:
    with (
        container(space, "web-1", 1) as web,
        tempfile.TemporaryDirectory(prefix="tccap-test-") as folder,
    ):
        host = TlsHost(web.box, Path(folder))
        with (
            host.serving("python") as port,
            running.engine(space, "any", **CHOSEN, tls="all") as engine,
        ):
            engine.wait_for(READY)  # the library, which the server uses, is probed
            place.run(web.folder, functools.partial(host.fetch, "curl", port, PAGE))
            web.run(functools.partial(say, b"the end", "127.0.0.1"))
            captured(engine, b"the end back")
    assert engine.output
    file = tmp_path / "capture.pcapng"
    file.write_bytes(engine.output.rest())
    fields = ("-T", "fields", "-e", "frame.interface_name", "-e", "http.request.uri")
    shown = subprocess.run(
        ["tshark", "-r", str(file), "-Y", "http.request", *fields],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    assert shown == f"{web.name}/lo\t/{PAGE}\n"


MEMBER = 4711  # user and group id
UNSHARED = ("unshare", "--user", "--map-root-user", "--net", "sleep", "inf")


@everywhere
def test_a_member_captures_inside_of_the_members_own_containers_alone(
    space: Namespace,
) -> None:
    as_member = ("setpriv", f"--reuid={MEMBER}", f"--regid={MEMBER}", "--clear-groups")
    with (
        running.started([*as_member, *UNSHARED]) as own,
        running.started(space.command("sleep", "inf")) as other,
    ):
        ours = _inode(os.getpid())
        pids = (own.pid, other.pid)
        for pid in pids:
            running.until(lambda pid=pid: _inode(pid) != ours, "a namespace of its own")
        assert _entered(Caller(MEMBER, MEMBER, ALL, OWN, MEMBER), pids) == {own.pid}
        assert _entered(Caller(MEMBER, MEMBER, OWN, ALL, MEMBER), pids) == {*pids}
        assert _entered(Caller(0, 0, ALL, ALL, 0), pids) == {*pids}


def _inode(pid: int) -> int:
    return Path(f"/proc/{pid}/ns/net").stat().st_ino


def _entered(caller: Caller, pids: tuple[int, ...]) -> set[int]:
    """Return in which processes' namespaces a user may capture."""
    there = [Occupant(Described(unit="some"), pid) for pid in pids]
    insiders = Insiders(lambda: there, caller)
    found = set()
    for inside in insiders.find().values():
        with contextlib.suppress(ForbiddenError), insiders.entered(inside):
            assert _inode(os.getpid()) == inside.inode
            found.add(inside.pid)
    return found


@everywhere
def test_without_a_choice_there_is_a_sentence(space: Namespace) -> None:
    with (
        pytest.raises(AssertionError, match="--inside needs to know which containers"),
        running.engine(space, "any", inside=True, label="short"),
    ):
        pass


@everywhere
def test_without_tcx_there_is_a_sentence(space: Namespace) -> None:
    with (
        pytest.raises(AssertionError, match="inside containers needs Linux 6"),
        running.engine(space, "any", **CHOSEN, without_tcx=True),
    ):
        pass
