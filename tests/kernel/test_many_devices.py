"""Many devices: each takes the kernel some 20 ms to attach, and two descriptors."""

import os
import socket
import subprocess

import pytest

from support import bpf, frames, netns, running, tc

pytestmark = pytest.mark.full_matrix

COUNT = 80
# A tc filter takes no descriptor and is attached at once.
with_tcx = pytest.mark.skipif(not bpf.has_tcx(), reason="TCX came with Linux 6.6")
# Root without the right to raise a hard limit, as in a container.
LOW_LIMIT = (
    *("setpriv", "--bounding-set=-sys_resource"),
    *("prlimit", "--nofile=200:200"),
)


# A soft limit, as many shells have it, which the engine can raise.
SOFT_LIMIT = ("prlimit", "--nofile=200:")


class LowLimit(netns.Namespace):
    """The same namespace, for commands that may open few files."""

    def command(self, *command: str) -> list[str]:
        return super().command(*LOW_LIMIT, *command)


class LowSoftLimit(netns.Namespace):
    """The same, but the limit can be raised."""

    def command(self, *command: str) -> list[str]:
        return super().command(*SOFT_LIMIT, *command)


@pytest.fixture
def crowd(space: netns.Namespace) -> netns.Namespace:
    """A namespace with many devices, all up."""
    _add(space, "d", COUNT)
    return space


def _add(space: netns.Namespace, prefix: str, count: int) -> None:
    lines = [
        f"link add {prefix}{n} type veth peer name {prefix}p{n}\n"
        f"link set {prefix}{n} up\nlink set {prefix}p{n} up\n"
        for n in range(count // 2)
    ]
    command = ["ip", "-n", space.name, "-batch", "-"]
    subprocess.run(command, input="".join(lines), text=True, check=True)


def _say_until_seen(space: netns.Namespace, engine: running.Engine) -> None:
    mark = frames.marker()
    with space.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:

        def seen() -> bool:
            sock.sendto(mark, ("127.0.0.1", netns.DISCARD_PORT))
            assert engine.output
            return mark in engine.output.so_far()

        running.until(seen, "a packet of lo")


def _is_ready(engine: running.Engine) -> bool:
    return "ready" in [event["event"] for event in engine.events()]


@with_tcx
def test_packets_come_while_further_devices_are_attached(
    crowd: netns.Namespace,
) -> None:
    """All are, although whoever starts the engine may open few files."""
    space = LowSoftLimit(crowd.name)
    with running.engine(space, "any", begun='"attach"') as engine:
        _say_until_seen(crowd, engine)
        assert not _is_ready(engine)
        engine.wait_for('"ready"')
        found = engine.stop()
    assert len(found.interfaces) == COUNT + 1
    running.until(lambda: tc.left(crowd) == [], "all devices are detached")


@with_tcx
def test_a_stop_does_not_wait_for_all_devices(crowd: netns.Namespace) -> None:
    with running.engine(crowd, "any", begun='"attach"') as engine:
        engine.stop()
        assert not _is_ready(engine)
    running.until(lambda: tc.left(crowd) == [], "all devices are detached")


@with_tcx
def test_what_fits_is_captured_under_a_low_limit_of_files(
    crowd: netns.Namespace,
) -> None:
    with running.engine(LowLimit(crowd.name), "any") as engine:
        _say_until_seen(crowd, engine)
        engine.wait_for("cannot be captured: Too many open files")
        _add(crowd, "later", 4)
        engine.wait_for("laterp1 cannot be captured: Too many open files")
        _say_until_seen(crowd, engine)
        engine.stop()
    running.until(lambda: tc.left(crowd) == [], "all devices are detached")


def test_a_name_that_is_not_utf8_is_escaped(space: netns.Namespace) -> None:
    name = os.fsdecode(b"d\xff\xe9")
    space.ip("link", "add", name, "type", "veth", "peer", "name", "other")
    with running.engine(space, "any") as engine:
        _say_until_seen(space, engine)
        found = engine.stop()
    assert {i.name for i in found.interfaces} == {"lo", r"d\xff\xe9", "other"}
