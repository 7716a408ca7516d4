"""A host for container runtimes, in namespaces of its own.

It has its own network, its own processes, and its own files in /run and so on: what
runtimes start and write there ends with it, however a test ends. Two other hosts are
reached by out0, a veth pair, and by nic0, which is like a network card: a tap device,
whose frames a cable brings. Only cgroups are the machine's: all are below one of the
host's own, so that nothing of other hosts and runtimes is touched.
"""

import contextlib
import os
import selectors
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from support import netns, running
from support.netns import Namespace
from tccap.host import netns as tccap_netns
from tccap.host import proc

CGROUPS = Path("/sys/fs/cgroup")
SOURCE = Path(__file__).with_name("peer.c")
USER, HOME = 2000, "/run/tccap-home"
OUTSIDE, CARD = "out0", "nic0"
FRAME_MAX = 1 << 16
ROUTER = "10.80.0.254"  # which is not there
# The host's address, and that of the other end.
ADDRESSES = {OUTSIDE: ("10.80.0.1", "10.80.0.2"), CARD: ("10.90.0.1", "10.90.0.2")}
SETUP = f"""
set -eu
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.disable_ipv6=1
cp -a /etc "$1/etc"
mount --bind "$1/etc" /etc
mount -t tmpfs run /run
mount -t tmpfs lib /var/lib
mount -t tmpfs log /var/log
mount -t tmpfs shm /dev/shm
mkdir -p /run/lock /run/netns /run/user/0 /run/user/{USER} {HOME}
chown {USER}:{USER} /run/user/{USER} {HOME}
echo tccap-user:x:{USER}:{USER}::{HOME}:/bin/sh >>/etc/passwd
echo tccap-user:x:{USER}: >>/etc/group
echo tccap-user:200000:65536 | tee /etc/subuid >/etc/subgid
mknod /run/tun c 10 200 && chmod 666 /run/tun && mount --bind /run/tun /dev/net/tun
mount --make-rshared /
exec unshare --pid --fork --kill-child unshare --mount --propagation unchanged sh -c '
    mount --make-private /proc
    mount -t proc proc /proc
    echo ready
    exec cat'
"""


@dataclass(frozen=True)
class Host(Namespace):
    """The host; its commands run with the machine's process ids."""

    pid: int  # its namespaces but for processes
    first: int  # its first process
    remotes: dict[str, Namespace]
    image: Path  # a root file system: peer.c alone, by the names that rows have
    cgroup: str  # the path of its own one, in each hierarchy

    def command(self, *command: str) -> list[str]:
        """Return the command that runs with the host's network and files."""
        return ["nsenter", f"--target={self.pid}", "--net", "--mount", *command]

    def inside(self, *command: str) -> list[str]:
        """Return the command that runs among the host's processes, and ends with it."""
        return ["nsenter", f"--target={self.first}", "--all", *command]

    def has(self, pid: int) -> bool:
        """Return whether a process is one of the host's, in a container or not."""
        parents = proc.parents()
        while pid in parents and pid != self.first:
            pid = parents[pid]
        return pid == self.first

    def do(self, *command: str) -> str:
        """Run a command among the host's processes; return its output."""
        return output(self.inside(*command))


def output(command: list[str]) -> str:
    """Run a command; return its output."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}: {done.stdout} {done.stderr}"
    return done.stdout.strip()


@contextlib.contextmanager
def host(programs: tuple[str, ...]) -> Iterator[Host]:
    """Yield a host; everything in it ends with the block."""
    cgroup = f"/tccap-host-{os.getpid()}"
    with contextlib.ExitStack() as stack:
        enter = stack.enter_context
        folder = Path(enter(tempfile.TemporaryDirectory(prefix="tccap-host-")))
        folder.chmod(0o755)  # for the host's user
        stack.callback(_remove_cgroups, cgroup)
        remotes = {name: enter(netns.namespace()) for name in ADDRESSES}
        pid, first = enter(_namespaces(folder))
        image = _image(folder / "image", programs)
        made = Host("", pid, first, remotes, image, cgroup)
        pair = ("type", "veth", "peer", "name", OUTSIDE, "netns", str(pid))
        remotes[OUTSIDE].ip("link", "add", "eth0", *pair)
        enter(_cable(made, remotes[CARD]))
        for name, remote in remotes.items():
            _set_up(made, name, remote)
        yield made


@contextlib.contextmanager
def _namespaces(folder: Path) -> Iterator[tuple[int, int]]:
    """Yield a process in the host's namespaces, and the first of its processes."""
    isolated = ("unshare", "--net", "--mount", "--propagation", "private")
    with subprocess.Popen(
        [*isolated, "sh", "-c", SETUP, "setup", str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "ready\n"
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            yield process.pid, int(children.read_text())
        finally:
            process.kill()


def _image(folder: Path, programs: tuple[str, ...]) -> Path:
    binaries = folder / "bin"
    binaries.mkdir(parents=True)
    for name in ("dev", "proc", "sys", "tmp"):
        (folder / name).mkdir()
    first, *others = (binaries / name for name in programs)
    subprocess.run(["gcc", "-static", "-O2", "-o", first, SOURCE], check=True)
    for other in others:
        other.hardlink_to(first)
    return folder


@contextlib.contextmanager
def _cable(made: Host, remote: Namespace) -> Iterator[None]:
    """Join the card with that of another host; the kernel knows nothing of it."""
    with tccap_netns.entered(f"/proc/{made.pid}/ns/net"):
        near = netns.open_tunnel(CARD, netns.IFF_TAP)
    with remote.entered():
        far = netns.open_tunnel("eth0", netns.IFF_TAP)
    ended, end = os.pipe()
    carrying = threading.Thread(target=_carry, args=(near, far, ended))
    carrying.start()
    try:
        yield
    finally:
        os.close(end)
        carrying.join()
        for fd in (near, far, ended):
            os.close(fd)


def _carry(near: int, far: int, ended: int) -> None:
    """Bring frames from either end to the other one, until the pipe ends."""
    ends = selectors.DefaultSelector()
    ends.register(near, selectors.EVENT_READ, far)
    ends.register(far, selectors.EVENT_READ, near)
    ends.register(ended, selectors.EVENT_READ)
    with ends:
        while True:
            for key, _ in ends.select():
                if key.fd == ended:
                    return
                with contextlib.suppress(OSError):  # its device is down, or gone
                    os.write(key.data, os.read(key.fd, FRAME_MAX))


def _set_up(made: Host, name: str, remote: Namespace) -> None:
    """Give the host's device and the remote one that it leads to their addresses."""
    near, far = ADDRESSES[name]
    for command in (
        ("ip", "addr", "add", f"{near}/24", "dev", name),
        ("ip", "link", "set", name, "up"),
    ):
        output(made.command(*command))
    if name == OUTSIDE:  # pasta(1) wants one, and takes the router's address itself
        output(made.command("ip", "route", "add", "default", "via", ROUTER))
    remote.ip("addr", "add", f"{far}/24", "dev", "eth0")
    remote.ip("link", "set", "eth0", "up")


def _remove_cgroups(cgroup: str) -> None:
    """Remove what is left of it in all hierarchies, when its processes are gone."""
    tops = (*CGROUPS.glob(cgroup[1:]), *CGROUPS.glob(f"*{cgroup}"))
    found = {folder for top in tops for folder in (top, *top.glob("**/"))}
    for folder in sorted(found, reverse=True):
        running.until(lambda: _is_removed(folder), f"the end of {folder}")  # noqa: B023


def _is_removed(folder: Path) -> bool:
    with contextlib.suppress(OSError):
        folder.rmdir()
    return not folder.exists()
