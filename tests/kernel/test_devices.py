"""Kinds of device beside Ethernet: the file holds the frames that tcpdump sees.

One capture of all devices is shared: each test adds its device to it.
"""

import contextlib
import fcntl
import os
import socket
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from socket import AF_INET6
from typing import NamedTuple

import pytest
from pyroute2 import WireGuard

from support import frames, netns, probes, running, stream
from truth.sockets import await_echo_reply, echo_request

RAW_IP, ETHERNET = 101, 1
# include/uapi/linux/ppp-ioctl.h
PPPIOCNEWUNIT, PPPIOCSFLAGS, SC_LOOP_TRAFFIC = 0xC004743E, 0x40047459, 0x200
PPPIOCSNPMODE, NPMODE_PASS = 0x4008744B, 0
PPP_IP = 0x21
INNER_NEAR, INNER_FAR = "10.8.0.1", "10.8.0.2"
INNER_BYTES = socket.inet_aton(INNER_NEAR)
# Private and public key, made for these tests by `wg genkey`.
WG_NEAR = (
    "ENzol57R9NqX3KFTRhBkrDnf7qBKRNjcyUS004Pf70g=",
    "Q7sE/xv5XPf2Wli0FyX95UV4QNw7Hbz6thNoWYeOF24=",
)
WG_FAR = (
    "MBOxtMun0+Il1kZYcpjje5Bfz56+gHXUivWe41qyaGg=",
    "UlPnjHE9NuhrBIiYqT/q0tNSEyX0f5+wlDdwwnBpYEw=",
)
WG_PORT = 51820


def _tunnel(
    space: netns.Namespace, name: str, mode: int
) -> contextlib.AbstractContextManager[int]:
    return netns.tunnel_file(space, name, mode, INNER_NEAR)


def say(space: netns.Namespace, address: str, text: bytes) -> None:
    """Send a UDP packet, by the routes."""
    with space.entered(), socket.socket(type=socket.SOCK_DGRAM) as sock:
        sock.sendto(text, (address, 9))


@contextlib.contextmanager
def removed(*ends: tuple[netns.Namespace, str]) -> Iterator[None]:
    """Remove the devices at the end."""
    try:
        yield
    finally:
        for space, device in ends:
            space.ip("link", "del", device)


class Capture:
    """The capture of all devices of a namespace."""

    def __init__(self, space: netns.Namespace, engine: running.Engine) -> None:
        self._space = space
        self._engine = engine

    def _stream(self) -> stream.Stream:
        assert self._engine.output
        return stream.parse(stream.whole_blocks(self._engine.output.so_far()))

    def _has(self, device: str, mark: bytes) -> bool:
        return any(mark in frame.data for frame in self._stream().of(device))

    def compare(
        self, device: str, linktype: int, talk: Callable[[bytes], None]
    ) -> list[stream.Frame]:
        """Exchange packets up to a mark; the frames must be those of tcpdump."""
        begin, end = frames.marker() + b" begins", frames.marker() + b" ends"

        def begun() -> bool:
            talk(begin)
            return self._has(device, begin)

        with running.tcpdump(self._space, device) as tcpdump:
            running.until(begun, f"a packet of {device}")
            talk(end)
            theirs = tcpdump.stop_after(end)
            running.until(lambda: self._has(device, end), f"all packets of {device}")
        found = self._stream()
        ours = found.of(device)
        assert {found.interfaces[f.interface].linktype for f in ours} == {linktype}
        # A host sends packets on its own, too, before and after.
        ours = ours[_between(begin, end, [f.data for f in ours])]
        theirs = theirs[_between(begin, end, theirs)]
        assert [f.data for f in ours] == theirs
        return ours


def _between(begin: bytes, end: bytes, packets: list[bytes]) -> slice:
    """Return the slice behind the last packet with one mark, up to the other mark.

    Errors of ICMP have the marks, too, as they quote packets: one that answers the last
    packet may not be there yet.
    """
    last = next(number for number, packet in enumerate(packets) if end in packet)
    before = enumerate(packets[:last])
    first = max(number for number, packet in before if begin in packet)
    return slice(first + 1, last + 1)


@pytest.fixture(scope="module")
def capture(pair: netns.Pair) -> Iterator[Capture]:
    with running.engine(pair.near, "any") as engine:
        yield Capture(pair.near, engine)
        engine.stop()


def test_tun_is_raw_ip(pair: netns.Pair, capture: Capture) -> None:
    with _tunnel(pair.near, "tun0", netns.IFF_TUN) as fd:

        def talk(mark: bytes) -> None:
            os.write(fd, frames.ipv4(frames.udp(b"from tun")))
            os.write(fd, frames.ipv6(frames.udp(b"from tun")))
            say(pair.near, INNER_FAR, b"through tun")
            say(pair.near, INNER_FAR, mark)

        found = capture.compare("tun0", RAW_IP, talk)
    assert [f.data[0] >> 4 for f in found if f.direction == 1] == [4, 6]
    assert [f.data[0] >> 4 for f in found if f.direction == 2][-2:] == [4, 4]


def test_tap_is_ethernet(pair: netns.Pair, capture: Capture) -> None:
    with _tunnel(pair.near, "tap0", netns.IFF_TAP) as fd:

        def talk(mark: bytes) -> None:
            os.write(fd, frames.CATALOGUE["qinq"])
            os.write(fd, frames.ethernet(frames.EXPERIMENT, mark))

        found = capture.compare("tap0", ETHERNET, talk)
    assert frames.CATALOGUE["qinq"] in [frame.data for frame in found]


def test_vlan_device_and_the_device_under_it(
    pair: netns.Pair, capture: Capture
) -> None:
    tag = ("link", "veth0", "name", "veth0.7", "type", "vlan", "id", "7")
    there = probes.can_add(pair.near, *tag)
    probes.skip_unless(there, "VLAN devices (8021q)", since=(2, 6))
    pair.near.ip("addr", "add", f"{INNER_NEAR}/24", "dev", "veth0.7")
    pair.near.ip("link", "set", "veth0.7", "up")
    far_mac = ("lladdr", pair.far_mac, "dev", "veth0.7")
    pair.near.ip("neigh", "replace", INNER_FAR, *far_mac)

    def talk(mark: bytes) -> None:
        say(pair.near, INNER_FAR, mark)

    with removed((pair.near, "veth0.7")):
        above = capture.compare("veth0.7", ETHERNET, talk)
        below = capture.compare("veth0", ETHERNET, talk)
    assert above[-1].data[12:14] == b"\x08\x00"
    assert below[-1].data[12:18] == b"\x81\x00\x00\x07\x08\x00"


@pytest.mark.parametrize("kind", ["ipip", "gre", "sit"])
def test_tunnel_is_raw_ip(pair: netns.Pair, capture: Capture, kind: str) -> None:
    device = f"{kind}9"
    ends = {pair.near: (pair.near_address, pair.far_address, INNER_NEAR)}
    ends[pair.far] = (pair.far_address, pair.near_address, INNER_FAR)
    for space, (local, remote, inner) in ends.items():
        shape = ("type", kind, "local", local, "remote", remote)
        there = probes.can_add(space, device, *shape)
        probes.skip_unless(there, f"{kind} tunnels", since=(2, 6))
        six = {INNER_NEAR: "fd08::1", INNER_FAR: "fd08::2"}[inner]
        address = f"{six}/64" if kind == "sit" else f"{inner}/24"
        space.ip("addr", "add", address, "dev", device, *_no_dad(kind))
        space.ip("link", "set", device, "up")
    family = socket.AF_INET6 if kind == "sit" else socket.AF_INET
    near, far = ("fd08::1", "fd08::2") if kind == "sit" else (INNER_NEAR, INNER_FAR)

    def talk(mark: bytes) -> None:
        with pair.far.entered(), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"in " + mark[:4], (near, 9))
        with pair.near.entered(), socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.sendto(mark, (far, 9))

    with removed(*((space, device) for space in ends)):
        found = capture.compare(device, RAW_IP, talk)
    assert {frame.direction for frame in found} == {1, 2}


def _no_dad(kind: str) -> tuple[str, ...]:
    return ("nodad",) if kind == "sit" else ()


@dataclass(frozen=True)
class Gre:
    """A GRE device that makes the outer header itself, and the other end's device."""

    kind: str
    near: tuple[str, ...]
    far: tuple[str, ...]
    near_outer: str  # where the far end sends to, as a link-layer address
    far_outer: str


_NEAR6, _FAR6, _GROUP = "fd09::1", "fd09::2", "239.1.1.1"
_FAR6_BYTES = ":".join(f"{byte:02x}" for byte in socket.inet_pton(AF_INET6, _FAR6))
_MULTIPOINT = Gre(
    "gre",
    ("local", "10.9.0.1", "key", "7", "csum"),
    ("local", "10.9.0.2", "remote", "10.9.0.1", "key", "7", "csum"),
    "",
    "10.9.0.2",
)
WITHOUT_ONE_REMOTE = {
    "multipoint": _MULTIPOINT,
    "multicast": Gre(
        "gre",
        ("local", "10.9.0.1", "remote", _GROUP, "ttl", "9"),
        ("local", "10.9.0.2", "remote", _GROUP, "ttl", "9"),
        _GROUP,
        _GROUP,
    ),
    "IPv6": Gre(
        "ip6gre",
        ("local", _NEAR6, "key", "7"),
        ("local", _FAR6, "remote", _NEAR6, "key", "7"),
        "",
        _FAR6_BYTES,
    ),
}


class _End(NamedTuple):
    """One end of the tunnel, and what it must know of the other."""

    space: netns.Namespace
    veth: str
    mac: str  # of the other end, and so on
    inner: tuple[str, str]
    outer6: tuple[str, str]
    other_outer: str


def _ends(pair: netns.Pair, shape: Gre) -> tuple[_End, _End]:
    near = (pair.near, "veth0", pair.far_mac, (INNER_NEAR, INNER_FAR), (_NEAR6, _FAR6))
    far = (pair.far, "veth1", pair.near_mac, (INNER_FAR, INNER_NEAR), (_FAR6, _NEAR6))
    return _End(*near, shape.far_outer), _End(*far, shape.near_outer)


def _prepare(end: _End, kind: str) -> None:
    ip, veth, (inner, other) = end.space.ip, end.veth, end.inner
    if kind == "ip6gre":
        end.space.run("sysctl", "-qw", f"net.ipv6.conf.{veth}.disable_ipv6=0")
        ip("addr", "replace", f"{end.outer6[0]}/64", "dev", veth, "nodad")
        ip("neigh", "replace", end.outer6[1], "lladdr", end.mac, "dev", veth)
    ip("route", "replace", "239.0.0.0/8", "dev", veth)
    ip("addr", "add", f"{inner}/24", "dev", "gre9")
    ip("link", "set", "gre9", "up")
    if end.other_outer:
        ip("neigh", "replace", other, "lladdr", end.other_outer, "dev", "gre9")


@contextlib.contextmanager
def gre(pair: netns.Pair, shape: Gre) -> Iterator[None]:
    """Have gre9 at both ends."""
    there = probes.can_add(pair.near, "gre9", "type", shape.kind, *shape.near)
    probes.skip_unless(there, f"{shape.kind} devices", since=(2, 6))
    pair.far.ip("link", "add", "gre9", "type", shape.kind, *shape.far)
    ends = _ends(pair, shape)
    try:
        with removed(*((end.space, "gre9") for end in ends)):
            for end in ends:
                _prepare(end, shape.kind)
            yield
    finally:
        for end in ends:
            end.space.run("sysctl", "-qw", f"net.ipv6.conf.{end.veth}.disable_ipv6=1")


@pytest.mark.parametrize("kind", WITHOUT_ONE_REMOTE)
def test_gre_without_one_remote_is_raw_ip(
    pair: netns.Pair, capture: Capture, kind: str
) -> None:
    def talk(mark: bytes) -> None:
        say(pair.far, INNER_NEAR, b"in " + mark[:4])
        say(pair.near, INNER_FAR, mark)

    with gre(pair, WITHOUT_ONE_REMOTE[kind]):
        found = capture.compare("gre9", RAW_IP, talk)
    assert {frame.direction for frame in found} == {1, 2}
    assert {frame.data[0] for frame in found if INNER_BYTES in frame.data} == {0x45}


@pytest.mark.parametrize("kind", ["multipoint", "multicast"])
def test_within_gre_a_filter_takes_all_echoes_and_all_have_a_label(
    pair: netns.Pair, kind: str
) -> None:
    """Not by IPv6: these ends cannot answer each other there."""
    number = 0x7CCA
    with (
        gre(pair, WITHOUT_ONE_REMOTE[kind]),
        running.engine(pair.near, "gre9", label="short", filters=("icmp",)) as engine,
    ):
        with pair.near.entered():
            sock = socket.socket(type=socket.SOCK_RAW, proto=socket.IPPROTO_ICMP)
        with sock:
            sock.settimeout(running.DEADLINE_S)
            for _ in range(10):
                sock.sendto(echo_request(4, number), (INNER_FAR, 0))
                await_echo_reply(sock, 4)
        engine.end()
        assert engine.output
        output = engine.output.rest()
    found = [frame.data for frame in stream.parse(output).of("gre9")]
    assert len(found) == 20
    assert {(data[0], data[9]) for data in found} == {(0x45, socket.IPPROTO_ICMP)}
    assert output.count(b"pid=%d " % os.getpid()) == len(found)


def test_wireguard_is_raw_ip(pair: netns.Pair, capture: Capture) -> None:
    there = probes.can_add(pair.near, "wg0", "type", "wireguard")
    probes.skip_unless(there, "WireGuard", since=(5, 6))
    pair.far.ip("link", "add", "wg0", "type", "wireguard")
    for space, inner, key, peer, peer_address in (
        (pair.near, INNER_NEAR, WG_NEAR, WG_FAR, pair.far_address),
        (pair.far, INNER_FAR, WG_FAR, WG_NEAR, pair.near_address),
    ):
        with space.entered(), WireGuard() as wireguard:
            wireguard.set(
                "wg0",
                private_key=key[0],
                listen_port=WG_PORT,
                peer={
                    "public_key": peer[1],
                    "endpoint_addr": peer_address,
                    "endpoint_port": WG_PORT,
                    "allowed_ips": ["10.8.0.0/24"],
                },
            )
        space.ip("addr", "add", f"{inner}/24", "dev", "wg0")
        space.ip("link", "set", "wg0", "up")

    def talk(mark: bytes) -> None:
        with pair.near.entered():
            near = socket.socket(type=socket.SOCK_DGRAM)
        with pair.far.entered():
            far = socket.socket(type=socket.SOCK_DGRAM)
        with near, far:
            near.bind((INNER_NEAR, 0))
            near.settimeout(running.DEADLINE_S)
            far.sendto(b"a first word", near.getsockname())
            assert near.recv(100) == b"a first word"  # the handshake is done
            near.sendto(mark, (INNER_FAR, 9))

    with removed((pair.near, "wg0"), (pair.far, "wg0")):
        found = capture.compare("wg0", RAW_IP, talk)
    assert {frame.direction for frame in found} == {1, 2}


def test_ppp_is_raw_ip(pair: netns.Pair, capture: Capture) -> None:
    space = pair.near
    with space.entered():
        fd = _ppp_unit()
    # A unit without a channel returns its packets to pppd.
    fcntl.ioctl(fd, PPPIOCSFLAGS, struct.pack("i", SC_LOOP_TRAFFIC))
    fcntl.ioctl(fd, PPPIOCSNPMODE, struct.pack("ii", PPP_IP, NPMODE_PASS))
    space.ip("addr", "add", INNER_NEAR, "peer", INNER_FAR, "dev", "ppp0")
    space.ip("link", "set", "ppp0", "up")

    try:
        found = capture.compare("ppp0", RAW_IP, lambda m: say(space, INNER_FAR, m))
    finally:
        os.close(fd)
    assert found[-1].data[0] == 0x45


def _ppp_unit() -> int:
    there = True
    try:
        fd = os.open("/dev/ppp", os.O_RDWR)
        fcntl.ioctl(fd, PPPIOCNEWUNIT, struct.pack("i", 0))
    except OSError:
        there = False
    probes.skip_unless(there, "PPP", since=(2, 6))
    return fd
