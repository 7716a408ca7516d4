"""Network namespaces for one test, with veth pairs between them."""

import contextlib
import ctypes
import fcntl
import itertools
import os
import socket
import struct
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

DISCARD_PORT = 9
# Wireshark takes a connection from a protocol's port for that protocol, whatever it is.
# It knows none with these ports (tshark -G decodes).
PORTS_OF_NO_PROTOCOL = "60002 65535"
CLONE_NEWNET = 0x40000000
# include/uapi/linux/if_tun.h
TUNSETIFF, IFF_TUN, IFF_TAP, IFF_NO_PI = 0x400454CA, 1, 2, 0x1000
_numbers = itertools.count()
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True)
class Namespace:
    """A network namespace, by its name for ip-netns(8)."""

    name: str

    def command(self, *command: str) -> list[str]:
        """Return the command that runs ``command`` in the namespace."""
        return ["ip", "netns", "exec", self.name, *command]

    def run(self, *command: str) -> str:
        """Run a command in the namespace; return its output."""
        return subprocess.run(
            self.command(*command), check=True, capture_output=True, text=True
        ).stdout

    def ip(self, *arguments: str) -> str:
        """Run ip(8) in the namespace."""
        command = ["ip", "-n", self.name, *arguments]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        return done.stdout

    def connect_from(self, ports: str) -> None:
        """Have connect(2) choose from these ports, "FIRST LAST", in the namespace."""
        with self.entered():
            Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(ports)

    @contextlib.contextmanager
    def entered(self) -> Iterator[None]:
        """Enter the namespace for the block's sockets; only this thread enters."""
        with Path("/proc/thread-self/ns/net").open("rb") as before:
            with Path(f"/run/netns/{self.name}").open("rb") as here:
                _setns(here.fileno())
            try:
                yield
            finally:
                _setns(before.fileno())


@contextlib.contextmanager
def namespace() -> Iterator[Namespace]:
    """Yield a new namespace with lo up and without router chatter."""
    space = Namespace(f"tccap-test-{os.getpid()}-{next(_numbers)}")
    subprocess.run(["ip", "netns", "add", space.name], check=True)
    try:
        space.ip("link", "set", "lo", "up")
        yield space
    finally:
        subprocess.run(["ip", "netns", "del", space.name], check=True)


@dataclass(frozen=True)
class Pair:
    """Two namespaces joined by veth0 (10.9.0.1) and veth1 (10.9.0.2)."""

    near: Namespace
    far: Namespace
    near_device: str = "veth0"
    far_device: str = "veth1"
    near_address: str = "10.9.0.1"
    far_address: str = "10.9.0.2"
    near_mac: str = "02:00:00:00:09:01"
    far_mac: str = "02:00:00:00:09:02"


@contextlib.contextmanager
def pair(*, quiet: bool = True) -> Iterator[Pair]:
    """Yield two joined namespaces; quiet ones send nothing by themselves."""
    with namespace() as near, namespace() as far:
        joined = Pair(near, far)
        near.ip(
            *("link", "add", joined.near_device, "address", joined.near_mac),
            *("type", "veth", "peer", "name", joined.far_device),
            *("address", joined.far_mac, "netns", far.name),
        )
        for space, device, address, other, mac in (
            (near, "veth0", "10.9.0.1", "10.9.0.2", joined.far_mac),
            (far, "veth1", "10.9.0.2", "10.9.0.1", joined.near_mac),
        ):
            if quiet:
                space.run("sysctl", "-qw", f"net.ipv6.conf.{device}.disable_ipv6=1")
                space.ip("link", "set", device, "arp", "off")
            space.ip("addr", "add", f"{address}/24", "dev", device)
            space.ip("link", "set", device, "up")
            if quiet:
                space.ip("neigh", "replace", other, "lladdr", mac, "dev", device)
        with _sink(near), _sink(far):
            yield joined


@dataclass(frozen=True)
class Uplink:
    """A namespace whose one device leads to a host that is not here."""

    near: Namespace
    near_device: str = "tap0"
    near_address: str = "10.9.0.1"
    far_address: str = "10.9.0.2"
    far_mac: str = "02:00:00:00:09:02"


@contextlib.contextmanager
def uplink() -> Iterator[Uplink]:
    """Yield such a namespace: its tap device drops all that is sent to it."""
    with namespace() as near:
        link = Uplink(near)
        with tunnel_file(near, link.near_device, IFF_TAP, link.near_address):
            near.run(
                "sysctl", "-qw", f"net.ipv6.conf.{link.near_device}.disable_ipv6=1"
            )
            near.ip(
                *("neigh", "replace", link.far_address),
                *("lladdr", link.far_mac, "dev", link.near_device),
            )
            # A full queue drops, and does not make the sender wait.
            near.run(
                *("tc", "qdisc", "replace", "dev", link.near_device),
                *("root", "noqueue"),
            )
            yield link


@contextlib.contextmanager
def tunnel_file(space: Namespace, name: str, mode: int, address: str) -> Iterator[int]:
    """Yield the descriptor of a tun or tap device: writing to it is receiving."""
    with space.entered():
        fd = open_tunnel(name, mode)
    try:
        space.ip("addr", "add", f"{address}/24", "dev", name)
        space.ip("link", "set", name, "up")
        yield fd
    finally:
        os.close(fd)


def open_tunnel(name: str, mode: int) -> int:
    """Make a tun or tap device in this thread's namespace; return its descriptor."""
    fd = os.open("/dev/net/tun", os.O_RDWR)
    try:
        request = struct.pack("16sH22x", name.encode(), mode | IFF_NO_PI)
        fcntl.ioctl(fd, TUNSETIFF, request)
    except OSError:
        os.close(fd)
        raise
    return fd


@contextlib.contextmanager
def _sink(space: Namespace) -> Iterator[None]:
    """Bind the discard port, so that no ICMP error answers."""
    with space.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        sock.bind(("0.0.0.0", DISCARD_PORT))
        yield


def _setns(fd: int) -> None:
    if _libc.setns(fd, CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns")
