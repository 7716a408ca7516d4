"""The real tshark as the client."""

import os
import re
import signal
import socket
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support import netns
from support.wireshark import Captures, Wireshark, tshark
from tccap.paths import README

# All that tshark says by itself; an extcap's words would stand beside it.
USUAL = re.compile(
    r"Running as user .*|Capturing on .*| \*\* .* MESSAGE\] -- (Capture|File).*"
    r"|tshark: |\d+ packets? captured|"
)


def _send(pair: netns.Pair, count: int, address: str = "") -> None:
    with pair.near.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
        for number in range(count):
            packet = b"e2e" + struct.pack("=I", number)
            sock.sendto(packet, (address or pair.far_address, 9))


def _assert_usual(stderr: str) -> None:
    for line in stderr.splitlines():
        assert USUAL.fullmatch(line), stderr


def test_interfaces_are_listed(wireshark: Wireshark, pair: netns.Pair) -> None:
    lines = wireshark.run(pair.near, "tshark", "-D").stdout.splitlines()
    ours = [line.split(maxsplit=1)[1] for line in lines if "tccap-" in line]
    assert {
        f"tccap-{name} (eBPF TC (pid-aware))" for name in ("any", "lo", "veth0")
    } <= {*ours}


def test_count(wireshark: Wireshark, pair: netns.Pair) -> None:
    fields = ("-T", "fields", "-e", "frame.interface_name", "-e", "udp.dstport")
    with tshark(wireshark, pair.near, "-c", "5", *fields) as captures:
        _send(pair, 7)
        stdout, stderr = captures.finish()
        assert captures.left() == []
    assert stdout == "veth0\t9\n" * 5
    assert captures.process.returncode == 0
    _assert_usual(stderr)


def test_two_interfaces_at_once_until_control_c(
    wireshark: Wireshark, pair: netns.Pair
) -> None:
    fields = ("-T", "fields", "-e", "frame.interface_name")
    devices = ("veth0", "lo")
    with tshark(wireshark, pair.near, *fields, devices=devices) as captures:
        assert captures.process.stdout
        for device, address in (("veth0", ""), ("lo", "127.0.0.1")):
            _send(pair, 1, address)
            line = captures.process.stdout.readline()
            assert line == f"{device}\n"
        captures.interrupt()
        _, stderr = captures.finish()
        assert captures.left() == []
    assert captures.process.returncode == 0
    _assert_usual(stderr)


def test_any(wireshark: Wireshark, pair: netns.Pair) -> None:
    fields = ("-T", "fields", "-e", "frame.interface_name", "-c", "2")
    with tshark(wireshark, pair.near, *fields, devices=("any",)) as captures:
        _send(pair, 1)
        _send(pair, 1, "127.0.0.1")
        stdout, _ = captures.finish()
        assert captures.left() == []
    assert set(stdout.split()) <= {"veth0", "lo"}
    assert len(stdout.split()) == 2


def test_a_tshark_that_is_killed_leaves_nothing(
    wireshark: Wireshark, pair: netns.Pair
) -> None:
    """Even though no packet comes by which dumpcap would notice."""
    with tshark(wireshark, pair.near, "-f", "udp port 9") as captures:
        captures.process.kill()
        captures.finish()  # when dumpcap has closed the pipe, too
        assert captures.left() == []


@pytest.mark.parametrize("victim", ["dumpcap", "front"])
def test_a_kill_leaves_nothing(
    wireshark: Wireshark, pair: netns.Pair, victim: str
) -> None:
    with tshark(wireshark, pair.near) as captures:
        _send(pair, 3)
        _kill(captures, victim)
        # A dead front is for Wireshark a capture without packets.
        captures.interrupt()
        captures.finish()
        assert captures.left() == []


def _kill(captures: Captures, victim: str) -> None:
    if victim == "dumpcap":
        children = subprocess.run(
            ["ps", "-o", "pid=,comm=", "--ppid", str(captures.process.pid)],
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        (pid,) = (
            int(line.split()[0]) for line in children.splitlines() if victim in line
        )
    else:
        (pid,) = captures.fronts if victim == "front" else captures.engines
    os.kill(pid, signal.SIGKILL)


def test_an_engine_that_dies_is_reported(
    wireshark: Wireshark, pair: netns.Pair
) -> None:
    with tshark(wireshark, pair.near) as captures:
        _send(pair, 3)
        _kill(captures, "engine")
        _, stderr = captures.finish()
        assert captures.left() == []
    assert "The capturing process was ended by signal 9." in stderr


@pytest.mark.parametrize(
    ("preference", "sentence"),
    [
        ("snaplen:0", "--snaplen is a whole number from 1 to 262144, not '0'."),
        ("ringsize:many", "--ring-size is a whole number from 1 to 1024, not 'many'."),
        ("direction:up", "--direction is one of both, in, out, not 'up'."),
        ("logfile:/nowhere/log", "The log file /nowhere/log cannot be written"),
    ],
)
def test_a_bad_option_is_reported(
    wireshark: Wireshark, pair: netns.Pair, preference: str, sentence: str
) -> None:
    option = ("-o", f"extcap.tccap_veth0.{preference}")
    done = wireshark.run(pair.near, "tshark", "-i", "tccap-veth0", *option, check=False)
    assert done.stderr.count(sentence) == 1
    assert "Traceback" not in done.stderr


@pytest.fixture
def space() -> Iterator[netns.Namespace]:
    with netns.namespace() as made:
        yield made


def test_a_preference_is_named_as_the_readme_says(
    wireshark: Wireshark, space: netns.Namespace
) -> None:
    text = Path(README).read_text(encoding="utf-8")
    found = re.search(r"`([\w-]+)` of `tccap-(\S+)` is\n`([\w.]+)`", text)
    assert found
    option, device, preference = found.groups()
    space.ip("link", "add", device, "type", "veth", "peer", "name", "peer0")
    command = ("tshark", "-i", f"tccap-{device}", "-o", f"{preference}:many")
    done = wireshark.run(space, *command, check=False)
    assert f"--{option} is a whole number from " in done.stderr


def test_an_unknown_interface_is_reported(
    wireshark: Wireshark, pair: netns.Pair
) -> None:
    done = wireshark.run(pair.near, "tshark", "-i", "tccap-absent", check=False)
    assert done.returncode != 0
    assert "tccap-absent" in done.stderr


def test_listings_work_for_an_ordinary_user(
    wireshark: Wireshark, pair: netns.Pair
) -> None:
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    listed = wireshark.run(pair.near, *nobody, "tshark", "-D").stdout
    assert "tccap-veth0 (eBPF TC (pid-aware))" in listed
