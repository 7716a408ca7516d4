"""A hostile container that is captured from inside: devices, addresses, messages."""

import functools
import os
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator

import pytest

from kernel.test_inside import CHOSEN, captured, container, interfaces, of, say
from support import bpf, netns, running
from support.netns import Namespace
from tccap.host import netlink

pytestmark = pytest.mark.skipif(not bpf.has_tcx(), reason="TCX came with Linux 6.6")
RTM_NEWLINK, IFINFOMSG_LEN = 16, 16
# Bytes that are no text, that control a terminal, and that mean something elsewhere.
NAMES = (b"\xff\xfe", b"\x1b[2J\x07", b"\"\\x'", b"{value=a}", b"\xe2\x80\xae")
MANY = 5_600  # addresses: more than a message has room for
TOO_MANY = 17_000  # routes: more than are read of one container


@pytest.fixture
def space() -> Iterator[Namespace]:
    with netns.namespace() as made:
        yield made


def test_nobody_but_the_kernel_answers(space: Namespace, counted: Counter[str]) -> None:
    """Root of a container may send messages to any socket of its namespace."""
    message = struct.pack("=IHHII", 16 + IFINFOMSG_LEN, RTM_NEWLINK, 2, 0, 0)
    with space.entered(), netlink.connect() as ours:
        [*netlink.ask(ours, 18, bytes(IFINFOMSG_LEN), dump=True)]
        port, _ = ours.getsockname()
        with (
            socket.socket(socket.AF_NETLINK, socket.SOCK_RAW) as theirs,
            pytest.raises(ConnectionRefusedError),
        ):
            theirs.sendto(message + bytes(IFINFOMSG_LEN), (port, 0))
    counted["by messages from inside of a container"] += 1


def test_no_devices_of_a_container_hinder_others(
    space: Namespace, counted: Counter[str]
) -> None:
    with container(space, "web-1", 1) as bad, container(space, "web-2", 2) as good:
        for name in NAMES:
            add = ("ip", "-n", bad.box.name, "link", "add", os.fsdecode(name), "up")
            subprocess.run([*add, "type", "bridge"], check=True)
            counted["by names of devices"] += 1
        _batch(bad.box, (f"addr add fd00::{n:x}/128 dev lo nodad" for n in range(MANY)))
        counted["by addresses of devices"] += 1
        with running.engine(space, "any", **CHOSEN) as engine:
            for box in (bad, good):
                mark = b"in " + box.name.encode()
                box.run(functools.partial(say, mark, "127.0.0.1"))
            found = captured(engine, mark + b" back")
    for box in (bad, good):
        marked = of(found, b"in " + box.name.encode())
        assert {packet.device for packet in marked} == {f"{box.name}/lo"}
    names = {name for name in interfaces(engine) if name.startswith(f"{bad.name}/")}
    assert names == {
        f"{bad.name}/lo",
        *(f"{bad.name}/{name.decode(errors='backslashreplace')}" for name in NAMES),
    }


def test_a_container_with_too_much_to_read_is_left_out_with_a_sentence(
    space: Namespace, counted: Counter[str]
) -> None:
    with container(space, "web-1", 1) as bad, container(space, "web-2", 2) as good:
        addresses = (f"10.9{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(TOO_MANY))
        _batch(bad.box, (f"route add local {each} dev lo" for each in addresses))
        with running.engine(space, "any", **CHOSEN) as engine:
            engine.wait_for(
                f"{bad.name} cannot be captured from inside: it has too many"
            )
            good.run(functools.partial(say, b"in web-2", "127.0.0.1"))
            found = captured(engine, b"in web-2 back")
    assert {packet.device for packet in of(found, b"in web-2")} == {f"{good.name}/lo"}
    counted["by routes"] += 1


def _batch(box: Namespace, commands: Iterable[str]) -> None:
    """Have ip(8) do many things in a container."""
    command = ["ip", "-n", box.name, "-batch", "-"]
    subprocess.run(command, input="\n".join(commands), text=True, check=True)
